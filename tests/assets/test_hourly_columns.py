"""Columns that are watched every hour, side by side: what was said is judged when its outcome is known."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from cryptoai_assets.lib.hourly_watch import AGREEMENT, FORECAST, OUTCOME, can_drift, lined_up
from cryptoai_assets.lib.market import market_preset
from cryptoai_monitoring.hourly import Column

SAMPLE = market_preset("sample")
START = datetime(2024, 1, 1, tzinfo=UTC)


def test_agreement_is_known_a_horizon_after_what_was_said_and_only_it_is_watched_for_falls() -> None:
    times = [START + bar * SAMPLE.bar for bar in range(4)]
    frame = pl.DataFrame(
        {
            "open_time": times,
            "symbol": ["BTCUSD"] * 4,
            "momentum": [1.0, 2.0, 3.0, 4.0],
            "return_1": [0.5, -0.25, 0.125, None],
        }
    )
    said = pl.DataFrame({"open_time": times, "symbol": ["BTCUSD"] * 4, "said": [0.75, 0.625, 0.25, 0.5]})
    found = lined_up(frame, said, ["momentum"], SAMPLE)
    assert found.columns == (
        Column("BTCUSD", "momentum"),
        Column("BTCUSD", FORECAST),
        Column("BTCUSD", OUTCOME),
        Column("BTCUSD", AGREEMENT, agreement=True),
    )
    assert np.array_equal(found.values[:, 2], [np.nan, 0.5, -0.25, 0.125], equal_nan=True)
    assert np.array_equal(found.values[:, 3], [np.nan, 0.5, -0.25, -0.5], equal_nan=True)
    assert (found.start, found.bar) == (START, SAMPLE.bar)
    assert SAMPLE.bar < timedelta(hours=1)


def test_neither_the_hour_nor_whose_bar_it_is_can_drift() -> None:
    assert can_drift(["log_return_1", "hour_sine", "symbol_is_BTCUSD", "bar_range"]) == [
        "log_return_1",
        "bar_range",
    ]
