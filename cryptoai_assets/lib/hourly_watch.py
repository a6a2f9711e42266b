"""The hourly watch of a market: features, the champion's forecasts, what came, and if the two agreed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from cryptoai_assets.lib.datasets import Float64Array, dataset
from cryptoai_assets.lib.export import graph_predictions
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.releases import write_json
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_monitoring.hourly import Column, HourlyWatch, Pace
from cryptoai_monitoring.reports import DriftReport, draw_drift_report
from cryptoai_monitoring.thresholds import PARTS, AlarmRate
from edge_bundle.alerts import Alert, Outbox
from edge_bundle.features.catalog import family_of
from edge_bundle.forecaster import Forecaster

HOURLY_NAME = "hourly_drift.parquet"
ALARM_NAME = "hourly_alarm.json"
HOURLY_PAGE = "hourly"
SHOWN_COLUMNS = 8
FORECAST, OUTCOME, AGREEMENT = "forecast", "outcome", "agreement"
# Before the judged windows; of minutes, which are many, fewer days.
REFERENCE, MOST_BARS = timedelta(days=183), 60_000
# Days of which a column must be known to be watched.
LEAST_DAYS = 2 * PARTS


@dataclass(frozen=True, slots=True)
class HourlyColumns:
    """Columns of all symbols side by side.

    Parameters
    ----------
    values
        (bars, columns) of consecutive bars; NaN where a value is absent.
    start
        Open of the first bar.
    """

    columns: tuple[Column, ...]
    values: Float64Array
    start: datetime
    bar: timedelta

    def rows_until(self, end: datetime) -> int:
        """Bars that are closed by then."""
        return int(np.clip((end - self.start) // self.bar, 0, len(self.values)))


def hourly_columns(
    frame: pl.DataFrame, forecaster: Forecaster, names: Sequence[str], market: Market
) -> HourlyColumns:
    """Line the columns up.

    The forecast is made again by the champion's bytes, on bars that it was not trained on only: what it says
    of its own training rows is better than it can be later. The outcome is that which a bar makes known.

    Parameters
    ----------
    frame
        Features and targets of every stored bar.
    names
        Features that are watched.
    """
    return lined_up(frame, _said(frame, forecaster, market), names, market)


def lined_up(frame: pl.DataFrame, said: pl.DataFrame, names: Sequence[str], market: Market) -> HourlyColumns:
    """Line up features, outcome, and what was said.

    Parameters
    ----------
    said
        ``open_time``, ``symbol``, ``said``: probability of up of the first horizon, of the bars that have it.
    """
    horizon = market.horizons[0]
    bars = frame.select("open_time", "symbol", *names, f"return_{horizon}").join(
        said, on=["open_time", "symbol"], how="left"
    )
    time = pl.col("open_time")
    grid = bars.select(
        pl.datetime_range(time.min(), time.max(), market.bar, time_unit="us").alias("open_time")
    )
    agreed = (2 * pl.col("said") - 1) * pl.col(f"return_{horizon}").sign()
    columns, values = [], []
    for (symbol,), rows in bars.group_by("symbol", maintain_order=True):
        known = (
            grid.join(rows, on="open_time", how="left")
            .select(
                *names,
                pl.col("said").alias(FORECAST),
                pl.col(f"return_{horizon}").shift(horizon).alias(OUTCOME),
                agreed.shift(horizon).alias(AGREEMENT),
            )
            .cast(pl.Float64)
            .fill_nan(None)
        )
        columns += [Column(str(symbol), name, agreement=name == AGREEMENT) for name in known.columns]
        values.append(known.to_numpy())
    return HourlyColumns(tuple(columns), np.concatenate(values, axis=1), grid["open_time"][0], market.bar)


def _said(frame: pl.DataFrame, forecaster: Forecaster, market: Market) -> pl.DataFrame:
    """Probability of up of the first horizon, of bars after the champion's training."""
    manifest = forecaster.manifest
    rows = dataset(frame, frame, manifest.features, lookback=manifest.lookback, bar=market.bar)
    rows = rows.between(datetime.fromisoformat(manifest.trained_until), None)
    if not len(rows):
        return rows.keys.with_columns(said=pl.lit(None, pl.Float64))
    said = graph_predictions(forecaster, rows).probability_up[:, 0]
    return rows.keys.with_columns(said=pl.Series(said))


def judged_hour(found: HourlyColumns, *, released_at: datetime, rate: AlarmRate) -> pl.DataFrame | None:
    """Judge the newest hour by the bars before the release, and before the windows that are judged.

    Returns
    -------
    DataFrame or None
        From `HourlyWatch.table`; None while there are too few days before.
    """
    pace = Pace(found.bar)
    end = min(len(found.values) - pace.longest, found.rows_until(released_at))
    start = max(0, end - min(REFERENCE // found.bar, MOST_BARS))
    reference = found.values[start : max(end, 0)]
    if len(reference) - pace.longest < LEAST_DAYS * pace.bars(timedelta(days=1)):
        return None
    enough = (~np.isnan(reference)).sum(axis=0) >= LEAST_DAYS * pace.bars(timedelta(days=1))
    columns = [column for column, watched in zip(found.columns, enough, strict=True) if watched]
    watch = HourlyWatch.of(reference[:, enough], columns, pace, rate)
    return watch.table(found.values[:, enough])


def watched_features(forecaster: Forecaster) -> list[str]:
    """Features of a champion that can drift."""
    return can_drift(forecaster.manifest.features)


def can_drift(names: Iterable[str]) -> list[str]:
    """Features that can drift; the calendar cannot, nor what tells the symbols apart."""
    return [name for name in names if family_of(name) not in ("calendar", "identity")]


def judged_newest_hour(
    home: Home, forecaster: Forecaster, features: pl.DataFrame, rate: AlarmRate
) -> pl.DataFrame | None:
    """Judge the newest hour; None while too few days are known before it, see `judged_hour`."""
    found = hourly_columns(features, forecaster, watched_features(forecaster), home.market)
    released_at = _released_at(home, forecaster.digest)
    return judged_hour(found, released_at=released_at or newest_close(features, home.market), rate=rate)


def _released_at(home: Home, digest: str) -> datetime | None:
    """When a bundle became champion last; None when the ledger does not know."""
    model = home.market.model
    versions = {found.version for found in home.tracking.versions(model) if found.bundle_sha256 == digest}
    lines = [e for e in home.ledger.entries(model) if e.kind in ("promotion", "rollback")]
    return next((entry.at for entry in reversed(lines) if entry.version in versions), None)


def newest_close(features: pl.DataFrame, market: Market) -> datetime:
    """Time from which the newest bar is known."""
    newest: datetime = features["open_time"].sort()[-1]
    return newest + market.bar


@dataclass(frozen=True, slots=True)
class HourlyAlarm:
    """What the newest hour showed.

    Parameters
    ----------
    began
        When the drift that lasts was first seen; None when none lasts.
    """

    table: pl.DataFrame
    began: datetime | None


def watch_hour(
    home: Home, forecaster: Forecaster, features: pl.DataFrame, rate: AlarmRate, *, release: float
) -> HourlyAlarm | None:
    """Judge the newest hour, and remember since when it drifts; None while too few days are known before it.

    Parameters
    ----------
    release
        Share of its threshold to which every column must fall before a drift is over.
    """
    table = judged_newest_hour(home, forecaster, features, rate)
    if table is None:
        return None
    path = home.monitoring / ALARM_NAME
    before = json.loads(path.read_bytes())["began"] if path.is_file() else None
    lasts = bool(table["drifted"].any()) or (before is not None and table["excess"][0] > release)
    began = (before or newest_close(features, home.market).isoformat()) if lasts else None
    write_parquet_atomically(table, home.monitoring / HOURLY_NAME)
    write_json(path, {"began": began})
    return HourlyAlarm(table, datetime.fromisoformat(began) if began else None)


def hourly_alert(
    home: Home, found: HourlyAlarm, began: datetime, *, links: Mapping[str, str], now: datetime
) -> Alert:
    """What a person is told of a drift of the newest hour: once, however long it lasts."""
    drifted = found.table.filter("drifted").head(SHOWN_COLUMNS)
    facts = tuple(
        (f"{row['column']} of {row['symbol']}", f"{row['statistic']}, {row['excess']:.2f} of its threshold")
        for row in drifted.iter_rows(named=True)
    )
    cause = f"hourly-drift:{home.market.model}:{began:%Y-%m-%dT%H:%M}"
    return Alert(
        cause=cause,
        severity="warning",
        title=f"Drift within the hour in {home.market.name}",
        summary=f"{found.table['drifted'].sum()} of {found.table.height} columns are beyond their thresholds",
        facts=(("since", f"{began:%Y-%m-%d %H:%M} UTC"), *facts),
        links=tuple(links.items()),
        raised_at=now,
        kind=_kind(home),
        about=(cause,),
    )


def hour_is_calm(home: Home, now: datetime) -> list[str]:
    """Resolve what was told of drift within the hour; return the causes."""
    return Outbox(home.alerts_database).unwell(_kind(home), (), now)


def _kind(home: Home) -> str:
    return f"drift within the hour in {home.market.name}"


def draw_hour(
    home: Home, forecaster: Forecaster, features: pl.DataFrame, found: HourlyAlarm
) -> DriftReport | None:
    """Draw the drifted features of the newest day against the training rows; None where none drifted."""
    names = watched_features(forecaster)
    worst = found.table.filter(pl.col("column").is_in(names)).group_by("column").agg(pl.col("excess").max())
    drifted = worst.filter(pl.col("excess") > 1).rename({"column": "feature"})
    trained_until = datetime.fromisoformat(forecaster.manifest.trained_until)
    reference = features.filter(pl.col("open_time") < trained_until).select(names)
    window = features.filter(pl.col("open_time") > pl.col("open_time").max() - timedelta(days=1)).select(
        names
    )
    if not drifted.height or not window.drop_nulls().height:
        return None
    return draw_drift_report(home.monitoring / HOURLY_PAGE, reference, window, drifted)
