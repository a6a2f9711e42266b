"""FRED: first publications and revisions by vintage, spans of vintages, no key, and answers that are none."""

import itertools
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import polars as pl
import pytest
from fakes.loopback_app import serving
from fakes.outside_world import CannedWeb, DrivenMarket, assert_honest, broken, historian, quick_web
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.interpolation import interpolated_lookahead
from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.fact_source import NotConfiguredError, Witness
from cryptoai_assets.lib.sources.fred import KEY, MAX_ROWS, SERIES, FredSource, Frequency
from cryptoai_assets.sandbox.fred import SERIES as SIMULATED
from cryptoai_assets.sandbox.fred import fred_app, versions
from edge_bundle.facts import as_of_join

SEED = 11
DAY = timedelta(days=1)
CHICAGO = ZoneInfo("America/Chicago")
START, END = datetime(2018, 2, 1, tzinfo=UTC), datetime(2018, 5, 1, tzinfo=UTC)
NOW = datetime(2019, 9, 30, 12, tzinfo=UTC)
KEYS = {KEY: "0123456789abcdef0123456789abcdef"}
ALL: dict[str, Frequency] = {**SERIES, "CPIAUCSL": "month"}
ANSWER = {
    "count": 2,
    "observations": [
        {
            "realtime_start": "2018-03-02",
            "realtime_end": "2018-03-08",
            "date": "2018-03-01",
            "value": "22.4700",
        },
        {"realtime_start": "2018-03-09", "realtime_end": "9999-12-31", "date": "2018-03-01", "value": "22.5"},
    ],
}


@pytest.fixture(scope="module")
def market() -> DrivenMarket:
    return DrivenMarket(NOW)


@pytest.fixture(scope="module")
def url(market: DrivenMarket) -> Iterator[str]:
    with serving(fred_app(market, seed=SEED)) as loopback:
        yield f"{loopback.http}/fred"


@pytest.fixture(autouse=True)
def _time_starts_again(market: DrivenMarket) -> None:
    market.time = NOW


def source(
    url: str,
    now: datetime = NOW,
    *,
    series: Mapping[str, Frequency] = ALL,
    witness: Witness | None = None,
    max_rows: int = MAX_ROWS,
) -> FredSource:
    return FredSource(witness or historian(now), quick_web("FRED", url, KEYS), series, max_rows)


def canned(rows: list[dict[str, str]], frequency: Frequency = "day", now: datetime = NOW) -> pl.DataFrame:
    web = CannedWeb([{"count": len(rows), "observations": rows}])
    return FredSource(historian(now), web, {"X": frequency}).fetch(START, END)


def test_every_version_that_was_published_is_a_fact(url: str) -> None:
    facts = source(url).fetch(START, END)
    assert_honest(facts, DAY)
    for name in ALL:
        told = [
            (version.observed, version.published, float(version.value))
            for version in versions(SEED, name, NOW.date())
            if START.date() <= version.observed < END.date() and version.value != "."
        ]
        own = facts.filter(pl.col("name") == name)
        published = own["known_at"].dt.convert_time_zone("America/Chicago").dt.date() - DAY
        found = zip(own["event_time"].dt.date(), published, own["value"], strict=True)
        assert sorted(found) == sorted(told)
    assert set(facts["symbol"]) == {None}


def test_value_is_joined_as_it_was_first_published_and_its_revision_only_later(url: str) -> None:
    facts = source(url).fetch(START, END).filter(pl.col("name") == "DTWEXBGS")
    revised = facts.filter(pl.len().over("event_time") > 1).sort("event_time", "known_at")
    assert revised.height > 10
    (event, first, old), (_, second, new) = revised.select("event_time", "known_at", "value").rows()[:2]
    minute = timedelta(minutes=1)
    times = [first - 2 * minute, first - minute, second - 2 * minute, second - minute]
    bars = pl.DataFrame({"symbol": "BTCUSDT", "open_time": times})
    own = facts.filter(pl.col("event_time") == event)
    joined = as_of_join(bars, own, name="DTWEXBGS", interval=minute, greatest_age=60 * DAY)
    assert joined["DTWEXBGS"].to_list() == [None, old, old, new]


def test_what_is_published_later_was_not_told_before(url: str, market: DrivenMarket) -> None:
    market.time = datetime(2018, 3, 20, 12, tzinfo=UTC)
    early = source(url, market.time).fetch(START, END)
    market.time = NOW
    later = source(url).fetch(START, END)
    known = later.filter(pl.col("known_at") <= datetime(2018, 3, 21, 12, tzinfo=UTC))
    assert early.sort(pl.all()).equals(known.sort(pl.all()))
    assert 0 < early.height < later.height


def test_more_vintages_than_one_answer_may_hold_are_asked_in_spans(url: str, market: DrivenMarket) -> None:
    market.time = datetime(2026, 7, 1, tzinfo=UTC)
    start, end = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 3, 1, tzinfo=UTC)
    key = KEYS[KEY]
    whole = (
        f"{url}/series/observations?series_id=DTWEXBGS&file_type=json&api_key={key}&realtime_start=2013-01-01"
    )
    refused = httpx.get(f"{whole}&realtime_end=2026-06-30")
    assert refused.status_code == 400
    assert "maximum number of vintage dates" in refused.json()["error_message"]
    facts = source(url, market.time, series={"DTWEXBGS": "day"}).fetch(start, end)
    told = [
        version
        for version in versions(SEED, "DTWEXBGS", market.time.date())
        if start.date() <= version.observed < end.date() and version.value != "."
    ]
    assert facts.height == len(told)
    assert facts["known_at"].max() < datetime(2013, 4, 1, tzinfo=UTC)


def test_spans_of_vintages_follow_each_other_up_to_today_where_the_bank_is() -> None:
    web = CannedWeb([{"count": 0, "observations": []}])
    now = datetime(2026, 7, 1, 3, tzinfo=UTC)
    FredSource(historian(now), web, {"X": "day"}).fetch(START, END)
    asked = [params for _, params in web.asked]
    spans = [(date.fromisoformat(p["realtime_start"]), date.fromisoformat(p["realtime_end"])) for p in asked]
    assert spans[0][0] == START.date()
    assert spans[-1][1] == date(2026, 6, 30)
    assert [begin for begin, _ in spans[1:]] == [end + DAY for _, end in spans[:-1]]
    assert all((end - begin).days < 2_000 for begin, end in spans)
    assert {(p["observation_start"], p["observation_end"]) for p in asked} == {("2018-02-01", "2018-05-01")}


def test_pages_add_up_to_one_answer(url: str) -> None:
    assert source(url, max_rows=7).fetch(START, END).equals(source(url).fetch(START, END))


def test_day_of_publication_ends_where_the_bank_is_in_summer_and_in_winter() -> None:
    rows = [
        {"realtime_start": day, "realtime_end": "9999-12-31", "date": day, "value": "1"}
        for day in ("2018-03-10", "2018-03-11", "2018-03-12")
    ]
    known = [f"{known:%d %H:%M}" for known in canned(rows)["known_at"]]
    assert known == ["11 06:00", "12 05:00", "13 05:00"]


@pytest.mark.parametrize(
    ("frequency", "ends"),
    [("day", "02-02 06:00"), ("week", "02-08 06:00"), ("month", "03-01 06:00"), ("quarter", "05-01 05:00")],
)
def test_period_is_never_known_before_it_ended(frequency: Frequency, ends: str) -> None:
    row = {"realtime_start": "2018-02-01", "realtime_end": "9999-12-31", "date": "2018-02-01", "value": "1"}
    assert [f"{known:%m-%d %H:%M}" for known in canned([row], frequency)["known_at"]] == [ends]


def test_unknown_value_is_no_fact() -> None:
    row = {"realtime_start": "2018-02-02", "realtime_end": "9999-12-31", "date": "2018-02-01", "value": "."}
    assert canned([row]).is_empty()


def test_who_was_there_knows_it_when_it_was_fetched(url: str) -> None:
    now, since = datetime(2018, 3, 20, 12, tzinfo=UTC), datetime(2018, 3, 10, tzinfo=UTC)
    facts = source(url, witness=Witness(lambda: now, since)).fetch(START, END)
    late = facts.filter(pl.col("known_at") >= since)
    assert late.height > 10
    assert late["known_at"].min() == now


@pytest.mark.parametrize("keys", [{}, {KEY: ""}])
def test_source_without_a_key_is_not_configured_and_asks_nothing(keys: dict[str, str]) -> None:
    web = CannedWeb([ANSWER], name="FRED", secrets=keys)
    silent = FredSource(historian(NOW), web, SERIES)
    assert silent.missing == "no API key of FRED is set"
    with pytest.raises(NotConfiguredError, match="FRED is not configured: no API key"):
        silent.fetch(START, END)
    assert web.asked == []
    assert FredSource(historian(NOW), CannedWeb([ANSWER]), SERIES).missing is None


def test_key_that_is_refused_is_not_shown(url: str) -> None:
    wrong = FredSource(historian(NOW), quick_web("FRED", url, {KEY: "WRONG KEY"}), SERIES)
    with pytest.raises(SourceRefusedError, match=r"status 400.*api_key is not registered") as refused:
        wrong.fetch(START, END)
    assert "WRONG" not in str(refused.value)


def test_simulated_answer_says_so(url: str) -> None:
    answers = [
        httpx.get(f"{url}/series/observations", params={"series_id": "SP500", "api_key": key})
        for key in ("", *KEYS.values())
    ]
    assert [answer.status_code for answer in answers] == [400, 200]
    assert {answer.headers["x-cryptoai-simulated"] for answer in answers} == {"1"}


def test_simulated_server_tells_nothing_that_is_not_published_yet(url: str) -> None:
    asked = {"series_id": "DTWEXBGS", "realtime_start": "2018-01-01", "realtime_end": "9999-12-31"}
    rows = httpx.get(f"{url}/series/observations", params={**asked, **KEYS}).json()["observations"]
    assert max(row["realtime_start"] for row in rows) == "2019-09-30"
    assert max(row["date"] for row in rows) == "2019-09-25"  # five days until it is published


def test_answer_that_ends_too_early_is_refused() -> None:
    web = CannedWeb([{"count": 3, "observations": ANSWER["observations"]}, {"count": 3, "observations": []}])
    with pytest.raises(SourceError, match="gave 2 of 3 observations"):
        FredSource(historian(NOW), web, {"X": "day"}).fetch(START, END)


def test_simulated_series_are_not_interpolated(url: str) -> None:
    facts = source(url).fetch(START - 300 * DAY, END)
    assert facts["name"].n_unique() == len(SIMULATED)
    assert interpolated_lookahead(facts) == []


@given(answer=broken(ANSWER))
def test_any_answer_becomes_facts_or_an_error_of_ours(answer: object) -> None:
    web = CannedWeb([answer, {"count": 0, "observations": []}])
    try:
        facts = FredSource(historian(NOW), web, {"X": "day"}).fetch(START, END)
    except SourceError:
        return
    assert_honest(facts, DAY)


@given(
    first=st.dates(START.date(), END.date() - DAY),
    lags=st.lists(st.integers(-3, 500), min_size=1, max_size=6, unique=True),
    span=st.integers(1, 200),
    frequency=st.sampled_from(["day", "week", "month", "quarter", "year"]),
)
def test_versions_cut_to_spans_are_each_told_once(
    first: date, lags: list[int], span: int, frequency: Frequency
) -> None:
    """However the vintages are cut, the same versions come out, none before its period ended."""
    published = [first + lag * DAY for lag in sorted(lags)]
    ends = [*(following - DAY for following in published[1:]), date(2019, 12, 31)]
    whole = [
        {"realtime_start": f"{begin}", "realtime_end": f"{end}", "date": f"{first}", "value": f"{place}"}
        for place, (begin, end) in enumerate(zip(published, ends, strict=True))
    ]
    cut = []
    for opened in itertools.takewhile(
        lambda day: day < ends[-1], (published[0] + n * span * DAY for n in range(10**4))
    ):
        closed = opened + (span - 1) * DAY
        cut += [
            {
                **row,
                "realtime_start": max(row["realtime_start"], f"{opened}"),
                "realtime_end": min(row["realtime_end"], f"{closed}"),
            }
            for row in whole
            if row["realtime_start"] <= f"{closed}" and row["realtime_end"] >= f"{opened}"
        ]
    now = datetime(2021, 1, 1, tzinfo=UTC)
    facts = canned(cut, frequency, now)
    assert facts.sort(pl.all()).equals(canned(whole, frequency, now).sort(pl.all()))
    assert facts.height == len(lags)
    length = {
        "day": 1,
        "week": 7,
        "month": 28 - first.day,
        "quarter": 89 - first.day,
        "year": 365 - first.day,
    }
    assert_honest(facts, length[frequency] * DAY)
