"""What happens to releases and experiments from outside: killed runs, moved aliases, and filed requests."""

from datetime import datetime

import dagster as dg

from cryptoai_assets.defs.release.assets import online_bars
from cryptoai_assets.defs.resources import MarketResource, look_seconds
from cryptoai_assets.lib.releases import PromotionError, ReleaseDesk
from cryptoai_assets.lib.replayed_bundles import READERS
from cryptoai_assets.lib.requested_experiments import carry_out_experiment
from cryptoai_assets.lib.requested_releases import carry_out
from cryptoai_serving.experiment_requests import ExperimentRequests
from cryptoai_serving.release_requests import ReleaseRequests

LOOK_SECONDS = look_seconds()

# Materializes what has a condition to follow what it reads.
assets_follow_what_they_read = dg.AutomationConditionSensorDefinition(
    "assets_follow_what_they_read",
    target=dg.AssetSelection.assets(online_bars),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=LOOK_SECONDS,
)


@dg.sensor(target=None, minimum_interval_seconds=LOOK_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def releases_follow_aliases(market: MarketResource) -> dg.SkipReason:
    """Finish what a killed run began, then release the version that a person made champion in MLflow."""
    home, now = market.home, market.clock()
    finished = home.release_desk.finish_open_intents(now)
    told = [_reconciled(home.release_desk, model, now) for model in (market.settings.model, *READERS)]
    if found := [one for one in told if one]:
        return dg.SkipReason("; ".join(found))
    return dg.SkipReason(f"{len(finished)} open intents finished" if finished else "alias and channel agree")


def _reconciled(desk: ReleaseDesk, model: str, now: datetime) -> str | None:
    """What became of an alias that a person moved; None when it was not."""
    try:
        channel = desk.reconcile(model, now)
    except PromotionError as error:
        return f"the alias was moved back: {error}"
    if channel is None or channel.champion is None:
        return None
    return f"version {channel.champion.version} of {model} is released, as MLflow's alias says"


@dg.sensor(target=None, minimum_interval_seconds=LOOK_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def releases_follow_requests(market: MarketResource) -> dg.SkipReason:
    """Carry out, or refuse in the ledger, what was asked for through the service."""
    home, now = market.home, market.clock()
    if not home.requests_database.is_file():
        return dg.SkipReason("nothing was ever asked for")
    told = []
    with ReleaseRequests(home.requests_database) as requests:
        for request in requests.waiting():
            outcome = carry_out(home.release_desk, request, now)
            requests.settle(request, outcome)
            told.append(f"{request.kind} of version {request.version}: {outcome}")
    return dg.SkipReason("; ".join(told) or "nothing waits")


@dg.op
def experiments_as_asked(context: dg.OpExecutionContext, market: MarketResource) -> None:
    """Begin and end, in their order, what was asked for through the service; what cannot be is refused."""
    home = market.home
    with ExperimentRequests(home.requests_database) as requests:
        for request in requests.waiting():
            outcome = carry_out_experiment(home, request, market.clock())
            requests.settle(request, outcome)
            context.log.info(f"{request.kind} {request.name}: {outcome}")


@dg.job(description="Begin and end the experiments that were asked for through the service.")
def requested_experiments() -> None:
    """A run of its own: the length of an experiment is reckoned on all stored bars."""
    experiments_as_asked()


# By its name: Dagster copies a sensor that holds a job of ops, and warns of its own parameter then.
@dg.sensor(
    job_name=requested_experiments.name,
    minimum_interval_seconds=LOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def experiments_follow_requests(market: MarketResource) -> dg.RunRequest | dg.SkipReason:
    """Start a run when an experiment is to begin or to end; one that failed is started again by hand."""
    home = market.home
    if not home.requests_database.is_file():
        return dg.SkipReason("nothing was ever asked for")
    with ExperimentRequests(home.requests_database) as requests:
        waiting = requests.waiting()
    if not waiting:
        return dg.SkipReason("nothing waits")
    return dg.RunRequest(run_key=waiting[-1].id)
