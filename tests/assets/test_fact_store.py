"""The store of facts: what is new is added, what was known stays, and nothing is read before it was known."""

import signal
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from fakes.s3_server import s3_bucket
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoai_assets.lib.fact_store import FactStore
from cryptoai_assets.lib.store import StoreError
from edge_bundle.errors import FactsRefusedError
from edge_bundle.facts import FACT_SCHEMA, as_of_join

PROJECT = Path(__file__).parents[2]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
START = datetime(2019, 1, 30, tzinfo=UTC)
NAME = "active_addresses"
Row = tuple[str | None, datetime, datetime, str, str, float | None]


def facts(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=FACT_SCHEMA, orient="row")


def fact(
    day: int, known: int, value: float | None, *, symbol: str | None = "BTCUSD", source: str = "chain"
) -> Row:
    """Fact about the day that many days after the start, known that many days later."""
    return symbol, START + day * DAY, START + (day + known) * DAY, source, NAME, value


@pytest.fixture
def store(tmp_path: Path) -> FactStore:
    return FactStore(tmp_path / "facts")


def test_what_was_appended_is_read_back_over_months_symbols_and_sources(store: FactStore) -> None:
    rows = facts(fact(0, 1, 1.0), fact(5, 1, 2.0), fact(0, 1, 3.0, symbol=None), fact(0, 1, 4.0, source="b"))
    assert store.append(rows, fetched_at=START).height == 4
    assert sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*.parquet")) == [
        "b/2019-01.parquet",
        "chain/2019-01.parquet",
        "chain/2019-02.parquet",
    ]
    assert sorted(store.read([NAME])["value"]) == [1.0, 2.0, 3.0, 4.0]
    assert store.read(["other"]).is_empty()


def test_repeat_keeps_the_time_at_which_the_fact_was_first_known(store: FactStore) -> None:
    store.append(facts(fact(0, 1, 1.0)), fetched_at=START)
    for known in (0, 1, 2):
        assert store.append(facts(fact(0, known, 1.0)), fetched_at=START).is_empty()
    assert store.read([NAME]).rows() == [fact(0, 1, 1.0)]


def test_revision_is_a_new_row_and_so_is_the_way_back(store: FactStore) -> None:
    versions = [fact(0, 1, 1.0), fact(0, 3, 2.0), fact(0, 5, 1.0), fact(0, 7, None), fact(0, 9, 1.0)]
    for version in versions:
        assert store.append(facts(version), fetched_at=START).rows() == [version]
    assert store.read([NAME]).rows() == versions
    assert store.append(facts(*versions), fetched_at=START).is_empty()


def test_contradiction_is_known_from_when_it_was_fetched(store: FactStore) -> None:
    """A source that corrects itself in silence dates the correction back to the first version."""
    store.append(facts(fact(0, 1, 1.0), fact(1, 1, 5.0)), fetched_at=START + 2 * DAY)
    silent = facts(fact(0, 1, 2.0), fact(1, 1, 5.0))
    assert store.append(silent, fetched_at=START + 4 * DAY).rows() == [fact(0, 4, 2.0)]
    assert store.append(silent, fetched_at=START + 6 * DAY).is_empty()
    assert store.append(facts(fact(0, 8, 3.0)), fetched_at=START + 7 * DAY).rows() == [fact(0, 8, 3.0)]
    assert store.append(facts(fact(0, 1, None)), fetched_at=START + 9 * DAY).rows() == [fact(0, 9, None)]
    assert store.read([NAME], end=START + DAY)["value"].to_list() == [1.0, 2.0, 3.0, None]


def test_history_that_is_told_whole_keeps_the_dates_of_the_source(store: FactStore) -> None:
    versions = [fact(0, 1, 1.0), fact(0, 3, 2.0), fact(0, 5, 1.0)]
    assert store.append(facts(*versions), fetched_at=START + 30 * DAY).rows() == versions
    assert store.append(facts(*versions), fetched_at=START + 31 * DAY).is_empty()
    told = facts(*versions, fact(0, 6, 4.0), fact(0, 7, 1.0))
    assert store.append(told, fetched_at=START + 32 * DAY)["value"].to_list() == [4.0]


def test_first_time_at_which_a_source_was_asked_stays(store: FactStore) -> None:
    assert store.live_since("simulated chain") is None
    for days in (3, 1, 5):
        store.went_live("simulated chain", START + days * DAY)
    assert store.live_since("simulated chain") == START + 3 * DAY
    assert store.live_since("chain") is None
    store.append(facts(fact(0, 1, 1.0)), fetched_at=START)
    assert list(store.files("2019-01")) == ["facts/chain/2019-01"]


def test_version_published_between_two_held_ones_is_new(store: FactStore) -> None:
    store.append(facts(fact(0, 1, 1.0), fact(0, 5, 3.0)), fetched_at=START)
    assert store.append(facts(fact(0, 3, 2.0), fact(0, 4, 2.0)), fetched_at=START).rows() == [fact(0, 3, 2.0)]
    assert store.read([NAME])["value"].to_list() == [1.0, 2.0, 3.0]


def test_window_is_one_of_events_and_knowledge_is_a_limit_of_its_own(store: FactStore) -> None:
    store.append(facts(*(fact(day, 2, float(day)) for day in range(6)), fact(1, 4, 11.0)), fetched_at=START)

    def values(**window: datetime) -> list[float]:
        return store.read([NAME], **window)["value"].to_list()

    assert values(start=START + DAY, end=START + 3 * DAY) == [1.0, 11.0, 2.0]
    assert values(known_by=START + 4 * DAY) == [0.0, 1.0, 2.0]
    assert values(known_by=START + 4 * DAY, start=START + DAY) == [1.0, 2.0]


def test_what_breaks_the_contract_is_refused_and_nothing_is_stored(store: FactStore) -> None:
    with pytest.raises(FactsRefusedError, match="before its event"):
        store.append(facts(fact(0, 1, 1.0), fact(0, -1, 1.0)), fetched_at=START)
    assert store.read([NAME]).is_empty()


def test_sources_with_strange_names_stay_apart_and_in_their_folder(store: FactStore) -> None:
    names = ("simulated chain", "simulated/chain", "..", ".", "a%2Fb", "a/b")
    store.append(
        facts(*(fact(0, 1, float(place), source=name) for place, name in enumerate(names))), fetched_at=START
    )
    assert dict(store.read([NAME]).select("source", "value").iter_rows()) == {
        name: float(place) for place, name in enumerate(names)
    }
    folders = {path.parent.parent for path in store.root.rglob("*.parquet")}
    assert folders == {store.root}


def test_file_of_another_schema_version_is_refused_by_name(store: FactStore) -> None:
    store.append(facts(fact(0, 1, 1.0)), fetched_at=START)
    facts(fact(0, 1, 1.0)).write_parquet(
        Path(str(store.root), "chain", "2019-01.parquet"), metadata={"cryptoai.schema_version": "7"}
    )
    for asked in (lambda: store.read([NAME]), lambda: store.append(facts(fact(0, 2, 2.0)), fetched_at=START)):
        with pytest.raises(StoreError, match=r"2019-01\.parquet has schema version 7; this code reads 1"):
            asked()


def test_facts_on_s3_are_the_facts_on_disk(store: FactStore) -> None:
    with s3_bucket() as bucket:
        there = FactStore(bucket / "facts")
        for rows in ([fact(0, 1, 1.0), fact(5, 1, 2.0)], [fact(0, 2, 1.0), fact(0, 3, 9.0, source="a b")]):
            ours = store.append(facts(*rows), fetched_at=START)
            assert there.append(facts(*rows), fetched_at=START).equals(ours)
        assert there.read([NAME], known_by=START + 2 * DAY).equals(
            store.read([NAME], known_by=START + 2 * DAY)
        )
        assert there.read([NAME]).height == 3


APPEND_WITH_TOO_LITTLE_ROOM = """
import resource, signal, sys
from pathlib import Path
from test_fact_store import START, many, FactStore
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel kills at the byte that is one too many
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
FactStore(Path(sys.argv[1])).append(many(), fetched_at=START)
"""


def many() -> pl.DataFrame:
    """A few facts of January, and in February more than fit."""
    rows = [fact(0, 1, 1.0), *(fact(5, known, float(known) ** 0.5) for known in range(4_000))]
    return facts(*rows)


def test_killed_append_leaves_old_or_new_files_and_the_next_one_finishes(store: FactStore) -> None:
    old = facts(fact(0, 0, 7.0), fact(5, 0, 7.0))
    store.append(old, fetched_at=START)
    done = subprocess.run(
        [sys.executable, "-c", APPEND_WITH_TOO_LITTLE_ROOM, str(store.root)],
        env={"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}:{Path(__file__).parent}"},
        check=False,
    )
    assert done.returncode == -signal.SIGXFSZ
    january, february = START, START + 2 * DAY
    assert store.read([NAME], end=february)["value"].to_list() == [7.0, 1.0]  # new
    assert store.read([NAME], start=february)["value"].to_list() == [7.0]  # old
    store.append(many(), fetched_at=START)
    assert store.read([NAME], start=january).height == many().height + old.height


# --- properties

FACTS = st.lists(
    st.builds(
        fact,
        st.integers(0, 4),
        st.integers(0, 6),
        st.sampled_from([1.0, 2.0, None]),
        symbol=st.sampled_from(["BTCUSD", None]),
        source=st.sampled_from(["chain", "other"]),
    ),
    max_size=25,
    # At one time a source says one thing.
    unique_by=lambda row: (row[0], row[1], row[2], row[3]),
)


def told_apart(rows: list[Row]) -> set[Row]:
    """Each row whose value is not the one that was known before it, found by a plain loop."""
    kept: dict[tuple[Any, ...], Row] = {}
    new = set()
    for row in sorted(rows, key=lambda row: row[2]):
        event = (row[0], row[1], row[3])
        if event not in kept or kept[event][5] != row[5]:
            new.add(row)
        kept[event] = row
    return new


@given(rows=FACTS, cuts=st.lists(st.integers(0, 25), max_size=4))
def test_store_holds_each_change_once_however_the_facts_arrive_in_time(
    rows: list[Row], cuts: list[int]
) -> None:
    rows = sorted(rows, key=lambda row: row[2])
    edges = [0, *sorted(cuts), len(rows)]
    with TemporaryDirectory() as folder:
        store = FactStore(Path(folder))
        for first, last in pairwise(edges):
            store.append(facts(*rows[first:last]), fetched_at=START)
            store.append(facts(*rows[:last]), fetched_at=START)  # a source that repeats itself
        held = store.read([NAME])
        assert held.height == len(set(held.rows()))
        assert set(held.rows()) == told_apart(rows)


@given(rows=FACTS, today=st.integers(0, 10))
@settings(max_examples=60)
def test_values_of_a_day_are_the_same_that_day_and_a_month_later(rows: list[Row], today: int) -> None:
    now = START + today * DAY
    bars = pl.DataFrame(
        {"open_time": [now - DAY + hour * HOUR for hour in range(24)], "symbol": ["BTCUSD"] * 24},
        schema={"open_time": FACT_SCHEMA["event_time"], "symbol": pl.String()},
    )

    def values(store: FactStore, known_by: datetime | None) -> pl.DataFrame:
        known = store.read([NAME], known_by=known_by)
        return as_of_join(bars, known, name=NAME, interval=HOUR, greatest_age=5 * DAY)

    with TemporaryDirectory() as folder:
        store = FactStore(Path(folder))
        store.append(facts(*(row for row in rows if row[2] <= now)), fetched_at=START)
        that_day = values(store, known_by=now)
        store.append(facts(*rows), fetched_at=START)
        assert values(store, known_by=now).equals(that_day)
        assert values(store, known_by=None).equals(that_day)  # the join asks for no later knowledge either


ZONES = {"America/New_York": time(16), "Europe/London": time(16, 30), "Asia/Tokyo": time(15)}
CLOCK_CHANGES = (date(2019, 3, 10), date(2019, 3, 31), date(2019, 10, 27), date(2019, 11, 3))


def closing(day: date, zone: str, at: time) -> datetime:
    """The moment of a local time, in UTC."""
    return datetime.combine(day, at, tzinfo=ZoneInfo(zone)).astimezone(UTC)


@given(
    change=st.sampled_from(CLOCK_CHANGES),
    closes=st.lists(
        st.tuples(
            st.integers(0, 4),  # day
            st.sampled_from(sorted(ZONES)),
            st.booleans(),  # known at the end of the local day, or at the close
            st.integers(0, 2),  # days until it is published
            st.integers(1, 9),
        ),
        max_size=10,
        unique_by=lambda close: close[:4],
    ),
    minutes=st.sampled_from([1, 30, 60]),
)
def test_no_bar_reads_a_close_before_it_was_known_whatever_the_clocks_do(
    change: date, closes: list[tuple[int, str, bool, int, int]], minutes: int
) -> None:
    first = change - 2 * DAY
    rows = []
    for day, zone, at_midnight, later, value in closes:
        traded, shown = first + day * DAY, first + (day + later) * DAY
        known = closing(shown + DAY, zone, time()) if at_midnight else closing(shown, zone, ZONES[zone])
        rows.append((None, closing(traded, zone, time()), known, zone, NAME, float(value)))
    interval = timedelta(minutes=minutes)
    opens = [datetime.combine(first, time(), tzinfo=UTC) + 7 * place * interval for place in range(250)]
    opens += [known - beside * interval for *_, known, _, _, _ in rows for beside in (0, 1, 2)]
    opens = sorted(set(opens))
    bars = pl.DataFrame(
        {"open_time": opens, "symbol": ["BTCUSD"] * len(opens)},
        schema={"open_time": FACT_SCHEMA["event_time"], "symbol": pl.String()},
    )
    with TemporaryDirectory() as folder:
        store = FactStore(Path(folder))
        store.append(facts(*rows), fetched_at=START)
        joined = as_of_join(bars, store.read([NAME]), name=NAME, interval=interval, greatest_age=365 * DAY)
    for opened, value in joined.select("open_time", NAME).iter_rows():
        known = [(row[1], row[2], row[5]) for row in rows if row[2] <= opened + interval]
        newest = max((event, at) for event, at, _ in known) if known else None
        assert (value is None) == (newest is None)
        assert newest is None or value in [told for event, at, told in known if (event, at) == newest]
