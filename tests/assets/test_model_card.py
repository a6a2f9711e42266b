"""The card: every number in it is that of a record or of the rows, and what is not shown is a limit."""

import re
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from fakes.candidates import candidate_by_hand
from fakes.walk_rows import FEW_FEATURES, HORIZONS, walk_grid

from cryptoai_assets.lib.candidate import baseline_frame, bundle_folder, score_stretch
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.model_card import (
    THIS_VERSION,
    CardFacts,
    card_facts,
    card_text,
    limits,
    refusals,
    summary,
)
from cryptoai_assets.lib.models.tree_heads import XgboostSettings
from cryptoai_assets.lib.slices import REGIMES
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.training import SMALL, known_dataset, training_splits
from cryptoai_assets.lib.walk_forward import scored_frame
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.features.catalog import feature_frame
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow

MARKET = replace(market_preset("sample"), symbols=("BTCUSD", "ETHUSD"))
AS_OF = datetime(2020, 6, 1, tzinfo=UTC)
TREES = replace(XgboostSettings.start(), trees=20, min_child_weight=20.0)
SETTINGS = replace(SMALL, threads=1, resamples=50)
PERFORMANCE = {"total_return": -0.12, "maximum_drawdown": 0.15, "breakeven_cost_bps": 1.5}
BACKTEST = {
    "horizon": 2,
    "rule": {"lead": 0.03},
    "performance": PERFORMANCE,
    "sharpe": {"value": -1.25, "lower": -3.0, "upper": 0.5},
    "buy_and_hold": 0.31,
    "deflated_sharpe": 0.211,
    "trials_in_all": 198,
}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> CardFacts:
    """Of a version that was fitted to random walks, and scored by its own bytes."""
    folder = tmp_path_factory.mktemp("candidate")
    grid = walk_grid(MARKET.symbols, bars=4600, seed=31)
    frame = feature_frame(grid, FEW_FEATURES).join(
        target_frame(grid, horizons=HORIZONS), on=["open_time", "symbol"], how="left"
    )
    data = known_dataset(frame, FEW_FEATURES, MARKET, AS_OF)
    splits = training_splits(data, MARKET, SETTINGS)
    candidate = candidate_by_hand(
        folder,
        data,
        splits,
        TREES,
        MarketWindow(grid.select(list(CANDLE_SCHEMA))),
        market=MARKET,
        settings=SETTINGS,
        as_of=AS_OF,
    )
    forecaster = Forecaster.load(bundle_folder(folder))
    result = score_stretch(forecaster, data, splits, market=MARKET, settings=SETTINGS)
    said = scored_frame(result.test, result.predictions, HORIZONS)
    found = card_facts(
        candidate.registered(3, "run"),
        forecaster.manifest,
        data,
        splits,
        market=MARKET,
        said=said,
        baselines=baseline_frame(result, HORIZONS),
        earlier=said,
        backtest=BACKTEST,
        stretch_uses=4,
        trials_on_rows=11,
    )
    own = {score.name: asdict(score) for score in result.scores}
    for horizon in HORIZONS:
        row = found.scored(horizon, "accuracy")
        assert {name: row[name] for name in ("value", "lower", "upper", "rows")} == {
            name: own[f"h{horizon}/accuracy"][name] for name in ("value", "lower", "upper", "rows")
        }, "the card's score is the version's"
    return found


def test_card_says_what_the_version_was_made_of_and_how_often_it_was_tried(facts: CardFacts) -> None:
    text = card_text(facts)
    candidate = facts.candidate
    for told in (
        f"# {candidate.model}, version 3",
        candidate.bundle_digest[:12],
        candidate.git_commit,
        f"{len(FEW_FEATURES)} offered",
        "trees 20",
        "11 trials were ever made",
        "scored on it 4 times",
        "-12.00%, Sharpe -1.25 [-3.00, 0.50]",
        "0.211, of 198 trials",
    ):
        assert told in text
    for row in facts.rows.to_dicts():
        assert f"| {row['symbol']} | {row['trained_rows']} | {row['scored_rows']} |" in text
    assert "None" not in text


def test_card_has_each_score_beside_the_baselines_and_by_symbol_year_and_regime(facts: CardFacts) -> None:
    text = card_text(facts)
    for horizon in HORIZONS:
        row = facts.scored(horizon, "accuracy")
        cell = f"{round(row['value'], 4)} [{round(row['lower'], 4)}, {round(row['upper'], 4)}]"
        assert f"| {THIS_VERSION} | {row['rows']} | {cell} |" in text
    for kind in ("zero", "majority", "last_sign_reversal", "linear", "har", "garch"):
        assert f"| {kind} |" in text
    parts = facts.slices.select("slice", "part").unique().rows()
    years = {str(year) for year in facts.slices.filter(slice="year")["part"]}
    assert set(parts) == {
        *(("symbol", symbol) for symbol in MARKET.symbols),
        *(("year", year) for year in years),
        *(("regime", regime) for regime in REGIMES),
    }
    for slice_, part in parts:
        assert f"| {slice_} | {part} |" in text


def by_chance(lines: Iterable[str]) -> list[str]:
    """Limits of a whole horizon, which begin with it."""
    return [line for line in lines if re.match(r"\d+ bars?: its direction is not told from chance", line)]


def test_what_is_not_shown_is_a_limit(facts: CardFacts) -> None:
    said = list(limits(facts))
    chance = facts.scores.filter(pl.col("model") == THIS_VERSION, pl.col("metric") == "accuracy")
    assert len(by_chance(said)) == chance.filter(pl.col("lower") <= 0.5).height > 0
    better = facts.scores.with_columns(
        lower=pl.when(pl.col("metric") == "accuracy").then(0.51).otherwise("lower")
    )
    assert by_chance(limits(replace(facts, scores=better))) == []
    proved = facts.tests.with_columns(statistic=pl.lit(4.0), p_value=pl.lit(0.0001))
    assert any("is not shown to be better than that of" in line for line in said)
    assert not any("not shown" in line for line in limits(replace(facts, tests=proved)))
    assert any("bid-ask bounce" in line for line in said)


def test_trading_is_refused_where_costs_are_more_than_forecasts_pay_for(facts: CardFacts) -> None:
    assert any(
        line.startswith("To trade at this market's costs: they are 23.0 bp") for line in refusals(facts)
    )
    rich: dict[str, Any] = {**BACKTEST, "performance": {**PERFORMANCE, "breakeven_cost_bps": 40.0}}
    assert not any("To trade" in line for line in refusals(replace(facts, backtest=rich)))
    assert any("other venues than Bitfinex" in line for line in refusals(facts))


def test_summary_fits_into_a_registry_s_description(facts: CardFacts) -> None:
    text = summary(facts)
    assert len(text) < 5000
    assert f"{facts.scored(1, 'accuracy')['value']:.4f}" in text
