"""The report of features: how much of each is there, how it is spread, how it moves, and what follows it.

.. warning:: Every number here is a description in sample. A feature that is chosen, or left out, because of
   its rank IC in this report has seen the outcomes that it is judged by: choose inside training folds only.
   The final stretch is left out of the rank ICs, so that the score of a version stays untouched.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.models.forecaster_model import rows_of
from cryptoai_assets.lib.scoring import BlockBootstrap, BootstrapSettings
from cryptoai_assets.lib.splits import Fold
from cryptoai_assets.lib.tracking import Tracking
from cryptoai_assets.lib.training import TrainingSettings, known_dataset, training_splits
from cryptoai_monitoring.drift import ReferenceCells, statistics
from edge_bundle.features.catalog import family_of
from edge_bundle.windows import Float32Array

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
# Features whose mean |rank correlation| is above this are one cluster.
SAME_CLUSTER = 0.7
MOST_CORRELATED_ROWS = 20_000
TARGETS = ("return", "volatility")
DRIFT_SCHEMA: dict[str, pl.DataType] = {
    "feature": pl.String(),
    "month": pl.String(),
    "psi": pl.Float64(),
    "ks": pl.Float64(),
    "rows": pl.Int64(),
}
TABLES = ("features", "monthly_drift", "rank_ics")
RUN_NAME = "feature report"
FINGERPRINT_TAG = "feature_report_fingerprint"
TABLES_FOLDER = "tables"


@dataclass(frozen=True, slots=True)
class Correlation:
    """How features resemble each other.

    Parameters
    ----------
    names
        Features in the order of the tree: those of a cluster stand together.
    strength
        (features, features) absolute Spearman correlation in that order; 0 with a feature that is constant.
    cluster
        Number of each feature's cluster, from 1, in that order.
    """

    names: tuple[str, ...]
    strength: Float64Array
    cluster: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FeatureReport:
    """What was found, in three tables and a matrix.

    Parameters
    ----------
    features
        One row a feature: ``family``, ``coverage``, ``mean``, ``deviation``, its quantiles (``q01`` …),
        ``largest_psi`` with its ``month``, ``cluster``, and for each target the mean of its rank ICs over
        folds and horizons.
    drift
        One row a feature and month after the first; see `monthly_drift`.
    rank_ics
        One row a feature, ``target``, ``horizon_bars`` and ``fold``; see `rank_ics`.
    """

    features: pl.DataFrame
    drift: pl.DataFrame
    rank_ics: pl.DataFrame
    correlation: Correlation

    @property
    def tables(self) -> Mapping[str, pl.DataFrame]:
        """The tables by the names under which they are kept, `TABLES`."""
        return dict(zip(TABLES, (self.features, self.drift, self.rank_ics), strict=True))


def feature_report(
    frame: pl.DataFrame, names: Sequence[str], *, market: Market, settings: TrainingSettings
) -> FeatureReport:
    """Describe every feature of a training dataset.

    Coverage is of all grid bars; distribution and drift are of the traded ones that have a value.
    Correlations and rank ICs are of the rows that a model can read, in which every feature has one:
    correlations of at most `MOST_CORRELATED_ROWS` of them, evenly spread, rank ICs of the test rows of the
    walk-forward folds that a training with these settings has.

    .. warning:: Rank ICs in sample are no ground for choosing features; see the module.

    Parameters
    ----------
    frame
        Features and targets of every grid bar, sorted by symbol and open time.

    Raises
    ------
    SplitError
        When the history is too short for the folds.
    """
    last: datetime = frame.select(pl.col("open_time").max()).item()
    data = known_dataset(frame, names, market, last + market.bar)
    folds = training_splits(data, market, settings).folds
    traded = frame.filter("traded")
    drift = monthly_drift(traded, names)
    correlation = feature_correlation(data)
    ics = rank_ics(data, folds, horizons=market.horizons, bootstrap=settings.bootstrap(market))
    features = (
        _distribution(traded, names)
        .with_columns(coverage=pl.Series([1 - frame[name].null_count() / frame.height for name in names]))
        .join(_largest_drift(drift), on="feature", how="left", maintain_order="left")
        .join(
            pl.DataFrame({"feature": correlation.names, "cluster": correlation.cluster}),
            on="feature",
            how="left",
            maintain_order="left",
        )
        .join(_mean_ics(ics), on="feature", how="left", maintain_order="left")
    )
    return FeatureReport(features, drift, ics, correlation)


def _distribution(traded: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    rows = []
    for name in names:
        values = _known_values(traded, name)
        quantiles = np.quantile(values, QUANTILES) if len(values) else np.full(len(QUANTILES), np.nan)
        rows.append(
            {
                "feature": name,
                "family": family_of(name),
                "mean": values.mean() if len(values) else np.nan,
                "deviation": values.std() if len(values) else np.nan,
                **{
                    f"q{round(100 * share):02d}": float(value)
                    for share, value in zip(QUANTILES, quantiles, strict=True)
                },
            }
        )
    return pl.DataFrame(rows).fill_nan(None)


def _known_values(frame: pl.DataFrame, name: str) -> Float64Array:
    return frame[name].drop_nulls().cast(pl.Float64).to_numpy()


def monthly_drift(traded: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """How far each month of a feature lies from all months before it.

    Parameters
    ----------
    traded
        Bars at which somebody traded; those at which a feature is null are left out of its own drift.

    Returns
    -------
    DataFrame
        ``feature``, ``month`` (``YYYY-MM``), ``psi`` (population stability index over ten bins that hold
        equal parts of the whole history; by rule of thumb 0.1 is a shift and 0.25 a large one), ``ks``
        (Kolmogorov-Smirnov distance), ``rows`` of the month. The first month has nothing before it.
    """
    months = traded["open_time"].dt.strftime("%Y-%m")
    every = months.unique().sort().to_list()
    number = months.rank("dense").cast(pl.Int64) - 1
    rows: list[tuple[str, str, float, float, int]] = []
    for name in names:
        month = number.filter(traded[name].is_not_null()).to_numpy()
        values = _known_values(traded, name)[:, None]
        if not len(values):
            continue
        cells = ReferenceCells.of(values)
        located = cells.located(values)
        counts = [cells.counted(located[month == place]) for place in range(len(every))]
        before = np.zeros_like(cells.counts)
        for label, own in zip(every, counts, strict=True):
            if before.any() and own.any():
                psi, ks = statistics(before, own)[:, 0].tolist()
                rows.append((name, label, psi, ks, int(own.sum())))
            before = before + own
    return pl.DataFrame(rows, schema=DRIFT_SCHEMA, orient="row")


def _largest_drift(drift: pl.DataFrame) -> pl.DataFrame:
    ordered = drift.sort("psi", descending=True, maintain_order=True)
    return (
        ordered.group_by("feature", maintain_order=True)
        .first()
        .select("feature", "month", largest_psi="psi")
        .rename({"month": "largest_psi_month"})
    )


def rank_ics(
    data: Dataset, folds: Sequence[Fold], *, horizons: Sequence[int], bootstrap: BootstrapSettings
) -> pl.DataFrame:
    """Rank correlation of every feature with what followed it, on the test rows of each fold.

    .. warning:: In sample: see the module.

    Returns
    -------
    DataFrame
        ``feature``, ``target`` (one of `TARGETS`), ``horizon_bars``, ``fold`` from 1, ``value``, ``lower``,
        ``upper`` (of an interval over resampled blocks of time, longer than the overlap of the targets),
        ``rows``. The value is 0 for a feature that is constant in the fold.
    """
    parts = [
        _fold_ics(data.between(fold.test_start, fold.test_end), horizons, bootstrap).with_columns(
            fold=pl.lit(fold.index + 1)
        )
        for fold in folds
    ]
    order = ("feature", "target", "horizon_bars", "fold", "value", "lower", "upper", "rows")
    return pl.concat(parts).select(order)


def _fold_ics(test: Dataset, horizons: Sequence[int], bootstrap: BootstrapSettings) -> pl.DataFrame:
    """Rank ICs over the rows of which every outcome is known: features are ranked once for all targets."""
    targets = [(target, horizon) for target in TARGETS for horizon in horizons]
    outcomes = np.stack([test.target(*target) for target in targets], axis=1)
    known: npt.NDArray[np.bool_] = np.all(np.isfinite(outcomes), axis=1)
    values, ranks = _centred_ranks(rows_of(test.values)[known]), _centred_ranks(outcomes[known])
    draw = bootstrap.over(test.keys["open_time"].filter(known))
    parts = [
        pl.DataFrame({"feature": test.names, "value": value, "lower": lower, "upper": upper}).with_columns(
            target=pl.lit(target), horizon_bars=pl.lit(horizon), rows=pl.lit(int(known.sum()))
        )
        for (target, horizon), (value, lower, upper) in zip(
            targets, _correlations(values, ranks, draw), strict=True
        )
    ]
    return pl.concat(parts)


def _correlations(
    a: Float64Array, outcomes: Float64Array, draw: BlockBootstrap
) -> Iterator[tuple[Float64Array, Float64Array, Float64Array]]:
    """Correlation of each column of `a` with each outcome, and the ends of its interval."""
    one = np.ones((len(a), 1))
    # The first of the sums is that of the rows themselves, the others are of resampled blocks.
    n, sa, saa = (_sums(columns, draw) for columns in (one, a, a * a))
    for b in outcomes.T[:, :, None]:
        sb, sbb, sab = (_sums(columns, draw) for columns in (b, b * b, a * b))
        spread = np.sqrt(np.maximum((saa - sa**2 / n) * (sbb - sb**2 / n), 0))
        shared = sab - sa * sb / n
        found = np.divide(shared, spread, out=np.zeros_like(shared), where=spread > 1e-9 * n)
        lower, upper = draw.ends(found[1:])
        yield found[0], lower, upper


def _sums(columns: Float64Array, draw: BlockBootstrap) -> Float64Array:
    return np.concatenate([columns.sum(axis=0)[None], draw.sums(columns)])


def _centred_ranks(values: Float32Array | Float64Array) -> Float64Array:
    ranks: Float64Array = rankdata(values, axis=0) / len(values) - 0.5
    return ranks


def _mean_ics(ics: pl.DataFrame) -> pl.DataFrame:
    means = ics.group_by("feature", "target").agg(pl.col("value").mean())
    return means.pivot(on="target", index="feature").select(
        "feature", *(pl.col(target).alias(f"{target}_rank_ic") for target in TARGETS)
    )


def feature_correlation(data: Dataset) -> Correlation:
    """Absolute Spearman correlation on evenly spread rows, in the order of an average-link tree."""
    asked = np.linspace(0, len(data) - 1, min(len(data), MOST_CORRELATED_ROWS)).astype(int)
    ranks = _centred_ranks(rows_of(data.values[asked]))
    ranks = ranks - ranks.mean(axis=0)
    size = np.sqrt((ranks**2).sum(axis=0))
    unit = np.divide(ranks, size, out=np.zeros_like(ranks), where=size > 0)
    strength = np.minimum(np.abs(unit.T @ unit), 1.0)
    np.fill_diagonal(strength, 1.0)
    tree = linkage(squareform(1 - strength, checks=False), method="average")
    order = leaves_list(tree)
    found = fcluster(tree, 1 - SAME_CLUSTER, criterion="distance")[order]
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(found.tolist()), start=1)}
    return Correlation(
        names=tuple(data.names[place] for place in order),
        strength=strength[np.ix_(order, order)],
        cluster=tuple(numbers[cluster] for cluster in found.tolist()),
    )


def record_report(
    tracking: Tracking,
    report: FeatureReport,
    files: Sequence[Path],
    *,
    fingerprint: str,
    tags: Mapping[str, str],
) -> str:
    """Keep the tables of a report with MLflow in one run, and return its id; a report is kept once.

    Parameters
    ----------
    files
        The stored tables.
    fingerprint
        Of everything that the report was made of.
    """
    if kept := tracking.finished_run(FINGERPRINT_TAG, fingerprint):
        return kept
    with tracking.run(RUN_NAME, tags={**tags, FINGERPRINT_TAG: fingerprint}) as run_id:
        counts = {"features": report.features.height, "clusters": max(report.correlation.cluster)}
        tracking.log(run_id, metrics={f"feature_report/{name}": count for name, count in counts.items()})
        for path in files:
            tracking.log_file(run_id, path, TABLES_FOLDER)
    return run_id
