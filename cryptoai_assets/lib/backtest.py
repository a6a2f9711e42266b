"""The backtest: forecasts become positions, positions meet prices and costs, and money is counted.

It knows nothing about models: a signal is an array. A decision at the close of bar t is carried out at the
close of bar t + `latency_bars`, so that a position never earns the bar that it was decided on.
"""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.stats import kurtosis, norm, skew

Float64Array = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
BASIS_POINTS = 1e4
DAYS_A_YEAR = 365.0
EULER_MASCHERONI = 0.5772156649015329


class BacktestError(Exception):
    """Signals and prices do not fit together; the message says where."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one unit of turnover costs, each part in basis points.

    Parameters
    ----------
    spread_bps
        Between bid and ask; a trade pays half of it.
    """

    fee_bps: float
    spread_bps: float
    slippage_bps: float

    @property
    def rate(self) -> float:
        """Cost of trading one unit, as a fraction of it."""
        return (self.fee_bps + self.spread_bps / 2 + self.slippage_bps) / BASIS_POINTS


@dataclass(frozen=True, slots=True)
class PositionRule:
    """How a probability becomes a position.

    Parameters
    ----------
    lead
        Distance of the probability from one half from which it is acted upon.
    holding_bars
        A signal is held so long; the position is the mean of the signals that are held (overlapping tranches,
        Jegadeesh and Titman 1993).
    latency_bars
        From the close at which a signal is known to the close at which it is traded.
    """

    lead: float
    holding_bars: int
    latency_bars: int
    long_only: bool

    def signals(self, probability_up: Float64Array) -> Float64Array:
        """1 up, -1 down, 0 no opinion; NaN, an abstention, is none."""
        up = np.where(probability_up >= 0.5 + self.lead, 1.0, 0.0)
        down = np.where(probability_up <= 0.5 - self.lead, 0.0 if self.long_only else -1.0, 0.0)
        return np.where(np.isnan(probability_up) | (probability_up == 0.5), 0.0, up + down)

    def targets(self, probability_up: Float64Array) -> Float64Array:
        """(bars, symbols) position wanted after each close, as a share of a symbol's capital."""
        total = np.cumsum(self.signals(probability_up), axis=0)
        total[self.holding_bars :] -= total[: -self.holding_bars].copy()
        return total / self.holding_bars


@dataclass(frozen=True, slots=True)
class Run:
    """What happened, bar by bar; `performance` sums it up.

    Parameters
    ----------
    position
        (bars, symbols) held after each close, as a share of a symbol's capital.
    traded
        (bars, symbols) change of the position at each close.
    gross, net
        (bars,) return of the whole capital over each bar, before and after costs.
    """

    position: Float64Array
    traded: Float64Array
    gross: Float64Array
    net: Float64Array

    @property
    def equity(self) -> Float64Array:
        """Capital after each bar, 1 at the start."""
        return np.asarray(np.cumprod(1.0 + self.net), dtype=np.float64)


def run_backtest(
    probability_up: Float64Array,
    close: Float64Array,
    tradable: Booleans,
    *,
    rule: PositionRule,
    costs: Costs,
) -> Run:
    """Trade every symbol with an equal share of the capital, rebalanced to the position at each close.

    Parameters
    ----------
    probability_up
        (bars, symbols) known at each bar's close; NaN abstains.
    close
        (bars, symbols) positive.
    tradable
        (bars, symbols) whether somebody traded; an order waits for the next such bar.

    Raises
    ------
    BacktestError
        When the shapes differ or a price is not positive.
    """
    _refuse_unfitting(probability_up, close, tradable)
    bars, symbols = close.shape
    wanted = np.zeros_like(close)
    if bars > rule.latency_bars:
        wanted[rule.latency_bars :] = rule.targets(probability_up)[: bars - rule.latency_bars]
    last_traded = np.maximum.accumulate(np.where(tradable, np.arange(bars)[:, None], -1), axis=0)
    carried_out = np.take_along_axis(wanted, np.maximum(last_traded, 0), axis=0)
    position = np.where(last_traded >= 0, carried_out, 0.0)
    before = np.vstack([np.zeros((1, symbols)), position[:-1]])
    traded = position - before
    move = np.vstack([np.zeros((1, symbols)), close[1:] / close[:-1] - 1.0])
    gross, paid = np.zeros(bars), np.zeros(bars)
    for symbol in range(symbols):  # one order of addition, so that a bar-by-bar account gives the same bits
        gross += before[:, symbol] * move[:, symbol]
        paid += np.abs(traded[:, symbol])
    gross, paid = gross / symbols, paid * costs.rate / symbols
    return Run(position, traded, gross, gross - paid)


def _refuse_unfitting(probability_up: Float64Array, close: Float64Array, tradable: Booleans) -> None:
    if not probability_up.shape == close.shape == tradable.shape or close.ndim != 2:
        raise BacktestError(
            f"signals {probability_up.shape}, prices {close.shape} and tradable bars {tradable.shape} "
            "differ: give (bars, symbols) of the same bars"
        )
    wrong = np.argwhere(~(np.isfinite(close) & (close > 0)))
    if len(wrong):
        bar, symbol = wrong[0]
        raise BacktestError(f"price of bar {bar}, symbol {symbol} is {close[bar, symbol]}, not positive")


@dataclass(frozen=True, slots=True)
class Performance:
    """Numbers of a run; NaN where a run that never traded, or never lost, has none.

    Parameters
    ----------
    sharpe, sortino
        A year, without a riskless rate.
    maximum_drawdown
        Deepest fall from a peak, as a share of it.
    exposure
        Mean size of the position.
    turnover_a_day
        Capital traded in a day, as a multiple of it.
    breakeven_cost_bps
        Cost of one unit of turnover at which nothing is left; what is paid has to be below it.
    """

    total_return: float
    sharpe: float
    sortino: float
    maximum_drawdown: float
    exposure: float
    turnover_a_day: float
    trades: int
    breakeven_cost_bps: float

    def to_dict(self) -> dict[str, float]:
        """By name."""
        return {field.name: float(getattr(self, field.name)) for field in fields(self)}


def performance(run: Run, *, bars_a_day: float) -> Performance:
    """Sum a run up."""
    net, equity = run.net, run.equity
    bars, symbols = run.position.shape
    yearly = (bars_a_day * DAYS_A_YEAR) ** 0.5
    losses = np.sqrt(np.mean(np.minimum(net, 0.0) ** 2))
    peaks = np.maximum(np.maximum.accumulate(equity), 1.0)
    turnover = float(np.abs(run.traded).sum() / symbols)
    return Performance(
        total_return=float(equity[-1] - 1.0),
        sharpe=_ratio(float(net.mean()) * yearly, float(net.std())),
        sortino=_ratio(float(net.mean()) * yearly, float(losses)),
        maximum_drawdown=float((1.0 - equity / peaks).max()),
        exposure=float(np.abs(run.position).mean()),
        turnover_a_day=turnover / bars * bars_a_day,
        trades=int((run.traded != 0).sum()),
        breakeven_cost_bps=_ratio(float(run.gross.sum()) * BASIS_POINTS, turnover),
    )


def _ratio(value: float, by: float) -> float:
    return value / by if by > 0 else float("nan")


def buy_and_hold(close: Float64Array) -> Float64Array:
    """(bars,) capital of one who bought an equal share of each symbol at the first close and kept it."""
    return np.asarray((close / close[0]).mean(axis=1), dtype=np.float64)


def deflated_sharpe(net: Float64Array, *, trial_sharpes: Float64Array, trials: int) -> float:
    """Probability that the true Sharpe ratio is above what the best of so many worthless trials shows.

    Parameters
    ----------
    net
        Returns of the strategy that was chosen, one a bar.
    trial_sharpes
        Sharpe ratio, a bar, of strategies that were tried, the chosen one among them: how far luck reaches.
    trials
        How many were tried in all, also those whose Sharpe ratio nobody took down.

    Returns
    -------
    float
        NaN when the strategy never moved, or nothing was tried.

    Source: Bailey and López de Prado, "The Deflated Sharpe Ratio", 2014.
    """
    if len(trial_sharpes) == 0 or net.std() == 0:
        return float("nan")
    sharpe = float(net.mean() / net.std())
    expected_best = 0.0
    if trials > 1 and len(trial_sharpes) > 1:
        spread = float(np.std(trial_sharpes, ddof=1))
        first, second = norm.ppf(1 - 1 / trials), norm.ppf(1 - 1 / (trials * np.e))
        expected_best = spread * float((1 - EULER_MASCHERONI) * first + EULER_MASCHERONI * second)
    shape = 1 - float(skew(net)) * sharpe + (float(kurtosis(net, fisher=False)) - 1) / 4 * sharpe**2
    return float(norm.cdf((sharpe - expected_best) * (len(net) - 1) ** 0.5 / max(shape, 1e-12) ** 0.5))
