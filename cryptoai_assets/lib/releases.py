"""Writing releases: an intent, then the alias, then the channel, then a closed ledger line.

Whoever is killed between these steps leaves an open intent; the next writer carries it out or takes it back
before it does anything else. One writer works at a time, held by a file lock that ends with its process.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from cryptoai_assets.lib.ledger import CLOSING_KINDS, Entry, Ledger
from cryptoai_assets.lib.release_signing import ReleaseSigner
from cryptoai_assets.lib.replayed_bundles import replayed_bundle
from cryptoai_assets.lib.tracking import CHAMPION, Tracking, TrackingError
from edge_bundle.errors import EdgeBundleError, ReleaseRefusedError
from edge_bundle.forecaster import Forecaster
from edge_bundle.releases import (
    Channel,
    ReleasedVersion,
    channel_path,
    leak_alarm_path,
    read_channel,
    release_folder,
    stop_path,
)
from edge_bundle.stop_orders import RENEWED_AFTER, StopOrder, read_stop_order, stop_order_path
from edge_bundle.whole_file import replace_file, replace_folder

LOCK_NAME = ".lock"
PLATFORM = "the platform"


class PromotionError(Exception):
    """A version may not be released; the reason is in the message."""


@dataclass(frozen=True, slots=True)
class ReleaseDesk:
    """Where versions become releases.

    Parameters
    ----------
    root
        Folder that the service and the devices read.
    signer
        Who signs each release for the devices; None leaves them unsigned.
    """

    root: Path
    tracking: Tracking
    ledger: Ledger
    signer: ReleaseSigner | None = None

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

        A version that is champion everywhere already is left as it is, without a new line.

        Parameters
        ----------
        numbers
            What the decision rests on, such as ``Decision.to_dict()``.

        Raises
        ------
        PromotionError
            When the bundle is not the registered one, does not load, its golden rows disagree, or a leak
            alarm of the version is unanswered; nothing was written then.
        """
        with self._only_writer():
            self._finish(self.ledger.open_intents(model), at)
            released = self._verified(model, version)
            self._check_answered(model, version)
            channel = read_channel(self.root, model) or Channel(model)
            holder = self.tracking.alias(model, CHAMPION)
            unsigned = replace(channel.champion, signature=None) if channel.champion else None
            if unsigned == released and holder is not None and holder.version == version:
                return channel
            previous = channel.champion
            record = {
                "kind": kind,
                "released": asdict(released),
                "previous": None if previous is None else asdict(previous),
                "decision": dict(numbers),
            }
            intent = self.ledger.append(
                "intent",
                model=model,
                version=version,
                previous=None if previous is None else previous.version,
                actor=actor,
                reason=reason,
                numbers=record,
                at=at,
            )
            (entry,) = (entry for entry in self.ledger.open_intents(model) if entry.id == intent)
            return self._carry_out(entry, at)

    def staged(self, model: str, version: int) -> ReleasedVersion:
        """Bring a version's verified files to its release folder, and leave the champion what it is.

        Raises
        ------
        PromotionError
            When the bundle is not the registered one, its golden rows disagree, or a leak alarm of the
            version is unanswered.
        """
        with self._only_writer():
            released = self._verified(model, version)
            self._check_answered(model, version)
            return released

    def _check_answered(self, model: str, version: int) -> None:
        if alarms := self.ledger.unanswered_alarms(model, version):
            raise PromotionError(
                f"{model} version {version} is stopped by the leak alarm: {'; '.join(alarms)}; "
                "answer for it by name with `python -m cryptoai_assets.ledger acknowledge`"
            )

    def finish_open_intents(self, at: datetime) -> list[Entry]:
        """Carry out what a killed run began, or take it back when its bundle no longer verifies.

        Returns
        -------
        list of Entry
            The intents that were open; afterwards none is.
        """
        with self._only_writer():
            return self._finish(self.ledger.open_intents(), at)

    def reconcile(self, model: str, at: datetime) -> Channel | None:
        """Release what a person made champion in MLflow's UI; None when the alias and the channel agree.

        A version that was champion before is rolled back to; an alias that was taken away changes nothing.

        Raises
        ------
        PromotionError
            When the version of the alias may not be released: the release stays, the alias is moved back,
            and the ledger holds the refusal.
        """
        with self._only_writer():
            self._finish(self.ledger.open_intents(model), at)
        wanted = self.tracking.alias(model, CHAMPION)
        channel = read_channel(self.root, model)
        released = channel.champion if channel else None
        if released is not None:
            self._tell_doubts(model, released, at)
        before = None if released is None else released.version
        if wanted is None or wanted.version == before:
            return None
        was_champion = self.ledger.was_champion(model, wanted.version)
        reason = f"the alias {CHAMPION} was moved by hand from version {before or 'none'} to {wanted.version}"
        try:
            return self.promote(
                model,
                wanted.version,
                actor="a person, in MLflow",
                reason=reason,
                numbers={},
                at=at,
                kind="rollback" if was_champion else "promotion",
            )
        except PromotionError as error:
            # In this order: who is killed in between finds the alias where it was, and refuses it again.
            self.ledger.refuse(
                model=model,
                version=wanted.version,
                previous=before,
                actor=PLATFORM,
                reason=f"{reason}, and was moved back: {error}",
                numbers={},
                at=at,
            )
            self._point_alias(model, released)
            raise

    def stop(
        self, model: str, version: int, *, actor: str, reason: str, numbers: Mapping[str, Any], at: datetime
    ) -> bool:
        """Let the champion abstain until somebody answers for it, or another version is champion.

        False when nothing was changed: another version is champion, this one is stopped already, or somebody
        has answered for it. Who is killed after the ledger's line has stopped it: `reconcile` tells readers.
        """
        with self._only_writer():
            channel = read_channel(self.root, model)
            if channel is None or channel.champion is None or channel.champion.version != version:
                return False
            fresh = self.ledger.acknowledged(model, version) is None and not self.ledger.stopped(
                model, version
            )
            if fresh:
                self.ledger.append(
                    "stop",
                    model=model,
                    version=version,
                    actor=actor,
                    reason=reason,
                    numbers=numbers,
                    at=at,
                )
            self._tell_doubts(model, channel.champion, at)
            return fresh

    def _tell_doubts(self, model: str, released: ReleasedVersion, at: datetime) -> None:
        """Let readers know of a leak alarm or a stop of what runs, until somebody answers for it."""
        version = released.version
        alarms = "; ".join(self.ledger.unanswered_alarms(model, version))
        stopped = self.ledger.stopped(model, version)
        for path, doubt in (
            (leak_alarm_path(self.root, model), alarms),
            (stop_path(self.root, model), stopped),
        ):
            if doubt:
                write_json(path, {"version": version, "reason": doubt})
            else:
                path.unlink(missing_ok=True)
        self._order_devices(model, released, stopped or "", at)

    def _order_devices(self, model: str, released: ReleasedVersion, reason: str, at: datetime) -> None:
        """Sign for the devices that a bundle has to be silent, anew each day, and once that it may speak."""
        if self.signer is None:
            return
        try:
            before = read_stop_order(self.root, model)
            told = before.reason if before is not None and before.sha256 == released.sha256 else ""
            old = before is not None and at - before.signed_at >= RENEWED_AFTER
        except ReleaseRefusedError:  # whatever it said is said anew
            before, told, old = None, None, True
        if reason == told and not (reason and old):
            return
        order = StopOrder(model, released.sha256, reason, signature="")
        order = self.signer.ordered(order, after=before, at=at)
        write_json(stop_order_path(self.root, model), order.to_dict())

    @contextmanager
    def _only_writer(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / LOCK_NAME).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _finish(self, intents: list[Entry], at: datetime) -> list[Entry]:
        for entry in intents:
            try:
                found = self._verified(entry.model, entry.version)
                if asdict(found) != entry.numbers["released"]:
                    raise PromotionError(f"{entry.model} version {entry.version} is another bundle by now")
            except PromotionError as error:
                self._take_back(entry, at, because=str(error))
            else:
                self._carry_out(entry, at)
        return intents

    def _verified(self, model: str, version: int) -> ReleasedVersion:
        """Bring a version's files to its release folder, and replay its golden rows there."""
        folder = release_folder(self.root, model, version)
        try:
            promised = self.tracking.version(model, version).bundle_sha256
            try:
                digest = replayed_bundle(folder, model=model, promised=promised)
            except EdgeBundleError:
                self._fetch(model, version, folder)
                digest = replayed_bundle(folder, model=model, promised=promised)
        except (EdgeBundleError, TrackingError) as error:
            raise PromotionError(f"{model} version {version} is not released: {error}") from error
        return ReleasedVersion(version, digest, signature=None)

    def _fetch(self, model: str, version: int, folder: Path) -> None:
        draft = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        self.tracking.copy_bundle(model, version, draft)
        replace_folder(draft, folder)

    def _carry_out(self, entry: Entry, at: datetime) -> Channel:
        channel = self._point(entry.model, ReleasedVersion(**entry.numbers["released"]), at)
        self._close(entry, entry.numbers["kind"], at, reason=entry.reason)
        return channel

    def _take_back(self, entry: Entry, at: datetime, *, because: str) -> None:
        previous = entry.numbers["previous"]
        self._point(entry.model, None if previous is None else ReleasedVersion(**previous), at)
        self._close(entry, "abandoned", at, reason=f"{entry.reason}; not carried out: {because}")

    def _point(self, model: str, champion: ReleasedVersion | None, at: datetime) -> Channel:
        """Move the alias, then the channel, which nothing that runs reads in between."""
        self._point_alias(model, champion)
        before = read_channel(self.root, model) or Channel(model)
        if champion is not None and self.signer is not None:
            champion = self.signer.signed(model, champion, after=before.champion, at=at)
        channel = replace(before, champion=champion)
        write_channel(self.root, channel)
        return channel

    def _point_alias(self, model: str, champion: ReleasedVersion | None) -> None:
        if champion is None:
            self.tracking.remove_alias(model, CHAMPION)
        else:
            self.tracking.set_alias(model, CHAMPION, champion.version)

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


def write_channel(root: Path, channel: Channel) -> None:
    """Replace a model's channel; a reader sees the old one or the new one, whole."""
    write_json(channel_path(root, channel.model), channel.to_dict())


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Replace a file of the releases folder; a reader sees the old one or the new one, whole."""
    replace_file(path, json.dumps(record, indent=1, sort_keys=True))


def champion_forecaster(root: Path, model: str) -> Forecaster | None:
    """Load the released champion; None when nothing was released yet."""
    channel = read_channel(root, model)
    if channel is None or channel.champion is None:
        return None
    return Forecaster.load(release_folder(root, model, channel.champion.version))


def rival(root: Path, ledger: Ledger, model: str, version: int) -> Forecaster | None:
    """Load what a version has to beat; see `rival_folder`."""
    folder = rival_folder(root, ledger, model, version)
    return None if folder is None else Forecaster.load(folder)


def rival_folder(root: Path, ledger: Ledger, model: str, version: int) -> Path | None:
    """Folder of what a version has to beat: the champion, or the one before it where it is champion itself.

    None when nothing else was ever released.
    """
    channel = read_channel(root, model)
    champion = channel.champion.version if channel and channel.champion else None
    if champion == version:
        promotions = [e for e in ledger.entries(model) if e.kind in CLOSING_KINDS and e.version == version]
        champion = next((e.previous for e in reversed(promotions) if e.previous != version), None)
    return release_folder(root, model, champion) if champion is not None else None
