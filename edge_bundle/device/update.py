"""Update: a newer signed model from the platform, tried on this very device, and taken back when it fails.

A release that is older than one that was ever installed is refused; a rollback on the platform is a newer
release of an older version. A stop order is kept from when it comes, and ends by a later order only, or with
another bundle. Whatever is cut off in the middle leaves the model that runs, and is begun again.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_bundle.device.database import DeviceDatabase, ran_well
from edge_bundle.device.infer import PROGRAM as INFER
from edge_bundle.device.web import NoAnswerError, Web
from edge_bundle.errors import EdgeBundleError, ReleaseRefusedError
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import MANIFEST_NAME, Manifest, file_sha256
from edge_bundle.releases import (
    Channel,
    ReleasedVersion,
    Signature,
    channel_path,
    public_key_id,
    read_channel,
    release_folder,
    signed_bytes,
)
from edge_bundle.stop_orders import GREATEST_AGE, StopOrder, stop_order_bytes
from edge_bundle.whole_file import replace_file, replace_folder

PROGRAM = "update"
MOST_BUNDLE_BYTES = 32 * 2**20
# A new model is on probation: so many runs that fail, without one that goes well, give the old one back.
PROBATION = timedelta(hours=1)
MOST_FAILURES = 3
_SEQUENCE, _PREVIOUS, _REFUSED = "release sequence", "previous release", "refused release"
_ORDER = "stop order"


@dataclass(frozen=True, slots=True)
class OfferedFile:
    """A file of an offered version; its size in bytes bounds what is read."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Updater:
    """Brings the platform's champion to this device.

    Parameters
    ----------
    releases
        Folder of the device's own channel and bundles.
    trusted
        Public keys by their names, from `trusted_keys`.
    """

    database: DeviceDatabase
    platform: Web
    releases: Path
    model: str
    trusted: Mapping[str, bytes]

    def run(self, now: datetime) -> str:
        """Install the champion of the platform when it is a newer release; return what was done.

        Raises
        ------
        NoAnswerError
            When the platform does not answer, or a file does not come whole.
        ReleaseRefusedError, BundleRefusedError
            When what it offers may not run here; the installed model stays, and it is not asked for again.
        """
        offered, files = self._offered()
        signature = self._vouched(
            offered.signature,
            lambda sequence: signed_bytes(self.model, offered, sequence),
            what=f"version {offered.version}",
        )
        installed = self._installed()
        if installed is not None and installed.sha256 == offered.sha256:
            self._passed(signature.sequence, now)
            return f"version {installed.version} is the newest"
        self._refuse_known(offered, signature, installed)
        try:
            self._fetch(offered, files)
            self._try(offered)
        except NoAnswerError:
            raise
        except EdgeBundleError as error:
            self.database.mark(_REFUSED, f"{signature.sequence}", now=now)
            shutil.rmtree(self._draft(offered.version), ignore_errors=True)
            raise ReleaseRefusedError(f"version {offered.version} is not installed: {error}") from error
        self._switch(offered, installed, signature.sequence, now)
        return f"version {offered.version} runs from now on"

    def heed(self, now: datetime) -> str | None:
        """Take the platform's newest stop order, when it is later than the one that is kept.

        Returns
        -------
        str or None
            What was done; None when there is nothing new.

        Raises
        ------
        NoAnswerError
            When the platform does not answer.
        ReleaseRefusedError
            When the order is not signed by who may, of another model, too old, or older than the one kept.
        """
        answer = self.platform.json(f"/releases/{self.model}", {})
        told = answer.get("stop_order") if isinstance(answer, dict) else None
        kept = _kept_order(self.database)
        if told is None or (kept is not None and told == kept.to_dict()):
            return None
        order = StopOrder.from_dict(told)
        signature = self._vouched(
            order.signature, lambda sequence: stop_order_bytes(order, sequence), what="the stop order"
        )
        if order.model != self.model:
            raise ReleaseRefusedError(f"the stop order is for the model {order.model}")
        if kept is not None and signature.sequence <= Signature.of(kept.signature).sequence:
            raise ReleaseRefusedError("the stop order is older than the one that is kept here")
        if now - order.signed_at > GREATEST_AGE:
            raise ReleaseRefusedError(
                f"the stop order was signed {(now - order.signed_at).days} days ago, which is too long"
            )
        self.database.mark(_ORDER, json.dumps(order.to_dict()), now=now)
        return f"the model has to be silent: {order.reason}" if order.reason else "the model may speak again"

    def roll_back(self, now: datetime, *, because: str) -> str | None:
        """Give the model before back its place, and never install the failed release again.

        Returns
        -------
        str or None
            What was done; None when there is no model before.
        """
        previous, installed = self.database.marked(_PREVIOUS), self._installed()
        if previous is None or installed is None:
            return None
        before = ReleasedVersion(**json.loads(previous[0]))
        if before == installed:  # cut off before it was replaced
            return None
        sequence = self.database.marked(_SEQUENCE)
        if sequence is not None:
            self.database.mark(_REFUSED, sequence[0], now=now)
        self._write_channel(before)
        self.database.unmark(_PREVIOUS)
        return f"version {before.version} is back in place of {installed.version}: {because}"

    def watch(self, now: datetime) -> str | None:
        """Give the model before back when the one that runs keeps failing in its first hour.

        Returns
        -------
        str or None
            What was done; None when there is nothing to do.
        """
        since = self.on_probation(now)
        if since is None:
            return None
        failed = [trouble for trouble in self.database.troubles(since=since) if trouble.program == INFER]
        well = self.database.marked(ran_well(INFER))
        if len(failed) < MOST_FAILURES or (well is not None and well[1] >= failed[0].at):
            return None
        return self.roll_back(now, because=f"{len(failed)} runs failed, the last one: {failed[0].what}")

    def on_probation(self, now: datetime) -> datetime | None:
        """When the model that runs was installed, while it is on probation; None when it is not."""
        previous = self.database.marked(_PREVIOUS)
        return previous[1] if previous is not None and now - previous[1] <= PROBATION else None

    def _offered(self) -> tuple[ReleasedVersion, list[OfferedFile]]:
        answer = self.platform.json(f"/releases/{self.model}", {})
        try:
            [entry] = [one for one in answer["releases"] if one["role"] == "champion"]
            files = [OfferedFile(str(file["name"]), int(file["size"])) for file in entry["files"]]
            offered = ReleasedVersion(int(entry["version"]), str(entry["sha256"]), entry["signature"])
        except (KeyError, TypeError, ValueError) as error:
            raise NoAnswerError(f"{self.platform.name} offers no champion of {self.model}") from error
        names = {file.name for file in files}
        if MANIFEST_NAME not in names or any(Path(name).name != name for name in names):
            raise ReleaseRefusedError(f"version {offered.version} lists files that no bundle has")
        if sum(file.size for file in files) > MOST_BUNDLE_BYTES:
            raise ReleaseRefusedError(
                f"version {offered.version} has more than {MOST_BUNDLE_BYTES / 2**20:.0f} MiB"
            )
        return offered, files

    def _vouched(self, text: str | None, signed: Callable[[int], bytes], *, what: str) -> Signature:
        """Signature of a trusted key over what it should be over, by its place in the row."""
        if not isinstance(text, str):
            raise ReleaseRefusedError(f"{what} is not signed: promote it again where the signing key is")
        signature = Signature.of(text)
        if signature.key not in self.trusted:
            known = ", ".join(self.trusted) or "none"
            raise ReleaseRefusedError(
                f"{what} is signed by {signature.key}, trusted are {known}: "
                "put its public key among the trusted ones if it is the platform's"
            )
        public = Ed25519PublicKey.from_public_bytes(self.trusted[signature.key])
        try:
            public.verify(base64.urlsafe_b64decode(signature.signed), signed(signature.sequence))
        except InvalidSignature as error:
            raise ReleaseRefusedError(f"the signature of {what} is wrong") from error
        return signature

    def _refuse_known(
        self, offered: ReleasedVersion, signature: Signature, installed: ReleasedVersion | None
    ) -> None:
        if installed is not None and installed.version == offered.version:
            raise ReleaseRefusedError(f"version {offered.version} is installed with other bytes")
        newest = self.database.marked(_SEQUENCE)
        if newest is not None and signature.sequence <= int(newest[0]):
            raise ReleaseRefusedError(
                f"version {offered.version} is of an older release than one that was installed here"
            )
        refused = self.database.marked(_REFUSED)
        if refused is not None and int(refused[0]) == signature.sequence:
            raise ReleaseRefusedError(
                f"version {offered.version} was tried here and failed: release another one"
            )

    def _fetch(self, offered: ReleasedVersion, files: Sequence[OfferedFile]) -> None:
        """Files of a version, the manifest first: its hash is what was signed, and it holds the others'."""
        draft = self._draft(offered.version)
        draft.mkdir(parents=True, exist_ok=True)
        by_name = {file.name: file for file in files}
        self._fetch_file(offered, by_name.pop(MANIFEST_NAME), offered.sha256)
        promised = Manifest.read(draft).files
        for name, file in by_name.items():
            if name in promised:
                self._fetch_file(offered, file, promised[name])

    def _fetch_file(self, offered: ReleasedVersion, file: OfferedFile, promised: str) -> None:
        path = self._draft(offered.version) / file.name
        if path.is_file() and file_sha256(path) == promised:
            return  # of an earlier try
        asked = f"/releases/{self.model}/{offered.version}/{file.name}"
        body = self.platform.body(asked, {}, most_bytes=file.size)
        if hashlib.sha256(body).hexdigest() != promised:
            raise NoAnswerError(f"{self.platform.name} sent other bytes for {asked} than were promised")
        path.write_bytes(body)

    def _try(self, offered: ReleasedVersion) -> None:
        """Load the bundle as it will be loaded, and replay its golden rows on this machine."""
        forecaster = Forecaster.load(self._draft(offered.version))
        if forecaster.manifest.model != self.model:
            raise ReleaseRefusedError(f"it is of the model {forecaster.manifest.model}")
        test = forecaster.selftest()
        if not test.passed:
            raise ReleaseRefusedError(
                f"its golden rows differ here by {test.largest_difference:.2g} deviations, {test.tolerance} "
                f"is allowed, and its features by {test.largest_feature_difference:.2g}"
            )

    def _switch(
        self, offered: ReleasedVersion, installed: ReleasedVersion | None, sequence: int, now: datetime
    ) -> None:
        folder = release_folder(self.releases, self.model, offered.version)
        replace_folder(self._draft(offered.version), folder)
        # Before the channel: who is cut off in between tries the old model on, and fetches the new one again.
        if installed is not None:
            self.database.mark(_PREVIOUS, json.dumps(asdict(installed)), now=now)
        self._write_channel(offered)
        self._passed(sequence, now)
        for other in folder.parent.iterdir():
            if other.name not in (f"{offered.version}", f"{installed.version}" if installed else ""):
                shutil.rmtree(other, ignore_errors=True)

    def _passed(self, sequence: int, now: datetime) -> None:
        known = self.database.marked(_SEQUENCE)
        self.database.mark(_SEQUENCE, f"{max(sequence, int(known[0]) if known else 0)}", now=now)

    def _installed(self) -> ReleasedVersion | None:
        channel = read_channel(self.releases, self.model)
        return channel.champion if channel else None

    def _draft(self, version: int) -> Path:
        folder = release_folder(self.releases, self.model, version)
        return folder.with_name(f".{folder.name}.new")

    def _write_channel(self, champion: ReleasedVersion) -> None:
        path = channel_path(self.releases, self.model)
        channel = read_channel(self.releases, self.model) or Channel(self.model)
        named = replace(channel, champion=champion)
        replace_file(path, json.dumps(named.to_dict(), indent=1, sort_keys=True))


def stopped(database: DeviceDatabase, sha256: str) -> str | None:
    """Why a bundle has to be silent on this device, by the newest order; None while it may speak."""
    kept = _kept_order(database)
    return kept.reason or None if kept is not None and kept.sha256 == sha256 else None


def _kept_order(database: DeviceDatabase) -> StopOrder | None:
    kept = database.marked(_ORDER)
    return None if kept is None else StopOrder.from_dict(json.loads(kept[0]))


def trusted_keys(folder: Path) -> dict[str, bytes]:
    """Public keys in the ``.pub`` files of a folder, each 32 bytes in base64, by their names.

    Raises
    ------
    ReleaseRefusedError
        When a file holds no such key.
    """
    keys = {}
    for path in sorted(folder.glob("*.pub")):
        try:
            key = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
        except ValueError as error:
            raise ReleaseRefusedError(f"{path} holds no public key: {error}") from error
        if len(key) != 32:
            raise ReleaseRefusedError(f"{path} holds {len(key)} bytes, 32 needed")
        keys[public_key_id(key)] = key
    return keys
