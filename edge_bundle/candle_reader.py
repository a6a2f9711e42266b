"""The candle reader: a verified bundle that says which candlestick patterns a window of bars ends with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from edge_bundle.errors import BundleRefusedError
from edge_bundle.features import candlesticks
from edge_bundle.forecaster import TOLERANCE
from edge_bundle.manifest import (
    GOLDEN_NAME,
    GRAPH_NAME,
    SCHEMA_VERSION,
    Promise,
    bundle_digest,
    refuse_other_patterns,
)
from edge_bundle.session import ModelSession
from edge_bundle.windows import Float32Array

# The longest pattern with all that it is measured against, and some bars of room.
WINDOW_BARS = 20
# What a graph says of a window: (batch, patterns), each for itself.
PRESENT = "present"


@dataclass(frozen=True, slots=True)
class CandleReaderManifest(Promise):
    """The promise of a candle reader's bundle.

    Parameters
    ----------
    patterns
        Names of the features that it agrees with, in the order of the output.
    bars
        Of a window.
    trained_until, as_of
        ISO times: the last bar in training, and when it was trained.
    """

    model: str
    kind: str
    patterns: tuple[str, ...]
    bars: int
    trained_until: str
    as_of: str
    git_commit: str
    quantization: Mapping[str, Any]
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class CandleReader:
    """A bundle that was verified and loaded; make it with `load`."""

    folder: Path
    manifest: CandleReaderManifest
    digest: str
    session: ModelSession

    @classmethod
    def load(cls, folder: Path | str, *, threads: int = 1) -> Self:
        """Verify a bundle folder and open its graph.

        Raises
        ------
        BundleRefusedError
            When a file is absent or changed, or the bundle knows other patterns than this code.
        """
        folder = Path(folder)
        manifest = CandleReaderManifest.read(folder)
        manifest.verify_files(folder)
        refuse_other_patterns(manifest.patterns, candle_pattern_names())
        session = ModelSession.open(folder / GRAPH_NAME, threads=threads)
        return cls(folder, manifest, bundle_digest(folder), session)

    def read(self, windows: Float32Array) -> Float32Array:
        """Probability of each pattern (windows, patterns) at the last bar of windows (windows, bars, 5).

        It is agreement with the features of the same names, and no chance of profit.

        Raises
        ------
        BundleRefusedError
            When the windows have another shape.
        """
        if windows.ndim != 3 or windows.shape[1:] != (self.manifest.bars, 5):
            raise BundleRefusedError(
                f"windows have the shape {windows.shape}; this bundle reads (batch, {self.manifest.bars}, 5)"
            )
        return self.session.run(windows)[PRESENT]

    def selftest(self) -> bool:
        """Replay the golden windows on this machine: whether it says what was said where they were made."""
        with np.load(self.folder / GOLDEN_NAME) as golden:
            away = float(np.abs(self.read(golden["windows"]) - golden[PRESENT]).max())
        return away <= TOLERANCE[self.manifest.quantization["precision"]]


def candle_pattern_names() -> tuple[str, ...]:
    """Names of the patterns, in the order of the output."""
    return tuple(pattern.name for pattern in candlesticks.patterns())
