"""From forecasts to money: a rule of trading is chosen on the walk-forward, and counted on the rows after it.

Every rule that was tried is counted, and with it every model that the search tried: the best of many has
luck.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from cryptoai_assets.lib.backtest import (
    DAYS_A_YEAR,
    Booleans,
    Costs,
    Float64Array,
    PositionRule,
    Run,
    buy_and_hold,
    deflated_sharpe,
    performance,
    run_backtest,
)
from cryptoai_assets.lib.scoring import BootstrapSettings, Score

# Leads of the probability over one half from which a rule acts.
LEADS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08)
LATENCY_BARS = 1


@dataclass(frozen=True, slots=True)
class Panel:
    """Forecasts and prices of the same bars.

    Parameters
    ----------
    times
        Open time of each bar that any symbol has.
    close
        (bars, symbols); the last known one where nobody traded.
    tradable
        (bars, symbols) whether somebody did.
    probability_up
        (bars, symbols) by horizon; NaN where no forecast was made.
    """

    times: pl.Series
    close: Float64Array
    tradable: Booleans
    probability_up: Mapping[int, Float64Array]


@dataclass(frozen=True, slots=True)
class Strategy:
    """Which horizon is traded, and how."""

    horizon: int
    rule: PositionRule


@dataclass(frozen=True, slots=True)
class Trial:
    """A strategy that was tried, with what became of it."""

    strategy: Strategy
    run: Run

    @property
    def sharpe(self) -> float:
        """Net mean over deviation, a bar; 0 for one that never traded."""
        return float(self.run.net.mean() / self.run.net.std()) if self.run.net.std() > 0 else 0.0

    @property
    def traded(self) -> bool:
        """Whether it ever did."""
        return bool((self.run.traded != 0).any())


@dataclass(frozen=True, slots=True)
class Backtest:
    """A strategy chosen on one stretch of time and counted on a later one.

    Parameters
    ----------
    trials
        All that were tried, on the earlier stretch.
    deflated
        Probability that the chosen one's Sharpe ratio there is more than that of the luckiest of all trials.
    trials_in_all
        Strategies times the models among which the forecasts were chosen.
    sharpe
        A year, on the later stretch, with the interval of a block bootstrap.
    """

    chosen: Strategy
    trials: tuple[Trial, ...]
    trials_in_all: int
    deflated: float
    later: Panel
    run: Run
    sharpe: Score

    def record(self, *, bars_a_day: float) -> dict[str, Any]:
        """Numbers for JSON."""
        return {
            "horizon": self.chosen.horizon,
            "rule": asdict(self.chosen.rule),
            "strategies_tried": len(self.trials),
            "trials_in_all": self.trials_in_all,
            "deflated_sharpe": self.deflated,
            "sharpe": asdict(self.sharpe),
            "performance": performance(self.run, bars_a_day=bars_a_day).to_dict(),
            "buy_and_hold": float(buy_and_hold(self.later.close)[-1] - 1),
        }

    def table(self, *, bars_a_day: float) -> pl.DataFrame:
        """One row a strategy that was tried: horizon, lead, and its numbers on the earlier stretch."""
        rows = [
            {
                "horizon": trial.strategy.horizon,
                "lead": trial.strategy.rule.lead,
                **performance(trial.run, bars_a_day=bars_a_day).to_dict(),
            }
            for trial in self.trials
        ]
        return pl.DataFrame(rows)


def market_panel(predictions: pl.DataFrame, grid: pl.DataFrame) -> Panel:
    """Lay forecasts beside the prices of all bars from the first of them to the last.

    Parameters
    ----------
    predictions
        ``open_time``, ``symbol``, ``horizon``, ``probability_up``, of one model.
    grid
        ``open_time``, ``symbol``, ``close``, ``traded``, sorted.
    """
    first, last = predictions["open_time"].min(), predictions["open_time"].max()
    bars = grid.filter(pl.col("open_time").is_between(first, last))
    symbols = bars["symbol"].unique().sort().to_list()
    times = bars.select(pl.col("open_time").unique().sort())
    close = _wide(bars, times, symbols, "close").select(pl.all().forward_fill().backward_fill())
    tradable = _wide(bars, times, symbols, "traded").fill_null(False)
    probability = {
        int(horizon): _wide(rows, times, symbols, "probability_up").cast(pl.Float64).fill_null(np.nan)
        for (horizon,), rows in predictions.group_by("horizon", maintain_order=True)
    }
    return Panel(
        times["open_time"],
        close.to_numpy(),
        tradable.to_numpy(),
        {horizon: frame.to_numpy() for horizon, frame in probability.items()},
    )


def _wide(rows: pl.DataFrame, times: pl.DataFrame, symbols: Sequence[str], column: str) -> pl.DataFrame:
    """(bars, symbols); null where there is no row."""
    pivoted = rows.pivot("symbol", index="open_time", values=column)
    absent = [pl.lit(None).alias(symbol) for symbol in symbols if symbol not in pivoted.columns]
    return times.join(pivoted.with_columns(absent), on="open_time", how="left").select(symbols)


def strategies(horizons: Sequence[int]) -> tuple[Strategy, ...]:
    """All that are tried: each horizon held for its length, acted upon from each lead."""
    return tuple(
        Strategy(horizon, PositionRule(lead, horizon, LATENCY_BARS, long_only=False))
        for horizon in horizons
        for lead in LEADS
    )


def backtested(
    earlier: Panel,
    later: Panel,
    *,
    costs: Costs,
    bars_a_day: float,
    models_tried: int,
    bootstrap: BootstrapSettings,
) -> Backtest:
    """Choose the best net Sharpe ratio of the earlier panel, and count what it brings on the later one.

    Parameters
    ----------
    earlier
        Out-of-sample forecasts of the procedure.
    later
        Forecasts of the version's own bytes on its final stretch.
    models_tried
        By every search on the same rows, before any strategy was.
    """
    trials = tuple(
        Trial(strategy, _traded(earlier, strategy, costs))
        for strategy in strategies(tuple(earlier.probability_up))
    )
    best = max((trial for trial in trials if trial.traded), key=lambda trial: trial.sharpe, default=trials[0])
    run = _traded(later, best.strategy, costs)
    tried = len(trials) * models_tried
    return Backtest(
        chosen=best.strategy,
        trials=trials,
        trials_in_all=tried,
        deflated=deflated_sharpe(
            best.run.net,
            trial_sharpes=np.array([trial.sharpe for trial in trials]),
            trials=tried,
        ),
        later=later,
        run=run,
        sharpe=yearly_sharpe(run, later.times, bars_a_day=bars_a_day, bootstrap=bootstrap),
    )


def _traded(panel: Panel, strategy: Strategy, costs: Costs) -> Run:
    said = panel.probability_up[strategy.horizon]
    return run_backtest(said, panel.close, panel.tradable, rule=strategy.rule, costs=costs)


def yearly_sharpe(run: Run, times: pl.Series, *, bars_a_day: float, bootstrap: BootstrapSettings) -> Score:
    """Sharpe ratio of a year, net, with its interval; 0 for a run that never moved."""
    yearly = (bars_a_day * DAYS_A_YEAR) ** 0.5

    def ratio(count: Float64Array, total: Float64Array, squares: Float64Array) -> Float64Array:
        mean = np.asarray(total / count)
        spread = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        sharpe: Float64Array = yearly * np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 0)
        return sharpe

    return bootstrap.over(times).score("sharpe", [np.ones(len(run.net)), run.net, run.net**2], ratio)
