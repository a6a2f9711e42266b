"""The live score: only what is known is scored, each share over its own rows, and a fall is noticed."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cryptoai_monitoring.live_score import degraded_horizons, live_scores, scored_forecasts

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


def test_scores_by_hand() -> None:
    log = pl.DataFrame([forecast(bar, p) for bar, p in enumerate([0.8, 0.6, 0.3, 0.9, None])])
    outcomes = [outcome(0, 5.0), outcome(1, -50.0), outcome(2, -5.0), outcome(3, 0.0), outcome(4, 9.0)]
    (row,) = live_scores(scored_forecasts(log, pl.DataFrame(outcomes))).to_dicts()
    assert (row["answered"], row["abstained"], row["moved"]) == (4, 1, 3)
    assert row["abstention_rate"] == pytest.approx(1 / 5)
    assert row["accuracy"] == pytest.approx(2 / 3)  # the price that stood still counts for neither side
    assert row["brier"] == pytest.approx((0.2**2 + 0.6**2 + 0.3**2) / 3)
    assert row["coverage"] == pytest.approx(3 / 4)


def test_where_nothing_was_answered_scores_are_null_and_counts_are_not() -> None:
    log = pl.DataFrame([forecast(0, None)], schema_overrides={"probability_up": pl.Float64})
    bounds = pl.col("lower_bps", "upper_bps").cast(pl.Float64)
    (row,) = live_scores(
        scored_forecasts(log.with_columns(bounds), pl.DataFrame([outcome(0, 5.0)]))
    ).to_dicts()
    assert (row["answered"], row["abstained"], row["abstention_rate"]) == (0, 1, 1.0)
    assert (row["accuracy"], row["brier"], row["coverage"]) == (None, None, None)


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
    return degraded_horizons(scored, {1: 0.55}, standard_errors=standard_errors, minimum_rows=minimum_rows)


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
        found = degraded_horizons(overlapping, {horizon: 0.55}, standard_errors=2.0, minimum_rows=300)
        alarms.append(bool(found))
    assert sum(alarms) <= 12
