"""`make demo`: materialize what is not up to date, asset by asset, and sum up what came out."""

import json
import logging
import os
import statistics
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl
from dagster._core.instance.ref import InstanceRef

from cryptoai_assets.definitions import defs
from cryptoai_assets.defs.features.recipes import feature_names
from cryptoai_assets.defs.market_data.partitions import SYMBOL_MONTH
from cryptoai_assets.defs.materialization import UNPARTITIONED
from cryptoai_assets.defs.monitoring.sensors import tell_failed_run
from cryptoai_assets.defs.outside import recipes as outside
from cryptoai_assets.defs.outside.sources import facts_given
from cryptoai_assets.defs.recipes import IN_ORDER, stale_partitions
from cryptoai_assets.defs.release.recipes import DECISION_NAME
from cryptoai_assets.defs.resources import MarketResource, configured_alerts, configured_resource
from cryptoai_assets.defs.training.config import TrainingConfig
from cryptoai_assets.defs.training.recipes import SCORES_NAME, STRETCH_SCORES_NAME
from cryptoai_assets.defs.upkeep.killed_runs import PROCESS_TAG, bury_killed_runs
from cryptoai_assets.lib.candidate import Candidate, bundle_folder
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.models.zoo import ModelChoiceError
from cryptoai_assets.lib.planner import together
from cryptoai_assets.lib.releases import champion_forecaster
from cryptoai_assets.lib.store import read_stored_parquet
from cryptoai_serving.bars import BarStore
from edge_bundle.features.catalog import catalog
from edge_bundle.features.sources import facts_read
from edge_bundle.releases import read_channel

LATENCY_CALLS = 50
# What compares with a champion, and has nothing to do where the gate refused the first version.
AFTER_RELEASE = ("drift_report",)
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass(frozen=True, slots=True)
class Made:
    """How many partitions of an asset were made, and how long that took.

    Parameters
    ----------
    unanswered
        What an outside source said in place of an answer; its facts are those that were stored before.
    """

    asset: str
    partitions: int
    seconds: float
    unanswered: str | None = None


def main() -> int:
    """Materialize what is stale, print progress and the summary."""
    for name in ("dagster", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    market = configured_resource()
    with project_instance() as instance:
        try:
            TrainingConfig().training(market.settings)  # refuses models at once, not after the features
            made = materialize_stale(instance, market)
        except (MaterializationError, ModelChoiceError) as error:
            sys.stderr.write(f"\n{error}\n")
            return 1
    total = sum(step.partitions for step in made)
    is_whole = total == 0 and all(step.unanswered is None for step in made)
    sys.stdout.write("\nEverything is up to date.\n" if is_whole else f"\n{total} partitions materialized.\n")
    sys.stdout.write("\n".join([*summary(market.home), *unanswered_lines(made, market)]) + "\n")
    return 0


class MaterializationError(Exception):
    """A run failed; the message says which one and where to look."""


@contextmanager
def project_instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's instance of the folder that this program runs in, which ``dagster dev`` opens there too."""
    root = Path.cwd()  # the paths in dagster.yaml are read from here
    home = root / ".dagster"
    home.mkdir(exist_ok=True)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), config_dir=str(root))) as instance:
        yield instance


def materialize_stale(
    instance: dg.DagsterInstance, market: MarketResource, assets: Sequence[str] = IN_ORDER
) -> list[Made]:
    """Walk the graph from its sources; an asset is looked at when what it reads is made.

    An outside source that does not answer is told, and the rest goes on with the facts that are stored.

    Raises
    ------
    MaterializationError
        When a run fails; what it made before is kept, and the next call goes on from there.
    """
    bury_killed_runs(instance)
    job = defs().get_repository_def().get_implicit_global_asset_job_def()
    every = SYMBOL_MONTH.get_partition_keys()
    made = []
    for asset in assets:
        stale = stale_partitions(instance, market, asset)
        if (
            asset in AFTER_RELEASE
            and champion_forecaster(market.home.releases, market.settings.model) is None
        ):
            sys.stdout.write(f"    {asset} is left out: nothing is released\n")
            continue
        started = time.monotonic()
        said = None
        for first, last in together(stale, every):
            _tell(asset, len(stale), first if first == last else f"{first} … {last}")
            said = _run(job, instance, market, asset=asset, span=(first, last))
        count = len(stale) if said is None else 0
        made.append(Made(asset, count, time.monotonic() - started, said))
        if count:
            sys.stdout.write(f"    done in {made[-1].seconds:.1f} s\n")
    return made


def _run(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    market: MarketResource,
    *,
    asset: str,
    span: tuple[str, str],
) -> str | None:
    """Make partitions of an asset, first and last given; what an outside source said that gave no facts."""
    first, last = span
    run = job.get_subset(asset_selection={dg.AssetKey(asset)}).execute_in_process(
        instance=instance,
        resources={"market": market},
        tags=_tags(first, last),
        run_config={"loggers": {"progress": {}}},
        partition_key=first if first and first == last else None,
        raise_on_error=False,
    )
    said = unanswered(asset, run)
    if said is not None:
        tell_failed_run(market, configured_alerts(), run.dagster_run, {asset: said})
        sys.stdout.write(f"    {said}\n    the rest goes on without new facts of it\n")
    elif not run.success:
        raise MaterializationError(_failure(asset, run))
    return said


def _tags(first: str, last: str) -> Mapping[str, str]:
    span = {RANGE_START: first, RANGE_END: last} if first != last else {}
    return {**span, PROCESS_TAG: str(os.getpid())}


def _tell(asset: str, count: int, what: str) -> None:
    position = IN_ORDER.index(asset) + 1
    label = f" ({count} partitions: {what})" if what != UNPARTITIONED else ""
    sys.stdout.write(f"[{position:2}/{len(IN_ORDER)}] {asset}{label}\n")
    sys.stdout.flush()


def unanswered(asset: str, run: dg.ExecuteInProcessResult) -> str | None:
    """What an outside source said in place of an answer; None when it answered, or something else failed."""
    if asset not in outside.RECIPES:
        return None
    failures = [event.step_failure_data for event in run.all_events if event.is_step_failure]
    told = [failure.user_failure_data.description for failure in failures if failure.user_failure_data]
    return "; ".join(map(str, told)) if failures and len(told) == len(failures) else None


def _failure(asset: str, run: dg.ExecuteInProcessResult) -> str:
    reasons = [
        str((failure.cause or failure).message).strip()
        for event in run.all_events
        if event.is_step_failure and (failure := event.step_failure_data.error)
    ]
    told = "\n".join(reasons)
    return f"{asset} failed in run {run.run_id}:\n{told}\nIts log: `make up`, then Runs in the Dagster UI."


def summary(home: Home) -> list[str]:
    """What came out, as lines of a table, and what to type next."""
    candidate = Candidate.read(home.candidate)
    channel = read_channel(home.releases, candidate.model)
    champion = channel.champion if channel else None
    decision = json.loads((home.candidate / DECISION_NAME).read_bytes())
    rows = home.stores.clean_candles.read(home.market.symbols).height
    size = sum(path.stat().st_size for path in bundle_folder(home.candidate).iterdir())
    lines = [
        ("market", f"{home.market.name}: {', '.join(home.market.symbols)}, {home.market.interval} bars"),
        ("rows ingested", f"{rows:,}"),
        ("features", f"{len(catalog())}"),
        ("folds", f"{candidate.settings.folds} walk-forward, then an untouched final stretch"),
        ("registered version", f"{candidate.model} version {candidate.version}"),
        ("champion", f"version {champion.version}" if champion else "none: the gate refused"),
        ("gate", ("promoted: " if decision["promote"] else "refused: ") + "; ".join(decision["reasons"])),
        ("backtest", _backtest(home)),
        ("bundle", f"{size / 1e6:.2f} MB"),
        ("forecast latency", _latency(home)),
        *_drift(home),
    ]
    width = max(len(name) for name, _ in lines)
    return [
        *(f"  {name.ljust(width)}  {value}" for name, value in lines),
        "",
        "Walk-forward scores of the procedure (95 % intervals, blocks of a day):",
        *_score_lines(read_stored_parquet(home.procedure / SCORES_NAME), home.market.horizons),
        "",
        f"Scores of version {candidate.version}: its own bytes over the final stretch:",
        *_score_lines(
            read_stored_parquet(home.candidate / STRETCH_SCORES_NAME).with_columns(
                model=pl.lit("this version")
            ),
            home.market.horizons,
        ),
        "",
        "Part of the one-bar score is bid-ask bounce, which nobody can trade. Not investment advice.",
        "",
        "Next:",
        "  make up                     Dagster UI, MLflow UI and the forecast endpoint",
        "  make evaluate               scores against the reference, with intervals",
        "  make reproduce VERSION=1    train a registered version again from its record",
        "  curl -s localhost:3600/forecast/BTCUSD     while `make up` runs",
    ]


def unanswered_lines(made: Sequence[Made], market: MarketResource) -> list[str]:
    """Outside sources that did not answer, and what that does to the market's features; none when all did."""
    read = facts_read(feature_names(market))
    lines = []
    for step in made:
        if step.unanswered is None:
            continue
        facts = [fact for fact in facts_given(market, outside.source_of(step.asset)) if fact in read]
        follows = "no feature of this market reads its facts"
        if facts:
            follows = f"features read {', '.join(facts)}: where these are too old, training stops and says so"
        lines += [f"  {step.asset} failed: {step.unanswered}", f"    {follows}"]
    return ["", "Sources that did not answer, asked again next time:", *lines] if lines else []


def _score_lines(scores: pl.DataFrame, horizons: Sequence[int]) -> list[str]:
    metrics = ("accuracy", "auc", "rank_ic", "volatility_rank_ic")
    lines = [f"  {'model':20} {'bars':>4}  " + "".join(f"{name:>26}" for name in metrics)]
    for model in scores["model"].unique(maintain_order=True):
        for horizon in horizons:
            cells = [_cell(scores.filter(model=model, metric=f"h{horizon}/{metric}")) for metric in metrics]
            lines.append(f"  {model:20} {horizon:>4}  " + "".join(f"{cell:>26}" for cell in cells))
    return lines


def _cell(row: pl.DataFrame) -> str:
    if row.is_empty():
        return "–"
    value, lower, upper = row.select("value", "lower", "upper").row(0)
    return f"{value:.3f} [{lower:.3f}, {upper:.3f}]"


def _backtest(home: Home) -> str:
    found = json.loads(home.backtest.read_bytes())
    done, sharpe = found["performance"], found["sharpe"]
    return (
        f"{done['total_return']:+.1%} after costs on the final stretch, "
        f"buy and hold {found['buy_and_hold']:+.1%}; "
        f"Sharpe {sharpe['value']:.1f} [{sharpe['lower']:.1f}, {sharpe['upper']:.1f}]; "
        f"breaks even at {done['breakeven_cost_bps']:.1f} bps a trade"
    )


def _latency(home: Home) -> str:
    forecaster = champion_forecaster(home.releases, home.market.model)
    if forecaster is None:
        return "not measured: nothing is released"
    seconds = []
    with BarStore(home.bars_database) as store:
        for _ in range(LATENCY_CALLS):
            started = time.perf_counter()
            forecaster.forecast(store.window(home.market.symbols[:1], forecaster.manifest.bars_needed))
            seconds.append(time.perf_counter() - started)
    ordered = sorted(seconds)
    return (
        f"p50 {statistics.median(ordered) * 1e3:.1f} ms, "
        f"p99 {ordered[int(len(ordered) * 0.99)] * 1e3:.1f} ms, from stored bars to the answer, in process"
    )


def _drift(home: Home) -> list[tuple[str, str]]:
    path = home.monitoring / "verdict.json"
    if not path.is_file():
        return []
    verdict = json.loads(path.read_bytes())
    return [("drift verdict", f"{verdict['action']}: {verdict['reason']}")]


if __name__ == "__main__":
    sys.exit(main())
