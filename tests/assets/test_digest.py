"""The digest: a week in one message, told once; what lies outside of the week is not in it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from fakes.tiny_bundle import START

from cryptoai_assets.defs.resources import AlertsResource, MarketResource, UpkeepResource
from cryptoai_assets.defs.upkeep.assets import weekly_digest
from cryptoai_assets.lib.expenses import Expenses, RunTime
from cryptoai_serving.forecast_log import ForecastLog, LoggedForecast
from edge_bundle.alerts import Alert, Outbox
from edge_bundle.forecast import Forecast, HorizonForecast

NOW = datetime(2019, 10, 7, 7, tzinfo=UTC)
DAY = timedelta(days=1)
MODEL = "cryptoai-forecaster-sample"


@pytest.fixture
def market(tmp_path: Path) -> MarketResource:
    return MarketResource(name="sample", root=str(tmp_path), time=NOW.isoformat())


def told(market: MarketResource, upkeep: UpkeepResource) -> dict[str, str]:
    """Facts of the digest that is made twice and told once."""
    resources = {"market": market, "alerts": AlertsResource(), "upkeep": upkeep}
    outcomes = []
    for _ in range(2):
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize([weekly_digest], resources=resources, instance=instance)
        [event] = result.asset_materializations_for_node("weekly_digest")
        outcomes.append(event.metadata["told"].value)
    assert outcomes == [True, False]
    [alert] = [one for one in Outbox(market.home.alerts_database).alerts() if one.severity == "info"]
    assert alert.title == "The week of sample"
    return dict(alert.facts)


def forecast(step: int, probability: float, asked_at: datetime) -> LoggedForecast:
    ahead = HorizonForecast(1, 0.0, probability, 10.0, -20.0, 20.0)
    opened = START + step * timedelta(minutes=30)
    known_at = opened + timedelta(minutes=30)
    made = Forecast("BTCUSD", opened, known_at, "30m", MODEL, "f" * 64, 0.9, (ahead,), None, None)
    return LoggedForecast(made, 3, "champion", "store", asked_at, 12.0, f"request {step}")


def test_week_without_anything_says_so(market: MarketResource) -> None:
    assert told(market, UpkeepResource()) == {
        "forecasts": "none was asked for",
        "trainings asked for": "none",
        "promotions": "none",
        "refusals": "none",
        "rollbacks": "none",
        "stops": "none",
        "alerts": "none",
        "still open": "none",
        "computed": "0 runs, 0.0 minutes",
    }


def test_week_holds_its_scores_decisions_outages_and_cost_and_nothing_older(market: MarketResource) -> None:
    home = market.home
    for at in (NOW - DAY, NOW - 8 * DAY):
        home.ledger.append(
            "refusal", model=MODEL, version=at.day, actor="gate", reason="not better", numbers={}, at=at
        )
        Outbox(home.alerts_database).add(
            Alert(
                f"silent:{at}",
                "critical",
                f"Stream failed on the {at.day}.",
                "no bar",
                (),
                (),
                at,
                "failed stream",
            )
        )
        Expenses(home.expenses).note([RunTime(str(at), "retraining", at, 30.0)])
    entries = [forecast(step, 0.6, NOW - DAY) for step in range(4)] + [forecast(9, 0.6, NOW - 8 * DAY)]
    with ForecastLog(home.forecasts_database) as log:
        log.write(entries)
        known = [entry.forecast.known_at for entry in entries]
        returns = [1.0, 1.0, 1.0, -1.0, -1.0]
        happened = pl.DataFrame(
            {"symbol": "BTCUSD", "known_at": known, "horizon_bars": 1, "return_bps": returns}
        )
        log.write_outcomes(MODEL, happened)
    facts = told(market, UpkeepResource(price_a_minute=0.5))
    assert facts["forecasts"] == "4, 0 abstentions; nineteen of twenty within 12 ms"
    assert facts["version 3, BTCUSD, 1 bars ahead"].startswith("direction right in 75.0% of 4")
    assert facts["refusals"] == f"1: {MODEL} 6"
    assert facts["alerts"] == "1 × failed stream"
    assert facts["still open"] == "Stream failed on the 29.; Stream failed on the 6."
    assert facts["computed"] == (
        "1 runs, 30.0 minutes, at 0.5 a minute 15.00; longest retraining, 30.0 minutes"
    )
