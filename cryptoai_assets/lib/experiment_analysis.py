"""Experiments reckoned: how long one must last beforehand, and what it showed when it has lasted that long.

What depends on each other is not counted as more evidence than it is: rows of one bar move together, and bars
come in blocks. It knows nothing about how an experiment is kept or served.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from scipy.stats import chisquare, t

from cryptoai_assets.lib.scoring import LEAST_BLOCKS, BootstrapSettings, Float64Array, Score, log_loss
from edge_bundle.experiment import Experiment, Metric

Recommendation = Literal[
    "running", "stopped", "invalid", "promote the challenger", "keep the control", "no difference"
]
# Users who were drawn for a version in other shares than were set by a chance this small were not drawn so.
SAMPLE_RATIO_LIMIT = 0.001
RESAMPLES, SEED = 2000, 23
KEYS = ("symbol", "known_at")


class ExperimentError(Exception):
    """An experiment cannot be reckoned, begun or ended; the message says why."""


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """What an experiment shows so far: before it has its length, nothing but how far it is.

    Parameters
    ----------
    times
        Bars at which both variants have answered and whose outcome is known.
    users
        By variant; empty in a shadow.
    sample_ratio_p
        Chance of shares as uneven as those of the users; None without users.
    effect
        Mean loss of the challenger less that of the control: below 0 the challenger is better.
    """

    name: str
    recommendation: Recommendation
    times: int
    times_needed: int
    users: dict[str, int]
    sample_ratio_p: float | None
    effect: Score | None


def needed_times(
    *,
    deviation: float,
    minimal_effect: float,
    false_alarm_rate: float,
    power: float,
    inflation: float,
    block_bars: int,
) -> int:
    """Bars after which a two-sided test on paired differences finds an effect with the given power.

    By Student's t of as many blocks as these bars are, as the intervals are told; `LEAST_BLOCKS` or more,
    for fewer tell none, however large the effect.

    Parameters
    ----------
    deviation
        Of the difference of the two losses at one bar, in the unit of the effect.
    inflation
        From `block_inflation`: how many bars tell as much as one would if they did not depend on each other.
    block_bars
        Of the test.

    Raises
    ------
    ExperimentError
        When no length is enough, or any is.
    """
    if not (minimal_effect > 0 and deviation > 0 and 0 < false_alarm_rate < 1 and 0 < power < 1):
        raise ExperimentError(
            f"an effect of {minimal_effect:g}, a deviation of {deviation:g}, a false-alarm rate of "
            f"{false_alarm_rate:g} and a power of {power:g}: all over 0, the last two under 1 needed"
        )

    def enough(times: int) -> bool:
        freedom = times / block_bars - 1
        reach = t.ppf(1 - false_alarm_rate / 2, freedom) + t.ppf(power, freedom)
        return bool(times >= max(inflation, 1.0) * (reach * deviation / minimal_effect) ** 2)

    most = least = LEAST_BLOCKS * block_bars
    while not enough(most):
        most *= 2
    return bisect_left(range(most), True, lo=least, key=enough)


def block_inflation(values: Float64Array, *, block_bars: int) -> float:
    """Variance of the mean of consecutive values over what it would be if they did not depend on each other.

    From the means of overlapping blocks; 1 at least.

    Raises
    ------
    ExperimentError
        When there are fewer than ten blocks, or all values are equal.
    """
    if len(values) < LEAST_BLOCKS * block_bars or float(np.std(values)) == 0.0:
        raise ExperimentError(
            f"{len(values)} values: {LEAST_BLOCKS} blocks of {block_bars}, not all the same, needed"
        )
    running = np.concatenate([[0.0], np.cumsum(values - values.mean())])
    means = (running[block_bars:] - running[:-block_bars]) / block_bars
    return max(1.0, float(block_bars * np.mean(means**2) / np.var(values)))


def losses(metric: Metric, rows: pl.DataFrame) -> Float64Array:
    """Loss of each row, NaN where none is told: nothing was answered, or, of a direction, nothing moved.

    Parameters
    ----------
    rows
        ``probability_up``, ``expected_return_bps`` and the outcome's ``return_bps``.
    """
    said = rows["probability_up"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    realised = rows["return_bps"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if metric == "absolute_error_bps":
        expected = rows["expected_return_bps"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return np.asarray(np.abs(expected - realised), dtype=np.float64)
    up = (realised > 0).astype(np.float64)
    found = (said - up) ** 2 if metric == "brier" else log_loss(said, up)
    return np.where(np.isfinite(realised) & np.isfinite(said) & (realised != 0), found, np.nan)


def sample_ratio_p(users: dict[str, int], *, challenger_share: float) -> float | None:
    """Chance of users' shares as uneven as these (chi-square); None without users.

    Source: Fabijan et al., "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments", 2019.
    """
    counts = [users.get("control", 0), users.get("challenger", 0)]
    if not (total := sum(counts)):
        return None
    expected = [total * (1 - challenger_share), total * challenger_share]
    return float(chisquare(counts, expected).pvalue)


def experiment_result(
    experiment: Experiment, logged: pl.DataFrame, outcomes: pl.DataFrame, users: dict[str, int]
) -> ExperimentResult:
    """What the experiment shows on the first `times_needed` bars at which both variants have answered.

    In a shadow both answer each bar, and are compared there; between users, bars at which only one was asked
    tell as well.

    Parameters
    ----------
    logged
        Rows of the forecast log that carry the experiment's key.
    outcomes
        ``symbol``, ``known_at``, ``horizon_bars``, ``return_bps``.
    """
    rows = scored_rows(experiment, logged, outcomes)
    both = rows.group_by(KEYS).agg(pl.col("variant").n_unique()).filter(pl.col("variant") == 2)
    times = both["known_at"].unique().sort()
    chance = sample_ratio_p(users, challenger_share=experiment.challenger_share)
    told = experiment.name, len(times), experiment.times_needed, users, chance
    if chance is not None and chance < SAMPLE_RATIO_LIMIT:
        return _result("invalid", told, None)
    if len(times) < experiment.times_needed:
        return _result("running", told, None)
    counted = rows.filter(pl.col("known_at") <= times[experiment.times_needed - 1])
    if experiment.mode == "shadow":
        counted = counted.join(both, on=KEYS, how="semi")
    effect = _effect(experiment, counted)
    verdict: Recommendation = "no difference"
    if effect.upper < 0:
        verdict = "promote the challenger"
    elif effect.lower > 0:
        verdict = "keep the control"
    return _result(verdict, told, effect)


def scored_rows(experiment: Experiment, logged: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """One row a symbol, bar and variant, with its loss; ``variant`` is ``control`` or ``challenger``."""
    keys = [*KEYS, "horizon_bars"]
    rows = (
        logged.filter(horizon_bars=experiment.horizon_bars, origin="store")
        .with_columns(variant=pl.col("variant").replace("shadow", "challenger"))
        .unique([*KEYS, "variant"], keep="last", maintain_order=True)
        .join(outcomes.select(*keys, "return_bps"), on=keys, how="inner")
    )
    scored = rows.with_columns(loss=pl.Series(losses(experiment.metric, rows)))
    return scored.filter(pl.col("loss").is_not_nan()).sort("known_at", "symbol", "variant")


def _effect(experiment: Experiment, rows: pl.DataFrame) -> Score:
    challenger = (rows["variant"] == "challenger").cast(pl.Float64).to_numpy()
    control, loss = 1 - challenger, rows["loss"].to_numpy()
    settings = BootstrapSettings(
        block_bars=experiment.block_bars,
        resamples=RESAMPLES,
        seed=SEED,
        confidence=1 - experiment.false_alarm_rate,
    )
    columns = [loss * challenger, challenger, loss * control, control]
    return settings.over(rows["known_at"]).score(experiment.metric, columns, _difference)


def _difference(
    challengers: Float64Array, challenger: Float64Array, controls: Float64Array, control: Float64Array
) -> Float64Array:
    """Mean loss of the challenger less that of the control; nothing where a resample holds only one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(challengers / challenger - controls / control, dtype=np.float64)


def _result(
    recommendation: Recommendation,
    told: tuple[str, int, int, dict[str, int], float | None],
    effect: Score | None,
) -> ExperimentResult:
    name, times, needed, users, chance = told
    return ExperimentResult(name, recommendation, times, needed, users, chance, effect)
