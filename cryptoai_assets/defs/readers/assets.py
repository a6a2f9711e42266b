"""Networks that read charts and candles: trained or taken as shipped, registered, gated, released."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from cryptoai_assets.defs.charts.assets import chart_images
from cryptoai_assets.defs.charts.recipes import set_path
from cryptoai_assets.defs.market_data.assets import clean_candles
from cryptoai_assets.defs.materialization import materialized, picture, table
from cryptoai_assets.defs.readers import recipes
from cryptoai_assets.defs.readers.config import ReaderConfig
from cryptoai_assets.defs.release.assets import decision_metadata
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.candle_patterns import weights as candle_weights
from cryptoai_assets.lib.candle_patterns.candidate import candle_evidence, candle_report
from cryptoai_assets.lib.candle_patterns.candidate import trainable as trainable_candles
from cryptoai_assets.lib.candle_patterns.plan import (
    CANDLE_MODEL,
    CANDLES,
    SMALL_CANDLES,
    CandlePlan,
    CandleSet,
    candle_set,
    market_candle_plan,
)
from cryptoai_assets.lib.charts import weights as chart_weights
from cryptoai_assets.lib.charts.candidate import chart_evidence, chart_report
from cryptoai_assets.lib.charts.candidate import trainable as trainable_charts
from cryptoai_assets.lib.charts.dataset import ChartSet
from cryptoai_assets.lib.charts.plan import (
    FULL_CHARTS,
    PATTERN_MODEL,
    SMALL_CHARTS,
    bar_pool,
    market_plan,
)
from cryptoai_assets.lib.decisions import GATE
from cryptoai_assets.lib.gate import Evidence, decide, platform_policy
from cryptoai_assets.lib.monthly_features import stored_window
from cryptoai_assets.lib.reader_candidates import ReaderCandidate, ReaderReport, record_of, registered_reader
from cryptoai_assets.lib.releases import rival_folder
from cryptoai_assets.lib.training import SMALL, git_commit
from edge_bundle.candle_reader import CandleReader
from edge_bundle.detector import Detector
from edge_bundle.releases import read_channel

GROUP = "charts"
# In a training of seconds two threads save little, and wait for each other where the second core is taken.
THREADS = {"small": 1, "full": 2}
BUNDLE = "bundle"
SEED = 6


@dg.asset(group_name=GROUP, kinds={"pytorch", "mlflow"}, deps=[chart_images, clean_candles])
def trained_chart_vit(
    context: dg.AssetExecutionContext, market: MarketResource, config: ReaderConfig
) -> dg.MaterializeResult[None]:
    """The network that finds chart patterns, as a registered version, scored on windows that it never saw."""

    def make() -> dict[str, Any]:
        folder = recipes.reader_folder(market.home, PATTERN_MODEL)
        data = ChartSet.load(set_path(market.home))
        origin = config.origin(enough=trainable_charts(data))
        if origin == "shipped":
            bundle = _shipped(chart_weights.SHIPPED / "vit", folder)
        else:
            candles = stored_window(market.home, ()).candles
            plan = market_plan(SMALL_CHARTS if origin == "small" else FULL_CHARTS, market.settings, candles)
            bundle = chart_weights.train_detector(
                data,
                bar_pool(candles, plan),
                plan,
                plan.networks[0],
                folder / BUNDLE,
                **_run(context, market, THREADS[origin]),
            ).folder
        report = chart_report(Detector.load(bundle), data, seed=SEED)
        return _registered(context, market, origin, bundle, report, model=PATTERN_MODEL, kind="vit")

    return materialized(recipes.trained_chart_vit_recipe(market), make)


@dg.asset(group_name=GROUP, kinds={"pytorch", "mlflow"}, deps=[clean_candles, chart_images])
def trained_candle_cnn(
    context: dg.AssetExecutionContext, market: MarketResource, config: ReaderConfig
) -> dg.MaterializeResult[None]:
    """The network that finds candlestick patterns, as a registered version, scored on what it never saw."""

    def make() -> dict[str, Any]:
        folder = recipes.reader_folder(market.home, CANDLE_MODEL)
        data, plan = _candle_set(market, config)
        origin = config.origin(enough=trainable_candles(data))
        if origin == "shipped":
            bundle = _shipped(candle_weights.SHIPPED / candle_weights.BUNDLE_NAME, folder)
        else:
            bundle = candle_weights.train_candle_reader(
                data,
                plan,
                folder / BUNDLE,
                **_run(context, market, THREADS[origin]),
            ).folder
        report = candle_report(CandleReader.load(bundle), data, seed=SEED)
        return _registered(context, market, origin, bundle, report, model=CANDLE_MODEL, kind="candles")

    return materialized(recipes.trained_candle_cnn_recipe(market), make)


@dg.asset(group_name=GROUP, kinds={"mlflow"}, deps=[trained_chart_vit])
def released_chart_vit(market: MarketResource, config: ReaderConfig) -> dg.MaterializeResult[None]:
    """The chart network that the service runs, admitted by the gate on windows after both trainings."""

    def make() -> dict[str, Any]:
        data = ChartSet.load(set_path(market.home))
        candidate, champion = _candidate(market, PATTERN_MODEL)
        bundle = recipes.reader_folder(market.home, PATTERN_MODEL) / BUNDLE
        return _released(market, candidate, chart_evidence(bundle, champion, data, cause=config.cause))

    return materialized(recipes.released_chart_vit_recipe(market), make)


@dg.asset(group_name=GROUP, kinds={"mlflow"}, deps=[trained_candle_cnn])
def released_candle_cnn(market: MarketResource, config: ReaderConfig) -> dg.MaterializeResult[None]:
    """The candlestick network that the service runs, admitted by the gate."""

    def make() -> dict[str, Any]:
        data, _ = _candle_set(market, config)
        candidate, champion = _candidate(market, CANDLE_MODEL)
        bundle = recipes.reader_folder(market.home, CANDLE_MODEL) / BUNDLE
        return _released(market, candidate, candle_evidence(bundle, champion, data, cause=config.cause))

    return materialized(recipes.released_candle_cnn_recipe(market), make)


def _candle_set(market: MarketResource, config: ReaderConfig) -> tuple[CandleSet, CandlePlan]:
    candles = stored_window(market.home, ()).candles
    plan = CANDLES if config.size == "full" else SMALL_CANDLES
    plan = market_candle_plan(plan, market.settings, candles)
    return candle_set(candles, plan), plan


def _run(context: dg.AssetExecutionContext, market: MarketResource, threads: int) -> dict[str, Any]:
    """What every training is told of the run that it is made in."""
    return {
        "checkpoints": market.home.checkpoints,
        "threads": threads,
        "as_of": market.now(),
        "git_commit": git_commit(),
        "after_epoch": lambda epoch: context.log.info(epoch.bar),
    }


def _shipped(weights: Path, folder: Path) -> Path:
    """Copy of the project's own bundle."""
    shutil.rmtree(folder / BUNDLE, ignore_errors=True)
    return Path(shutil.copytree(weights, folder / BUNDLE))


def _registered(
    context: dg.AssetExecutionContext,
    market: MarketResource,
    origin: str,
    bundle: Path,
    report: ReaderReport,
    *,
    model: str,
    kind: str,
) -> dict[str, Any]:
    tags = {"dagster/run_id": context.run.run_id, "market": market.settings.name}
    candidate = registered_reader(
        market.home.tracking, bundle, report, model=model, kind=kind, origin=origin, tags=tags
    )
    candidate.write(bundle.parent)
    return {
        **{name.replace("/", "_"): value for name, value in report.metrics.items()},
        "origin": candidate.origin,
        "version": candidate.version,
        "mlflow_run": candidate.run_id,
        "classes": table(report.classes, report.classes.height),
        **{name: picture(figure) for name, figure in report.figures.items()},
    }


def _candidate(market: MarketResource, model: str) -> tuple[ReaderCandidate, Path | None]:
    """Newest candidate, and the folder of what it has to beat."""
    home = market.home
    candidate = ReaderCandidate.read(recipes.reader_folder(home, model))
    return candidate, rival_folder(home.releases, home.ledger, model, candidate.version)


def _released(market: MarketResource, candidate: ReaderCandidate, evidence: Evidence) -> dict[str, Any]:
    home, at = market.home, market.clock()
    decision = decide(evidence, platform_policy(SMALL.bootstrap(market.settings)))
    numbers = record_of(decision.to_dict(), candidate)
    reason = "; ".join(decision.reasons)
    if decision.promote:
        home.release_desk.promote(
            candidate.model, candidate.version, actor=GATE, reason=reason, numbers=numbers, at=at
        )
    else:
        home.ledger.refuse(
            model=candidate.model,
            version=candidate.version,
            actor=GATE,
            reason=reason,
            numbers=numbers,
            at=at,
        )
    channel = read_channel(home.releases, candidate.model)
    champion = channel.champion if channel else None
    return {
        **decision_metadata(decision),
        "champion": champion.version if champion else "none yet",
    }
