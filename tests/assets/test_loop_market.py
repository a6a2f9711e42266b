"""The replayed market: what its file must hold, and what is known of it at a midnight."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from fakes.loop_market import BAR, PLAN, candles, replayed

from cryptoai_assets.evaluate.loop_market import (
    DAY,
    FULL_PLAN,
    PLAIN_FEATURES,
    LoopError,
    ReplayedMarket,
)
from cryptoai_assets.lib.sources.candle_source import SourceError
from edge_bundle.features.catalog import short_memory


def test_a_file_of_the_minutes_is_read_and_one_with_too_few_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "candles.parquet"
    found = candles()
    found.write_parquet(archive)
    assert ReplayedMarket.read(archive, PLAN).frame.height == found.height

    found.head(found.height * 8 // 10).write_parquet(archive)
    with pytest.raises(LoopError, match=f"holds {found.height * 8 // 10} bars of 30m of BTCUSD"):
        ReplayedMarket.read(archive, PLAN)
    with pytest.raises(SourceError, match="absent"):
        ReplayedMarket.read(tmp_path / "none.parquet", PLAN)


def test_at_a_midnight_closed_bars_are_known_and_outcomes_a_horizon_later() -> None:
    market, now = replayed(candles()), PLAN.live_start
    known = market.known(now)
    told = known.keys.filter(known.targets["return_1"].is_not_null())
    assert known.times[-1] == now - BAR
    assert told["open_time"].max() == now - 2 * BAR
    assert known.times[0] == now - PLAN.window
    assert market.outcomes(now)["open_time"].max() == now - 2 * BAR


def test_a_bar_that_did_not_move_has_no_direction_to_score() -> None:
    still = candles().with_columns(pl.col("close").backward_fill())
    stands = pl.col("open_time") == PLAN.live_start
    still = still.with_columns(
        close=pl.when(stands).then(pl.col("close").shift(1)).otherwise("close"),
    ).with_columns(
        high=pl.max_horizontal("high", "close", "open"), low=pl.min_horizontal("low", "close", "open")
    )
    times = replayed(still).outcomes(PLAN.live_start + DAY)["open_time"]
    assert PLAN.live_start - BAR not in times
    assert PLAN.live_start in times


def test_the_plan_lives_on_the_months_after_the_first_and_reads_plain_features_of_short_memory() -> None:
    assert (FULL_PLAN.midnights[0].isoformat(), FULL_PLAN.midnights[-1].isoformat()) == (
        "2018-01-01T00:00:00+00:00",
        "2018-05-31T00:00:00+00:00",
    )
    assert set(PLAIN_FEATURES) <= set(short_memory())
    assert replace(FULL_PLAN, live_days=2).midnights == FULL_PLAN.midnights[:2]
