"""Canaries: an honest bundle survives them, and each planted fault kills its own, by name."""

from collections.abc import Sequence
from datetime import timedelta

import polars as pl
import pytest
from fakes.tiny_bundle import walk_candles, write_tiny_bundle

from cryptoai_assets.lib.canaries import (
    canaries,
    history_does_not_matter,
    later_bars_do_not_matter,
    random_walk_candles,
    random_walks_stay_unknown,
)
from edge_bundle.features.catalog import feature_frame
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

SEED = 11
SYMBOLS = ("BTCUSD", "ETHUSD")


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    return Forecaster.load(write_tiny_bundle(tmp_path_factory.mktemp("bundle"), seed=1))


@pytest.fixture(scope="module")
def window() -> MarketWindow:
    """Two symbols, one of them with a bridged gap and a hole."""
    candles = walk_candles(SYMBOLS, bars=600, interval="30m", seed=3).with_row_index("bar")
    missing = pl.col("bar").is_in([820, 821]) | pl.col("bar").is_between(700, 740)
    return MarketWindow(candles.filter(~missing).drop("bar"))


def from_the_next_bar(grid: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Features whose one-bar return is shifted by one bar: it is the next one."""
    frame = feature_frame(grid, names)
    return frame.with_columns(pl.col("log_return_1").shift(-1).over("symbol"))


def from_all_bars(grid: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Features of which one is measured from the first bar of all on."""
    frame = feature_frame(grid, names)
    return frame.with_columns(pl.col("return_deviation_15").cum_sum().over("symbol"))


def scaled_over_all_rows(grid: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Features of which one is scaled by what all rows together show."""
    frame = feature_frame(grid, names)
    column = pl.col("log_return_5")
    return frame.with_columns(((column - column.mean()) / column.std()).alias("log_return_5"))


def test_honest_bundle_survives_all(forecaster: Forecaster, window: MarketWindow) -> None:
    results = canaries(forecaster, window, seed=SEED)
    assert [result.name for result in results if not result.passed] == []
    assert len({result.name for result in results}) == 3


@pytest.fixture(scope="module")
def comparing(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    """A bundle that reads all symbols at once."""
    names = ("log_return_1", "return_rank_60", "breadth_60")
    folder = tmp_path_factory.mktemp("comparing")
    return Forecaster.load(write_tiny_bundle(folder, features=names, seed=1))


def test_honest_bundle_that_compares_symbols_survives_all(comparing: Forecaster) -> None:
    candles = walk_candles(SYMBOLS, bars=600, interval="30m", seed=3)
    late = (pl.col("symbol") == "ETHUSD") & (pl.col("open_time") > candles["open_time"][-4])
    results = canaries(comparing, MarketWindow(candles.filter(~late)), seed=SEED)
    assert [(result.name, result.detail) for result in results if not result.passed] == []


def test_rank_that_is_the_next_bar_s_is_named(comparing: Forecaster) -> None:
    def next_rank(grid: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        return feature_frame(grid, names).with_columns(pl.col("return_rank_60").shift(-1).over("symbol"))

    window = MarketWindow(walk_candles(SYMBOLS, bars=600, interval="30m", seed=3))
    assert history_does_not_matter(comparing, window, features=next_rank).detail.endswith(": return_rank_60")
    found = later_bars_do_not_matter(comparing, window, features=next_rank)
    assert found.detail == "read later bars: return_rank_60"


def test_feature_that_is_shifted_by_one_bar_is_named(forecaster: Forecaster, window: MarketWindow) -> None:
    result = later_bars_do_not_matter(forecaster, window, features=from_the_next_bar)
    assert not result.passed
    assert result.detail == "read later bars: log_return_1"


def test_feature_that_is_scaled_over_all_rows_is_named(forecaster: Forecaster, window: MarketWindow) -> None:
    result = later_bars_do_not_matter(forecaster, window, features=scaled_over_all_rows)
    assert not result.passed
    assert result.detail == "read later bars: log_return_5"


def test_feature_that_remembers_all_bars_is_named(forecaster: Forecaster, window: MarketWindow) -> None:
    result = history_does_not_matter(forecaster, window, features=from_all_bars)
    assert not result.passed
    assert result.detail.endswith(": return_deviation_15")


def test_next_bar_among_the_features_is_more_right_than_chance_on_random_walks(
    forecaster: Forecaster,
) -> None:
    result = random_walks_stay_unknown(forecaster, seed=SEED, features=from_the_next_bar)
    assert not result.passed


@pytest.mark.parametrize("seed", range(5))
def test_random_walk_does_not_kill_an_honest_bundle(forecaster: Forecaster, seed: int) -> None:
    assert random_walks_stay_unknown(forecaster, seed=seed).passed


def test_window_too_short_to_tell_does_not_pass(forecaster: Forecaster, window: MarketWindow) -> None:
    short = MarketWindow(window.candles.group_by("symbol", maintain_order=True).tail(10))
    assert not history_does_not_matter(forecaster, short).passed
    assert not later_bars_do_not_matter(forecaster, short).passed


def test_features_that_are_never_known_do_not_pass(forecaster: Forecaster, window: MarketWindow) -> None:
    def unknown(grid: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        return feature_frame(grid, names).with_columns(pl.lit(None, dtype=pl.Float64).alias(names[0]))

    assert not later_bars_do_not_matter(forecaster, window, features=unknown).passed
    assert not random_walks_stay_unknown(forecaster, seed=SEED, features=unknown).passed


def test_random_walk_candles_are_candles_and_their_seed_names_them() -> None:
    candles = random_walk_candles("BTCUSD", bars=500, interval="30m", seed=1)
    assert candles.equals(random_walk_candles("BTCUSD", bars=500, interval="30m", seed=1))
    assert not candles.equals(random_walk_candles("BTCUSD", bars=500, interval="30m", seed=2))
    assert candles.filter(pl.col("high") < pl.max_horizontal("open", "close")).is_empty()
    assert candles.filter(pl.col("low") > pl.min_horizontal("open", "close")).is_empty()
    assert set(candles["open_time"].diff().drop_nulls()) == {timedelta(minutes=30)}
