"""Troubles of the platform itself: found at their limits, told once until they are over."""

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.outside_world import DrivenMarket

from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.news.news_source import Brought, Memory
from cryptoai_assets.lib.serving_counts import Counts
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.trouble import (
    GIGABYTE,
    Limits,
    Trouble,
    answer_troubles,
    disk_troubles,
    news_troubles,
    queue_troubles,
    served_troubles,
    serving_troubles,
    tell_troubles,
)
from edge_bundle.alerts import Outbox
from edge_bundle.news.articles import Found

NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)
LIMITS = Limits(
    free_gigabytes=5,
    queued=timedelta(hours=1),
    slowest_ms=250,
    abstentions=0.5,
    errors=0.02,
    slowest_answers=timedelta(seconds=1),
    news_silence=timedelta(hours=96),
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, market_preset("sample"))


def test_trouble_is_told_once_until_it_is_over_and_anew_when_it_comes_back(home: Home) -> None:
    def told(*names: str, minutes: int) -> list[str]:
        troubles = [Trouble(name, "as it is") for name in names]
        at = NOW + timedelta(minutes=minutes)
        return tell_troubles(home, "long queue", troubles, severity="warning", links={}, now=at)

    assert told("queue", minutes=0) == ["queue"]
    assert told("queue", minutes=1) == []
    assert told("queue", "disk", minutes=2) == ["disk"]
    assert told("disk", minutes=3) == []
    assert told("queue", "disk", minutes=4) == ["queue"]
    states = [(kept.alert.about[0], kept.state) for kept in Outbox(home.alerts_database).kept()]
    assert states == [("queue", "resolved"), ("disk", "open"), ("queue", "open")]


def test_disk_is_a_trouble_when_less_is_free_than_wanted(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free / GIGABYTE
    for wanted, found in ((free / 2, 0), (free * 2, 1)):
        limits = replace(LIMITS, free_gigabytes=wanted)
        assert len(disk_troubles(tmp_path, limits)) == found


def test_queue_is_a_trouble_when_its_oldest_run_waits_too_long() -> None:
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    assert queue_troubles([], LIMITS, NOW) == queue_troubles([NOW - hour], LIMITS, NOW) == []
    [found] = queue_troubles([NOW - hour - minute, NOW], LIMITS, NOW)
    assert found.said == "2 runs wait, one for 61 minutes"


def served(latencies: list[float], abstained: int) -> pl.DataFrame:
    reasons = ["stale_data"] * abstained + [None] * (len(latencies) - abstained)
    return pl.DataFrame(
        {"latency_ms": latencies, "abstention": reasons}, schema_overrides={"abstention": pl.String}
    )


def test_slow_twentieth_and_too_many_abstentions_are_troubles() -> None:
    assert served_troubles(served([10.0] * 19 + [900.0], 10), LIMITS) == []
    slow, abstained = served_troubles(served([10.0] * 18 + [900.0, 901.0], 11), LIMITS)
    assert slow.said == "one forecast of twenty takes 900 ms or more, 250 ms are wanted"
    assert abstained.said == "55% of 20 forecasts of an hour abstained, most for stale_data"


def test_market_that_stands_still_has_no_slow_service(home: Home) -> None:
    assert serving_troubles(home, LIMITS, NOW) == []
    assert not Path(home.forecasts_database).exists()


def test_errors_and_slow_answers_of_the_service_are_troubles() -> None:
    def told(answers: int, errors: int, quick: int) -> list[str]:
        counts = Counts(answers, errors, {"0.5": quick, "5.0": answers, "+Inf": answers})
        return [found.name for found in answer_troubles(counts, LIMITS)]

    assert told(1_000, 20, 990) == []
    assert told(1_000, 21, 990) == ["errors"]
    assert told(1_000, 0, 989) == ["slow answers"]
    assert told(99, 99, 0) == []


@dataclass(slots=True)
class Wire:
    """A source of news that tells what it is given, or fails."""

    name: str
    missing: str | None = None
    items: tuple[Found, ...] = ()
    fails: bool = False

    def fetch(self, since: datetime, memory: Memory) -> Brought:
        if self.fails:
            raise SourceError(f"no answer since {since}")
        return Brought(self.items, memory)


def item(title: str) -> Found:
    return Found(f"https://wire.test/{title}", title, "wire", "news", None, title, "", None, NOW)


def test_source_of_news_that_brings_nothing_new_for_days_is_a_trouble_by_its_name(home: Home) -> None:
    wires = [
        Wire("fresh"),
        Wire("stale", items=(item("old"),)),
        Wire("down", fails=True),
        Wire("unset", "a key"),
    ]
    world = DrivenMarket(NOW)
    for hours in (0, 96, 97):
        world.time = NOW + timedelta(hours=hours)
        wires[0].items = (item(f"{hours}"),)
        for wire in wires:
            home.news.visit(wire, start=NOW, clock=world.now)
        found = news_troubles(home, wires, LIMITS, world.time)
        assert [one.name for one in found] == (["stale", "down"] if hours == 97 else [])
    assert "nothing new since 2019-10-01 12:00" in found[0].said
    never = replace(LIMITS, news_silence=timedelta(0))
    assert news_troubles(home, wires, never, world.time) == []
