"""Fear & Greed: shown from the first minutes of its day on, of the whole market, from 0 to 100."""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
from fakes.loopback_app import serving
from fakes.outside_world import CannedWeb, DrivenMarket, assert_honest, broken, historian, quick_web
from hypothesis import given

from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.fact_source import Witness
from cryptoai_assets.lib.sources.fear_greed import FEAR_AND_GREED, PUBLICATION_DELAY, FearGreedSource
from cryptoai_assets.lib.sources.web import WebClient
from cryptoai_assets.sandbox.fear_greed import fear_greed_app, index_of

SEED = 5
DAY = timedelta(days=1)
START, END = datetime(2018, 3, 1, tzinfo=UTC), datetime(2018, 6, 1, tzinfo=UTC)
NOW = datetime(2018, 5, 20, 15, tzinfo=UTC)
ANSWER = {
    "name": "Fear and Greed Index",
    "data": [
        {
            "value": "40",
            "value_classification": "Fear",
            "timestamp": "1526774400",
            "time_until_update": "32400",
        },
        {"value": "39", "value_classification": "Fear", "timestamp": "1526688000"},
    ],
    "metadata": {"error": None},
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(fear_greed_app(DrivenMarket(NOW), seed=SEED)) as loopback:
        yield loopback.http


def fetched(
    web: WebClient | CannedWeb, start: datetime = START, end: datetime = END, now: datetime = NOW
) -> pl.DataFrame:
    return FearGreedSource(historian(now), web).fetch(start, end)


def test_every_day_is_there_up_to_the_one_that_runs(url: str) -> None:
    facts = fetched(quick_web("Fear & Greed", url))
    assert_honest(facts, PUBLICATION_DELAY)
    days = [START + place * DAY for place in range((NOW - START).days + 1)]
    assert facts["event_time"].to_list() == days
    assert facts["value"].to_list() == [index_of(SEED, day.date()) for day in days]
    assert facts["symbol"].null_count() == facts.height
    assert facts["known_at"].to_list() == [day + PUBLICATION_DELAY for day in days]


def test_short_span_asks_for_the_days_since_its_start_only(url: str) -> None:
    web = CannedWeb([ANSWER])
    facts = fetched(web, NOW - 2 * DAY)
    assert web.asked == [("/fng/", {"limit": 3, "format": "json"})]
    assert facts["value"].to_list() == [39.0, 40.0]
    assert fetched(quick_web("Fear & Greed", url), NOW - 2 * DAY)["event_time"].len() == 2


def test_who_was_there_knows_it_when_it_was_fetched(url: str) -> None:
    witness = Witness(lambda: NOW, live_since=NOW - 2 * DAY)
    facts = FearGreedSource(witness, quick_web("Fear & Greed", url)).fetch(START, END)
    assert facts["known_at"].to_list()[-3:] == [datetime(2018, 5, 18, 1, tzinfo=UTC), NOW, NOW]


def test_simulated_answer_says_so_and_the_newest_tells_when_the_next_comes(url: str) -> None:
    answer = httpx.get(f"{url}/fng/")
    assert answer.headers["x-cryptoai-simulated"] == "1"
    (newest,) = answer.json()["data"]
    assert newest["time_until_update"] == str(9 * 3600)
    assert len(httpx.get(f"{url}/fng/?limit=0").json()["data"]) == 109  # all since 2018-02-01


def test_error_that_it_tells_is_told() -> None:
    with pytest.raises(SourceError, match=r"does not answer \(bad limit\)"):
        fetched(CannedWeb([{"data": [], "metadata": {"error": "bad limit"}}]))


@pytest.mark.parametrize("value", ["101", "-1", "nan", "high", True, [50]])
def test_value_that_is_no_index_is_refused(value: object) -> None:
    with pytest.raises(SourceError, match="shape that is not understood"):
        fetched(CannedWeb([{**ANSWER, "data": [{"value": value, "timestamp": "1526774400"}]}]))


def test_real_index_becomes_facts_by_the_same_code(shared_data: Callable[[str], Path]) -> None:
    with shared_data("macro/fear_and_greed_index.csv").open() as file:
        rows = list(csv.DictReader(file))
    times = [datetime.strptime(row["timestamp"], "%m/%d/%Y").replace(tzinfo=UTC) for row in rows]
    data = [{**row, "timestamp": str(int(time.timestamp()))} for row, time in zip(rows, times, strict=True)]
    now = max(times) + timedelta(hours=13)
    facts = fetched(CannedWeb([{**ANSWER, "data": data}]), datetime(2018, 1, 1, tzinfo=UTC), now, now)
    assert_honest(facts, PUBLICATION_DELAY)
    assert facts["event_time"].to_list() == sorted(times)
    assert facts["value"].is_between(0, 100).all()
    assert set(facts["name"]) == {FEAR_AND_GREED}


@given(answer=broken(ANSWER))
def test_any_answer_becomes_facts_or_an_error_of_ours(answer: object) -> None:
    try:
        facts = fetched(CannedWeb([answer]))
    except SourceError:
        return
    assert_honest(facts, PUBLICATION_DELAY)
    assert facts["value"].is_between(0, 100).all()
