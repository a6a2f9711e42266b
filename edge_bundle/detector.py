"""The detector: a verified bundle that finds chart patterns in candles, or in the rasterizer's pictures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from edge_bundle.candles import bar_grid, validated_candles
from edge_bundle.chart import (
    CANDLE_COLUMNS,
    COLUMNS_A_BAR,
    ChartFormat,
    UInt8Array,
    chart_images,
    closing_levels,
)
from edge_bundle.chart_rule import PatternRule, patterns_of_turns
from edge_bundle.chart_turns import alternating_turns
from edge_bundle.detection import KEY_POINTS, NO_BAR, Detection, KeyPoint, Pattern
from edge_bundle.errors import WindowRefusedError
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

# What a graph says of a picture: (batch, patterns), (batch, pointers, bars), (batch, bars, turns).
PATTERN, POINTERS, TURNS = "pattern", "pointers", "turns"
# Pointers of a network: the last five turns, then the first end of a double pattern and what lies between.
POINTER_COUNT = KEY_POINTS + 2
COVERED_NEIGHBOURS = 1
_DOUBLE_POINTERS = (KEY_POINTS, KEY_POINTS + 1, KEY_POINTS - 1)
BY_NETWORK, BY_RULE = "network", "rule"
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DetectorManifest(Promise):
    """The promise of a detector's bundle.

    Parameters
    ----------
    model, kind
        Registered name, and the kind of network inside.
    chart
        Sizes of the picture, as `ChartFormat` has them.
    patterns
        Names of the classes, in the order of the output.
    rule, rule_fingerprint
        Settings that the labels were made by, and their SHA-256.
    decision
        Who decides the pattern: `BY_NETWORK`, its own classes, or `BY_RULE`, the rule from the turns that the
        network sees. Validation windows chose it.
    trained_until, as_of
        ISO times: the last bar in training, and when it was trained.
    """

    model: str
    kind: str
    chart: Mapping[str, int]
    patterns: tuple[str, ...]
    rule: Mapping[str, Any]
    rule_fingerprint: str
    decision: str
    max_missing_bars: int
    trained_until: str
    as_of: str
    git_commit: str
    quantization: Mapping[str, Any]
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class ChartReading:
    """What a detector says of pictures.

    Parameters
    ----------
    probabilities
        (pictures, patterns) in the order of `Pattern`.
    key_points
        (pictures, 5) bars of the likeliest pattern's extrema, `NO_BAR` where it has none.
    """

    probabilities: Float32Array
    key_points: Int64Array

    @property
    def pattern(self) -> Int64Array:
        """(pictures,) the likeliest of `Pattern`."""
        likeliest: Int64Array = self.probabilities.argmax(axis=1)
        return likeliest

    def __getitem__(self, rows: npt.NDArray[np.bool_]) -> Self:
        return type(self)(self.probabilities[rows], self.key_points[rows])


@dataclass(frozen=True, slots=True)
class Detector:
    """A bundle that was verified and loaded; make it with `load`."""

    folder: Path
    manifest: DetectorManifest
    chart: ChartFormat
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
        manifest = DetectorManifest.read(folder)
        manifest.verify_files(folder)
        refuse_other_patterns(manifest.patterns, pattern_names())
        chart = ChartFormat(**manifest.chart)
        session = ModelSession.open(folder / GRAPH_NAME, threads=threads)
        return cls(folder, manifest, chart, bundle_digest(folder), session)

    def detect(self, candles: pl.DataFrame, *, interval: str) -> tuple[Detection, ...]:
        """Look at the newest window of each symbol.

        Parameters
        ----------
        candles
            In `edge_bundle.candles.CANDLE_SCHEMA`, closed bars of `interval`, of any length: a chart has no
            unit.

        Returns
        -------
        tuple of Detection
            One a symbol, in alphabetical order; most often of no pattern.

        Raises
        ------
        CandlesRefusedError
            When the candles break their contract.
        WindowRefusedError
            When a symbol has too few bars since its last hole.
        """
        checked = validated_candles(candles, interval=interval)
        grid = bar_grid(checked, interval=interval, max_missing_bars=self.manifest.max_missing_bars)
        windows = [self._newest(bars) for bars in grid.partition_by("symbol", maintain_order=True)]
        if not windows:
            raise WindowRefusedError(f"no candle given; {self.chart.bars} a symbol needed")
        values = np.stack([window.select(CANDLE_COLUMNS).to_numpy() for window in windows])
        reading = self.read(chart_images(values, self.chart))
        return tuple(self._detection(window, reading, row) for row, window in enumerate(windows))

    def read(self, images: UInt8Array) -> ChartReading:
        """Look at pictures (pictures, height, width) of the rasterizer's.

        Raises
        ------
        ChartRefusedError
            When one is none of its pictures.
        """
        return self._decided(
            closing_levels(images, self.chart), self.session.run(np.ascontiguousarray(images))
        )

    def occlusion(self, image: UInt8Array, pattern: Pattern) -> Float32Array:
        """(bars,) how much less probable a pattern becomes when a bar and its neighbours are hidden.

        From the network: where the rule decides, it reads the closes as they are, and the turns alone change.

        Parameters
        ----------
        image
            (height, width) of the rasterizer's.
        """
        bars = np.arange(self.chart.bars)
        covered = np.abs(np.repeat(bars, COLUMNS_A_BAR) - bars[:, None]) <= COVERED_NEIGHBOURS
        pictures = np.where(covered[:, None], np.uint8(0), image)
        levels = np.repeat(closing_levels(image[None], self.chart), len(bars) + 1, axis=0)
        read = self._decided(levels, self.session.run(np.concatenate([image[None], pictures])))
        taken: Float32Array = read.probabilities[0, pattern] - read.probabilities[1:, pattern]
        return taken

    def selftest(self) -> bool:
        """Replay the golden pictures on this machine: whether it says what was said where they were made.

        In every output: the turns decide as well as the classes do.
        """
        with np.load(self.folder / GOLDEN_NAME) as golden:
            said = self.session.run(golden["images"])
            away = [float(np.abs(said[name] - golden[name]).max()) for name in (PATTERN, POINTERS, TURNS)]
        return max(away) <= TOLERANCE[self.manifest.quantization["precision"]]

    def _decided(self, levels: Int64Array, said: Mapping[str, Float32Array]) -> ChartReading:
        if self.manifest.decision == BY_RULE:
            rule = PatternRule(**self.manifest.rule)
            return reading_by_rule(levels, said, rule, top_level=self.chart.top_level)
        return ChartReading(said[PATTERN], key_bars(said[PATTERN].argmax(axis=1), said[POINTERS]))

    def _newest(self, bars: pl.DataFrame) -> pl.DataFrame:
        whole = bars.filter(pl.col("segment") == pl.col("segment").last())
        if whole.height < self.chart.bars:
            raise WindowRefusedError(
                f"{bars['symbol'][0]} has {whole.height} bars since its last hole, {self.chart.bars} needed"
            )
        return whole.tail(self.chart.bars)

    def _detection(self, window: pl.DataFrame, reading: ChartReading, row: int) -> Detection:
        pattern = Pattern(int(reading.pattern[row]))
        return Detection(
            symbol=window["symbol"][0],
            pattern=pattern,
            confidence=float(reading.probabilities[row, pattern]),
            window_start=window["open_time"][0],
            window_end=window["open_time"][-1],
            key_points=tuple(
                KeyPoint(bar, window["open_time"][bar], window["close"][bar])
                for bar in map(int, reading.key_points[row])
                if bar != NO_BAR
            ),
            model=self.manifest.model,
            bundle=self.digest,
        )


def reading_by_rule(
    levels: Int64Array, said: Mapping[str, Float32Array], rule: PatternRule, *, top_level: int
) -> ChartReading:
    """What the rule makes of the turns that a network sees, in closes (pictures, bars) as they are drawn.

    The turns are read together, see `edge_bundle.chart_turns`. The pattern's probability is one half and
    half of the chance that all of them are seen right; what is left is shared out as the network's own
    classes say.
    """
    seen = alternating_turns(said[TURNS], unconfirmed=rule.nearest_end_bars)
    pattern, key_points = patterns_of_turns(levels.astype(np.float64), seen.turns, rule, scale=top_level)
    sure = 0.5 + 0.5 * seen.chance[:, None]
    decided = np.eye(len(Pattern), dtype=np.float32)[pattern]
    probabilities = (sure * decided + (1 - sure) * said[PATTERN]).astype(np.float32)
    return ChartReading(probabilities, key_points.astype(np.int64))


def pattern_names() -> tuple[str, ...]:
    """Names of the classes, in the order of the output."""
    return tuple(pattern.name.lower() for pattern in Pattern)


def chart_record(chart: ChartFormat) -> Mapping[str, int]:
    """Sizes of a chart, as a manifest holds them."""
    return asdict(chart)


def key_bars(pattern: Int64Array, pointers: Float32Array) -> Int64Array:
    """(pictures, 5) bars that the likeliest pattern's pointers point at; see `ChartReading`.

    Parameters
    ----------
    pointers
        (pictures, `POINTER_COUNT`, bars).
    """
    bars = pointers.argmax(axis=2)
    five = bars[:, :KEY_POINTS]
    three = np.full_like(five, NO_BAR)
    three[:, : len(_DOUBLE_POINTERS)] = bars[:, _DOUBLE_POINTERS]
    count = np.array([one.key_points for one in Pattern])[pattern][:, None]
    found: Int64Array = np.where(count == KEY_POINTS, five, np.where(count > 0, three, NO_BAR))
    return found
