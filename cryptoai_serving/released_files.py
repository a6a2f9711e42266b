"""Files of released versions, as devices fetch them: what the channel names, and what its manifests list."""

import re
from dataclasses import dataclass
from pathlib import Path

from cryptoai_serving.errors import RangeRefusedError, ReleaseNotFoundError, StoreUnavailableError
from edge_bundle.errors import EdgeBundleError
from edge_bundle.manifest import MANIFEST_NAME, bundle_digest, manifest_record
from edge_bundle.releases import Channel, ReleasedVersion, read_channel, release_folder
from edge_bundle.stop_orders import StopOrder, read_stop_order

ROLES = ("champion", "challenger", "shadow", "experiment")
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")


@dataclass(frozen=True, slots=True)
class ReleasedFile:
    """A file of a released version.

    Parameters
    ----------
    sha256
        That the manifest promises, or the channel for the manifest itself; who fetches the file compares it.
    size
        In bytes.
    """

    path: Path
    sha256: str
    size: int

    @property
    def etag(self) -> str:
        """Name of these very bytes."""
        return f'"{self.sha256}"'


@dataclass(frozen=True, slots=True)
class Release:
    """A version that may run, by the role that it plays, and its files in alphabetical order."""

    role: str
    version: ReleasedVersion
    files: tuple[ReleasedFile, ...]


def releases_of(root: Path, model: str) -> tuple[Release, ...]:
    """Every version of a model that may run.

    Raises
    ------
    ReleaseNotFoundError
        When none of it is released.
    StoreUnavailableError
        When the channel or a manifest cannot be read.
    """
    channel = _channel(root, model)
    named = [(role, version) for role in ROLES if (version := getattr(channel, role)) is not None]
    return tuple(Release(role, version, _files(root, model, version)) for role, version in named)


def stop_order_of(root: Path, model: str) -> StopOrder | None:
    """Newest stop order of a model; None when there was never one.

    Raises
    ------
    StoreUnavailableError
        When it cannot be read.
    """
    try:
        return read_stop_order(root, model)
    except (EdgeBundleError, OSError) as error:
        raise StoreUnavailableError(
            f"the stop order of {model} cannot be read", cure="try again in a moment"
        ) from error


def released_file(root: Path, model: str, version: int, name: str) -> ReleasedFile:
    """File of a version that may run; only what its manifest lists is one, whatever lies beside it.

    Raises
    ------
    ReleaseNotFoundError
        When the version is not released, or has no such file.
    StoreUnavailableError
        When the channel or the manifest cannot be read.
    """
    channel = _channel(root, model)
    named = [getattr(channel, role) for role in ROLES]
    released = next((one for one in named if one is not None and one.version == version), None)
    if released is None:
        raise ReleaseNotFoundError(
            f"version {version} of {model} is not released",
            where="version",
            cure=f"ask /releases/{model} which are",
        )
    found = next((file for file in _files(root, model, released) if file.path.name == name), None)
    if found is None:
        raise ReleaseNotFoundError(
            f"version {version} of {model} has no file {name[:60]!r}",
            where="file",
            cure=f"ask /releases/{model} for its files",
        )
    return found


def check_range(asked: str, size: int) -> None:
    """Refuse what is not one part of a file of `size` bytes.

    Raises
    ------
    RangeRefusedError
        When the file has no such part, or more than one is asked for.
    """
    match = _RANGE.fullmatch(asked)
    first = int(match[1]) if match and match[1] else 0
    last = int(match[2]) if match and match[2] else size
    suffix = int(match[3]) if match and match[3] else None
    if match is None or first > last or first >= size or suffix == 0:
        raise RangeRefusedError(
            f"the range {asked[:60]!r} is no part of a file of {size} bytes",
            cure="ask for one part, as in bytes=0-1023",
            size=size,
        )


def _channel(root: Path, model: str) -> Channel:
    try:
        channel = read_channel(root, model)
    except (EdgeBundleError, OSError) as error:
        raise StoreUnavailableError(
            f"the channel of {model} cannot be read", cure="try again in a moment"
        ) from error
    if channel is None:
        raise ReleaseNotFoundError(
            f"nothing of {model} is released", where="model", cure="see /models for what there is"
        )
    return channel


def _files(root: Path, model: str, version: ReleasedVersion) -> tuple[ReleasedFile, ...]:
    folder = release_folder(root, model, version.version)
    try:
        if bundle_digest(folder) != version.sha256:
            raise StoreUnavailableError(
                f"version {version.version} of {model} is not what the channel promises",
                cure="promote or roll back again",
            )
        promised = {**manifest_record(folder)["files"], MANIFEST_NAME: version.sha256}
        return tuple(
            ReleasedFile(folder / name, sha256, (folder / name).stat().st_size)
            for name, sha256 in sorted(promised.items())
            if Path(name).name == name and not (folder / name).is_symlink()
        )
    except (EdgeBundleError, OSError) as error:
        raise StoreUnavailableError(
            f"version {version.version} of {model} cannot be read", cure="try again in a moment"
        ) from error
