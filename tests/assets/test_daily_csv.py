"""Daily files of other markets: a close is known when the session ends there, summer and winter."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from fakes.outside_world import assert_honest, historian
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.interpolation import interpolated_lookahead
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.daily_csv import (
    CURRENCIES,
    STOCKS,
    VOLATILITY,
    DailyCsvSource,
    Session,
    session_readings,
)
from cryptoai_assets.lib.sources.fact_source import NotConfiguredError

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EARLY = datetime(2000, 1, 1, tzinfo=UTC)
HEADER = "timestamp,date,open,high,low,close,volume\n"


def closes(file: Path, session: Session = STOCKS, now: datetime = NOW) -> pl.DataFrame:
    return DailyCsvSource(historian(now), file, "sp500", session).fetch(EARLY, NOW)


def opened(year: int, month: int, day: int) -> int:
    """Epoch second of half past nine in New York."""
    return int(datetime(year, month, day, 9, 30, tzinfo=ZoneInfo("America/New_York")).timestamp())


@pytest.mark.parametrize(
    ("day", "known"),
    [
        ((2018, 3, 9), "2018-03-09 21:00"),  # the last session of winter time
        ((2018, 3, 12), "2018-03-12 20:00"),
        ((2018, 11, 2), "2018-11-02 20:00"),
        ((2018, 11, 5), "2018-11-05 21:00"),
    ],
)
def test_close_is_known_at_four_in_new_york(day: tuple[int, int, int], known: str, tmp_path: Path) -> None:
    (tmp_path / "sp500.csv").write_text(f"{HEADER}{opened(*day)},wrong,1,1,1,2700.5,1\n")
    (fact,) = closes(tmp_path / "sp500.csv").iter_rows(named=True)
    assert f"{fact['known_at']:%Y-%m-%d %H:%M}" == known
    assert (fact["name"], fact["value"], fact["symbol"]) == ("sp500", 2700.5, None)


def test_session_that_has_not_closed_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "sp500.csv").write_text(f"{HEADER}{opened(2018, 3, 9)},wrong,1,1,1,2700.5,1\n")
    assert closes(tmp_path / "sp500.csv", now=datetime(2018, 3, 9, 20, 59, tzinfo=UTC)).is_empty()


@pytest.mark.parametrize("file", [None, Path("absent.csv")])
def test_source_without_a_file_is_not_configured(file: Path | None) -> None:
    source = DailyCsvSource(historian(NOW), file, "sp500", STOCKS)
    assert source.missing
    with pytest.raises(NotConfiguredError, match=source.missing):
        source.fetch(EARLY, NOW)


@pytest.mark.parametrize(
    ("file", "session"),
    [
        ("macro/sp_500_daily.csv", STOCKS),
        ("macro/vix_daily.csv", VOLATILITY),
        ("macro/dollar_index_daily.csv", CURRENCIES),
    ],
)
def test_real_files_become_facts_and_are_not_interpolated(
    file: str, session: Session, shared_data: Callable[[str], Path]
) -> None:
    path = shared_data(file)
    facts = closes(path, session)
    assert_honest(facts)
    raw = pl.read_csv(path).drop_nulls("close")
    assert facts["value"].to_list() == raw["close"].to_list()
    local = facts["known_at"].dt.convert_time_zone("America/New_York")
    assert set(local.dt.time()) == {session.closes_at}
    assert local.dt.weekday().is_between(1, 5).all()
    assert (facts["known_at"] - facts["event_time"]).max() <= timedelta(days=1)
    assert interpolated_lookahead(facts) == []


@given(
    moment=st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the zones are given beside it
    closes_at=st.times().map(lambda at: at.replace(microsecond=0, fold=0)),
    zone=st.sampled_from(
        ["America/New_York", "Europe/London", "Asia/Tokyo", "Australia/Lord_Howe", "Asia/Gaza"]
    ),
)
def test_session_closes_after_it_opened_and_within_two_days(
    moment: datetime, closes_at: time, zone: str
) -> None:
    opened_at = moment.replace(microsecond=0)
    (reading,) = session_readings(
        f"timestamp,close\n{int(opened_at.timestamp())},5\n",
        series="x",
        session=Session(ZoneInfo(zone), closes_at),
    )
    assert opened_at < reading.ends <= opened_at + timedelta(hours=26)
    assert reading.published == reading.ends


@given(
    content=st.binary(max_size=200)
    | st.text(alphabet='timestamp,close"190-.e\n\r', max_size=120).map(str.encode)
)
def test_any_bytes_become_facts_or_an_error_of_ours(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "daily.csv"
    file.write_bytes(content)
    try:
        facts = closes(file)
    except SourceError:
        return
    assert_honest(facts)


@pytest.mark.parametrize("row", ["never,1", "99999999999999,1", "1520000000,much", "1520000000,inf", ",1"])
def test_row_that_is_no_session_is_refused(row: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f"timestamp,close\n{row}\n")
    with pytest.raises(SourceError, match="shape that is not understood"):
        closes(tmp_path / "x.csv")


def test_session_without_a_close_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("timestamp,close\n1520000000\n1520086400,\n1520345600,3\n")
    assert closes(tmp_path / "x.csv")["value"].to_list() == [3.0]
