"""What the resources hand out: the market's sources in their order."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.loopback_app import serving
from fakes.tiny_bundle import walk_candles
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.sources.fallback import FROM_FALLBACK
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.__main__ import sandbox_app
from cryptoai_assets.sandbox.coingecko import coingecko_app
from cryptoai_assets.sandbox.faults import Fault, FaultPlan, Faults
from cryptoai_assets.sandbox.market import SandboxMarket

PROJECT = Path(__file__).parents[2]
NOW = datetime(2019, 9, 2, 12, tzinfo=UTC)
SAMPLE = pl.read_parquet(sample_file()).sort("symbol", "open_time")


def test_models_that_are_set_are_trained_in_place_of_the_market_s_own(tmp_path: Path) -> None:
    (tmp_path / "markets").mkdir()
    (tmp_path / "markets" / "mine.toml").write_text('models = ["lightgbm"]')
    own = MarketResource(name="mine", root=str(tmp_path))
    assert own.settings.models == ("lightgbm",)
    asked = MarketResource(name="mine", root=str(tmp_path), models=["lstm", "blend"])
    assert asked.settings == replace(own.settings, models=("lstm", "blend"), lookback=60)
    assert own.settings.lookback == 1


async def blocked(_request: Request) -> Response:
    return JSONResponse({"code": 0, "msg": "Service unavailable from a restricted location"}, 451)


def test_market_asks_coingecko_when_its_venue_is_closed_to_us_and_says_that_bars_are_missing(
    tmp_path: Path,
) -> None:
    sandbox = SandboxMarket(SAMPLE, seed=1, start=NOW, speed=0, clock=lambda: NOW)
    app = Starlette(
        routes=[
            Route("/binance/{rest:path}", blocked),
            Mount("/coingecko", coingecko_app(sandbox)),
        ]
    )
    with serving(app) as server:
        market = MarketResource(name="sandbox", root=str(tmp_path), time=NOW.isoformat(), sandbox=server.http)
        source = market.source()
        assert source.name == "simulated Binance.US"
        fetched = source.fetch("BTCUSDT", NOW - timedelta(hours=1), NOW)
    # It has no minutes: its prices are kept as what they are, and no bar is made of them.
    assert fetched.candles.is_empty()
    assert fetched.facts["name"].unique().to_list() == ["reference_price"]
    assert fetched.facts["source"].unique().to_list() == ["simulated CoinGecko"]
    assert fetched.facts.height >= 11


def test_what_is_heard_instead_is_known_in_the_simulated_venues_time(tmp_path: Path) -> None:
    sandbox = SandboxMarket(SAMPLE, seed=1, start=NOW, speed=0, clock=lambda: NOW)
    no_candles = FaultPlan(1, {Fault.SERVER_ERROR: 1.0}, only="/klines")
    with serving(Faults(sandbox_app(sandbox, seed=1), no_candles)) as server:
        market = MarketResource(name="sandbox", root=str(tmp_path), sandbox=server.http, tries=1)
        assert market.now() == NOW
        fetched = market.source().fetch("BTCUSDT", NOW - timedelta(hours=1), NOW)
    assert fetched.facts["source"].unique().to_list() == ["simulated CoinGecko"]
    assert fetched.facts["known_at"].unique().to_list() == [NOW]


def test_what_devices_sent_stands_in_for_a_venue_that_is_closed_and_is_a_source_by_itself(
    tmp_path: Path,
) -> None:
    (tmp_path / "markets").mkdir()
    (tmp_path / "markets" / "mine.toml").write_text('source = "device"')
    day = NOW.replace(hour=0)
    candles = walk_candles(("BTCUSDT", "ETHUSDT"), bars=900, interval="1m", seed=1, start=day)
    for market_name in ("mine", "sandbox"):
        folder = tmp_path / "data" / market_name / "device_candles" / "3f9c21ab"
        folder.mkdir(parents=True)
        candles.write_parquet(folder / f"{day:%Y-%m-%d}.parquet")
    expected = candles.filter(symbol="ETHUSDT").tail(60)
    start, end = day + timedelta(minutes=840), day + timedelta(days=1)
    own = MarketResource(name="mine", root=str(tmp_path)).source()
    assert own.fetch("ETHUSDT", start, end).candles.equals(expected)
    app = Starlette(routes=[Route("/binance/{rest:path}", blocked)])
    with serving(app) as server:
        market = MarketResource(name="sandbox", root=str(tmp_path), time=NOW.isoformat(), sandbox=server.http)
        heard = market.source().fetch("ETHUSDT", start, end)
    assert heard.candles.equals(expected)
    assert set(heard.facts["name"]) == {FROM_FALLBACK}
    assert set(heard.facts["source"]) == {"device files"}


DAYS = """
import json, os
from cryptoai_assets.defs.resources import configured_resource
told = {}
for days in (None, "", "3", "0", "-3", "2.5", "weekly", "\u00b2"):
    os.environ.pop("CRYPTOAI_RETRAIN_DAYS", None)
    if days is not None:
        os.environ["CRYPTOAI_RETRAIN_DAYS"] = days
    try:
        policy = configured_resource().verdict_policy
        told[days] = [policy.cool_down.days, policy.fallback.days]
    except ValueError as error:
        told[days] = str(error)
print(json.dumps(told))
"""


def test_environment_says_after_how_many_days_a_training_is_due() -> None:
    done = configured_by(DAYS, {})
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert [told.pop(days) for days in ("null", "", "3")] == [[7, 7], [7, 7], [3, 3]]
    assert told == {
        days: f"{days!r}: set CRYPTOAI_RETRAIN_DAYS to whole days, 1 or more"
        for days in ("0", "-3", "2.5", "weekly", "²")
    }


def test_no_policy_trains_more_often_than_verdicts_come() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        MarketResource(name="sample", retrain_days=0)


def configured_by(program: str, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program in an environment in which nothing else is set."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CRYPTOAI_")}
    environment = own | {"PYTHONPATH": str(PROJECT)} | given
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )


CONFIGURED = """
import json
from cryptoai_assets.defs.resources import configured_alerts, configured_upkeep, links_lead_to
links_lead_to(dagster="http://here:3001", mlflow="http://here:5001", serving="http://here:3601")
alerts = configured_alerts()
channels = [(channel.name, repr(channel)) for channel in alerts.channels(print)]
addresses = [alerts.dagster_address, alerts.mlflow_address, alerts.serving_address]
secrets = [name for name in ("xoxb-1", "hook-1", "s3cret") if name in repr(alerts)]
print(json.dumps([channels, addresses, alerts.remind_hours, configured_upkeep().monthly_budget, secrets]))
"""


def test_environment_says_who_is_told_by_which_way_where_links_lead_and_what_may_be_spent() -> None:
    given = {
        "CRYPTOAI_SLACK_WEBHOOK": "http://slack.example/unused",
        "CRYPTOAI_SLACK_TOKEN": "xoxb-1",
        "CRYPTOAI_SLACK_CHANNEL": "C1",
        "CRYPTOAI_SMTP": "smtps://ada:s3cret@mail.example:465",
        "CRYPTOAI_MAIL_TO": "ada@example.org, bob@example.org",
        "CRYPTOAI_ALERT_WEBHOOK": "http://other.example/hook-1",
        "CRYPTOAI_SERVING_ADDRESS": "https://forecasts.example",
        "CRYPTOAI_REMIND_WARNING_HOURS": "0",
        "CRYPTOAI_MONTHLY_BUDGET": "20",
    }
    done = configured_by(CONFIGURED, given)
    assert done.returncode == 0, done.stderr
    channels, addresses, remind, budget, secrets = json.loads(done.stdout.splitlines()[-1])
    assert [name for name, _ in channels] == ["slack-bot", "mail", "webhook"]
    assert "('ada@example.org', 'bob@example.org')" in channels[1][1]
    assert addresses == ["http://here:3001", "http://here:5001", "https://forecasts.example"]
    assert (remind, budget) == ({"critical": 1.0, "warning": 0.0}, 20.0)
    assert secrets == []
