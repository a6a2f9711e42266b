"""Targets: what happens after a bar, and null where that is not known."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from fakes.walk_rows import walk_grid

from cryptoai_assets.lib.targets import target_frame

START = datetime(2020, 1, 1, tzinfo=UTC)


def grid_of(
    closes: list[float], *, symbol: str = "BTCUSD", segments: list[int] | None = None
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "open_time": [START + k * timedelta(minutes=30) for k in range(len(closes))],
            "symbol": [symbol] * len(closes),
            "close": closes,
            "traded": [True] * len(closes),
            "segment": segments or [0] * len(closes),
        }
    )


def test_targets_of_a_few_bars_are_those_found_by_hand() -> None:
    targets = target_frame(grid_of([100.0, 110.0, 99.0, 99.0]), horizons=[1, 2])
    steps = np.log([1.1, 0.9, 1.0])
    assert targets["return_1"].to_list() == pytest.approx([*steps[:2], 0.0, None])
    assert targets["up_1"].to_list() == [1, 0, None, None]
    assert targets["volatility_1"].to_list() == pytest.approx([*np.abs(steps[:2]), 0.0, None])
    assert targets["return_2"].to_list()[:2] == pytest.approx([np.log(0.99), np.log(0.9)])
    assert targets["return_2"].to_list()[2:] == [None, None]
    assert targets["volatility_2"].to_list()[:2] == pytest.approx(
        [np.hypot(steps[0], steps[1]), np.hypot(steps[1], steps[2])]
    )


def test_horizon_never_leaves_its_segment_or_its_symbol() -> None:
    one = grid_of([1.0, 2.0, 3.0, 4.0, 5.0], segments=[0, 0, 0, 1, 1])
    two = grid_of([7.0, 8.0, 9.0], symbol="ETHUSD")
    both = target_frame(pl.concat([one, two]), horizons=[1, 2])
    assert both["return_1"].is_null().to_list() == [False, False, True, False, True, False, False, True]
    assert both["volatility_2"].is_null().to_list() == [False, True, True, True, True, False, True, True]
    assert both["return_1"][5] == pytest.approx(np.log(8 / 7))


def test_bar_without_a_trade_has_no_target_but_is_a_step_of_others() -> None:
    quiet = grid_of([1.0, 1.0, 2.0]).with_columns(traded=pl.Series([True, False, True]))
    targets = target_frame(quiet, horizons=[2])
    assert targets.height == 2
    assert targets["return_2"][0] == pytest.approx(np.log(2))


def test_targets_are_those_of_a_plain_loop() -> None:
    grid = walk_grid(["BTCUSD"], bars=300, seed=4)
    steps = np.diff(np.log(grid["close"].to_numpy()))
    targets = target_frame(grid, horizons=[6])
    for k in range(0, 294, 7):
        ahead = steps[k : k + 6]
        assert targets["return_6"][k] == pytest.approx(ahead.sum(), abs=1e-12)
        assert targets["volatility_6"][k] == pytest.approx(np.sqrt((ahead**2).sum()), rel=1e-9)
    assert targets["return_6"].tail(6).null_count() == 6
