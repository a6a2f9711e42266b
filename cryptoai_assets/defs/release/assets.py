"""From a scored version to what the service and the devices run."""

import json
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from cryptoai_assets.defs.features.assets import FACTS_OF_FEATURES
from cryptoai_assets.defs.features.recipes import feature_names
from cryptoai_assets.defs.market_data.assets import clean_candles
from cryptoai_assets.defs.materialization import materialized, table
from cryptoai_assets.defs.release import recipes
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.training.assets import backtest, candidate_rows, trained_forecaster, version_scores
from cryptoai_assets.lib.candidate import Candidate, bundle_folder, gate_evidence, score_stretch
from cryptoai_assets.lib.gate import Decision, GatePolicy, Margin, decide
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.monthly_features import stored_window
from cryptoai_assets.lib.releases import rival
from cryptoai_assets.lib.requested_releases import ADMITTED_TAG
from cryptoai_assets.lib.scoring import Score
from cryptoai_assets.lib.training import TrainingSettings
from cryptoai_serving.bar_shelf import KEPT_BARS
from cryptoai_serving.bars import BarStore
from edge_bundle.candles import newest_bars
from edge_bundle.facts import NO_TRADE
from edge_bundle.features.sources import facts_since
from edge_bundle.forecaster import Forecaster
from edge_bundle.releases import read_channel
from edge_bundle.windows import MarketWindow

GROUP = "release"
ACTOR = "gate"
# Set before any score is known: a refresh may lose half a percent of log loss; coverage and calibration
# may be off by five points.
REFRESH_MARGIN = Margin(0.005, relative=True)
COVERAGE_TOLERANCE = 0.05
CALIBRATION_LIMIT = 0.05


def gate_policy(market: MarketResource, settings: TrainingSettings) -> GatePolicy:
    """What this platform asks of a challenger."""
    return GatePolicy(
        REFRESH_MARGIN, COVERAGE_TOLERANCE, CALIBRATION_LIMIT, settings.bootstrap(market.settings)
    )


@dg.asset(group_name=GROUP, deps=[trained_forecaster, version_scores, backtest])
def gate_decision(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """Whether the newest version may become champion, with every test, bound, canary and alarm."""

    def make() -> dict[str, Any]:
        home = market.home
        candidate = Candidate.read(home.candidate)
        decision = _decided(market, candidate)
        record = decision.to_dict() | {"model": candidate.model, "version": candidate.version}
        (home.candidate / recipes.DECISION_NAME).write_text(json.dumps(record, indent=1, default=str))
        note_decision(home, candidate.model, candidate.version or 0, decision, market.clock())
        for reason in decision.reasons:
            context.log.info(reason)
        return decision_metadata(decision)

    return materialized(recipes.gate_decision_recipe(market), make)


def _decided(market: MarketResource, candidate: Candidate) -> Decision:
    home = market.home
    data, splits = candidate_rows(market, candidate)
    forecaster = Forecaster.load(bundle_folder(home.candidate))
    result = score_stretch(forecaster, data, splits, market=market.settings, settings=candidate.settings)
    evidence = gate_evidence(
        candidate,
        forecaster,
        result,
        rival(home.releases, home.ledger, candidate.model, candidate.version or 0),
        _recent(stored_window(home, forecaster.manifest.features), forecaster),
        market=market.settings,
        policy=(policy := gate_policy(market, candidate.settings)),
        acknowledged_by=recipes.acknowledged_by(market),
        sharpe=Score(**json.loads(home.backtest.read_bytes())["sharpe"]),
    )
    return decide(evidence, policy)


def _recent(window: MarketWindow, forecaster: Forecaster) -> MarketWindow:
    bars = 4 * forecaster.manifest.bars_needed
    return MarketWindow(newest_bars(window.candles, bars), window.facts)


def note_decision(home: Home, model: str, version: int, decision: Decision, at: datetime) -> None:
    """Write a refusal to the ledger, and any verdict to the version's tags; a promotion has its own line."""
    reasons = "; ".join(decision.reasons)
    home.tracking.tag_version(
        model,
        version,
        {ADMITTED_TAG: str(decision.promote), "gate/door": decision.door, "gate/reasons": reasons},
    )
    if not decision.promote:
        home.ledger.append(
            "refusal",
            model=model,
            version=version,
            actor=ACTOR,
            reason=reasons,
            numbers=decision.to_dict(),
            at=at,
        )


def decision_metadata(decision: Decision) -> dict[str, Any]:
    """What Dagster shows of a decision."""
    tests = pl.DataFrame(
        {
            "against": test.against,
            "loss_difference": test.interval.mean,
            "lower": test.interval.lower,
            "upper": test.interval.upper,
            "must_exceed": test.margin,
            "least_detectable": test.interval.least_detectable,
            "passed": str(test.passed),
        }
        for test in decision.tests
    )
    canaries = {canary.name: canary.detail for canary in decision.canaries}
    return {
        "promote": decision.promote,
        "door": decision.door,
        "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in decision.reasons)),
        "tests": table(tests, tests.height),
        "canaries": canaries,
        "alarms": list(decision.alarms),
    }


@dg.asset(group_name=GROUP, kinds={"mlflow"}, deps=[gate_decision])
def released_bundle(market: MarketResource) -> dg.MaterializeResult[None]:
    """The version that the service and the devices run: alias, release folder and ledger, all or none."""

    def make() -> dict[str, Any]:
        home = market.home
        home.release_desk.finish_open_intents(market.clock())
        decision = json.loads((home.candidate / recipes.DECISION_NAME).read_bytes())
        if decision["promote"]:
            home.release_desk.promote(
                decision["model"],
                decision["version"],
                actor=ACTOR,
                reason="; ".join(decision["reasons"]),
                numbers=decision,
                at=market.clock(),
            )
        channel = read_channel(home.releases, decision["model"])
        champion = channel.champion if channel else None
        return {
            "promoted": decision["promote"],
            "model": decision["model"],
            "champion": champion.version if champion else "none yet",
            "sha256": champion.sha256 if champion else "",
        }

    return materialized(recipes.released_bundle_recipe(market), make)


@dg.asset(
    group_name=GROUP,
    kinds={"sqlite"},
    deps=[clean_candles, *FACTS_OF_FEATURES],
    automation_condition=dg.AutomationCondition.any_deps_updated() & ~dg.AutomationCondition.in_progress(),
)
def online_bars(market: MarketResource) -> dg.MaterializeResult[None]:
    """The newest closed bars of each symbol, one row a bar, and facts, where the service reads them."""

    def make() -> dict[str, Any]:
        window = stored_window(market.home, feature_names(market))
        newest = newest_bars(window.candles, KEPT_BARS)
        facts = facts_since(
            window.facts.filter(pl.col("name") != NO_TRADE), newest.select(pl.col("open_time").min()).item()
        )
        with BarStore(market.home.bars_database) as store:
            store.write_bars(newest)
            store.write_no_trade(window.facts)
            store.write_facts(facts)
        return {
            "dagster/row_count": newest.height,
            "newest": str(newest["open_time"].max()),
            "facts": facts.height,
        }

    return materialized(recipes.online_bars_recipe(market), make)
