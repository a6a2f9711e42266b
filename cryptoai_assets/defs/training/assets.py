"""From features to a registered version and its own score."""

import json
from dataclasses import asdict, replace
from typing import Any

import dagster as dg
import polars as pl

from cryptoai_assets.defs.features.assets import feature_audit, features
from cryptoai_assets.defs.features.recipes import feature_names
from cryptoai_assets.defs.market_data.assets import clean_candles
from cryptoai_assets.defs.materialization import materialized, picture, table
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.training import recipes
from cryptoai_assets.defs.training.config import TrainingConfig
from cryptoai_assets.lib.candidate import (
    NO_CAUSE,
    Candidate,
    baseline_frame,
    bundle_folder,
    score_stretch,
    train_candidate,
)
from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.figures import breakeven_figure, equity_figure, line_figure, score_figure
from cryptoai_assets.lib.fingerprints import file_fingerprint
from cryptoai_assets.lib.graph_builder import BASIS_POINTS
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.model_card import CARD_NAME, card_facts, card_text, summary
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings
from cryptoai_assets.lib.models.networks.problem import NetworkRun
from cryptoai_assets.lib.models.zoo import model_from
from cryptoai_assets.lib.monthly_features import joined_dataset, stored_grid, stored_window
from cryptoai_assets.lib.search import Tried, search_kinds
from cryptoai_assets.lib.store import read_stored_parquet, write_parquet_atomically
from cryptoai_assets.lib.strategy import backtested, market_panel
from cryptoai_assets.lib.training import (
    Splits,
    TrainingSettings,
    git_commit,
    known_dataset,
    procedure_predictions,
    score_table,
    training_splits,
)
from cryptoai_assets.lib.training_record import (
    procedure_figures,
    record_backtest,
    record_card,
    record_stretch,
    record_training,
    tests_against_baselines,
    training_run,
    trial_recorder,
)
from cryptoai_assets.lib.walk_forward import FoldPredictions, prediction_frame, scored_frame
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import Manifest
from edge_bundle.whole_file import replace_file

GROUP = "training"


@dg.asset(group_name=GROUP, kinds={"parquet"}, deps=[feature_audit, features, clean_candles])
def training_dataset(market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per symbol and grid bar: every feature, and the targets of each horizon, null where not known.

    From `features` and `clean_candles`. The target columns read later bars.
    """

    def make() -> dict[str, Any]:
        frame = joined_dataset(market.home)
        write_parquet_atomically(frame, market.home.training_dataset)
        return {
            "dagster/row_count": frame.height,
            "features": len(feature_names(market)),
            "preview": table(frame.tail(5)),
        }

    return materialized(recipes.training_dataset_recipe(market), make)


def _known(
    market: MarketResource, config: TrainingConfig, settings: TrainingSettings
) -> tuple[Dataset, Splits]:
    frame = read_stored_parquet(market.home.training_dataset)
    data = known_dataset(frame, feature_names(market), market.settings, config.time(market.now()))
    return data, training_splits(data, market.settings, settings)


def _network_run(context: dg.AssetExecutionContext, home: Home) -> NetworkRun:
    """Checkpoints in the home, and a progress bar in the log."""
    return NetworkRun(home.checkpoints, lambda epoch: context.log.info(epoch.bar))


def _search_record(home: Home) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(home.model_settings.read_bytes())
    return record


def _searched(home: Home) -> tuple[ForecasterSettings, list[ForecasterSettings]]:
    """Settings of the model that validation chose, and the best ones of every kind."""
    record = _search_record(home)
    models = {kind: model_from(found["model"]) for kind, found in record["kinds"].items()}
    return models[record["chosen"]], list(models.values())


@dg.asset(group_name=GROUP, kinds={"optuna"}, deps=[training_dataset])
def model_settings(
    context: dg.AssetExecutionContext, market: MarketResource, config: TrainingConfig
) -> dg.MaterializeResult[None]:
    """Best settings of each kind of model in the rows before the first scored fold, and the kind chosen."""

    def make() -> dict[str, Any]:
        home, settings = market.home, config.training(market.settings)
        data, splits = _known(market, config, settings)
        key = recipes.model_settings_recipe(market, config).fingerprint()
        run_id = training_run(home.tracking, market.settings.model, config.time(market.now()), key=key)
        record_trial = trial_recorder(home.tracking, run_id)

        def tell(tried: Tried) -> None:
            context.log.info(tried.sentence)
            record_trial(tried)

        searched = search_kinds(
            data.between(None, splits.folds[0].train_end),
            settings.kinds,
            horizon=sorted(market.settings.horizons)[len(market.settings.horizons) // 2],
            trials=settings.trials,
            seed=settings.seed,
            threads=settings.threads,
            run=_network_run(context, home),
            minutes=settings.search_minutes,
            studies=home.studies,
            after_trial=tell,
        )
        record = {"run": key, **searched.to_json()}
        replace_file(home.model_settings, json.dumps(record, indent=1))
        figure = line_figure(
            {kind: found.losses for kind, found in searched.found.items()},
            title="The search: validation log loss",
            x="trial",
            y="log loss",
        )
        return {
            "chosen": searched.chosen.kind,
            "settings": record["kinds"],
            "trials": settings.trials,
            "trials_ever_on_these_rows": searched.trials_on_rows,
            "mlflow_run": run_id,
            "search": picture(figure),
        }

    return materialized(recipes.model_settings_recipe(market, config), make)


@dg.asset(group_name=GROUP, kinds={"scikitlearn"}, deps=[training_dataset, model_settings])
def walk_forward_scores(
    context: dg.AssetExecutionContext, market: MarketResource, config: TrainingConfig
) -> dg.MaterializeResult[None]:
    """Scores of the procedure, one row per model and metric, walk-forward, purged, with baselines.

    They say how good versions made this way are on average; a version's own score is `version_scores`.
    """

    def tell(kind: str, result: FoldPredictions) -> None:
        context.log.info(f"{kind}: fold {result.fold.index + 1} done, {len(result.test):,} rows predicted")

    def make() -> dict[str, Any]:
        home, settings = market.home, config.training(market.settings)
        data, splits = _known(market, config, settings)
        chosen, models = _searched(home)
        run = _network_run(context, home)
        results = procedure_predictions(
            data, splits, models, market=market.settings, settings=settings, after_fold=tell, run=run
        )
        scores = score_table(results, market.settings, settings.bootstrap(market.settings))
        predictions = pl.concat(
            prediction_frame(folds, market.settings.horizons).with_columns(model=pl.lit(kind))
            for kind, folds in results.items()
        )
        write_parquet_atomically(scores, home.procedure / recipes.SCORES_NAME)
        write_parquet_atomically(predictions, home.procedure / recipes.PREDICTIONS_NAME)
        run.finish()
        accuracy = procedure_figures(scores, predictions, kind=chosen.kind)["procedure_accuracy"]
        tests = tests_against_baselines(predictions, kind=chosen.kind)
        return {
            "folds": settings.folds,
            "rows": predictions.filter(pl.col("model") == chosen.kind).height,
            "chosen": chosen.kind,
            "scores": table(scores, scores.height),
            "tests": table(tests, tests.height),
            "accuracy": picture(accuracy),
        }

    return materialized(recipes.walk_forward_scores_recipe(market, config), make)


@dg.asset(group_name=GROUP, kinds={"onnx", "mlflow"}, deps=[walk_forward_scores])
def trained_forecaster(
    context: dg.AssetExecutionContext, market: MarketResource, config: TrainingConfig
) -> dg.MaterializeResult[None]:
    """One version: a single fit before the final stretch, as a bundle, registered as `challenger`."""

    def make() -> dict[str, Any]:
        home, settings = market.home, config.training(market.settings)
        data, splits = _known(market, config, settings)
        run = _network_run(context, home)
        candidate, fitted = train_candidate(
            home.candidate,
            data,
            splits,
            _searched(home)[0],
            stored_window(home, data.names),
            market=market.settings,
            settings=settings,
            as_of=config.time(market.now()),
            data_fingerprint=file_fingerprint(home.training_dataset),
            git_commit=git_commit(),
            cause=config.cause or NO_CAUSE,
            run=run,
        )
        candidate = record_training(
            home.tracking,
            home.candidate,
            candidate,
            key=_search_record(home)["run"],
            scores=read_stored_parquet(home.procedure / recipes.SCORES_NAME),
            predictions=read_stored_parquet(home.procedure / recipes.PREDICTIONS_NAME),
            importance=fitted.importance(),
            dagster_run_id=context.run.run_id,
            bootstrap=settings.bootstrap(market.settings),
        )
        run.finish()
        bundle = bundle_folder(home.candidate)
        return {
            "model": candidate.model,
            "version": candidate.version,
            "alias": "challenger",
            "mlflow_run": candidate.run_id,
            "bundle_bytes": sum(path.stat().st_size for path in bundle.iterdir()),
            "agreement_share": candidate.agreement.share,
            "bundle": dg.MetadataValue.path(str(bundle)),
        }

    return materialized(recipes.trained_forecaster_recipe(market, config), make)


@dg.asset(group_name=GROUP, kinds={"onnx"}, deps=[trained_forecaster])
def version_scores(market: MarketResource) -> dg.MaterializeResult[None]:
    """Scores of the newest version, one row a metric: its loaded bundle over the untouched final stretch."""

    def make() -> dict[str, Any]:
        home = market.home
        candidate = Candidate.read(home.candidate)
        data, splits = candidate_rows(market, candidate)
        forecaster = Forecaster.load(bundle_folder(home.candidate))
        result = score_stretch(forecaster, data, splits, market=market.settings, settings=candidate.settings)
        uses = home.ledger.use_stretch(
            candidate.model,
            candidate.version or 0,
            stretch_start=candidate.stretch_start,
            actor="version_scores",
            reason="the version's own score",
            at=market.clock(),
        )
        record_stretch(home.tracking, candidate, result, uses=uses)
        scores = pl.DataFrame([asdict(score) for score in result.scores]).rename({"name": "metric"})
        said = scored_frame(result.test, result.predictions, market.settings.horizons)
        write_parquet_atomically(said, home.candidate / recipes.STRETCH_PREDICTIONS_NAME)
        write_parquet_atomically(
            baseline_frame(result, market.settings.horizons), home.candidate / recipes.STRETCH_BASELINES_NAME
        )
        write_parquet_atomically(scores, home.candidate / recipes.STRETCH_SCORES_NAME)
        shown = scores.with_columns(model=pl.lit("this version"))
        return {
            "version": candidate.version,
            "rows": len(result.test),
            "stretch_uses": uses,
            "scores": table(scores, scores.height),
            "accuracy": picture(
                score_figure(shown, metric="accuracy", title="Accuracy on the final stretch", chance=0.5)
            ),
        }

    return materialized(recipes.version_scores_recipe(market), make)


@dg.asset(group_name=GROUP, deps=[walk_forward_scores, version_scores])
def backtest(market: MarketResource) -> dg.MaterializeResult[None]:
    """What trading on the forecasts brings after costs; the rule is chosen on the walk-forward's folds."""

    def make() -> dict[str, Any]:
        home, settings = market.home, market.settings
        candidate = Candidate.read(home.candidate)
        procedure = read_stored_parquet(home.procedure / recipes.PREDICTIONS_NAME)
        grid = stored_grid(home)
        found = backtested(
            market_panel(procedure.filter(model=candidate.kind), grid),
            market_panel(read_stored_parquet(home.candidate / recipes.STRETCH_PREDICTIONS_NAME), grid),
            costs=settings.costs,
            bars_a_day=settings.bars_a_day,
            models_tried=_search_record(home)["trials_on_rows"],
            bootstrap=candidate.settings.bootstrap(settings),
        )
        record = found.record(bars_a_day=settings.bars_a_day)
        record_backtest(home.tracking, candidate, found, record)
        replace_file(home.backtest, json.dumps(record, indent=1))
        tried = found.table(bars_a_day=settings.bars_a_day)
        return {
            **record["performance"],
            "sharpe_interval": f"[{found.sharpe.lower:.2f}, {found.sharpe.upper:.2f}]",
            "deflated_sharpe": found.deflated,
            "deflated_by_trials": found.trials_in_all,
            "rule": record["rule"] | {"horizon": found.chosen.horizon},
            "costs": asdict(settings.costs),
            "tried": table(tried, tried.height),
            "equity": picture(equity_figure(found)),
            "breakeven": picture(breakeven_figure(tried, cost_bps=settings.costs.rate * BASIS_POINTS)),
        }

    return materialized(recipes.backtest_recipe(market), make)


@dg.asset(
    group_name=GROUP, kinds={"markdown", "mlflow"}, deps=[walk_forward_scores, version_scores, backtest]
)
def model_card(market: MarketResource) -> dg.MaterializeResult[None]:
    """What the newest version was made of, its scores by symbol, year and regime, its limits and misuses."""

    def make() -> dict[str, Any]:
        home, candidate = market.home, Candidate.read(market.home.candidate)
        data, splits = candidate_rows(market, candidate)
        procedure = read_stored_parquet(home.procedure / recipes.PREDICTIONS_NAME)
        facts = card_facts(
            candidate,
            Manifest.read(bundle_folder(home.candidate)),
            data,
            splits,
            market=market.settings,
            said=read_stored_parquet(home.candidate / recipes.STRETCH_PREDICTIONS_NAME),
            baselines=read_stored_parquet(home.candidate / recipes.STRETCH_BASELINES_NAME),
            earlier=procedure.filter(model=candidate.kind),
            backtest=json.loads(home.backtest.read_bytes()),
            stretch_uses=home.ledger.stretch_uses(candidate.model, candidate.stretch_start),
            trials_on_rows=_search_record(home)["trials_on_rows"],
        )
        text, path = card_text(facts), home.candidate / CARD_NAME
        replace_file(path, text)
        record_card(home.tracking, candidate, path, summary=summary(facts))
        return {
            "version": candidate.version,
            "card": dg.MetadataValue.md(text),
            "slices": table(facts.slices, facts.slices.height),
            "tests": table(facts.tests, facts.tests.height),
            "confidence": table(facts.confidence, facts.confidence.height),
        }

    return materialized(recipes.model_card_recipe(market), make)


def candidate_rows(market: MarketResource, candidate: Candidate) -> tuple[Dataset, Splits]:
    """Rows as they are now, and the splits that a candidate was made with: its stretch stays where it was."""
    frame = read_stored_parquet(market.home.training_dataset)
    data = known_dataset(frame, feature_names(market), market.settings, candidate.as_of)
    splits = training_splits(data, market.settings, candidate.settings)
    return data, replace(splits, stretch=candidate.stretch(market.settings))
