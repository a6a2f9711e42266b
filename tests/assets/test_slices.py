"""Scores by part: each part has its own rows, and what bounds a part comes from the rows before it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cryptoai_assets.lib.scoring import BootstrapSettings, direction_scores
from cryptoai_assets.lib.slices import (
    REGIMES,
    accuracy_by_confidence,
    confidence_thresholds,
    horizon_scores,
    scores_by_model,
    sliced_scores,
    volatility_regimes,
)

START = datetime(2018, 12, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)
BARS = 3000
TRAINED_UNTIL = START + 1000 * BAR
BOOTSTRAP = BootstrapSettings(block_bars=24, resamples=100, seed=1, confidence=0.95)


def told(symbol: str, *, seed: int, skill: float, first: int = 1000, horizon: int = 2) -> pl.DataFrame:
    """Predictions that are right more often by `skill`, from a place in time on."""
    draws = np.random.default_rng(seed)
    rows = BARS - first
    up = draws.integers(0, 2, rows).astype(np.float64)
    knows = draws.random(rows) < 0.5 + skill
    confidence = draws.uniform(0.0, 0.4, rows)
    said = np.where(knows, up, 1 - up)
    return pl.DataFrame(
        {
            "open_time": [START + (first + k) * BAR for k in range(rows)],
            "symbol": [symbol] * rows,
            "horizon": pl.Series([horizon] * rows, dtype=pl.Int32),
            "probability_up": 0.5 + (said - 0.5) * 2 * confidence,
            "expected_return": (said - 0.5) * confidence,
            "expected_volatility": np.full(rows, 0.01),
            "up": up,
            "return": (up - 0.5) * 0.02,
            "volatility": np.abs(draws.normal(0.01, 0.002, rows)),
        }
    )


@pytest.fixture(scope="module")
def predictions() -> pl.DataFrame:
    return pl.concat([told("AAAUSD", seed=1, skill=0.3), told("BBBUSD", seed=2, skill=0.0)])


@pytest.fixture(scope="module")
def levels() -> pl.DataFrame:
    """The volatility of the second symbol is ten times as high; that of both doubles after the training."""
    draws = np.random.default_rng(3)
    times = [START + k * BAR for k in range(BARS)]
    later = np.where(np.arange(BARS) < 1000, 1.0, 2.0)
    parts = [
        pl.DataFrame({"open_time": times, "level": draws.uniform(1, 4, BARS) * later * scale}).with_columns(
            symbol=pl.lit(symbol)
        )
        for symbol, scale in (("AAAUSD", 1.0), ("BBBUSD", 10.0))
    ]
    return pl.concat(parts).select("open_time", "symbol", "level")


def test_regimes_are_thirds_of_each_symbol_s_training_rows_and_later_rows_bound_nothing(
    levels: pl.DataFrame,
) -> None:
    regimes = volatility_regimes(levels, trained_until=TRAINED_UNTIL)
    trained = regimes.filter(pl.col("open_time") < TRAINED_UNTIL)
    counts = trained.group_by("symbol", "regime").len()["len"]
    assert counts.len() == 2 * len(REGIMES)
    assert counts.is_between(330, 337).all()
    after = regimes.filter(pl.col("open_time") >= TRAINED_UNTIL)
    assert after.filter(regime="wild").height / after.height > 0.6
    louder = levels.with_columns(
        level=pl.when(pl.col("open_time") < TRAINED_UNTIL).then("level").otherwise(pl.col("level") * 100)
    )
    again = volatility_regimes(louder, trained_until=TRAINED_UNTIL)
    assert again.filter(pl.col("open_time") < TRAINED_UNTIL).equals(trained)


def test_bar_without_a_level_and_symbol_that_was_not_trained_on_have_no_regime(levels: pl.DataFrame) -> None:
    unknown = levels.with_columns(
        symbol=pl.when(pl.col("open_time") >= TRAINED_UNTIL).then(pl.lit("NEWUSD")).otherwise("symbol")
    )
    regimes = volatility_regimes(unknown, trained_until=TRAINED_UNTIL)
    assert set(regimes["symbol"]) == {"AAAUSD", "BBBUSD"}
    holed = levels.with_columns(level=pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise("level"))
    assert volatility_regimes(holed, trained_until=TRAINED_UNTIL).height == levels.height - 1


def test_each_part_is_scored_on_its_own_rows(predictions: pl.DataFrame, levels: pl.DataFrame) -> None:
    regimes = volatility_regimes(levels, trained_until=TRAINED_UNTIL)
    scores = sliced_scores(predictions, regimes, BOOTSTRAP)
    assert scores["slice"].unique(maintain_order=True).to_list() == ["symbol", "year", "regime"]
    accuracy = scores.filter(metric="accuracy", horizon=2)
    assert accuracy.filter(slice="regime")["part"].to_list() == list(REGIMES)
    assert accuracy.filter(slice="year")["part"].to_list() == ["2018", "2019"]
    for part in ("symbol", "year", "regime"):
        assert accuracy.filter(slice=part)["rows"].sum() == predictions.height
    [own] = accuracy.filter(slice="symbol", part="AAAUSD").to_dicts()
    rows = predictions.filter(symbol="AAAUSD")
    alone = direction_scores(
        rows["probability_up"].to_numpy(), rows["up"].to_numpy(), rows["open_time"], BOOTSTRAP
    )[0]
    assert (own["value"], own["lower"], own["upper"]) == (alone.value, alone.lower, alone.upper)
    assert own["lower"] > accuracy.filter(slice="symbol", part="BBBUSD")["upper"].item()


def test_model_that_says_nothing_of_a_kind_has_no_score_of_it(predictions: pl.DataFrame) -> None:
    silent = predictions.with_columns(expected_return=pl.lit(np.nan), expected_volatility=pl.lit(np.nan))
    names = {score.name for score in horizon_scores(silent, BOOTSTRAP)}
    assert names == {"accuracy", "auc", "brier", "log_loss"}
    both = pl.concat(
        [predictions.with_columns(model=pl.lit("ours")), silent.with_columns(model=pl.lit("other"))]
    )
    counts = scores_by_model(both, BOOTSTRAP).group_by("model", maintain_order=True).len()
    assert counts.rows() == [("ours", 8), ("other", 4)]


def test_threshold_of_confidence_is_that_of_earlier_rows(predictions: pl.DataFrame) -> None:
    thresholds = confidence_thresholds(predictions)
    assert thresholds.filter(share=1.0)["lead"].item() == 0.0
    assert thresholds.filter(share=0.1)["lead"].item() == pytest.approx(0.36, abs=0.01)
    later = told("AAAUSD", seed=9, skill=0.2).with_columns(pl.col("probability_up").clip(0.15, 0.85))
    found = accuracy_by_confidence(later, thresholds, BOOTSTRAP)
    assert found["share"].to_list() == [1.0, 0.5, 0.25], "nobody is as confident as the most confident were"
    assert found["answered"][0] == 1.0
    assert found["answered"][1] == pytest.approx(0.5, abs=0.03)
    assert found["rows"].to_list() == sorted(found["rows"].to_list(), reverse=True)
