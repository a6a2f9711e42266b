"""What the platform tells of itself."""

from datetime import timedelta

import dagster as dg

from cryptoai_assets.defs.resources import AlertsResource, MarketResource, UpkeepResource
from cryptoai_assets.lib.digest import digest
from cryptoai_assets.lib.watch import raise_alert

WEEK = timedelta(days=7)


@dg.asset(group_name="monitoring")
def weekly_digest(
    market: MarketResource, alerts: AlertsResource, upkeep: UpkeepResource
) -> dg.MaterializeResult[None]:
    """The last seven days: live scores, decisions, drift, outages and cost, as they were told to people.

    One message a day at most, however often it is made.
    """
    now = market.clock()
    found = digest(
        market.home,
        upkeep.prices,
        since=now - WEEK,
        until=now,
        links={"Dagster": alerts.dagster_address, "MLflow": alerts.mlflow_address},
    )
    told = raise_alert(market.home, found)
    facts = "\n".join(f"- **{label}**: {value}" for label, value in found.facts)
    return dg.MaterializeResult(metadata={"told": told, "digest": dg.MetadataValue.md(facts)})
