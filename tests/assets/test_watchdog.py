"""The watchdog: from outside it sees a daemon and a service that fell silent, and tells it by itself."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.loopback_app import serving
from fakes.slack_server import slack_server
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from cryptoai_assets.defs.resources import AlertsResource, MarketResource
from cryptoai_assets.watchdog import KIND, LONGEST_SILENCE, look
from edge_bundle.alerts import Outbox
from edge_bundle.heartbeat import HEARTBEAT_NAME, Heartbeat

NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


async def alive(_: object) -> Response:
    return Response("alive")


SERVICE = Starlette(routes=[Route("/livez", alive)])


@pytest.fixture
def market(tmp_path: Path) -> MarketResource:
    return MarketResource(name="sample", root=str(tmp_path))


def silent(
    market: MarketResource, alerts: AlertsResource, now: datetime, since: datetime | None = None
) -> list[str]:
    return [trouble.name for trouble in look(market, alerts, since=since, now=now, show=lambda _: None)]


def test_daemon_that_fell_silent_is_told_to_slack_without_it_and_once(market: MarketResource) -> None:
    Heartbeat(NOW, NOW, ()).write(market.home.data / HEARTBEAT_NAME)
    with serving(SERVICE) as service, slack_server() as slack:
        alerts = AlertsResource(slack_webhook=slack.url, serving_address=service.http)
        assert silent(market, alerts, NOW + LONGEST_SILENCE) == []
        assert slack.posted == []
        for later in (SECOND, 60 * SECOND):
            assert silent(market, alerts, NOW + LONGEST_SILENCE + later) == ["Dagster's daemon"]
        [message] = slack.posted
        assert "last sign of life was at 2019-10-01 12:00 UTC" in str(message)
        again = NOW + timedelta(hours=1)
        Heartbeat(again, again, ()).write(market.home.data / HEARTBEAT_NAME)
        assert silent(market, alerts, again) == []
    [kept] = Outbox(market.home.alerts_database).kept()
    assert (kept.alert.kind, kept.state) == (f"{KIND} in sample", "resolved")


def test_service_that_does_not_answer_is_told(market: MarketResource) -> None:
    Heartbeat(NOW, NOW, ()).write(market.home.data / HEARTBEAT_NAME)
    away = AlertsResource(serving_address="http://127.0.0.1:1")
    assert silent(market, away, NOW) == ["the forecast endpoint"]


def test_platform_that_was_just_started_is_given_its_time(market: MarketResource) -> None:
    away = AlertsResource(serving_address="http://127.0.0.1:1")
    assert silent(market, away, NOW, since=NOW - LONGEST_SILENCE) == []
    assert len(silent(market, away, NOW, since=NOW - LONGEST_SILENCE - SECOND)) == 2
    assert len(silent(market, away, NOW)) == 2
