"""What a bundle on disk promises: its market, its features, its files and their hashes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from edge_bundle.errors import BundleRefusedError
from edge_bundle.whole_file import replace_file

MANIFEST_NAME = "manifest.json"
GRAPH_NAME = "model.onnx"
GOLDEN_NAME = "golden.npz"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Promise:
    """How a bundle's promise is read, written and kept; what extends it says what is promised besides.

    Parameters
    ----------
    required
        Files without which there is no such bundle.
    files
        SHA-256 by file name.
    """

    required: ClassVar[tuple[str, ...]] = (GRAPH_NAME, GOLDEN_NAME)
    files: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a bundle's manifest.

        Raises
        ------
        BundleRefusedError
            When it is absent, no JSON, of another schema version, or has absent or unknown entries.
        """
        record = manifest_record(folder)
        names = {field.name for field in fields(cls)}
        if names != set(record):
            differing = ", ".join(sorted(names ^ set(record)))
            raise BundleRefusedError(f"{folder / MANIFEST_NAME} has absent or unknown entries: {differing}")
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in record.items()}
        return cls(**values)

    def write(self, folder: Path) -> None:
        """Write the manifest atomically; the same promise gives the same bytes."""
        replace_file(folder / MANIFEST_NAME, json.dumps(asdict(self), indent=1, sort_keys=True))

    def verify_files(self, folder: Path) -> None:
        """Compare every file with its hash.

        Raises
        ------
        BundleRefusedError
            When a file is absent, its bytes differ, or a required one, such as the graph, is not listed; the
            file is named.
        """
        for name in self.required:
            if name not in self.files:
                raise BundleRefusedError(f"the manifest of {folder} lists no {name}")
        for name, promised in self.files.items():
            path = folder / name
            if Path(name).name != name or not path.is_file():
                raise BundleRefusedError(f"{folder} lacks {name}, which its manifest lists")
            if (found := file_sha256(path)) != promised:
                raise BundleRefusedError(
                    f"{name} has SHA-256 {found[:12]}…, the manifest promises {promised[:12]}…"
                )


@dataclass(frozen=True, slots=True)
class Manifest(Promise):
    """The promise of a bundle.

    Parameters
    ----------
    model, kind
        Registered name, and the kind of model inside, such as ``xgboost``.
    market, venue, quote, interval, symbols
        Where its candles come from. A window of another interval or with another symbol is refused.
    live
        Whether the market is read by the clock; otherwise "now" is the newest bar's close.
    horizons, lookback, bars_needed
        In bars.
    max_missing_bars
        Missing bars in a row that are bridged; a longer hole starts the warm-up anew.
    facts
        Facts that a window must hold, each with its greatest age in seconds.
    features, warmups, feature_fingerprint
        Columns of the input, in order.
    interval_coverage
        Share of outcomes between ``lower_bps`` and ``upper_bps``.
    range_limit
        Largest share of features outside the training range that is still answered.
    trained_until, as_of
        ISO times: close of the last bar in the fit, and the time that the data were read as of.
    quantization
        Precision that the graph has, and the table that it was chosen from.
    """

    model: str
    kind: str
    market: str
    venue: str
    quote: str
    interval: str
    symbols: tuple[str, ...]
    live: bool
    horizons: tuple[int, ...]
    lookback: int
    bars_needed: int
    max_missing_bars: int
    facts: Mapping[str, int]
    features: tuple[str, ...]
    warmups: tuple[int, ...]
    feature_fingerprint: str
    interval_coverage: float
    range_limit: float
    trained_until: str
    as_of: str
    git_commit: str
    quantization: Mapping[str, Any]
    schema_version: int = SCHEMA_VERSION


def manifest_record(folder: Path) -> Mapping[str, Any]:
    """Entries of a bundle's manifest, of whatever kind the bundle is; ``kind`` and ``files`` are in each.

    Raises
    ------
    BundleRefusedError
        When it is absent, no JSON, or of another schema version.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise BundleRefusedError(f"{folder} holds no {MANIFEST_NAME}: it is not a bundle")
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleRefusedError(f"{path} is not JSON: {error}") from error
    version = record.get("schema_version") if isinstance(record, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleRefusedError(f"{path} has schema version {version}, this code reads {SCHEMA_VERSION}")
    entries: Mapping[str, Any] = record
    return entries


def refuse_other_patterns(promised: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Refuse a bundle whose outputs are of other patterns, or in another order, than this code's.

    Raises
    ------
    BundleRefusedError
        When it is so.
    """
    if promised != known:
        raise BundleRefusedError(
            f"the bundle knows the patterns {', '.join(promised)}, this code {', '.join(known)}: "
            "install the version that made it, or train anew"
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundle_digest(folder: Path) -> str:
    """SHA-256 of the manifest, which holds the hashes of all other files: it names the bundle."""
    return file_sha256(folder / MANIFEST_NAME)
