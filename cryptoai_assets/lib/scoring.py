"""Scores with overlap-robust intervals: every metric is a function of sums, which blocks of time resample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import norm, rankdata, t

Float64Array = npt.NDArray[np.float64]
PROBABILITY_FLOOR = 1e-6
POWER = 0.8
# Fewer blocks tell too little of how far the mean of one lies from that of another.
LEAST_BLOCKS = 10
CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True)
class Score:
    """A metric with the interval of a circular block bootstrap."""

    name: str
    value: float
    lower: float
    upper: float
    rows: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Mean of a paired difference, its interval, and what it could have told apart.

    Parameters
    ----------
    least_detectable
        Difference that a test of this size finds with a power of 0.8.
    """

    mean: float
    lower: float
    upper: float
    least_detectable: float
    rows: int


@dataclass(frozen=True, slots=True)
class BlockBootstrap:
    """Resampled blocks of consecutive times; rows of one time, whatever their symbol, move together.

    Percentiles of few blocks lie too near the middle: drawn blocks vary around the mean of the stretch
    instead of the truth, and their spread is itself a guess. Intervals therefore take percentiles further
    out, as far as Student's t asks for; of many blocks they are the usual ones. Honest from about twenty
    horizons on: the blocks of a shorter stretch are as short as the overlap of its targets.

    Source: Künsch, "The jackknife and the bootstrap for general stationary observations", 1989; Politis and
    Romano, "A circular block-resampling procedure for stationary data", 1992; Hesterberg, "What teachers
    should know about the bootstrap" (the expanded percentile interval), 2015.

    Parameters
    ----------
    slot
        Position of each row's time among the distinct times.
    starts
        (resamples, blocks) first slot of each drawn block; blocks wrap around the end.
    """

    slot: npt.NDArray[np.int64]
    slots: int
    starts: npt.NDArray[np.int64]
    block: int
    confidence: float

    @classmethod
    def over(cls, times: pl.Series, *, block_bars: int, resamples: int, seed: int, confidence: float) -> Self:
        """Draw the blocks, `LEAST_BLOCKS` or more; `block_bars` should exceed the horizon of the targets."""
        slot = times.rank("dense").cast(pl.Int64).to_numpy() - 1
        slots = int(slot.max()) + 1 if len(slot) else 0
        block = max(1, min(block_bars, slots // LEAST_BLOCKS))
        draws = np.random.default_rng(seed)
        starts = draws.integers(0, max(slots, 1), size=(resamples, -(-slots // block)))
        return cls(slot, slots, starts, block, confidence)

    def sums(self, columns: Float64Array) -> Float64Array:
        """(resamples, columns) sums of per-row `columns` (rows, columns) over the drawn blocks."""
        per_slot = np.zeros((self.slots, columns.shape[1]))
        np.add.at(per_slot, self.slot, columns)
        wrapped = np.concatenate([np.zeros((1, columns.shape[1])), per_slot, per_slot[: self.block - 1]])
        running = np.cumsum(wrapped, axis=0)
        per_block = running[self.block :] - running[: self.slots]
        return np.stack([per_block[:, k][self.starts].sum(axis=1) for k in range(columns.shape[1])], axis=1)

    def score(self, name: str, columns: Sequence[Float64Array], metric: Callable[..., Float64Array]) -> Score:
        """Metric of the columns' sums, with its percentile interval."""
        matrix = np.column_stack([np.broadcast_to(column, self.slot.shape) for column in columns])
        value = float(metric(*matrix.sum(axis=0)))
        lower, upper = self.ends(metric(*self.sums(matrix).T))
        return Score(name, value, float(lower), float(upper), len(self.slot))

    def ends(self, drawn: Float64Array) -> Float64Array:
        """(2, ...) ends of the interval of a metric of the resamples, (resamples, ...)."""
        tail = 0.0  # of a single block nothing is known
        if self.slots > self.block:
            student = t.ppf(0.5 + self.confidence / 2, self._freedom)
            tail = float(norm.cdf(-student * self._shrinkage))
        found: Float64Array = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
        return found

    def p_value(self, value: float, drawn: Float64Array) -> float:
        """Chance of a mean as far from zero by luck alone, by Student's t on the spread of its resamples."""
        if not (spread := float(drawn.std())):
            return 1.0  # a single block, or values that are all the same: nothing tells how they vary
        return float(2 * t.sf(abs(value) / (spread * self._shrinkage), self._freedom))

    @property
    def _freedom(self) -> float:
        return self.slots / self.block - 1

    @property
    def _shrinkage(self) -> float:
        """Standard error over the spread of the resamples."""
        return float(np.sqrt(self.starts.shape[1] * self.block / (self.slots - self.block)))


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """How intervals are drawn."""

    block_bars: int
    resamples: int
    seed: int
    confidence: float

    def over(self, times: pl.Series) -> BlockBootstrap:
        """Bootstrap over these row times."""
        return BlockBootstrap.over(
            times,
            block_bars=self.block_bars,
            resamples=self.resamples,
            seed=self.seed,
            confidence=self.confidence,
        )


def log_loss(probability_up: Float64Array, up: Float64Array) -> Float64Array:
    """Log loss of each row."""
    p = np.clip(probability_up, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    losses: Float64Array = -np.where(up > 0.5, np.log(p), np.log1p(-p))
    return losses


def qlike(expected: Float64Array, realised: Float64Array) -> Float64Array:
    """QLIKE of each row, of the volatility itself; NaN where nothing moved or nothing is known.

    Least where the mean is said. On the variance it would be ruled by the few largest moves.
    Source: Patton, "Volatility forecast comparison using imperfect volatility proxies", 2011.
    """
    ratio = np.where(realised > 0, realised, np.nan) / expected
    losses: Float64Array = ratio - np.log(ratio) - 1
    return losses


def direction_scores(
    probability_up: Float64Array, up: Float64Array, times: pl.Series, settings: BootstrapSettings
) -> list[Score]:
    """Accuracy, AUC, Brier score and log loss over rows whose close moved.

    Parameters
    ----------
    up
        1, 0, or NaN for a row without a move or without a known outcome; such rows are left out.
    """
    known = np.isfinite(up) & np.isfinite(probability_up)
    p, y, one = probability_up[known], up[known], np.ones(int(known.sum()))
    draw = settings.over(times.filter(known))
    # A forecast of exactly one half is right half of the time.
    right = np.where(p == 0.5, 0.5, (p > 0.5) == (y > 0.5)).astype(np.float64)
    positive, negative = y > 0.5, y <= 0.5
    below: Float64Array = rankdata(p) - np.where(
        positive, _ranks_within(p, positive), _ranks_within(p, negative)
    )
    ups, downs = positive.astype(np.float64), negative.astype(np.float64)
    wins = np.where(positive, below / max(downs.sum(), 1), 1 - below / max(ups.sum(), 1))
    return [
        draw.score("accuracy", [right, one], _mean),
        draw.score(
            "auc",
            [wins * ups, ups, wins * downs, downs],
            _projected_auc(float(wins[positive].mean()) if positive.any() else float("nan")),
        ),
        draw.score("brier", [(p - y) ** 2, one], _mean),
        draw.score("log_loss", [log_loss(p, y), one], _mean),
    ]


def _ranks_within(values: Float64Array, group: npt.NDArray[np.bool_]) -> Float64Array:
    ranks = np.zeros(len(values))
    ranks[group] = rankdata(values[group])
    return ranks


def _mean(total: Float64Array, count: Float64Array) -> Float64Array:
    empty: Float64Array = np.full_like(np.asarray(total, dtype=np.float64), np.nan)
    return np.asarray(np.divide(total, count, out=empty, where=count > 0), dtype=np.float64)


def _projected_auc(auc: float) -> Callable[..., Float64Array]:
    """AUC of a resample by its Hájek projection: placements of positives and of negatives, averaged."""

    def metric(
        wins: Float64Array, ups: Float64Array, losses: Float64Array, downs: Float64Array
    ) -> Float64Array:
        return _mean(wins, ups) + _mean(losses, downs) - auc

    return metric


def share_score(name: str, values: Float64Array, times: pl.Series, settings: BootstrapSettings) -> Score:
    """Mean of values, 1 for a row that counts and 0 for one that does not."""
    return settings.over(times).score(name, [values, np.ones(len(values))], _mean)


def calibration_score(
    probability_up: Float64Array, up: Float64Array, times: pl.Series, settings: BootstrapSettings
) -> Score:
    """Expected calibration error over bins of equal counts, see `binned_calibration`.

    Parameters
    ----------
    up
        1, 0, or NaN for a row without a move or without a known outcome; such rows are left out.
    """
    known = np.isfinite(up) & np.isfinite(probability_up)
    p = probability_up[known]
    bins = np.empty(len(p), dtype=np.int64)
    for place, part in enumerate(np.array_split(np.argsort(p, kind="stable"), CALIBRATION_BINS)):
        bins[part] = place
    return binned_calibration(p, up[known], bins, times.filter(known), settings)


def binned_calibration(
    said: Float64Array,
    happened: Float64Array,
    bins: npt.NDArray[np.int64],
    times: pl.Series,
    settings: BootstrapSettings,
) -> Score:
    """Mean distance of what was said from what happened, by bins that stay while their rows are drawn.

    Chance alone lifts a sum of distances above zero, the more the fewer the rows, and lifts that of the
    resamples once more. The interval is therefore the basic one: by how much the resamples lie above the
    value is taken off it. It begins at zero where chance reaches the value by itself.

    Source: Bröcker, "Estimating reliability and resolution of probability forecasts through decomposition of
    the empirical score", 2012, and Kumar et al., "Verified uncertainty calibration", 2019, on the bias;
    Davison and Hinkley, "Bootstrap methods and their application", 1997, on the interval.
    """
    draw, places = settings.over(times), np.arange(CALIBRATION_BINS)
    off = (said - happened)[:, None] * (bins[:, None] == places)
    gaps = off.sum(axis=0) / len(said)
    sums = draw.sums(np.column_stack([np.ones(len(said)), off]))
    drawn = sums[:, 1:] / sums[:, :1]
    value = float(np.abs(gaps).sum())
    low, high = draw.ends(np.abs(drawn).sum(axis=1))
    by_chance = draw.ends(np.abs(drawn - gaps).sum(axis=1))[1]
    lower = 0.0 if value <= by_chance else float(np.maximum(2 * value - high, 0.0))
    return Score("calibration_error", value, lower, float(np.maximum(2 * value - low, value)), len(said))


def return_scores(
    expected: Float64Array, realised: Float64Array, times: pl.Series, settings: BootstrapSettings
) -> list[Score]:
    """Rank IC and R² against zero of return forecasts; rows without a known outcome are left out."""
    known = np.isfinite(expected) & np.isfinite(realised)
    x, y = expected[known], realised[known]
    draw = settings.over(times.filter(known))
    return [
        _rank_ic("rank_ic", x, y, draw),
        draw.score("r2", [(y - x) ** 2, y**2], lambda error, total: 1 - error / total),
    ]


def volatility_scores(
    expected: Float64Array, realised: Float64Array, times: pl.Series, settings: BootstrapSettings
) -> list[Score]:
    """Rank IC and QLIKE of volatility forecasts; rows without a known or with no movement are left out."""
    known = np.isfinite(expected) & np.isfinite(realised) & (realised > 0) & (expected > 0)
    x, y = expected[known], realised[known]
    draw = settings.over(times.filter(known))
    return [
        _rank_ic("volatility_rank_ic", x, y, draw),
        draw.score("qlike", [qlike(x, y), np.ones(len(x))], _mean),
    ]


def _rank_ic(name: str, x: Float64Array, y: Float64Array, draw: BlockBootstrap) -> Score:
    a = rankdata(x) / max(len(x), 1) - 0.5
    b = rankdata(y) / max(len(y), 1) - 0.5

    return draw.score(name, [np.ones(len(x)), a, b, a * b, a * a, b * b], _correlation)


def _correlation(
    n: Float64Array,
    sa: Float64Array,
    sb: Float64Array,
    sab: Float64Array,
    saa: Float64Array,
    sbb: Float64Array,
) -> Float64Array:
    spread = np.sqrt(np.maximum((saa - sa**2 / n) * (sbb - sb**2 / n), 0))
    covariance = np.asarray(sab - sa * sb / n)
    return np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 1e-9 * n)


def rank_ic_difference(
    expected: Float64Array,
    other: Float64Array,
    realised: Float64Array,
    times: pl.Series,
    settings: BootstrapSettings,
) -> Score:
    """Rank IC of `expected` less that of `other`, on rows that both and the outcome know."""
    known = np.isfinite(expected) & np.isfinite(other) & np.isfinite(realised)
    ranks = [
        rankdata(values[known]) / max(int(known.sum()), 1) - 0.5 for values in (expected, other, realised)
    ]
    a, b, c = ranks
    columns = [np.ones(len(a)), a, b, c, a * a, b * b, c * c, a * c, b * c]

    def difference(*sums: Float64Array) -> Float64Array:
        n, sa, sb, sc, saa, sbb, scc, sac, sbc = sums
        return _correlation(n, sa, sc, sac, saa, scc) - _correlation(n, sb, sc, sbc, sbb, scc)

    return settings.over(times.filter(known)).score("rank_ic_difference", columns, difference)


def paired_interval(
    loss_a: Float64Array, loss_b: Float64Array, times: pl.Series, settings: BootstrapSettings
) -> Interval:
    """Mean of ``loss_a − loss_b`` over rows where both are known: above 0 when b is better."""
    known = np.isfinite(loss_a) & np.isfinite(loss_b)
    difference = loss_a[known] - loss_b[known]
    draw = settings.over(times.filter(known))
    score = draw.score("difference", [difference, np.ones(len(difference))], _mean)
    error = (score.upper - score.lower) / (2 * norm.ppf(0.5 + settings.confidence / 2))
    detectable = (norm.ppf(0.5 + settings.confidence / 2) + norm.ppf(POWER)) * error
    return Interval(score.value, score.lower, score.upper, float(detectable), len(difference))
