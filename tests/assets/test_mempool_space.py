"""mempool.space: days that are over, the hash rate of the day before its stamp, and answers that are none."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import polars as pl
import pytest
from fakes.loopback_app import serving
from fakes.outside_world import CannedWeb, DrivenMarket, assert_honest, broken, historian, quick_web
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.fact_source import Witness
from cryptoai_assets.lib.sources.mempool_space import (
    BLOCK_FEES,
    DIFFICULTY,
    HASH_RATE,
    PUBLICATION_DELAY,
    MempoolSpaceSource,
)
from cryptoai_assets.sandbox.mempool_space import (
    difficulties,
    fees_of,
    hash_rate_of,
    mempool_space_app,
)

SEED = 3
DAY = timedelta(days=1)
START, END = datetime(2018, 3, 1, tzinfo=UTC), datetime(2018, 6, 1, tzinfo=UTC)
NOW = datetime(2018, 5, 20, 15, tzinfo=UTC)
FEES = [{"avgHeight": 511_555, "timestamp": 1519905600, "avgFees": 31_000_000, "USD": 10_900}]
MINING = {
    "hashrates": [{"timestamp": 1519948800, "avgHashrate": 2.4e19}],
    "difficulty": [{"time": 1519909151, "height": 511_560, "difficulty": 3.2e12, "adjustment": 1.05}],
    "currentHashrate": 2.4e19,
    "currentDifficulty": 3.2e12,
}


@pytest.fixture(scope="module")
def market() -> DrivenMarket:
    return DrivenMarket(NOW)


@pytest.fixture(scope="module")
def url(market: DrivenMarket) -> Iterator[str]:
    with serving(mempool_space_app(market, seed=SEED)) as loopback:
        yield f"{loopback.http}/api"


@pytest.fixture(autouse=True)
def _time_starts_again(market: DrivenMarket) -> None:
    market.time = NOW


def facts_at(url: str, now: datetime = NOW) -> pl.DataFrame:
    return MempoolSpaceSource(historian(now), quick_web("mempool.space", url), "BTCUSDT").fetch(START, END)


def values(facts: pl.DataFrame, name: str) -> dict[datetime, float]:
    own = facts.filter(pl.col("name") == name)
    return dict(zip(own["event_time"], own["value"], strict=True))


def test_days_that_are_over_have_their_values(url: str) -> None:
    facts = facts_at(url)
    assert_honest(facts.filter(pl.col("name") != DIFFICULTY), DAY)
    days = [START + place * DAY for place in range((NOW - START).days)]
    assert values(facts, BLOCK_FEES) == {day: fees_of(SEED, day.date(), 1.0) for day in days}
    assert values(facts, HASH_RATE) == {day: hash_rate_of(SEED, day.date()) for day in days}
    assert values(facts, DIFFICULTY) == {
        mined: value for mined, value in difficulties(SEED, NOW) if mined >= START
    }
    assert set(facts["symbol"]) == {"BTCUSDT"}


def test_running_day_is_told_by_the_server_and_left_out(url: str) -> None:
    today = datetime(2018, 5, 20, tzinfo=UTC)
    told = httpx.get(f"{url}/v1/mining/blocks/fees/all").json()[-1]
    assert today.timestamp() < told["timestamp"] < NOW.timestamp()
    assert told["avgFees"] < fees_of(SEED, today.date(), 1.0)
    assert max(values(facts_at(url), BLOCK_FEES)) == today - DAY


def test_history_is_known_two_hours_after_its_day_and_a_change_two_hours_after_its_block(url: str) -> None:
    facts = facts_at(url)
    late = facts["known_at"] - facts["event_time"]
    difficulty = facts["name"] == DIFFICULTY
    assert set(late.filter(difficulty)) == {PUBLICATION_DELAY}
    assert set(late.filter(~difficulty)) == {DAY + PUBLICATION_DELAY}


def test_who_was_there_knows_it_when_it_was_fetched(url: str) -> None:
    witness = Witness(lambda: NOW, live_since=NOW - 5 * DAY)
    facts = MempoolSpaceSource(witness, quick_web("mempool.space", url), "BTCUSDT").fetch(START, END)
    fees = facts.filter(pl.col("name") == BLOCK_FEES)
    assert fees.filter(pl.col("known_at") == NOW)["event_time"].len() == 5
    assert fees["known_at"].max() == NOW


def test_facts_of_a_time_are_those_of_a_later_time_that_were_over_then(
    url: str, market: DrivenMarket
) -> None:
    early = facts_at(url)
    market.time = NOW + 10 * DAY
    later = facts_at(url, market.time)
    assert later.filter(pl.col("known_at") <= early["known_at"].max()).equals(early)
    assert later.height > early.height


def test_simulated_answer_says_so_and_other_periods_are_not_kept(url: str) -> None:
    answers = [
        httpx.get(f"{url}/v1/mining/{what}/{period}")
        for what in ("hashrate", "blocks/fees")
        for period in ("all", "1m")
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 404]
    assert {answer.headers["x-cryptoai-simulated"] for answer in answers} == {"1"}


@given(fees=st.just(FEES) | broken(FEES), mining=st.just(MINING) | broken(MINING))
def test_any_answer_becomes_facts_or_an_error_of_ours(fees: object, mining: object) -> None:
    web = CannedWeb([fees, mining])
    try:
        facts = MempoolSpaceSource(historian(NOW), web, "BTCUSDT").fetch(START, END)
    except SourceError:
        return
    assert_honest(facts)
    assert_honest(facts.filter(pl.col("name") != DIFFICULTY), DAY)


@given(seconds=st.integers(0, 86_399))
def test_block_time_anywhere_in_a_day_counts_for_that_day(seconds: int) -> None:
    fees = [{**FEES[0], "timestamp": int(START.timestamp()) + seconds}]
    web = CannedWeb([fees, MINING])
    facts = MempoolSpaceSource(historian(NOW), web, "BTCUSDT").fetch(START, END)
    assert list(values(facts, BLOCK_FEES)) == [START]
    assert list(values(facts, HASH_RATE)) == [START]  # stamped with the midnight that ends it
