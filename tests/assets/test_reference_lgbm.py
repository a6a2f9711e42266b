"""The reference: its features by hand, and forecasts of test rows from earlier rows alone."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cryptoai_assets.lib.canaries import random_walk_candles
from cryptoai_assets.lib.models.reference_lgbm import reference_forecasts, reference_rows
from cryptoai_assets.lib.splits import walk_forward

BAR = timedelta(minutes=30)
START = datetime(2020, 1, 1, 23, tzinfo=UTC)


def candles_of(closes: dict[int, float]) -> pl.DataFrame:
    """Candles at some slots of the grid, each from one below to three above its close."""
    return pl.DataFrame(
        {
            "open_time": [START + slot * BAR for slot in closes],
            "symbol": ["BTCUSD"] * len(closes),
            "open": list(closes.values()),
            "high": [close + 3 for close in closes.values()],
            "low": [close - 1 for close in closes.values()],
            "close": list(closes.values()),
            "volume": [float(slot + 1) for slot in closes],
        },
        schema_overrides={"open_time": pl.Datetime("us", "UTC")},
    )


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Eight slots, of which the fourth holds no candle."""
    closes = {0: 100.0, 1: 110.0, 2: 99.0, 4: 120.0, 5: 90.0, 6: 95.0, 7: 95.0}
    return reference_rows(candles_of(closes), interval=BAR, horizons=(1, 2))


FILLED = np.array([100.0, 110.0, 99.0, 99.0, 120.0, 90.0, 95.0, 95.0])
STEPS = np.diff(np.log(FILLED))


def test_absent_bar_is_a_row_that_repeats_the_close_and_has_no_range(rows: pl.DataFrame) -> None:
    assert rows.height == 8
    assert rows["return_1"].to_list() == pytest.approx([None, *STEPS])
    assert rows["range"][3] == 0
    assert rows["close_location"].to_list() == [0.25, 0.25, 0.25, 0.5, 0.25, 0.25, 0.25, 0.25]


def test_features_are_those_found_by_hand(rows: pl.DataFrame) -> None:
    assert rows["return_5"][7] == pytest.approx(np.log(95 / 99))
    assert rows["deviation_5"][6] == pytest.approx(np.std(STEPS[1:6], ddof=1))
    assert rows["range"][4] == pytest.approx(4 / 120)
    assert rows["log_volume"][5] == pytest.approx(np.log((2 + 3 + 0 + 5 + 6) / 5))
    assert rows["hour"].to_list() == [23, 23, 0, 0, 1, 1, 2, 2]
    mean = 100.0
    for close in FILLED[1:]:
        mean += 2 / 21 * (close - mean)
    assert rows["ema_20"][7] == pytest.approx(95 / mean - 1)
    assert rows["volume_ratio"].null_count() == 8


def test_outcomes_are_those_found_by_hand(rows: pl.DataFrame) -> None:
    assert rows["forward_1"].to_list() == pytest.approx([*STEPS, None])
    assert rows["forward_2"][2] == pytest.approx(np.log(120 / 99))
    assert rows["realised_2"][3] == pytest.approx(np.hypot(STEPS[3], STEPS[4]))
    assert rows["realised_2"].to_list()[6:] == [None, None]


def test_recipe_has_its_twenty_one_features(rows: pl.DataFrame) -> None:
    names = [name for name in rows.columns if not name.startswith(("forward_", "realised_"))]
    assert len(names) - len(("open_time", "symbol")) == 21


def test_forecasts_cover_the_test_rows_and_read_no_outcome_of_theirs() -> None:
    candles = random_walk_candles("BTCUSD", bars=2600, interval="30m", seed=2)
    rows = reference_rows(candles, interval=BAR, horizons=(1,))
    times = rows["open_time"].to_list()
    folds = walk_forward(times, bar=BAR, folds=1, test_share=0.3, horizon_bars=1, embargo_bars=2)
    said = reference_forecasts(rows, folds, horizon=1, seed=1, threads=1)
    assert said["open_time"].to_list() == [time for time in times if time >= folds[0].test_start]
    assert (said["volatility"] > 0).all()
    later = pl.col("open_time") >= folds[0].train_end
    turned = rows.with_columns(
        pl.when(later).then(-pl.col("forward_1")).otherwise(pl.col("forward_1")).alias("forward_1")
    )
    assert reference_forecasts(turned, folds, horizon=1, seed=1, threads=1).equals(said)


def test_forecasts_find_what_repeats() -> None:
    draws = np.random.default_rng(3)
    candles = random_walk_candles("BTCUSD", bars=2600, interval="30m", seed=2)
    turning = 100 + np.where(np.arange(2600) % 2 == 0, 1.0, -1.0) + draws.normal(size=2600) * 0.3
    candles = candles.with_columns(
        close=pl.Series(turning), high=pl.Series(turning + 1), low=pl.Series(turning - 1)
    )
    rows = reference_rows(candles, interval=BAR, horizons=(1,))
    folds = walk_forward(
        rows["open_time"].to_list(), bar=BAR, folds=1, test_share=0.3, horizon_bars=1, embargo_bars=2
    )
    said = reference_forecasts(rows, folds, horizon=1, seed=1, threads=1)
    both = said.join(rows, on="open_time").drop_nulls("forward_1")
    assert ((both["score"] > 0) == (both["forward_1"] > 0)).mean() > 0.95
