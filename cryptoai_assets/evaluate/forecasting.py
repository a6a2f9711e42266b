"""Scores of the forecaster on the embedded sample, walk-forward, against the reference and the baselines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from cryptoai_assets.evaluate.rows import EvaluationRow
from cryptoai_assets.lib.datasets import Dataset, Float64Array, dataset
from cryptoai_assets.lib.market import Market, market_preset
from cryptoai_assets.lib.models.baselines import DIRECTION_BASELINES, VOLATILITY_BASELINES
from cryptoai_assets.lib.models.ensemble import fitted_alone
from cryptoai_assets.lib.models.forecaster_model import ForecasterModel
from cryptoai_assets.lib.models.networks.problem import NetworkRun
from cryptoai_assets.lib.models.reference_lgbm import reference_forecasts, reference_rows
from cryptoai_assets.lib.models.zoo import forecaster, long_enough, refuse_untrainable
from cryptoai_assets.lib.scoring import (
    BootstrapSettings,
    Score,
    direction_scores,
    paired_interval,
    return_scores,
    volatility_scores,
)
from cryptoai_assets.lib.search import search_kinds
from cryptoai_assets.lib.sources.sample import sample_source
from cryptoai_assets.lib.splits import Fold, walk_forward
from cryptoai_assets.lib.targets import target_frame
from cryptoai_assets.lib.training import FULL
from cryptoai_assets.lib.walk_forward import out_of_sample_by_kind, prediction_frame
from edge_bundle.candles import bar_grid
from edge_bundle.facts import no_trade_slots
from edge_bundle.features.catalog import feature_frame, short_memory

ROOM = "forecasting"
SYMBOLS = ("BTCUSD", "ETHUSD")
CONFIDENT_SHARE = 0.1
SEARCH_TRIALS = 15
SHORT_KINDS = ("xgboost", "lightgbm", "tree_ensemble")
NETWORK_KINDS = ("lstm", "transformer", "blend")
LEFT_OUT = "random_forest, by itself and as a member of tree_ensemble; lstm, transformer, and blend of all"
CHECKPOINTS = Path("build/evaluate-checkpoints")
_KEYS = ["open_time", "symbol", "horizon"]


@dataclass(frozen=True, slots=True)
class SampleMarket:
    """The embedded sample, as the platform's assets would hold it."""

    market: Market
    grid: pl.DataFrame
    candles: pl.DataFrame
    data: Dataset


def sample_market(kinds: tuple[str, ...]) -> SampleMarket:
    """Read the sample and compute its dataset, with as many bars a row as the kinds of model read."""
    market = long_enough(replace(market_preset("sample"), models=kinds))
    start, end = datetime(2017, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
    fetched = [sample_source().fetch(symbol, start, end) for symbol in market.symbols]
    candles = pl.concat(part.candles for part in fetched)
    facts = pl.concat(part.facts for part in fetched)
    grid = bar_grid(
        candles,
        interval=market.interval,
        max_missing_bars=market.max_missing_bars,
        no_trade=no_trade_slots(facts),
    )
    names = list(short_memory())
    targets = target_frame(grid, horizons=market.horizons)
    data = dataset(feature_frame(grid, names), targets, names, lookback=market.lookback, bar=market.bar)
    return SampleMarket(market, grid, candles, data)


def folds_of(sample: SampleMarket) -> list[Fold]:
    """Folds over the last 60 % of the grid's times: six equal parts, a gap of the longest horizon."""
    times = sample.grid["open_time"].unique().sort().to_list()
    return walk_forward(
        times,
        bar=sample.market.bar,
        folds=FULL.folds,
        test_share=FULL.test_share,
        horizon_bars=max(sample.market.horizons),
        embargo_bars=0,
    )


def measure(full: bool) -> Iterator[EvaluationRow]:
    """All rows of the room, one by one as they are known."""
    kinds = (*FULL.kinds, *NETWORK_KINDS) if full else SHORT_KINDS
    sample = sample_market(kinds)
    market, folds = sample.market, folds_of(sample)
    bootstrap, run = FULL.bootstrap(market), NetworkRun(CHECKPOINTS)
    refuse_untrainable(kinds, market=market)
    # What is compared is what validation chose, on rows before the first that is scored.
    searched = search_kinds(
        sample.data.between(None, folds[0].train_end),
        kinds,
        horizon=market.horizons[1],
        trials=SEARCH_TRIALS,
        seed=FULL.seed,
        threads=FULL.threads,
        after_trial=lambda _kind, _trial, _loss: None,
        run=run,
    )
    models: Sequence[ForecasterModel] = [
        *(
            forecaster(model, threads=FULL.threads, run=run)
            for model in fitted_alone([found.settings for found in searched.found.values()])
        ),
        *DIRECTION_BASELINES,
        *VOLATILITY_BASELINES,
    ]
    results = out_of_sample_by_kind(
        sample.data,
        models,
        folds,
        horizons=market.horizons,
        seed=FULL.seed,
        after_fold=lambda _kind, _result: None,
    )
    run.finish()
    predicted = {kind: prediction_frame(told, market.horizons) for kind, told in results.items()}
    for symbol in SYMBOLS:
        own = sample.candles.filter(pl.col("symbol") == symbol)
        rows = reference_rows(own, interval=market.bar, horizons=market.horizons)
        for horizon in market.horizons:
            reference = reference_forecasts(
                rows, folds, horizon=horizon, seed=FULL.seed, threads=FULL.threads
            )
            frames = {
                kind: frame.filter(pl.col("symbol") == symbol, pl.col("horizon") == horizon)
                for kind, frame in predicted.items()
            }
            yield from _compared(f"{symbol}-{horizon}", frames, searched.chosen.kind, reference, bootstrap)


def _compared(
    place: str,
    frames: Mapping[str, pl.DataFrame],
    chosen: str,
    reference: pl.DataFrame,
    bootstrap: BootstrapSettings,
) -> Iterator[EvaluationRow]:
    """Rows of one symbol and horizon; every model is scored on the rows that all of them answer."""
    # The reference answers absent bars too, and bars that are still warming up; those are left out for all.
    ours = frames[chosen].join(reference, on=["open_time", "symbol"], how="inner")
    up, times = ours["up"].to_numpy(), ours["open_time"]
    said = ours["probability_up"].to_numpy()
    theirs = 0.5 + np.clip(ours["score"].to_numpy(), -0.99, 0.99) / 2
    reference_accuracy = _named(direction_scores(theirs, up, times, bootstrap), "accuracy")
    reference_volatility = _named(
        volatility_scores(
            ours["volatility_right"].to_numpy(), ours["volatility"].to_numpy(), times, bootstrap
        ),
        "volatility_rank_ic",
    )
    yield _row(
        f"accuracy-{place}",
        _named(direction_scores(said, up, times, bootstrap), "accuracy"),
        "share right",
        reference=f"{chosen}, as validation chose; reference-lgbm, same rows",
        reference_value=reference_accuracy.value,
    )
    difference = paired_interval(_wrong(theirs, up), _wrong(said, up), times, bootstrap)
    yield EvaluationRow(
        f"{ROOM}/accuracy-over-reference-{place}",
        difference.mean,
        "share right",
        difference.lower,
        difference.upper,
        goal=0.0,
        met=difference.upper >= 0,
        reference=f"reference-lgbm; {difference.least_detectable:.4f} was detectable; interval not below 0",
    )
    yield from _confident(place, said, theirs, up, times, bootstrap)
    for score in direction_scores(said, up, times, bootstrap)[1:]:
        yield _row(f"{score.name}-{place}", score, score.name)
    for score in return_scores(
        ours["expected_return"].to_numpy(), ours["return"].to_numpy(), times, bootstrap
    ):
        yield _row(f"{score.name}-{place}", score, score.name)
    volatility = volatility_scores(
        ours["expected_volatility"].to_numpy(), ours["volatility"].to_numpy(), times, bootstrap
    )
    yield _row(
        f"volatility-rank-ic-{place}",
        volatility[0],
        "rank IC",
        reference="reference-lgbm, same rows",
        reference_value=reference_volatility.value,
    )
    others = {kind: frame for kind, frame in frames.items() if kind != chosen}
    yield from _others(place, others, ours.select(_KEYS), bootstrap)


def _others(
    place: str, frames: Mapping[str, pl.DataFrame], keys: pl.DataFrame, bootstrap: BootstrapSettings
) -> Iterator[EvaluationRow]:
    baselines = {model.kind for model in (*DIRECTION_BASELINES, *VOLATILITY_BASELINES)}
    for kind, frame in frames.items():
        role = "baseline" if kind in baselines else "model"
        rows = frame.join(keys, on=_KEYS, how="inner")
        times = rows["open_time"]
        if rows["probability_up"].is_not_nan().any():
            scores = direction_scores(
                rows["probability_up"].to_numpy(), rows["up"].to_numpy(), times, bootstrap
            )
            yield _row(f"accuracy-{place}-{role}-{kind}", _named(scores, "accuracy"), "share right")
        if rows["expected_volatility"].is_not_nan().any():
            scores = volatility_scores(
                rows["expected_volatility"].to_numpy(), rows["volatility"].to_numpy(), times, bootstrap
            )
            yield _row(f"volatility-rank-ic-{place}-{role}-{kind}", scores[0], "rank IC")


def _confident(
    place: str,
    said: Float64Array,
    theirs: Float64Array,
    up: Float64Array,
    times: pl.Series,
    bootstrap: BootstrapSettings,
) -> Iterator[EvaluationRow]:
    """Accuracy on the most confident tenth, picked afterwards over all folds, as the reference's was."""
    kept = [np.abs(p - 0.5) >= np.quantile(np.abs(p - 0.5), 1 - CONFIDENT_SHARE) for p in (said, theirs)]
    scores = [
        _named(direction_scores(p[mask], up[mask], times.filter(mask), bootstrap), "accuracy")
        for p, mask in zip((said, theirs), kept, strict=True)
    ]
    yield _row(
        f"accuracy-most-confident-tenth-{place}",
        scores[0],
        "share right",
        reference="reference-lgbm, its own tenth",
        reference_value=scores[1].value,
    )


def _wrong(probability_up: Float64Array, up: Float64Array) -> Float64Array:
    return np.where(np.isfinite(up), ((probability_up > 0.5) != (up > 0.5)).astype(np.float64), np.nan)


def _named(scores: Sequence[Score], name: str) -> Score:
    return next(score for score in scores if score.name == name)


def _row(
    name: str, score: Score, unit: str, *, reference: str | None = None, reference_value: float | None = None
) -> EvaluationRow:
    row = EvaluationRow(f"{ROOM}/{name}", score.value, unit, score.lower, score.upper)
    return replace(row, reference=reference, reference_value=reference_value)
