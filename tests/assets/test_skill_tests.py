"""Tests of skill: who knows is told from chance and from who does not, each by its own loss."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cryptoai_assets.lib.skill_tests import CHANCE, skill_tests

START = datetime(2019, 1, 1, tzinfo=UTC)
ROWS = 1500


def told(*, right: float, volatility: float, seed: int) -> pl.DataFrame:
    outcomes, draws = np.random.default_rng(1), np.random.default_rng(seed)
    moves = outcomes.normal(0, 0.01, ROWS)
    knows = np.where(draws.random(ROWS) < right, np.sign(moves), -np.sign(moves))
    return pl.DataFrame(
        {
            "open_time": [START + k * timedelta(minutes=30) for k in range(ROWS)],
            "symbol": ["BTCUSD"] * ROWS,
            "horizon": pl.Series([1] * ROWS, dtype=pl.Int32),
            "probability_up": 0.5 + 0.1 * knows,
            "expected_return": 0.002 * knows,
            "expected_volatility": np.abs(moves) * volatility + 0.01 * (1 - volatility),
            "up": (moves > 0).astype(np.float64),
            "return": moves,
            "volatility": np.abs(moves),
        }
    )


@pytest.fixture(scope="module")
def tests() -> pl.DataFrame:
    knows, guesses = told(right=0.65, volatility=0.5, seed=2), told(right=0.5, volatility=0.0, seed=3)
    silent = guesses.with_columns(probability_up=pl.lit(np.nan), expected_return=pl.lit(np.nan))
    # Rows that the other has in another order, and fewer of them.
    return skill_tests(knows, {"guesses": guesses.reverse(), "silent": silent.tail(1000)})


def test_each_forecast_is_compared_by_its_own_loss_with_those_who_make_it(tests: pl.DataFrame) -> None:
    assert tests.select("of", "against").rows() == [
        ("direction", CHANCE),
        *((what, "guesses") for what in ("direction", "return", "volatility")),
        ("volatility", "silent"),
    ]
    assert (tests["p_value"] < 0.001).all()
    assert (tests["statistic"] > 0).all()
    assert tests["times"].to_list() == [ROWS] * 4 + [1000]


def test_rows_are_compared_with_those_of_the_same_time_whatever_their_order(tests: pl.DataFrame) -> None:
    knows, guesses = told(right=0.65, volatility=0.5, seed=2), told(right=0.5, volatility=0.0, seed=3)
    in_order = skill_tests(knows, {"guesses": guesses})
    assert in_order.equals(tests.filter(pl.col("against") != "silent"))


def test_who_guesses_is_not_told_from_chance_and_loses_against_who_knows() -> None:
    knows, guesses = told(right=0.65, volatility=0.5, seed=2), told(right=0.5, volatility=0.0, seed=3)
    found = skill_tests(guesses, {"knows": knows})
    assert found.filter(against=CHANCE)["p_value"].item() > 0.01
    assert (found.filter(against="knows")["statistic"] < 0).all()
