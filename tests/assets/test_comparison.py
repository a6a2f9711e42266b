"""Comparisons: what makes a row confident comes from earlier folds, and goals are set before the scores."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.evaluate.comparison import CONFIDENT_GOAL, Place, confident_rows
from cryptoai_assets.evaluate.forecasting import FULL_PLAN, SHORT_PLAN, Evaluation, EvaluationError
from cryptoai_assets.evaluate.rows import EvaluationRow, markdown
from cryptoai_assets.lib.market import market_preset

START = datetime(2020, 1, 1, tzinfo=UTC)


def folds(leads: dict[int, float], rows: int = 1000) -> pl.DataFrame:
    """Rows of one symbol whose leads over one half are even up to a most, by fold."""
    return pl.concat(
        pl.DataFrame(
            {
                "open_time": [START + timedelta(minutes=fold * rows + k) for k in range(rows)],
                "symbol": ["BTCUSD"] * rows,
                "fold": [fold] * rows,
                "probability_up": 0.5 + np.linspace(0, most, rows),
            }
        )
        for fold, most in leads.items()
    )


def test_confident_rows_are_told_by_the_folds_before_their_own() -> None:
    rows = folds({0: 0.1, 1: 0.2, 2: 0.1})
    kept = rows.with_columns(kept=pl.Series(confident_rows(rows)))
    shares = kept.group_by("fold", maintain_order=True).agg(pl.col("kept").mean())["kept"].to_list()
    assert shares[0] == 0.0, "nothing comes before the first fold"
    assert shares[1] == pytest.approx(0.55, abs=0.01), "half of its rows are beyond all earlier ones"
    assert shares[2] == 0.0, "its most confident are less so than the tenth of both before it"


def test_symbols_have_thresholds_of_their_own() -> None:
    quiet = folds({0: 0.01, 1: 0.01}).with_columns(symbol=pl.lit("ETHUSD"))
    both = pl.concat([folds({0: 0.2, 1: 0.2}), quiet])
    kept = both.with_columns(kept=pl.Series(confident_rows(both))).filter(fold=1)
    assert kept.group_by("symbol").agg(pl.col("kept").mean())["kept"].to_list() == pytest.approx([0.1, 0.1])


def test_confident_goal_is_that_of_bitcoin_minutes_five_bars_ahead() -> None:
    minutes = replace(market_preset("live"), symbols=("BTCUSD", "ETHUSD"))
    assert Place("BTCUSD", 5, minutes).confident_goal == CONFIDENT_GOAL
    for place in (Place("BTCUSD", 10, minutes), Place("ETHUSD", 5, minutes)):
        assert place.confident_goal is None
    assert Place("BTCUSD", 5, replace(minutes, interval="30m")).confident_goal is None


def test_market_that_reads_a_venue_is_refused_with_the_cure(tmp_path: Path) -> None:
    live = Evaluation(MarketResource(name="live"), False, 1.0, tmp_path, tmp_path)
    with pytest.raises(EvaluationError, match="MARKET=sample"):
        next(live.rows(lambda _: None, commit="abc"))


def test_short_evaluation_fits_the_kinds_that_a_market_names_and_says_which_it_leaves_out(
    tmp_path: Path,
) -> None:
    def asked(models: list[str], *, full: bool = False) -> Evaluation:
        return Evaluation(MarketResource(name="sample", models=models), full, 1.0, tmp_path, tmp_path)

    assert asked([]).plan == SHORT_PLAN
    named = asked(["lightgbm", "lstm"])
    assert named.plan == replace(SHORT_PLAN, kinds=("lightgbm", "lstm"))
    assert "lstm" not in named.left_out()
    assert named.left_out().startswith("xgboost, random_forest, tree_ensemble, transformer, blend, alone")
    assert asked(["lightgbm"], full=True).plan == FULL_PLAN


def test_table_says_commit_hours_and_each_goal() -> None:
    rows = [
        EvaluationRow("forecasting/a", 0.53, "share right", 0.52, 0.54, goal=0.65, met=False),
        EvaluationRow("forecasting/b", 0.61, "rank IC", reference="reference_lgbm", reference_value=0.6),
    ]
    text = markdown("A market", rows, commit="abc123", hours=1.5)
    assert "`abc123`, 1.50 hours" in text
    assert "| forecasting/a | 0.5300 share right | 0.5200 to 0.5400 | 0.65 | **missed** |  |" in text
    assert "| forecasting/b | 0.6100 rank IC |  |  |  | reference_lgbm 0.6000 |" in text
