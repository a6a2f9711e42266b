"""Google Trends' exports: months, weeks and days, values below one, the newest period, and broken files."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.outside_world import assert_honest, historian
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.fact_source import NotConfiguredError, Witness
from cryptoai_assets.lib.sources.google_trends import (
    PUBLICATION_DELAY,
    GoogleTrendsSource,
    export_readings,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EARLY = datetime(2004, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MONTHS = """Category: All categories

Month,bitcoin: (Worldwide),Ethereum: (Worldwide)
2017-11,18,<1
2017-12,100,
2018-01,47,3
"""
WEEKS = "\ufeffWeek,bitcoin: (Worldwide)\n2018-01-07,61\n2018-01-14,65\n2018-01-21,40\n"
DAYS = '"Time","bitcoin"\n"2018-03-10",10\n"2018-03-11",11\n"2018-03-12",<1\n'


def facts_of_file(folder: Path, content: str | bytes, now: datetime = NOW) -> pl.DataFrame:
    export = folder / "multiTimeline.csv"
    export.write_bytes(content.encode() if isinstance(content, str) else content)
    return GoogleTrendsSource(historian(now), export).fetch(EARLY, NOW)


def rows(facts: pl.DataFrame, name: str) -> list[tuple[str, str, float]]:
    own = facts.filter(pl.col("name") == name)
    return [
        (f"{event:%Y-%m-%d}", f"{known:%Y-%m-%d}", value)
        for event, known, value in own.select("event_time", "known_at", "value").iter_rows()
    ]


def test_month_is_known_after_it_ended_and_the_newest_is_left_out(tmp_path: Path) -> None:
    facts = facts_of_file(tmp_path, MONTHS)
    assert_honest(facts, 28 * DAY)
    assert rows(facts, "search_interest_bitcoin") == [
        ("2017-11-01", "2017-12-02", 18.0),
        ("2017-12-01", "2018-01-02", 100.0),
    ]
    assert rows(facts, "search_interest_ethereum") == [("2017-11-01", "2017-12-02", 0.5)]


def test_week_is_known_after_its_seventh_day(tmp_path: Path) -> None:
    facts = facts_of_file(tmp_path, WEEKS)
    assert rows(facts, "search_interest_bitcoin") == [
        ("2018-01-07", "2018-01-15", 61.0),
        ("2018-01-14", "2018-01-22", 65.0),
    ]


def test_day_is_known_the_day_after(tmp_path: Path) -> None:
    assert rows(facts_of_file(tmp_path, DAYS), "search_interest_bitcoin") == [
        ("2018-03-10", "2018-03-12", 10.0),
        ("2018-03-11", "2018-03-13", 11.0),
    ]


def test_period_that_has_not_ended_by_our_clock_is_left_out(tmp_path: Path) -> None:
    facts = facts_of_file(tmp_path, MONTHS, datetime(2017, 12, 31, 23, 59, tzinfo=UTC))
    assert [month for month, _, _ in rows(facts, "search_interest_bitcoin")] == ["2017-11-01"]


def test_who_was_there_knows_it_when_it_was_exported(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text(WEEKS)
    now, since = datetime(2018, 2, 1, tzinfo=UTC), datetime(2018, 1, 20, tzinfo=UTC)
    facts = GoogleTrendsSource(Witness(lambda: now, since), tmp_path / "export.csv").fetch(EARLY, NOW)
    assert facts["known_at"].to_list() == [datetime(2018, 1, 15, tzinfo=UTC), now]


@pytest.mark.parametrize("export", [None, Path("absent.csv")])
def test_source_without_an_export_is_not_configured(export: Path | None) -> None:
    source = GoogleTrendsSource(historian(NOW), export)
    assert source.missing
    with pytest.raises(NotConfiguredError, match=f"Google Trends is not configured: {source.missing}"):
        source.fetch(EARLY, NOW)


BROKEN = {
    "no header": "2017-11,18\n2017-12,100\n",
    "no date": "Month,bitcoin\nNovember,18\n2017-12,100\n",
    "same date twice": "Day,bitcoin\n2018-03-10,1\n2018-03-10,1\n2018-03-11,1\n2018-03-12,1\n",
    "uneven": "Day,bitcoin\n2018-03-10,1\n2018-03-14,1\n2018-03-18,1\n",
    "month by other days": "Month,bitcoin\n2018-01-15,1\n2018-02-15,1\n2018-03-15,1\n",
    "row too short": "Month,bitcoin,ether\n2017-11,18\n2017-12,100\n",
    "no number": "Month,bitcoin\n2017-11,many\n2017-12,100\n",
    "not finite": "Month,bitcoin\n2017-11,inf\n2017-12,100\n",
    "no text": b"Month,bitcoin\n\xff\xfe",
    "far away": "Month,bitcoin\n0001-11,18\n0001-12,100\n",
    "open quote": 'Month,"bitcoin\n2017-11,18\n',
}


@pytest.mark.parametrize("fault", BROKEN)
def test_file_that_is_no_export_is_refused(fault: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="shape that is not understood"):
        facts_of_file(tmp_path, BROKEN[fault])


def test_real_export_becomes_facts(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("macro/google_trends_bitcoin.csv")
    facts = GoogleTrendsSource(historian(NOW), path).fetch(EARLY, NOW)
    assert_honest(facts, DAY + PUBLICATION_DELAY)
    raw = pl.read_csv(path)
    assert facts["value"].to_list() == raw["Search Volume"].to_list()[:-1]
    assert facts["event_time"].dt.strftime("%Y-%m-%d").to_list() == raw["Date"].to_list()[:-1]


@given(
    start=st.dates(date(2004, 1, 1), date(2025, 1, 1)),
    step=st.sampled_from(["1d", "1w", "1mo"]),
    values=st.lists(st.integers(0, 100) | st.just("<1"), min_size=2, max_size=40),
)
def test_no_value_is_known_before_its_period_ended(start: object, step: str, values: list[object]) -> None:
    first = datetime.fromisoformat(str(start))
    first = first.replace(day=1) if step == "1mo" else first
    dates = [pl.Series([first]).dt.offset_by(f"{place}{step[1:]}")[0] for place in range(len(values))]
    text = "Day,bitcoin\n" + "".join(
        f"{date:%Y-%m-%d},{value}\n" for date, value in zip(dates, values, strict=True)
    )
    readings = list(export_readings(text))
    assert [reading.begins for reading in readings] == [date.replace(tzinfo=UTC) for date in dates[:-1]]
    # A period ends where the next one begins.
    ends = [date.replace(tzinfo=UTC) for date in dates[1:]]
    assert [reading.ends for reading in readings] == ends
    assert all(reading.published > reading.ends for reading in readings)


@given(
    content=st.binary(max_size=200) | st.text(alphabet='Month,Day"<1290-\n\r ', max_size=120).map(str.encode)
)
def test_any_bytes_become_facts_or_an_error_of_ours(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        facts = facts_of_file(folder, content)
    except SourceError:
        return
    assert_honest(facts, DAY)
