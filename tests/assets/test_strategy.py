"""From forecasts to money: rules are chosen on earlier rows, and prices stand beside their own forecasts."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cryptoai_assets.lib.backtest import Costs
from cryptoai_assets.lib.scoring import BootstrapSettings
from cryptoai_assets.lib.strategy import (
    LEADS,
    Backtest,
    Panel,
    backtested,
    market_panel,
    strategies,
    yearly_sharpe,
)

START = datetime(2020, 1, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)
FREE = Costs(0.0, 0.0, 0.0)
BOOTSTRAP = BootstrapSettings(block_bars=48, resamples=400, seed=1, confidence=0.95)


def panel(seed: int, bars: int, skill: float) -> Panel:
    """Two coins whose move after the next bar is known to one forecast, with noise, and not to the other."""
    draws = np.random.default_rng(seed)
    moves = draws.normal(0, 0.01, (bars, 2))
    close = 100 * np.exp(np.cumsum(moves, axis=0))
    # Traded one bar late and held for one, a signal earns the move of the bar after next.
    ahead = np.vstack([moves[2:], np.zeros((2, 2))])
    knows = 0.5 + np.clip(skill * np.sign(ahead) * 0.06 + draws.normal(0, 0.02, (bars, 2)), -0.4, 0.4)
    blind = 0.5 + draws.normal(0, 0.03, (bars, 2))
    times = pl.Series([START + k * BAR for k in range(bars)])
    return Panel(times, close, np.ones((bars, 2), dtype=bool), {1: knows, 6: blind})


def found(earlier: Panel, later: Panel, *, models_tried: int = 1) -> Backtest:
    return backtested(
        earlier, later, costs=FREE, bars_a_day=48, models_tried=models_tried, bootstrap=BOOTSTRAP
    )


def test_horizon_that_knows_is_chosen_and_earns_on_the_later_rows() -> None:
    result = found(panel(1, 4000, skill=0.3), panel(2, 2000, skill=0.3))
    assert result.chosen.horizon == 1
    assert len(result.trials) == 2 * len(LEADS) == len(strategies((1, 6)))
    assert result.sharpe.lower > 0
    assert result.deflated > 0.99
    record = result.record(bars_a_day=48)
    assert record["performance"]["sharpe"] == pytest.approx(result.sharpe.value)
    assert result.table(bars_a_day=48).height == len(result.trials)


def test_worthless_forecasts_stay_worthless_after_the_best_of_them_was_chosen() -> None:
    results = [found(panel(seed, 1500, skill=0.0), panel(seed + 100, 800, skill=0.0)) for seed in range(20)]
    inside = sum(one.sharpe.lower <= 0 <= one.sharpe.upper for one in results)
    assert inside >= 16  # 95 % intervals: 15 or fewer of 20 has a probability of 0.003
    assert np.mean([one.deflated for one in results]) < 0.75


def test_later_rows_do_not_change_what_is_chosen_and_more_models_deflate_more() -> None:
    earlier = panel(3, 1500, skill=0.05)
    first, other = (found(earlier, panel(seed, 600, skill=0.3)) for seed in (4, 5))
    assert first.chosen == other.chosen
    assert first.deflated == other.deflated
    assert found(earlier, panel(4, 600, skill=0.3), models_tried=90).deflated < first.deflated


def test_sharpe_of_a_run_that_never_moved_is_zero() -> None:
    still = panel(6, 300, skill=0.0)
    nobody = Panel(still.times, still.close, np.zeros_like(still.tradable), still.probability_up)
    run = found(nobody, nobody).run
    assert yearly_sharpe(run, still.times, bars_a_day=48, bootstrap=BOOTSTRAP).value == 0.0


def test_prices_stand_beside_their_own_forecasts_and_holes_are_not_tradable() -> None:
    times = [START + k * BAR for k in range(6)]
    absent = {("A", 3), ("B", 3), ("B", 4)}
    rows = [
        (times[k], symbol, 10.0 * (k + 1) + j, k != 2)
        for j, symbol in enumerate("AB")
        for k in range(6)
        if (symbol, k) not in absent
    ]
    grid = pl.DataFrame(rows, schema=["open_time", "symbol", "close", "traded"], orient="row")
    said = [(times[k], "A", 2, 0.5 + k / 100) for k in range(1, 6)]
    predictions = pl.DataFrame(
        said, schema=["open_time", "symbol", "horizon", "probability_up"], orient="row"
    )
    laid = market_panel(predictions, grid)
    assert laid.times.to_list() == [times[k] for k in (1, 2, 4, 5)]
    assert laid.close.tolist() == [[20, 21], [30, 31], [50, 31], [60, 61]]
    assert laid.tradable.tolist() == [[True, True], [False, False], [True, False], [True, True]]
    np.testing.assert_array_equal(laid.probability_up[2][:, 0], [0.51, 0.52, 0.54, 0.55])
    assert np.isnan(laid.probability_up[2][:, 1]).all()
