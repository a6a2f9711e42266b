"""When a fact became known, which readings become facts, and what counts as a number."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from fakes.outside_world import JSON, assert_honest
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.fact_source import Reading, Witness, facts_of, number, plausible, understood

START, END = datetime(2018, 3, 1, tzinfo=UTC), datetime(2018, 4, 1, tzinfo=UTC)
NOW = datetime(2018, 3, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
hours = st.integers(0, 1000).map(lambda count: count * HOUR)
moments = hours.map(lambda after: START - 100 * HOUR + after)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    begins = draw(moments)
    name, symbol = draw(st.sampled_from(["fees", "mood"])), draw(st.sampled_from(["BTCUSDT", None]))
    return Reading(
        name, symbol, begins, begins + draw(hours), draw(moments), draw(st.sampled_from([1.0, 2.0]))
    )


def seen(rows: list[Reading], live_since: datetime | None) -> pl.DataFrame:
    return facts_of(rows, START, END, source="Test", witness=Witness(lambda: NOW, live_since))


@given(rows=st.lists(readings(), max_size=30), live_since=st.none() | moments)
def test_fact_is_known_when_it_was_published_over_and_seen(
    rows: list[Reading], live_since: datetime | None
) -> None:
    facts = seen(rows, live_since)
    assert_honest(facts)
    expected = set()
    for row in rows:
        known = max(row.published, row.ends)
        if live_since is not None and known >= live_since:
            known = max(known, NOW)
        if START <= row.begins < END and row.ends <= NOW:
            expected.add((row.symbol, row.begins, known, "Test", row.name, row.value))
    assert set(facts.iter_rows()) == expected
    assert facts.height == len(expected)


@given(rows=st.lists(readings(), max_size=30))
def test_facts_of_a_window_are_those_of_its_parts(rows: list[Reading]) -> None:
    middle = START + 240 * HOUR
    witness = Witness(lambda: NOW, None)
    parts = [
        facts_of(rows, *span, source="Test", witness=witness) for span in ((START, middle), (middle, END))
    ]
    assert pl.concat(parts).sort(pl.all()).equals(seen(rows, None).sort(pl.all()))


@pytest.mark.parametrize(
    ("raw", "value"), [("1.5", 1.5), ("-2e3", -2000.0), (3, 3.0), (0, 0.0), ("", None), (None, None)]
)
def test_number_is_read_and_nothing_is_not_known(raw: object, value: float | None) -> None:
    assert number(raw) == value


@given(raw=JSON)
def test_anything_else_is_no_number(raw: object) -> None:
    try:
        value = number(raw)
    except (ValueError, OverflowError):
        return
    assert value is None or abs(value) < float("inf")
    assert not isinstance(raw, bool | list | dict)


@pytest.mark.parametrize("year", [1, 1699, 2200, 9999])
def test_date_that_is_a_slip_is_refused(year: int) -> None:
    with pytest.raises(ValueError, match="is no date to be expected"):
        plausible(datetime(year, 1, 1, tzinfo=UTC))


def test_mistake_in_an_answer_is_told_with_its_source_and_a_cure() -> None:
    with (
        pytest.raises(SourceError, match=r"^FRED answered.*KeyError: 'data'.*compare its documentation"),
        understood("FRED"),
    ):
        _ = dict[str, str]()["data"]


def test_error_that_is_an_error_of_ours_already_passes() -> None:
    with pytest.raises(SourceError, match=r"^down$"), understood("FRED"):
        raise SourceError("down")
