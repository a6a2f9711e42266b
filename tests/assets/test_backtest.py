"""The backtest: equal to an account kept bar by bar, and blind to the bar that a signal was decided on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.backtest import (
    BacktestError,
    Costs,
    PositionRule,
    buy_and_hold,
    deflated_sharpe,
    performance,
    run_backtest,
)

COSTS = Costs(fee_bps=10.0, spread_bps=2.0, slippage_bps=1.0)
FREE = Costs(0.0, 0.0, 0.0)
RULE = PositionRule(lead=0.02, holding_bars=3, latency_bars=1, long_only=False)


def market(seed: int, bars: int, symbols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(draws.normal(0, 0.01, (bars, symbols)), axis=0))
    probability = np.clip(draws.normal(0.5, 0.05, (bars, symbols)), 0, 1)
    probability[draws.random((bars, symbols)) < 0.1] = np.nan
    return probability, close, draws.random((bars, symbols)) > 0.1


def kept_by_hand(
    probability: np.ndarray, close: np.ndarray, tradable: np.ndarray, rule: PositionRule, costs: Costs
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, orders and equity of an account that sees one bar after the other."""
    bars, symbols = close.shape
    held, opinions, waiting = [0.0] * symbols, [[] for _ in range(symbols)], [[] for _ in range(symbols)]
    positions, orders, equity, capital = np.zeros((bars, symbols)), np.zeros((bars, symbols)), [], 1.0
    for bar in range(bars):
        earned = paid = 0.0
        for symbol in range(symbols):
            if bar:
                earned += held[symbol] * (close[bar, symbol] / close[bar - 1, symbol] - 1.0)
            said, opinion = probability[bar, symbol], 0.0
            if said >= 0.5 + rule.lead and said != 0.5:
                opinion = 1.0
            elif said <= 0.5 - rule.lead and said != 0.5 and not rule.long_only:
                opinion = -1.0
            opinions[symbol].append(opinion)
            waiting[symbol].append(sum(opinions[symbol][-rule.holding_bars :]) / rule.holding_bars)
            wanted = waiting[symbol][bar - rule.latency_bars] if bar >= rule.latency_bars else 0.0
            order = wanted - held[symbol] if tradable[bar, symbol] else 0.0
            held[symbol] = wanted if tradable[bar, symbol] else held[symbol]
            paid += abs(order)
            positions[bar, symbol], orders[bar, symbol] = held[symbol], order
        capital *= 1.0 + (earned / symbols - paid * costs.rate / symbols)
        equity.append(capital)
    return positions, orders, np.array(equity)


@given(
    seed=st.integers(0, 10_000),
    bars=st.integers(2, 60),
    symbols=st.integers(1, 11),
    holding=st.integers(1, 8),
    latency=st.integers(0, 3),
    lead=st.sampled_from((0.0, 0.02)),
    long_only=st.booleans(),
)
def test_orders_positions_and_equity_are_those_of_an_account_kept_bar_by_bar_to_the_last_bit(
    *, seed: int, bars: int, symbols: int, holding: int, latency: int, lead: float, long_only: bool
) -> None:
    rule = PositionRule(lead, holding, latency, long_only)
    series = market(seed, bars, symbols)
    run = run_backtest(*series, rule=rule, costs=COSTS)
    positions, orders, equity = kept_by_hand(*series, rule, COSTS)
    np.testing.assert_array_equal(run.position, positions)
    np.testing.assert_array_equal(run.traded, orders)
    np.testing.assert_array_equal(run.equity, equity)


@given(seed=st.integers(0, 10_000), cut=st.integers(5, 55))
def test_nothing_that_happens_later_changes_an_order(seed: int, cut: int) -> None:
    probability, close, tradable = market(seed, 60, 3)
    before = run_backtest(probability, close, tradable, rule=RULE, costs=COSTS)
    probability[cut:], close[cut:] = 0.9, close[cut:] * 2
    after = run_backtest(probability, close, tradable, rule=RULE, costs=COSTS)
    np.testing.assert_array_equal(before.traded[:cut], after.traded[:cut])
    np.testing.assert_array_equal(before.net[:cut], after.net[:cut])


def test_oracle_of_the_next_bar_earns_nothing_once_its_signal_is_traded_a_bar_late() -> None:
    """A signal that knows only the very next bar is worthless behind a latency of one bar."""
    draws = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(draws.normal(0, 0.01, (20_000, 1)), axis=0))
    next_move = np.append(np.diff(np.log(close[:, 0])), 0.0)[:, None]
    knows = np.where(next_move > 0, 0.9, 0.1)
    everywhere = np.ones_like(close, dtype=bool)
    at_once = run_backtest(knows, close, everywhere, rule=PositionRule(0.1, 1, 0, False), costs=FREE)
    late = run_backtest(knows, close, everywhere, rule=PositionRule(0.1, 1, 1, False), costs=FREE)
    assert at_once.net.mean() > 0.007
    assert abs(late.net.mean()) < 3 * 0.01 / 20_000**0.5


def test_costs_are_paid_on_turnover_and_the_breakeven_cost_leaves_nothing() -> None:
    probability, close, tradable = market(3, 5000, 4)
    free = run_backtest(probability, close, tradable, rule=RULE, costs=FREE)
    dear = run_backtest(probability, close, tradable, rule=RULE, costs=COSTS)
    paid = np.abs(free.traded).sum(axis=1) / 4 * (10 + 1 + 1) / 1e4
    np.testing.assert_allclose(free.net - dear.net, paid, atol=1e-15)
    even = Costs(performance(free, bars_a_day=48).breakeven_cost_bps, 0.0, 0.0)
    assert abs(run_backtest(probability, close, tradable, rule=RULE, costs=even).net.sum()) < 1e-9


def test_numbers_of_a_hand_made_run() -> None:
    close = np.array([[100.0], [110.0], [99.0], [99.0], [108.9]])
    probability = np.array([[0.9], [0.9], [0.1], [0.5], [0.5]])
    rule = PositionRule(0.1, 1, 0, long_only=True)
    run = run_backtest(probability, close, np.ones((5, 1), dtype=bool), rule=rule, costs=FREE)
    np.testing.assert_array_equal(run.position[:, 0], [1, 1, 0, 0, 0])
    np.testing.assert_allclose(run.net, [0, 0.1, -0.1, 0, 0], atol=1e-12)
    found = performance(run, bars_a_day=1)
    assert found.total_return == pytest.approx(-0.01)
    assert found.maximum_drawdown == pytest.approx(0.1)
    assert found.exposure == pytest.approx(0.4)
    assert found.trades == 2
    assert found.turnover_a_day == pytest.approx(2 / 5)
    assert buy_and_hold(close)[-1] == pytest.approx(1.089)


def test_deflated_sharpe_of_the_best_of_many_worthless_trials_is_no_evidence_and_of_one_true_one_is() -> None:
    draws = np.random.default_rng(5)
    trials = draws.normal(0, 0.01, (200, 2000))
    sharpes = trials.mean(axis=1) / trials.std(axis=1)
    best = trials[np.argmax(sharpes)]
    assert deflated_sharpe(best, trial_sharpes=sharpes[:1], trials=1) > 0.99
    assert deflated_sharpe(best, trial_sharpes=sharpes, trials=200) < 0.9
    many = deflated_sharpe(best, trial_sharpes=sharpes, trials=20_000)
    assert many < deflated_sharpe(best, trial_sharpes=sharpes, trials=200)
    assert deflated_sharpe(best + 0.002, trial_sharpes=sharpes, trials=200) > 0.99
    assert np.isnan(deflated_sharpe(np.zeros(10), trial_sharpes=sharpes, trials=200))


def test_strategy_as_good_as_the_luckiest_of_a_hundred_is_as_likely_worthless_as_not() -> None:
    draws = np.random.default_rng(1)
    luckiest = draws.normal(size=(20_000, 100)).max(axis=1).mean()
    sharpes, net = draws.normal(size=100), draws.normal(size=4000)
    sharpes *= 0.01 / sharpes.std(ddof=1)
    net = (net - net.mean()) / net.std() + 0.01 * luckiest
    assert deflated_sharpe(net, trial_sharpes=sharpes, trials=100) == pytest.approx(0.5, abs=0.05)


def test_what_does_not_fit_together_is_refused_by_name() -> None:
    probability, close, tradable = market(1, 10, 2)
    with pytest.raises(BacktestError, match=r"signals \(9, 2\)"):
        run_backtest(probability[1:], close, tradable, rule=RULE, costs=COSTS)
    close[4, 1] = 0.0
    with pytest.raises(BacktestError, match="bar 4, symbol 1 is 0"):
        run_backtest(probability, close, tradable, rule=RULE, costs=COSTS)
