"""What every member of the feature catalog holds: finite memory, no future, no unit of price, no NaN.

A changed expression shows in golden.json. Raise the feature's revision, then write the table anew:

    PYTHONPATH=tests:. python tests/edge_bundle/features/test_catalog.py
"""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_talib as talib
import pytest
from fakes.tiny_bundle import walk_candles

from cryptoai_assets.lib.sources.sample import sample_source
from edge_bundle.candles import PRICE_COLUMNS, bar_grid
from edge_bundle.errors import BundleRefusedError
from edge_bundle.features.catalog import (
    BLOCK_BARS,
    FAMILIES,
    KEY_COLUMNS,
    catalog,
    chosen_features,
    computed_features,
    family_of,
    feature_frame,
    fingerprint,
    largest_warmup,
    later_features,
    newest_features,
    short_memory,
)
from edge_bundle.features.steps import step
from edge_bundle.windows import MarketWindow, window_grid

NAMES = tuple(catalog())
GOLDEN = Path(__file__).parent / "golden.json"
TOLERANCE = 1e-9
STILL = slice(1100, 1750)

every_feature = pytest.mark.parametrize("name", NAMES)


# --- series to hold them on: one segment each


def one_segment(candles: pl.DataFrame, no_trade: pl.DataFrame | None = None) -> pl.DataFrame:
    grid = bar_grid(candles, interval="30m", max_missing_bars=3, no_trade=no_trade)
    assert grid["segment"].max() == 0
    return grid


def walk(seed: int = 1) -> pl.DataFrame:
    return walk_candles(("BTCUSD",), bars=5200, interval="30m", seed=seed)


def with_slots_untraded(candles: pl.DataFrame, untraded: pl.Series) -> pl.DataFrame:
    return one_segment(
        candles.filter(~untraded), no_trade=candles.filter(untraded).select("symbol", "open_time")
    )


def stretch(candles: pl.DataFrame) -> pl.Series:
    position = pl.int_range(pl.len())
    return candles.select((position >= STILL.start) & (position < STILL.stop)).to_series()


def real() -> pl.DataFrame:
    """Bars of a coin that sometimes nobody traded for half an hour."""
    day = datetime(2018, 1, 1, tzinfo=UTC), datetime(2018, 4, 20, tzinfo=UTC)
    fetched = sample_source().fetch("EOSUSD", *day)
    grid = window_grid(MarketWindow(fetched.candles, fetched.facts), interval="30m", max_missing_bars=3)
    assert grid["segment"].max() == 0
    return grid


def nobody_trades_for_two_weeks() -> pl.DataFrame:
    candles = walk()
    return with_slots_untraded(candles.with_columns(pl.col("volume") * 1e4), stretch(candles))


def one_slot_in_twenty_is_traded() -> pl.DataFrame:
    candles = walk(seed=2)
    quiet = np.random.default_rng(4).random(candles.height) > 0.05
    quiet[0] = False
    return with_slots_untraded(candles, pl.Series(quiet))


def prices_move_on_no_volume() -> pl.DataFrame:
    candles = walk(seed=3)
    volume = pl.when(stretch(candles)).then(0.0).otherwise(pl.col("volume") * 1e6)
    return one_segment(candles.with_columns(volume=volume))


SERIES: dict[str, Callable[[], pl.DataFrame]] = {
    series.__name__: series
    for series in (
        real,
        lambda: one_segment(walk()),
        nobody_trades_for_two_weeks,
        one_slot_in_twenty_is_traded,
        prices_move_on_no_volume,
    )
}
SERIES["random_walk"] = SERIES.pop("<lambda>")
every_series = pytest.mark.parametrize("series", SERIES)


@cache
def grid_of(series: str) -> pl.DataFrame:
    return SERIES[series]()


@cache
def features_of(series: str) -> pl.DataFrame:
    return feature_frame(grid_of(series), NAMES)


def values(frame: pl.DataFrame, name: str) -> npt.NDArray[np.float64]:
    return frame[name].to_numpy()


def assert_close(
    name: str, found: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], tolerance: float = TOLERANCE
) -> None:
    """Equal where both have a value, against the larger of it and the feature's scale."""
    assert np.array_equal(np.isnan(found), np.isnan(wanted))
    size = np.maximum(np.abs(wanted), catalog()[name].scale)
    difference = np.abs(found - wanted) / size
    worst = int(np.nanargmax(difference)) if np.isfinite(difference).any() else 0
    assert not (difference > tolerance).any(), (
        f"{name}, row {worst}: {found[worst]} is not {wanted[worst]}, {difference[worst]:.1e} apart"
    )


# --- memory and time


@cache
def last_rows_from_tails(series: str, warmup: int) -> tuple[list[int], pl.DataFrame]:
    """Rows of a series, and all features of a warm-up there, each computed from the shortest tail."""
    grid = grid_of(series)
    edges = [edge + after for edge in (STILL.start, STILL.stop) for after in (1, 2, 6, 15, 21, 61, 100, 241)]
    rows = [row for row in (*edges, *range(800, grid.height, 331)) if warmup <= row < grid.height]
    features = [feature for feature in catalog().values() if feature.warmup == warmup]
    tails = [computed_features(grid.slice(row - warmup, warmup + 1), features).tail(1) for row in rows]
    return rows, pl.concat(tails)


@every_series
@every_feature
def test_tail_of_the_warmup_and_one_bar_gives_the_value_of_the_whole_history(name: str, series: str) -> None:
    rows, from_tails = last_rows_from_tails(series, catalog()[name].warmup)
    assert len(rows) >= 4
    assert_close(name, values(from_tails, name), values(features_of(series), name)[rows])


@pytest.mark.parametrize("name", [f"vwap_distance_{n}" for n in (20, 60, 240)])
def test_volume_weighted_price_of_a_calm_market_keeps_nothing_of_the_wild_one_before_it(name: str) -> None:
    candles = walk(seed=5)
    calm = pl.int_range(pl.len()) >= 2000
    volume = pl.when(calm).then(pl.col("volume") * 1e-3).otherwise("volume")
    prices = [(100 + (pl.col(column) - 100) * 1e-2).alias(column) for column in PRICE_COLUMNS]
    grid, feature = one_segment(candles.with_columns(*prices, volume=volume)), catalog()[name]
    whole = values(computed_features(grid, [feature]), name)
    for row in range(2300, grid.height, 500):
        tail = computed_features(grid.slice(row - feature.warmup, feature.warmup + 1), [feature])
        assert_close(name, values(tail, name)[-1:], whole[row : row + 1])


@cache
def features_before_another_future(cut: int) -> pl.DataFrame:
    grid = grid_of("real")
    random = np.random.default_rng(cut)
    later = pl.int_range(pl.len()) >= cut
    price = pl.Series(random.lognormal(0, 0.3, grid.height))
    volume = pl.Series(random.lognormal(0, 3, grid.height))
    changed = grid.with_columns(
        *(
            pl.when(later).then(pl.col(column) * price).otherwise(column).alias(column)
            for column in PRICE_COLUMNS
        ),
        volume=pl.when(later).then(pl.col("volume") * volume).otherwise("volume"),
    )
    assert not changed.slice(cut).equals(grid.slice(cut))
    return feature_frame(changed, NAMES).head(cut)


@pytest.mark.parametrize("cut", [1, 900, 1500, 4900])
@every_feature
def test_value_is_the_same_bits_whatever_comes_later(name: str, cut: int) -> None:
    assert features_before_another_future(cut)[name].equals(features_of("real")[name].head(cut))


@cache
def features_with_holes() -> pl.DataFrame:
    candles = pl.concat([walk(), walk_candles(("ETHUSD",), bars=4000, interval="30m", seed=9)])
    position = pl.int_range(pl.len())
    holed = candles.filter(~position.is_between(5, 9) & ~position.is_between(1200, 1300))
    return feature_frame(bar_grid(holed, interval="30m", max_missing_bars=3), NAMES)


@every_feature
def test_value_is_null_for_the_warmup_of_each_segment_and_for_no_other_bar(name: str) -> None:
    frame = features_with_holes()
    assert frame.select("symbol", "segment").n_unique() == 4
    place = frame.select(pl.int_range(pl.len()).over("symbol", "segment")).to_series()
    assert (frame[name].is_null() == (place < catalog()[name].warmup)).all()


@every_feature
def test_segment_knows_nothing_of_the_one_before_it(name: str) -> None:
    frame = features_with_holes()
    for _, segment in frame.group_by("symbol", "segment", maintain_order=True):
        grid = one_segment(
            walk()
            if segment["symbol"][0] == "BTCUSD"
            else walk_candles(("ETHUSD",), bars=4000, interval="30m", seed=9)
        ).join(segment, on=["symbol", "open_time"], how="semi")
        assert computed_features(grid, [catalog()[name]])[name].equals(segment[name])


def test_long_segment_is_the_same_from_block_to_block() -> None:
    candles = walk_candles(("BTCUSD",), bars=BLOCK_BARS + 700, interval="30m", seed=3)
    grid = one_segment(candles)
    whole = feature_frame(grid, NAMES)
    assert whole.select(KEY_COLUMNS).equals(grid.select(KEY_COLUMNS))
    for name in NAMES:
        null = whole[name].is_null()
        assert null.sum() == catalog()[name].warmup == null.head(catalog()[name].warmup).sum()
    for end in (BLOCK_BARS - 1, BLOCK_BARS, BLOCK_BARS + 1, BLOCK_BARS + 2, grid.height):
        tail = newest_features(grid.head(end), NAMES, bars=1)
        for name in NAMES:
            assert_close(name, values(tail, name), values(whole.slice(end - 1, 1), name))
    later = later_features(grid, NAMES, since=grid["open_time"][600])
    assert later.select(KEY_COLUMNS).equals(grid[600:].select(KEY_COLUMNS))
    for name in NAMES:
        assert_close(name, values(later, name), values(whole[600:], name))


@pytest.mark.parametrize("bars", [1, 7])
@pytest.mark.parametrize("names", [NAMES, NAMES[::-1], short_memory(), ("ema_distance_200",)])
def test_newest_features_are_the_last_rows_of_all_features(names: tuple[str, ...], bars: int) -> None:
    found = newest_features(grid_of("real"), names, bars=bars)
    assert found.columns == [*KEY_COLUMNS, *names]
    wanted = features_of("real").tail(bars)
    assert found.select(KEY_COLUMNS).equals(wanted.select(KEY_COLUMNS))
    for name in names:
        assert_close(name, values(found, name), values(wanted, name))


def test_newest_features_are_null_where_the_segment_is_too_short() -> None:
    start = grid_of("real").head(100)
    found = newest_features(start, NAMES, bars=3)
    assert found.select(pl.all().is_null()).equals(
        feature_frame(start, NAMES).tail(3).select(pl.all().is_null())
    )


# --- units


@cache
def features_in_other_units(series: str, price: float, volume: float) -> pl.DataFrame:
    grid = grid_of(series)
    return feature_frame(grid.with_columns(pl.col(PRICE_COLUMNS) * price, pl.col("volume") * volume), NAMES)


# Real prices hold ties, such as a high that rose by as much as the low fell. Only a power of two keeps them.
@pytest.mark.parametrize(
    ("series", "factor"),
    [
        ("real", 2.0**-20),
        ("real", 2.0**20),
        ("random_walk", 1e-5),
        ("random_walk", 3.7),
        ("random_walk", 1e5),
    ],
)
@every_feature
def test_price_and_volume_have_no_unit(name: str, series: str, factor: float) -> None:
    wanted = values(features_of(series), name)
    assert_close(name, values(features_in_other_units(series, factor, 1.0), name), wanted)
    assert_close(name, values(features_in_other_units(series, 1.0, factor), name), wanted)


# --- strange bars


@every_series
@every_feature
def test_value_is_a_finite_number_on_every_series(name: str, series: str) -> None:
    assert features_of(series)[name].drop_nulls().is_finite().all()


@cache
def features_of_still_bars(price: float, volume: float) -> pl.DataFrame:
    bars = grid_of("random_walk")
    still = bars.with_columns(
        *(pl.lit(price).alias(column) for column in PRICE_COLUMNS), volume=pl.lit(volume)
    )
    return feature_frame(still, NAMES)


@pytest.mark.parametrize("price", [0.000_021_37, 100.1, 63_251.97])
@pytest.mark.parametrize("volume", [0.0, 17.3])
@every_feature
def test_value_is_a_constant_when_nothing_moves(name: str, price: float, volume: float) -> None:
    column = features_of_still_bars(price, volume)[name].drop_nulls()
    assert column.is_finite().all()
    if family_of(name) != "calendar":
        assert np.ptp(column.to_numpy()) <= TOLERANCE * catalog()[name].scale


@cache
def features_after_an_enormous_bar(prices: float, volumes: float) -> pl.DataFrame:
    enormous = pl.int_range(pl.len()) == 1000
    return feature_frame(
        grid_of("random_walk").with_columns(
            *(
                pl.when(enormous).then(pl.col(price) * prices).otherwise(price).alias(price)
                for price in ("high", "close")
            ),
            volume=pl.when(enormous).then(pl.col("volume") * volumes).otherwise("volume"),
        ),
        NAMES,
    )


@pytest.mark.parametrize(("prices", "volumes", "tolerance"), [(2.0, 1e2, 1e-9), (1e3, 1e6, 1e-6)])
@every_feature
def test_value_is_finite_on_an_enormous_bar_and_itself_again_after_its_warmup(
    name: str, prices: float, volumes: float, tolerance: float
) -> None:
    frame = features_after_an_enormous_bar(prices, volumes)
    assert frame[name].drop_nulls().is_finite().all()
    forgotten = 1000 + catalog()[name].warmup + 1
    assert_close(
        name, values(frame, name)[forgotten:], values(features_of("random_walk"), name)[forgotten:], tolerance
    )


# --- the catalog


def test_catalog_holds_many_features_and_none_that_remembers_more_than_4500_bars() -> None:
    assert len(NAMES) >= 130
    assert largest_warmup(NAMES) == max(feature.warmup for feature in catalog().values()) <= 4500
    assert largest_warmup([]) == 0


def test_short_memory_is_most_of_the_catalog_and_costs_less_than_a_quarter_of_its_warmup() -> None:
    assert len(short_memory()) >= 130
    assert 4 * largest_warmup(short_memory()) < largest_warmup(NAMES)


def test_feature_says_its_unit_meaning_and_scale() -> None:
    for feature in catalog().values():
        assert feature.unit
        assert feature.meaning.endswith(".")
        assert feature.scale > 0
        assert feature.revision >= 1


def test_every_family_has_members() -> None:
    families = {family_of(name) for name in NAMES}
    assert families == {family.__name__.rpartition(".")[2] for family in FAMILIES}


def test_frame_has_the_keys_and_the_features_in_the_order_of_asking() -> None:
    asked = NAMES[3], NAMES[0]
    frame = feature_frame(grid_of("real"), asked)
    assert frame.columns == [*KEY_COLUMNS, *asked]
    assert frame.select(KEY_COLUMNS).equals(grid_of("real").select(KEY_COLUMNS))
    assert set(frame.select(asked).dtypes) == {pl.Float64}


def test_grid_without_a_bar_has_a_frame_without_a_row() -> None:
    assert feature_frame(grid_of("real").clear(), NAMES).schema == features_of("real").schema


def test_unknown_feature_is_refused_by_name() -> None:
    with pytest.raises(BundleRefusedError, match="features not in this catalog: crystal_ball"):
        chosen_features(["log_return_1", "crystal_ball"])


def test_step_that_is_not_shared_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="deviation_7 is no shared step"):
        step("deviation_7")


def test_fingerprint_tells_names_and_their_order_apart() -> None:
    prints = {fingerprint(names) for names in (NAMES, NAMES[:-1], NAMES[::-1], ())}
    assert len(prints) == 4
    assert fingerprint(NAMES) == fingerprint(list(NAMES))


HIGH, LOW, CLOSE, VOLUME = (pl.col(name) for name in ("high", "low", "close", "volume"))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("rsi_3", talib.rsi(CLOSE, timeperiod=3)),
        ("rsi_14", talib.rsi(CLOSE, timeperiod=14)),
        ("adx_14", talib.adx(HIGH, LOW, CLOSE, timeperiod=14)),
        (
            "directional_balance_14",
            talib.plus_di(HIGH, LOW, CLOSE, timeperiod=14) - talib.minus_di(HIGH, LOW, CLOSE, timeperiod=14),
        ),
        ("money_flow_index_14", talib.mfi(HIGH, LOW, CLOSE, VOLUME, timeperiod=14)),
    ],
)
def test_indicator_of_a_textbook_has_the_value_of_ta_lib(name: str, reference: pl.Expr) -> None:
    warmup = catalog()[name].warmup
    computed = grid_of("random_walk").select(reference.alias(name))
    assert_close(name, values(computed, name)[warmup:], values(features_of("random_walk"), name)[warmup:])


# --- the golden table


@cache
def golden_features() -> pl.DataFrame:
    """Features of real bars with a stretch that nobody traded, so that every branch of them is recorded."""
    candles = real().select(walk().columns)
    return feature_frame(with_slots_untraded(candles, stretch(candles)), NAMES)


def summary(name: str) -> dict[str, Any]:
    column = golden_features()[name].drop_nulls()
    return {
        "revision": catalog()[name].revision,
        "warmup": catalog()[name].warmup,
        "rows": column.len(),
        "sum": float(column.sum()),
        "absolute_sum": float(column.abs().sum()),
        "last": float(column[-1]),
    }


def differs(name: str, recorded: dict[str, Any]) -> bool:
    found, scale = summary(name), catalog()[name].scale
    if (found["rows"], found["warmup"]) != (recorded["rows"], recorded["warmup"]):
        return True
    size = TOLERANCE * max(scale * recorded["rows"], recorded["absolute_sum"])
    return any(abs(found[key] - recorded[key]) > size for key in ("sum", "absolute_sum", "last"))


def recorded_table() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = json.loads(GOLDEN.read_text())
    return table


@every_feature
def test_feature_has_its_recorded_values_at_its_recorded_revision(name: str) -> None:
    recorded = recorded_table().get(name)
    assert recorded, f"{name} is not in {GOLDEN.name}; see the top of this file"
    if differs(name, recorded):
        assert catalog()[name].revision > recorded["revision"], (
            f"values of {name} changed without its revision: {summary(name)}, recorded {recorded}"
        )
    assert catalog()[name].revision == recorded["revision"], f"write {GOLDEN.name} anew for {name}"


def test_golden_table_holds_no_feature_that_is_gone() -> None:
    assert set(recorded_table()) == set(NAMES)


def write_golden() -> None:
    """Record every feature; one whose values changed needs a raised revision first."""
    recorded = recorded_table() if GOLDEN.exists() else {}
    for name in set(NAMES) & set(recorded):
        if differs(name, recorded[name]) and catalog()[name].revision <= recorded[name]["revision"]:
            sys.exit(f"values of {name} changed: raise its revision above {recorded[name]['revision']} first")
    GOLDEN.write_text(json.dumps({name: summary(name) for name in NAMES}, indent=1) + "\n")


if __name__ == "__main__":
    write_golden()


def test_later_features_are_those_of_all_segments_from_a_time_on() -> None:
    candles = walk_candles(("BTCUSD", "ETHUSD"), bars=300, interval="30m", seed=3)
    start = candles["open_time"][0]
    hole = (start + 100 * timedelta(minutes=30), start + 110 * timedelta(minutes=30))
    grid = bar_grid(
        candles.filter(~pl.col("open_time").is_between(*hole)), interval="30m", max_missing_bars=3
    )
    names = ("log_return_1", "ema_distance_20")
    whole = feature_frame(grid, names)
    for since in (start, hole[0] - timedelta(hours=1), hole[0], hole[1] + timedelta(hours=9)):
        found = later_features(grid, names, since=since)
        wanted = whole.filter(pl.col("open_time") >= since)
        assert found.select(KEY_COLUMNS).equals(wanted.select(KEY_COLUMNS))
        for name in names:
            assert_close(name, values(found, name), values(wanted, name))
    nothing = later_features(grid, names, since=datetime(2100, 1, 1, tzinfo=UTC))
    assert nothing.is_empty()
    assert nothing.schema == whole.schema
