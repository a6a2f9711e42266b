"""From a scored version to what the service and the devices run."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from cryptoai_assets.defs.features.assets import FACTS_OF_FEATURES
from cryptoai_assets.defs.features.recipes import feature_names
from cryptoai_assets.defs.market_data.assets import clean_candles
from cryptoai_assets.defs.materialization import materialized, picture, table
from cryptoai_assets.defs.release import recipes
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.training.assets import backtest, candidate_rows, trained_forecaster, version_scores
from cryptoai_assets.lib.bundle_checks import graph_operators
from cryptoai_assets.lib.candidate import Candidate, bundle_folder, gate_evidence, score_stretch
from cryptoai_assets.lib.decisions import GATE, note_admission
from cryptoai_assets.lib.edge_archive import MadeArchive, champions_archive
from cryptoai_assets.lib.emulated_pi import emulated_selftest, missing_packages
from cryptoai_assets.lib.figures import decision_figure
from cryptoai_assets.lib.gate import Decision, GatePolicy, decide, platform_policy
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.monthly_features import stored_window
from cryptoai_assets.lib.probation import begin_probation, note_probation
from cryptoai_assets.lib.releases import champion_forecaster, rival
from cryptoai_assets.lib.requested_releases import ADMITTED_TAG
from cryptoai_assets.lib.scoring import Score
from cryptoai_assets.lib.training import TrainingSettings
from cryptoai_serving.bar_shelf import KEPT_BARS
from cryptoai_serving.bars import BarStore
from edge_bundle.candles import newest_bars
from edge_bundle.errors import BundleRefusedError
from edge_bundle.facts import NO_TRADE
from edge_bundle.features.sources import facts_since
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.releases import read_channel
from edge_bundle.whole_file import replace_file
from edge_bundle.windows import MarketWindow

GROUP = "release"


def gate_policy(market: MarketResource, settings: TrainingSettings) -> GatePolicy:
    """What this platform asks of a challenger."""
    return platform_policy(settings.bootstrap(market.settings))


@dg.asset(group_name=GROUP, deps=[trained_forecaster, version_scores, backtest])
def gate_decision(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """Whether the newest version may become champion, with every test, bound, canary and alarm."""

    def make() -> dict[str, Any]:
        home = market.home
        candidate = Candidate.read(home.candidate)
        decision = _decided(market, candidate)
        record = decision.to_dict() | {"model": candidate.model, "version": candidate.version}
        replace_file(home.candidate / recipes.DECISION_NAME, json.dumps(record, indent=1, default=str))
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
        _rival(home, candidate),
        _recent(stored_window(home, forecaster.manifest.features), forecaster),
        market=market.settings,
        policy=(policy := gate_policy(market, candidate.settings)),
        acknowledged_by=recipes.acknowledged_by(market),
        sharpe=Score(**json.loads(home.backtest.read_bytes())["sharpe"]),
    )
    return decide(evidence, policy)


def _rival(home: Home, candidate: Candidate) -> Forecaster | str | None:
    """What the candidate has to beat, or why it cannot be loaded any more."""
    try:
        return rival(home.releases, home.ledger, candidate.model, candidate.version or 0)
    except BundleRefusedError as error:
        return f"{error}"


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
        home.ledger.refuse(
            model=model,
            version=version,
            actor=GATE,
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
            "passed": "as little as the champion" if test.excused else str(test.passed),
        }
        for test in decision.tests
    )
    canaries = {canary.name: canary.detail for canary in decision.canaries}
    return {
        "promote": decision.promote,
        "door": decision.door,
        "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in decision.reasons)),
        "decision": picture(decision_figure(decision)),
        "tests": table(tests, tests.height),
        "bounds": {
            bound.name: f"{bound.value:.4g}, at least {bound.lower:.4g} is shown, at most {bound.limit:g}"
            for bound in decision.bounds
        },
        "canaries": canaries,
        "alarms": list(decision.alarms),
    }


@dg.asset(group_name=GROUP, kinds={"mlflow"}, deps=[gate_decision])
def released_bundle(market: MarketResource) -> dg.MaterializeResult[None]:
    """The version that the service and the devices run: alias, release folder and ledger, all or none.

    Where a person has the last word, what the gate admits waits for a request through the service; where
    probation has it, for what the asset `experiment_results` finds.
    """

    def make() -> dict[str, Any]:
        home = market.home
        home.release_desk.finish_open_intents(market.clock())
        decision = json.loads((home.candidate / recipes.DECISION_NAME).read_bytes())
        probation, waits = market.probation, ""
        if decision["promote"] and market.asks_a_person:
            waits = "for your approval"
            note_admission(home, decision, version=decision["version"], at=market.clock())
        elif decision["promote"] and probation:
            note_probation(home, decision, probation, version=decision["version"], at=market.clock())
            waits = begin_probation(home, probation, market.clock()) or "on probation"
        elif decision["promote"]:
            home.release_desk.promote(
                decision["model"],
                decision["version"],
                actor=GATE,
                reason="; ".join(decision["reasons"]),
                numbers=decision,
                at=market.clock(),
            )
        channel = read_channel(home.releases, decision["model"])
        champion = channel.champion if channel else None
        return {
            "promoted": decision["promote"] and not waits,
            "waits": waits,
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
    """The newest closed bars of each symbol, one row a bar, and facts, where the service reads them.

    They take the place of what the stream brought up to the newest of them, so that no rejected bar stays.
    """

    def make() -> dict[str, Any]:
        window = stored_window(market.home, feature_names(market))
        newest = newest_bars(window.candles, KEPT_BARS)
        facts = facts_since(
            window.facts.filter(pl.col("name") != NO_TRADE), newest.select(pl.col("open_time").min()).item()
        )
        with BarStore(market.home.bars_database) as store:
            store.replace_bars(newest)
            store.write_no_trade(window.facts)
            store.write_facts(facts)
        return {
            "dagster/row_count": newest.height,
            "newest": str(newest["open_time"].max()),
            "facts": facts.height,
        }

    return materialized(recipes.online_bars_recipe(market), make)


class EdgeArchiveConfig(dg.Config):
    """Which machine an archive is for.

    Parameters
    ----------
    here
        This machine's processor instead of a 64-bit Raspberry Pi's, on which the self-test is not emulated.
    constraints
        File of the versions of the wheels.
    """

    here: bool = False
    constraints: str = "constraints.txt"


@dg.asset(group_name=GROUP, kinds={"python"}, deps=[released_bundle])
def edge_archive(config: EdgeArchiveConfig, market: MarketResource) -> dg.MaterializeResult[None]:
    """What a Raspberry Pi is installed from, one file: wheels, the champion, units; made when asked for.

    The same inputs give the same bytes. The wheels are fetched from the package index of pip.
    """
    home = market.home
    champion = champion_forecaster(home.releases, market.settings.model)
    if champion is None:
        raise dg.Failure(f"{market.settings.model} has no champion yet: run make demo, or promote a version")
    made = champions_archive(
        home,
        home.edge,
        workshop=home.edge_wheels,
        constraints=Path(config.constraints),
        here=config.here,
    )
    lacking = ("a Raspberry Pi's archive",) if config.here else missing_packages()
    tried = None if lacking else emulated_selftest(made.path, root=home.emulated_pi)
    return dg.MaterializeResult(
        metadata=edge_archive_metadata(made, champion)
        | {"emulated_selftest": tried or f"not tried; it needs {', '.join(lacking)}"},
        data_version=dg.DataVersion(made.sha256),
    )


def edge_archive_metadata(made: MadeArchive, champion: Forecaster) -> dict[str, Any]:
    """What Dagster shows of an archive: size, contents with licences, and what the model in it is made of."""
    contents = pl.DataFrame(
        [
            {
                "file": name,
                "bytes": entry["size"],
                "licence": entry.get("licence", ""),
                "sha256": entry["sha256"],
            }
            for name, entry in made.contents.items()
        ]
    )
    operators = graph_operators(champion.folder / GRAPH_NAME)
    variants = pl.DataFrame(champion.manifest.quantization.get("table", []))
    return {
        "path": dg.MetadataValue.path(made.path),
        "sha256": made.sha256,
        "megabytes": round(made.path.stat().st_size / 1e6, 1),
        "model_megabytes": round(sum(path.stat().st_size for path in champion.folder.iterdir()) / 1e6, 2),
        "contents": table(contents, contents.height),
        "licences": sorted(set(contents["licence"]) - {""}),
        "operators": dict(operators),
        "precision": champion.manifest.quantization["precision"],
        "quantization": table(variants, variants.height) if variants.height else "nothing was measured",
    }
