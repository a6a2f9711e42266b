"""The live score: only what is known is scored, each share over its own rows, and a fall is noticed."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cryptoai_monitoring.live_score import scored_forecasts, shortfalls, standing

START = datetime(2019, 9, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)


def forecast(bar: int, probability_up: float | None, *, symbol: str = "BTCUSD") -> dict[str, object]:
    answered = probability_up is not None
    return {
        "version": 1,
        "symbol": symbol,
        "open_time": START + bar * BAR,
        "horizon_bars": 1,
        "probability_up": probability_up,
        "lower_bps": -10.0 if answered else None,
        "upper_bps": 10.0 if answered else None,
        "abstention": None if answered else "stale_data",
    }


def outcome(bar: int, return_bps: float, *, symbol: str = "BTCUSD") -> dict[str, object]:
    return {"symbol": symbol, "open_time": START + bar * BAR, "horizon_bars": 1, "return_bps": return_bps}


def test_forecast_is_scored_once_its_outcome_is_known_and_not_before() -> None:
    log = pl.DataFrame([forecast(bar, 0.6) for bar in range(3)])
    known = [outcome(0, 5.0), outcome(1, -5.0)]
    assert scored_forecasts(log, pl.DataFrame(known)).height == 2
    assert scored_forecasts(log, pl.DataFrame([*known, outcome(2, 1.0)])).height == 3


def test_forecast_meets_the_outcome_of_its_own_symbol_time_and_horizon() -> None:
    log = pl.DataFrame([forecast(0, 0.6), forecast(0, 0.6, symbol="ETHUSD")])
    other_horizon = outcome(0, 9.0) | {"horizon_bars": 2}
    scored = scored_forecasts(log, pl.DataFrame([other_horizon, outcome(0, 7.0, symbol="ETHUSD")]))
    assert scored.select("symbol", "return_bps").rows() == [("ETHUSD", 7.0)]


def served(*, accuracy: float, times: int, symbols: int, alike: bool, seed: int) -> pl.DataFrame:
    """Forecasts that are right at a rate, by symbols that move alike or not."""
    random = np.random.default_rng(seed)
    right = random.random((times, 1 if alike else symbols)) < accuracy
    right = np.broadcast_to(right, (times, symbols)).ravel()
    count = times * symbols
    return pl.DataFrame(
        {
            "version": [1] * count,
            "symbol": [f"S{i}" for i in range(symbols)] * times,
            "open_time": [START + bar * BAR for bar in range(times) for _ in range(symbols)],
            "horizon_bars": [1] * count,
            "probability_up": np.where(right, 0.6, 0.4),
            "return_bps": [1.0] * count,
            "abstention": pl.Series([None] * count, dtype=pl.String),
        }
    )


def fallen(scored: pl.DataFrame, *, standard_errors: float = 3.0, minimum_rows: int = 500) -> list[int]:
    found = shortfalls(scored, {1: 0.55}, minimum_rows=minimum_rows)
    return [horizon for horizon, errors in found.items() if errors > standard_errors]


def test_score_that_fell_is_found_and_one_that_holds_is_not() -> None:
    assert fallen(served(accuracy=0.45, times=2_000, symbols=2, alike=False, seed=1)) == [1]
    assert fallen(served(accuracy=0.55, times=2_000, symbols=2, alike=False, seed=1)) == []


def test_too_few_outcomes_make_no_verdict() -> None:
    assert fallen(served(accuracy=0.0, times=499, symbols=5, alike=True, seed=1)) == []
    assert fallen(served(accuracy=0.0, times=500, symbols=5, alike=True, seed=1)) == [1]


def test_symbols_that_move_alike_are_no_more_evidence_than_one() -> None:
    alarms = [
        bool(fallen(served(accuracy=0.55, times=500, symbols=5, alike=True, seed=seed), standard_errors=2.0))
        for seed in range(200)
    ]
    assert sum(alarms) <= 12  # 2.3 % of 200; the chance of more is 0.1 %


def test_outcomes_that_overlap_are_no_more_evidence_than_one() -> None:
    horizon = 10
    alarms = []
    for seed in range(200):
        scored = served(accuracy=0.55, times=300, symbols=1, alike=True, seed=seed)
        repeated = pl.concat([scored] * horizon).sort("open_time", maintain_order=True)
        times = [START + bar * BAR for bar in range(repeated.height)]
        overlapping = repeated.with_columns(
            pl.Series("open_time", times), horizon_bars=pl.lit(horizon, pl.Int64)
        )
        found = shortfalls(overlapping, {horizon: 0.55}, minimum_rows=300)
        alarms.append(found[horizon] > 2.0)
    assert sum(alarms) <= 12


@pytest.mark.parametrize(
    ("found", "expected"),
    [({}, "unknown"), ({1: -2.0, 6: 0.9}, "holds"), ({1: 1.5, 6: -4.0}, "sags"), ({1: 0.0, 6: 3.1}, "fell")],
)
def test_worst_horizon_tells_how_a_score_stands(found: dict[int, float], expected: str) -> None:
    assert standing(found, sags=1.0, fell=3.0) == expected
