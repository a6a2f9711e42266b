"""What happens to releases outside of a run: intents of killed runs, moved aliases, and filed requests."""

from datetime import datetime

import dagster as dg

from cryptoai_assets.defs.release.assets import online_bars
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.releases import PromotionError, ReleaseDesk
from cryptoai_assets.lib.replayed_bundles import READERS
from cryptoai_assets.lib.requested_releases import carry_out
from cryptoai_serving.release_requests import ReleaseRequests

# Materializes what has a condition to follow what it reads.
assets_follow_what_they_read = dg.AutomationConditionSensorDefinition(
    "assets_follow_what_they_read",
    target=dg.AssetSelection.assets(online_bars),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)


@dg.sensor(target=None, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
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


@dg.sensor(target=None, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
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
