"""Replay parity: forecasts that were served, made again from the store as it was known then.

Each is made twice: by the bundle from the bars that it needs, which gives the same bits; and by the features
of the training path, from a month and its memory, which are the same but for rounding. A backtest can differ
from what is served only where one of the two does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.monthly_features import known_window, month_features
from cryptoai_serving.forecast_log import ForecastLog
from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.facts import no_trade_slots
from edge_bundle.features.catalog import chosen_features
from edge_bundle.features.sources import reads_market
from edge_bundle.forecast import VALUE_NAMES, Forecast
from edge_bundle.forecaster import Forecaster
from edge_bundle.releases import release_folder

REPLAY_NAME = "replay.parquet"
# A replay an hour looks at two: a forecast waits for the next one when its bar is not stored yet.
WINDOW = timedelta(hours=2)
# Of a window, drawn at random.
MOST_FORECASTS = 60
# Share of a value, or of its feature's scale: float32 keeps about seven digits.
ROUNDING = 1e-6
Status = Literal["same", "differs", "not_stored_yet", "bundle_gone"]
# One row a forecast; what differs first is null where nothing does.
REPLAY_SCHEMA: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "known_at": UTC_MICROSECONDS,
    "asked_at": UTC_MICROSECONDS,
    "version": pl.Int64(),
    "status": pl.String(),
    "differing": pl.String(),
    "served": pl.String(),
    "replayed": pl.String(),
    "late": pl.String(),
}
_ANSWER = ("bundle", "version", "symbol", "open_time", "known_at", "asked_at", "abstention", "input_sha256")
Float32Array = npt.NDArray[np.float32]
Values = Mapping[int, tuple[float | None, ...]]


@dataclass(frozen=True, slots=True)
class Served:
    """A forecast that was served from the online store.

    Parameters
    ----------
    values
        In the order of `VALUE_NAMES`, by horizon.
    newest
        Features of the last bar that it read; None where it read none, or where they were not kept.
    """

    bundle: str
    version: int
    symbol: str
    open_time: datetime
    known_at: datetime
    asked_at: datetime
    abstention: str | None
    input_sha256: str | None
    values: Values
    newest: Float32Array | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs first between what was served and what is replayed.

    Parameters
    ----------
    late
        What the store came to know of the bars that were read only after the forecast; None when nothing.
    """

    differing: str
    served: str
    replayed: str
    late: str | None = None


def served_forecasts(home: Home) -> list[Served]:
    """Forecasts from the online store that were asked for last, a random part of those of `WINDOW`."""
    with ForecastLog(home.forecasts_database) as log:
        every = log.read(model=home.market.model).filter(origin="store")
        newest = every.filter(pl.col("asked_at") > pl.col("asked_at").max() - WINDOW)
        answers = newest.group_by(_ANSWER, maintain_order=True).agg("horizon_bars", *VALUE_NAMES)
        drawn = answers.sample(min(MOST_FORECASTS, answers.height), seed=answers.height)
        inputs = log.newest_inputs(drawn["input_sha256"].drop_nulls())
    return [
        Served(
            **{name: row[name] for name in _ANSWER},
            values=_by_horizon(row),
            newest=inputs.get(row["input_sha256"]),
        )
        for row in drawn.sort("known_at", "symbol").iter_rows(named=True)
    ]


def _by_horizon(row: Mapping[str, Any]) -> Values:
    return {
        horizon: tuple(row[name][place] for name in VALUE_NAMES)
        for place, horizon in enumerate(row["horizon_bars"])
    }


def replayed(home: Home, served: Sequence[Served]) -> pl.DataFrame:
    """Make forecasts again, and say what differs first.

    Returns
    -------
    DataFrame
        In `REPLAY_SCHEMA`, one row a forecast in the order of `served`.
    """

    @cache
    def forecaster(version: int) -> Forecaster | None:
        folder = release_folder(home.releases, home.market.model, version)
        return Forecaster.load(folder) if folder.is_dir() else None

    @cache
    def trained_on(symbol: str, month: str, names: tuple[str, ...]) -> pl.DataFrame:
        return month_features(home, symbol, month, names)

    def judged(one: Served) -> tuple[Status, Difference | None]:
        bundle = forecaster(one.version)
        if bundle is None or bundle.digest != one.bundle:
            return "bundle_gone", None
        features = bundle.manifest.features
        first = replayed_difference(home, bundle, one, at=one.known_at)
        if first is None:
            rows = trained_on(one.symbol, f"{one.open_time:%Y-%m}", features)
            first = trained_otherwise(one, rows, features)
        # What became known between the bar's close and the question may have been served.
        elif replayed_difference(home, bundle, one, at=one.asked_at) is None:
            first = None
        elif not is_stored(home, one):
            return "not_stored_yet", None
        return "differs" if first else "same", first

    rows = []
    for one in served:
        status, found = judged(one)
        told = astuple(found) if found else ()
        rows.append(
            (one.symbol, one.known_at, one.asked_at, one.version, status, *told, *[None] * (4 - len(told)))
        )
    return pl.DataFrame(rows, schema=REPLAY_SCHEMA, orient="row")


def is_stored(home: Home, served: Served) -> bool:
    """Whether the store has come to the bar that a forecast was made at."""
    return home.stores.clean_candles.read((served.symbol,), served.open_time).height > 0


def replayed_difference(
    home: Home, forecaster: Forecaster, served: Served, *, at: datetime
) -> Difference | None:
    """What differs when the bundle forecasts from the store as it was known at a time."""
    manifest, market = forecaster.manifest, home.market
    symbols = manifest.symbols if reads_market(manifest.features) else (served.symbol,)
    since = served.open_time - (manifest.bars_needed + market.max_missing_bars) * market.bar
    window = known_window(
        home, manifest.features, symbols=symbols, since=since, until=served.open_time, at=at
    )
    slots = pl.concat([window.candles.select("symbol", "open_time"), no_trade_slots(window.facts)])
    if slots.filter(symbol=served.symbol, open_time=served.open_time).is_empty():
        found: Difference | None = Difference("bar", "read", f"not known at {at:%Y-%m-%d %H:%M:%S}")
    else:
        every = forecaster.forecast(window, served.asked_at if manifest.live else None)
        own = next(forecast for forecast in every if forecast.symbol == served.symbol)
        found = served_otherwise(served, own, manifest.features)
    if found is None:
        return None
    said = home.stores.clean_facts.read(symbols, since, served.open_time + market.bar)
    return replace(found, late=_late(said.filter(pl.col("known_at") > at)))


def _late(facts: pl.DataFrame) -> str | None:
    """The newest of some facts, in words."""
    if facts.is_empty():
        return None
    fact = facts.sort("event_time").row(-1, named=True)
    return (
        f"{fact['name']}: {fact['symbol']} {fact['event_time']:%Y-%m-%d %H:%M}, "
        f"known at {fact['known_at']:%Y-%m-%d %H:%M:%S}"
    )


def served_otherwise(served: Served, again: Forecast, features: Sequence[str]) -> Difference | None:
    """What differs between a served forecast and the same bundle's on the stored bars: no bit may."""
    reason = again.abstention.reason if again.abstention else None
    if reason != served.abstention:
        return Difference("abstention", served.abstention or "answered", reason or "answered")
    if again.input_sha256 != served.input_sha256:
        return _first_bit(served.newest, again.newest_input, features)
    for horizon in again.horizons:
        for place, name in enumerate(VALUE_NAMES):
            before, now = served.values[horizon.horizon_bars][place], getattr(horizon, name)
            if before != now:
                return Difference(f"{name} at {horizon.horizon_bars} bars", f"{before}", f"{now}")
    return None


def _first_bit(served: Float32Array | None, again: bytes | None, features: Sequence[str]) -> Difference:
    if served is not None and again is not None:
        now = np.frombuffer(again, "<f4")
        for place in np.flatnonzero(served != now)[:1]:
            return Difference(features[place], f"{served[place]:.9g}", f"{now[place]:.9g}")
    return Difference("input", "another hash", "the last bar's features are equal, or were not kept")


def trained_otherwise(served: Served, rows: pl.DataFrame, features: Sequence[str]) -> Difference | None:
    """What differs between the features that were served and those of the training path.

    Parameters
    ----------
    rows
        From `month_features`.
    """
    if served.newest is None:
        return None
    own = rows.filter(open_time=served.open_time)
    if own.is_empty():
        return Difference("bar", "answered", "the training path has no such bar")
    trained = own.select(pl.col(features).fill_null(np.nan)).row(0)
    for feature, before, now in zip(chosen_features(features), served.newest, trained, strict=True):
        # Also where it is NaN.
        if not abs(before - now) <= ROUNDING * max(abs(now), feature.scale):
            return Difference(feature.name, f"{before:.9g}", f"{now:.9g}")
    return None


def sentence(found: pl.DataFrame) -> str:
    """What a person is told of a replay."""
    counts = dict(found["status"].value_counts().rows())
    compared = counts.get("same", 0) + counts.get("differs", 0)
    waiting = found.height - compared
    waits = f"; {waiting} cannot be made again yet, or no more" if waiting else ""
    if not counts.get("differs"):
        return f"{compared} served forecasts are the same when they are made again{waits}"
    first = found.filter(status="differs").row(0, named=True)
    late = f" ({first['late']})" if first["late"] else ""
    return (
        f"{counts['differs']} of {compared} served forecasts differ when they are made again; first "
        f"{first['differing']} of {first['symbol']} at {first['known_at']:%Y-%m-%d %H:%M}: served "
        f"{first['served']}, replayed {first['replayed']}{late}{waits}"
    )
