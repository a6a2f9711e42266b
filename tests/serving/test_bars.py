"""The online store, in a file and in Redis: what is written is read back, with its no-trade slots."""

import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fakes.redis_server import RedisServer, redis_server
from fakes.tiny_bundle import walk_candles
from fakes.waiting import wait_until

from cryptoai_serving.bar_shelf import BAR, KEPT_BARS, BarsPlace, RedisPlace
from cryptoai_serving.bars import BarStore, no_trade_facts
from cryptoai_serving.database import Database
from cryptoai_serving.errors import StoreUnavailableError
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.errors import CandlesRefusedError
from edge_bundle.facts import FACT_SCHEMA, empty_facts, no_trade_slots, validated_facts

FIRST_SCHEMA = """
DROP TABLE packed_bars;
CREATE TABLE bars (
    symbol TEXT NOT NULL, open_time INTEGER NOT NULL, bar BLOB NOT NULL, PRIMARY KEY (symbol, open_time)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=50, interval="30m", seed=1)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path, server: RedisServer) -> BarsPlace:
    if request.param == "sqlite":
        return tmp_path / "data" / "bars.db"
    return RedisPlace(server.address, secrets.token_hex(4))


@pytest.fixture
def store(place: BarsPlace) -> Iterator[BarStore]:
    with BarStore(place) as opened:
        yield opened


def test_bars_are_read_back_bit_for_bit_in_order(store: BarStore) -> None:
    store.write_bars(CANDLES.sample(fraction=1.0, shuffle=True, seed=1))
    latest = store.latest(["ETHUSD", "BTCUSD"], 1000)
    assert dict(latest.schema) == CANDLE_SCHEMA
    assert latest.equals(CANDLES)


def test_only_the_newest_bars_asked_for_are_read(store: BarStore) -> None:
    store.write_bars(CANDLES)
    expected = CANDLES.group_by("symbol", maintain_order=True).tail(7)
    assert store.latest(["BTCUSD", "ETHUSD"], 7).equals(expected.select(CANDLES.columns))


def test_symbol_without_bars_gives_no_rows(store: BarStore) -> None:
    assert store.latest(["BTCUSD"], 5).is_empty()
    assert store.latest([], 5).is_empty()
    assert dict(store.latest(["BTCUSD"], 5).schema) == CANDLE_SCHEMA
    assert store.window(["BTCUSD"], 5).facts.is_empty()


def test_bar_written_again_is_replaced(store: BarStore) -> None:
    store.write_bars(CANDLES)
    corrected = CANDLES.tail(1).with_columns(volume=pl.lit(1.5))
    store.write_bars(corrected)
    assert store.latest(["ETHUSD"], 50).height == 50
    assert store.latest(["ETHUSD"], 1).equals(corrected)


def test_bars_that_are_not_among_those_that_take_their_place_are_gone_and_newer_ones_stay(
    store: BarStore,
) -> None:
    store.write_bars(CANDLES)
    own = CANDLES.filter(symbol="BTCUSD").with_row_index()
    judged = own.filter(pl.col("index").is_between(5, 40) & (pl.col("index") != 20)).drop("index")
    store.replace_bars(judged)
    newer = own.filter(pl.col("index") > 40).drop("index")
    assert store.latest(["BTCUSD"], 100).equals(pl.concat([judged, newer]))
    assert store.latest(["ETHUSD"], 100).equals(CANDLES.filter(symbol="ETHUSD"))
    store.replace_bars(CANDLES.clear())
    assert store.latest(["BTCUSD"], 100).height == 44


def test_as_many_bars_are_kept_whichever_way_they_come(store: BarStore) -> None:
    many = walk_candles(("BTCUSD",), bars=KEPT_BARS + 30, interval="1m", seed=2)
    store.write_bars(many.tail(20))
    store.write_no_trade(no_trade_facts(many.head(1), interval="1m", source="s"))
    store.replace_bars(many.head(KEPT_BARS + 10))
    assert store.latest(["BTCUSD"], 10**6).equals(many.tail(KEPT_BARS))
    store.write_bars(walk_candles(("BTCUSD",), bars=5, interval="1m", seed=2))
    assert store.window(["BTCUSD"], 10**6).facts.is_empty()


def test_facts_are_read_back_by_name_and_replaced_as_a_whole(store: BarStore) -> None:
    at = CANDLES["open_time"][0]
    rows = [
        (None, at, at + timedelta(hours=1), "FRED", "VIXCLS", 14.5),
        ("BTCUSD", at, at + timedelta(days=1), "Coin Metrics", "TxCnt", None),
        ("BTCUSD", at, at + timedelta(days=2), "Coin Metrics", "TxCnt", 2.0),
    ]
    facts = pl.DataFrame(rows, schema=FACT_SCHEMA, orient="row")
    store.write_facts(pl.concat([facts, no_trade_facts(CANDLES.head(3), interval="30m", source="sample")]))
    assert store.facts(["VIXCLS", "TxCnt"]).sort("known_at").equals(facts)
    assert store.facts(["TxCnt"]).height == 2
    assert store.facts(["no_trade", "SP500"]).equals(empty_facts())
    store.write_facts(facts.head(1))
    assert store.facts(["TxCnt"]).is_empty()


def test_store_of_before_there_were_facts_gets_a_place_for_them(tmp_path: Path) -> None:
    with BarStore(tmp_path / "bars.db") as store:
        store.write_bars(CANDLES)
    with sqlite3.connect(tmp_path / "bars.db") as connection:
        connection.execute("DROP TABLE facts")
    connection.close()
    with BarStore(tmp_path / "bars.db") as store:
        assert store.facts(["VIXCLS"]).is_empty()
        assert store.latest(["BTCUSD", "ETHUSD"], 50).equals(CANDLES)


def test_store_of_a_row_for_each_bar_is_taken_over_and_read_by_nobody_older(tmp_path: Path) -> None:
    path = tmp_path / "bars.db"
    with BarStore(path) as store:
        store.write_bars(CANDLES)
    with closing(sqlite3.connect(path)) as connection:
        packed = connection.execute("SELECT symbol, bars FROM packed_bars").fetchall()
        rows = [
            (symbol, *np.frombuffer(bar, "<i8", 1).tolist(), bar)
            for symbol, bars in packed
            for bar in np.frombuffer(bars, f"V{BAR.itemsize}")[::-1].tolist()
        ]
        connection.executescript(FIRST_SCHEMA)
        connection.executemany("INSERT INTO bars VALUES (?, ?, ?)", rows)
        connection.commit()
    with BarStore(path) as one, BarStore(path) as other:
        assert one.latest(["BTCUSD", "ETHUSD"], 50).equals(CANDLES)
        assert other.latest(["BTCUSD", "ETHUSD"], 50).equals(CANDLES)
        other.write_bars(CANDLES.tail(1))
    with (
        closing(Database(path, schema="", version=1)) as older,
        pytest.raises(StoreUnavailableError, match="schema version 2, this code reads 1"),
        older.transaction(),
    ):
        pass


def test_no_trade_slots_come_with_the_bars_that_they_lie_between(store: BarStore) -> None:
    held = CANDLES.filter(pl.col("symbol") == "BTCUSD")
    store.write_bars(held.gather([*range(20), *range(21, 50)]))
    slots = held.gather([20])
    early = slots.with_columns(pl.col("open_time") - timedelta(days=30))
    facts = no_trade_facts(pl.concat([early, slots]), interval="30m", source="sample")
    store.write_no_trade(facts)
    window = store.window(["BTCUSD"], 40)
    assert dict(validated_facts(window.facts).schema) == FACT_SCHEMA
    assert no_trade_slots(window.facts).equals(slots.select("symbol", "open_time"))
    assert window.facts["known_at"][0] - window.facts["event_time"][0] == timedelta(minutes=30)


def test_other_facts_are_left_out(store: BarStore) -> None:
    store.write_bars(CANDLES)
    store.write_no_trade(empty_facts())
    other = no_trade_facts(CANDLES.tail(1), interval="30m", source="s").with_columns(name=pl.lit("hash_rate"))
    store.write_no_trade(other)
    assert store.window(["BTCUSD", "ETHUSD"], 50).facts.is_empty()


def test_old_bars_and_slots_make_room_for_new_ones(store: BarStore) -> None:
    kept = KEPT_BARS
    many = walk_candles(("BTCUSD",), bars=kept + 30, interval="1m", seed=2)
    store.write_no_trade(no_trade_facts(many.head(1), interval="1m", source="s"))
    store.write_bars(many.head(kept))
    store.write_bars(many.tail(30))
    assert store.latest(["BTCUSD"], 10**6).equals(many.tail(kept))
    store.write_bars(walk_candles(("BTCUSD",), bars=5, interval="1m", seed=2))
    assert store.window(["BTCUSD"], 10**6).facts.is_empty()
    older = many.head(1).with_columns(pl.col("open_time") - timedelta(minutes=5))
    store.write_bars(older)
    assert store.latest(["BTCUSD"], 10**6).equals(many.tail(kept))


def test_frame_that_is_no_candle_frame_is_refused(store: BarStore) -> None:
    with pytest.raises(CandlesRefusedError, match="volume"):
        store.write_bars(CANDLES.drop("volume"))


def test_another_process_reads_while_one_writes(store: BarStore, place: BarsPlace) -> None:
    store.write_bars(CANDLES.head(10))
    with BarStore(place) as reader:
        assert reader.latest(["BTCUSD"], 100).height == 10
        store.write_bars(CANDLES)
        assert reader.latest(["BTCUSD"], 100).height == 50


def test_writers_at_once_lose_no_bar(store: BarStore, place: BarsPlace) -> None:
    assert store.latest(["BTCUSD"], 100).is_empty()
    parts = [CANDLES.filter(symbol="BTCUSD").gather_every(4, first) for first in range(4)]

    def write(part: pl.DataFrame) -> None:
        with BarStore(place) as own:
            for bar in part.iter_slices(1):
                own.write_bars(bar)

    writers = [threading.Thread(target=write, args=(part,)) for part in parts]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.latest(["BTCUSD"], 100).equals(CANDLES.filter(symbol="BTCUSD"))


def test_every_write_of_another_changes_the_revision(store: BarStore, place: BarsPlace) -> None:
    store.write_bars(CANDLES)
    with BarStore(place) as reader:
        wait_until(lambda: reader.revision() is not None, "the revision is known")
        seen = {reader.revision()}
        quiet = no_trade_facts(CANDLES.head(1), interval="30m", source="s")
        for write in (
            lambda: store.write_bars(CANDLES.tail(1)),
            lambda: store.replace_bars(CANDLES.tail(1)),
            lambda: store.write_no_trade(quiet),
            lambda: store.write_facts(quiet),
        ):
            write()
            wait_until(lambda: reader.revision() not in {None, *seen}, "the revision is another")
            seen.add(reader.revision())
