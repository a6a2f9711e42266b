"""Writing releases: an intent, then the alias, then the channel, then a closed ledger line."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from cryptoai_assets.lib.ledger import Entry, Ledger
from cryptoai_assets.lib.tracking import CHAMPION, Tracking
from edge_bundle.errors import BundleRefusedError, EdgeBundleError
from edge_bundle.forecaster import Forecaster
from edge_bundle.releases import Channel, ReleasedVersion, channel_path, read_channel, release_folder


class PromotionError(Exception):
    """A version may not be released; the reason is in the message."""


@dataclass(frozen=True, slots=True)
class ReleaseDesk:
    """Where versions become releases.

    Parameters
    ----------
    root
        Folder that the service and the devices read.
    """

    root: Path
    tracking: Tracking
    ledger: Ledger

    def promote(
        self,
        model: str,
        version: int,
        *,
        actor: str,
        reason: str,
        numbers: Mapping[str, Any],
        at: datetime,
        kind: Literal["promotion", "rollback"] = "promotion",
    ) -> Channel:
        """Make a version champion, or the old one stays in every place.

        Raises
        ------
        PromotionError
            When the bundle does not load or its golden rows disagree; nothing was written then.
        """
        bundle = self._verified_bundle(model, version)
        previous = self._champion(model)
        intent = self.ledger.append(
            "intent",
            model=model,
            version=version,
            previous=previous,
            actor=actor,
            reason=reason,
            numbers={"kind": kind, "sha256": bundle.digest, "decision": dict(numbers)},
            at=at,
        )
        entry = next(entry for entry in self.ledger.open_intents() if entry.id == intent)
        return self._carry_out(entry, at)

    def finish_open_intents(self, at: datetime) -> list[Entry]:
        """Carry out what a killed run began; an intent whose bundle no longer verifies is abandoned."""
        finished = self.ledger.open_intents()
        for entry in finished:
            try:
                self._verified_bundle(entry.model, entry.version)
            except PromotionError as error:
                self._close(entry, "abandoned", at, reason=f"{entry.reason}; {error}")
            else:
                self._carry_out(entry, at)
        return finished

    def reconcile(self, model: str, at: datetime) -> Channel | None:
        """Release what a person made champion in MLflow's UI; None when the alias and the channel agree.

        Raises
        ------
        PromotionError
            When the bundle of the alias does not verify; the release stays, and the alias is moved back.
        """
        wanted = self.tracking.alias(model, CHAMPION)
        released = self._champion(model)
        if wanted is None or wanted.version == released:
            return None
        known = {entry.version for entry in self.ledger.entries(model) if entry.kind == "promotion"}
        kind: Literal["promotion", "rollback"] = "rollback" if wanted.version in known else "promotion"
        try:
            return self.promote(
                model,
                wanted.version,
                actor="a person, in MLflow",
                reason=f"the alias {CHAMPION} was moved from version {released} to {wanted.version} by hand",
                numbers={},
                at=at,
                kind=kind,
            )
        except PromotionError:
            if released is not None:
                self.tracking.set_alias(model, CHAMPION, released)
            raise

    def _champion(self, model: str) -> int | None:
        channel = read_channel(self.root, model)
        return channel.champion.version if channel and channel.champion else None

    def _verified_bundle(self, model: str, version: int) -> Forecaster:
        """Bring a version's files to its release folder and replay its golden rows there."""
        folder = release_folder(self.root, model, version)
        try:
            return _replayed(folder)
        except EdgeBundleError:
            _fetch(self.tracking, model, version, folder)
        try:
            return _replayed(folder)
        except EdgeBundleError as error:
            raise PromotionError(f"{model} version {version} is not released: {error}") from error

    def _carry_out(self, entry: Entry, at: datetime) -> Channel:
        self.tracking.set_alias(entry.model, CHAMPION, entry.version)
        channel = read_channel(self.root, entry.model) or Channel(entry.model)
        champion = ReleasedVersion(entry.version, str(entry.numbers["sha256"]), signature=None)
        channel = replace(channel, champion=champion)
        write_channel(self.root, channel)
        self._close(entry, entry.numbers["kind"], at, reason=entry.reason)
        return channel

    def _close(
        self, entry: Entry, kind: Literal["promotion", "rollback", "abandoned"], at: datetime, *, reason: str
    ) -> None:
        self.ledger.append(
            kind,
            model=entry.model,
            version=entry.version,
            previous=entry.previous,
            actor=entry.actor,
            reason=reason,
            numbers=entry.numbers,
            at=at,
            intent=entry.id,
        )


def _replayed(folder: Path) -> Forecaster:
    forecaster = Forecaster.load(folder)
    result = forecaster.selftest()
    if not result.passed:
        raise BundleRefusedError(
            f"golden rows differ by {result.largest_difference:.2g} deviations and golden features by "
            f"{result.largest_feature_difference:.2g}; {result.tolerance} is allowed"
        )
    return forecaster


def _fetch(tracking: Tracking, model: str, version: int, folder: Path) -> None:
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    tracking.copy_bundle(model, version, draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)


def write_channel(root: Path, channel: Channel) -> None:
    """Replace a model's channel; a reader sees the old one or the new one, whole."""
    path = channel_path(root, channel.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(channel.to_dict(), file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def champion_forecaster(root: Path, model: str) -> Forecaster | None:
    """Load the released champion; None when nothing was released yet."""
    channel = read_channel(root, model)
    if channel is None or channel.champion is None:
        return None
    return Forecaster.load(release_folder(root, model, channel.champion.version))
