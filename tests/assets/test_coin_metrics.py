"""Coin Metrics: pages, publication times, revisions, what is not offered, and answers that are none."""

import csv
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
from fakes.loopback_app import serving
from fakes.outside_world import (
    CannedWeb,
    DrivenMarket,
    assert_honest,
    broken,
    historian,
    quick_web,
)
from fakes.scripted_server import reply, scripted_server
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.coin_metrics import (
    METRICS,
    PAGE_ROWS,
    PUBLICATION_DELAY,
    CoinMetricsSource,
    day_readings,
)
from cryptoai_assets.lib.sources.fact_source import Witness, facts_of
from cryptoai_assets.sandbox.coin_metrics import REVISED_AFTER, coin_metrics_app, completed_at, revised_at
from edge_bundle.facts import as_of_join

SEED = 7
DAY = timedelta(days=1)
START, END = datetime(2018, 3, 1, tzinfo=UTC), datetime(2018, 4, 15, tzinfo=UTC)
NOW = datetime(2018, 4, 15, 0, 30, tzinfo=UTC)
AFTERWARDS = datetime(2021, 1, 1, tzinfo=UTC)
SYMBOLS = {"btc": "BTCUSDT", "eth": "ETHUSDT"}
ROW = {
    "asset": "btc",
    "time": "2018-03-01T00:00:00.000000000Z",
    "AdrActCnt": "650000",
    "TxCnt": None,
    "AssetEODCompletionTime": "1519957000",
    "AdrActCnt-status-time": "2018-03-05T00:00:00.000000000Z",
}


@pytest.fixture(scope="module")
def market() -> DrivenMarket:
    return DrivenMarket(NOW)


@pytest.fixture(scope="module")
def url(market: DrivenMarket) -> Iterator[str]:
    with serving(coin_metrics_app(market, seed=SEED)) as loopback:
        yield f"{loopback.http}/v4"


@pytest.fixture(autouse=True)
def _time_starts_again(market: DrivenMarket) -> None:
    market.time = NOW


def source(
    url: str,
    witness: Witness | None = None,
    *,
    metrics: tuple[str, ...] = METRICS,
    page_rows: int = PAGE_ROWS,
) -> CoinMetricsSource:
    web = quick_web("Coin Metrics", url)
    return CoinMetricsSource(witness or historian(NOW), web, SYMBOLS, metrics, page_rows)


def days_ready(symbol: str, now: datetime = NOW) -> list[date]:
    asset = {symbol: asset for asset, symbol in SYMBOLS.items()}[symbol]
    days = [(START + place * DAY).date() for place in range((END - START).days)]
    return [day for day in days if completed_at(SEED, asset, day) <= now]


def test_every_day_that_is_ready_has_every_metric(url: str) -> None:
    facts = source(url).fetch(START, END)
    assert_honest(facts, DAY)
    assert set(facts["name"]) == set(METRICS)
    for (symbol, _), own in facts.group_by("symbol", "name"):
        assert own["event_time"].dt.date().sort().to_list() == days_ready(str(symbol))
    assert facts["event_time"].max() < END - DAY  # the last one ended half an hour ago
    assert set(facts["source"]) == {"Coin Metrics"}


def test_fact_is_known_when_its_version_was_ready(url: str) -> None:
    facts = source(url).fetch(START, END).filter(pl.col("symbol") == "BTCUSDT")
    kinds = set()
    for fact in facts.iter_rows(named=True):
        day = fact["event_time"].date()
        revised = revised_at(SEED, "btc", day, fact["name"])
        told = revised if revised is not None and revised <= NOW else completed_at(SEED, "btc", day)
        assert fact["known_at"] == told
        kinds.add(told == revised)
    assert kinds == {True, False}


def test_pages_add_up_to_one_answer(url: str) -> None:
    assert source(url, page_rows=7).fetch(START, END).equals(source(url).fetch(START, END))


def test_revision_is_a_row_of_its_own_and_the_first_version_is_what_was_known(
    url: str, market: DrivenMarket
) -> None:
    fetched = []
    for day in range((END - START).days):
        market.time = START + day * DAY + timedelta(hours=6)
        fetched.append(source(url, historian(market.time)).fetch(START, END))
    stored = pl.concat(fetched).unique(maintain_order=True)
    changed = stored.filter(pl.len().over("symbol", "name", "event_time") > 1).sort("known_at")
    versions = changed.group_by("symbol", "name", "event_time", maintain_order=True).agg("known_at", "value")
    assert versions.height > 5
    for _, _, event, known, values in versions.iter_rows():
        assert event + DAY < known[0] == known[1] - REVISED_AFTER
        assert values[0] != values[1]
    symbol, name, event, known, values = versions.row(0)
    bars = pl.DataFrame({"symbol": symbol, "open_time": [known[1] - 2 * DAY, known[1]]})
    facts = stored.filter(pl.col("event_time") == event)
    read = as_of_join(bars, facts, name=name, interval=timedelta(minutes=1), greatest_age=60 * DAY)
    assert read[name].to_list() == values


def test_who_was_there_knows_a_day_when_it_was_fetched_and_not_before(url: str) -> None:
    since = datetime(2018, 4, 1, tzinfo=UTC)
    history, live = source(url).fetch(START, END), source(url, Witness(lambda: NOW, since)).fetch(START, END)
    key = ["symbol", "name", "event_time"]
    both = history.join(live, on=key, suffix="_live", validate="1:1")
    assert both.height == history.height == live.height
    late = both.filter(pl.col("known_at") >= since)
    assert set(late["known_at_live"]) == {NOW}
    rest = both.filter(pl.col("known_at") < since)
    assert rest["known_at_live"].equals(rest["known_at"])
    assert min(late.height, rest.height) > 100


def test_answer_does_not_depend_on_what_was_asked_before(url: str) -> None:
    whole = source(url).fetch(START, END)
    halves = [source(url).fetch(*span) for span in ((START + 20 * DAY, END), (START, START + 20 * DAY))]
    assert pl.concat(halves).sort(pl.all()).equals(whole.sort(pl.all()))
    with serving(coin_metrics_app(DrivenMarket(NOW), seed=SEED + 1)) as other:
        assert not source(f"{other.http}/v4").fetch(START, END).equals(whole)


def test_metric_that_is_not_offered_is_absent_and_the_rest_is_there(url: str) -> None:
    facts = source(url, metrics=("FlowInExUSD", "TxCnt")).fetch(START, END)
    assert set(facts["name"]) == {"TxCnt"}


def test_simulated_answer_says_so(url: str) -> None:
    for query in ("assets=btc&metrics=TxCnt", "assets=doge&metrics=TxCnt"):
        answer = httpx.get(f"{url}/timeseries/asset-metrics?{query}")
        assert answer.headers["x-cryptoai-simulated"] == "1"


def test_asset_that_is_not_known_is_refused(url: str) -> None:
    with pytest.raises(SourceError, match=r"status 400.*assets"):
        CoinMetricsSource(historian(NOW), quick_web("Coin Metrics", url), {"doge": "DOGE"}).fetch(START, END)


def test_next_page_is_asked_of_the_same_server() -> None:
    with scripted_server() as server, scripted_server() as other:
        page = f'{{"data": [], "next_page_url": "{other.url}/v4/elsewhere?next_page_token=abc"}}'
        server.will_answer(reply(page), reply('{"data": []}'))
        assert source(f"{server.url}/v4").fetch(START, END).is_empty()
        assert server.asked[1] == "/v4/timeseries/asset-metrics?next_page_token=abc"
        assert other.asked == []


def test_page_that_points_to_itself_comes_to_an_end() -> None:
    web = CannedWeb([{"data": [], "next_page_url": "https://host/v4?next_page_token=abc"}])
    with pytest.raises(SourceError, match="gives page 2 again and again"):
        CoinMetricsSource(historian(NOW), web, SYMBOLS).fetch(START, END)


def test_row_of_files_without_completion_is_known_half_a_day_later() -> None:
    (reading,) = day_readings(
        {"time": "2018-03-01", "TxCnt": "3", "AdrActCnt": ""}, symbol="X", metrics=METRICS
    )
    assert (reading.name, reading.value, reading.begins) == ("TxCnt", 3.0, START)
    assert reading.published == START + DAY + PUBLICATION_DELAY


def test_status_time_before_the_day_was_ready_changes_nothing() -> None:
    row = {**ROW, "AdrActCnt-status-time": "2018-03-01T05:00:00Z"}
    (reading,) = day_readings(row, symbol="BTCUSDT", metrics=METRICS)
    assert reading.published == datetime.fromtimestamp(1519957000, UTC)
    (later,) = day_readings(ROW, symbol="BTCUSDT", metrics=METRICS)
    assert later.published == datetime(2018, 3, 5, tzinfo=UTC)


@pytest.mark.parametrize("asset", ["btc", "eth"])
def test_real_files_become_facts_by_the_same_code(asset: str, shared_data: Callable[[str], Path]) -> None:
    path = shared_data(f"onchain/coinmetrics_{asset}.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    readings = [day_readings(row, symbol=SYMBOLS[asset], metrics=METRICS) for row in rows]
    facts = facts_of(
        itertools.chain.from_iterable(readings),
        datetime(2009, 1, 1, tzinfo=UTC),
        AFTERWARDS,
        source="Coin Metrics",
        witness=historian(AFTERWARDS),
    )
    assert_honest(facts, DAY)
    raw = pl.read_csv(path, infer_schema_length=None)
    for metric in set(METRICS) & set(raw.columns):
        own = facts.filter(pl.col("name") == metric).sort("event_time")
        assert own["value"].to_list() == raw[metric].cast(pl.Float64).drop_nulls().to_list()
    assert facts.height > 10_000 * (1 + (asset == "btc"))


@given(answer=broken({"data": [ROW, {**ROW, "asset": "eth"}]}))
def test_any_answer_becomes_facts_or_an_error_of_ours(answer: object) -> None:
    web = CannedWeb([answer, {"data": []}])
    try:
        facts = CoinMetricsSource(historian(NOW), web, SYMBOLS).fetch(START, END)
    except SourceError:
        return
    assert_honest(facts, DAY)


@given(completed=st.integers(-(10**11), 10**11), status=st.datetimes())
def test_no_completion_makes_a_day_known_before_it_ended(completed: int, status: datetime) -> None:
    row = {**ROW, "AssetEODCompletionTime": completed, "AdrActCnt-status-time": status.isoformat()}
    web = CannedWeb([{"data": [row]}])
    try:
        facts = CoinMetricsSource(historian(NOW), web, SYMBOLS).fetch(START, END)
    except SourceError:
        return
    assert_honest(facts, DAY)
    assert facts.height == 1
