"""The simulated order book: never crossed, around the last trade, and followed exactly by its differences."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.market import SandboxMarket

START = datetime(2019, 1, 10, tzinfo=UTC)
SAMPLE = pl.read_parquet(sample_file()).sort("symbol", "open_time")
MARKET = SandboxMarket(SAMPLE, seed=5, start=START + timedelta(days=2), speed=1, clock=lambda: START)
SYMBOLS = st.sampled_from(MARKET.symbols)
SECONDS = st.floats(0, 86_400)


@given(SYMBOLS, SECONDS)
def test_book_is_sorted_not_crossed_and_has_sizes(symbol: str, seconds: float) -> None:
    book = MARKET.book(symbol, START + timedelta(seconds=seconds))
    bids, asks = book.bids[:, 0], book.asks[:, 0]
    assert (bids[1:] < bids[:-1]).all()
    assert (asks[1:] > asks[:-1]).all()
    assert 0 < bids[0] < asks[0]
    assert min(book.bids[:, 1].min(), book.asks[:, 1].min()) > 0
    assert len(bids) > 100


@settings(max_examples=50)
@given(SYMBOLS, SECONDS, st.integers(0, 5_000))
def test_differences_lead_from_one_book_to_a_later_one(symbol: str, seconds: float, ms: int) -> None:
    at = START + timedelta(seconds=seconds)
    earlier, later = MARKET.book(symbol, at), MARKET.book(symbol, at + timedelta(milliseconds=ms))
    assert later.update_id >= earlier.update_id
    sides = zip(
        (earlier.bids, earlier.asks), (later.bids, later.asks), later.changes_since(earlier), strict=True
    )
    for before, after, changes in sides:
        local = dict(before.tolist())
        local.update(changes.tolist())
        assert {price: size for price, size in local.items() if size} == dict(after.tolist())


def test_little_changes_in_a_step_without_a_trade() -> None:
    books = [MARKET.book("BTCUSDT", START + timedelta(milliseconds=100 * step)) for step in range(50)]
    changed = [sum(map(len, later.changes_since(before))) for before, later in pairwise(books)]
    assert 0 < sum(changed) / len(changed) < 20
    assert books[0].update_id < books[1].update_id


def test_trades_hit_the_best_price_of_their_side() -> None:
    tape = MARKET.trades("BTCUSDT", START, START + timedelta(hours=2))
    hits = 0
    for trade in tape.sample(200, seed=1).iter_rows(named=True):
        book = MARKET.book("BTCUSDT", trade["time"])
        best = book.asks[0, 0] if trade["buy"] else book.bids[0, 0]
        hits += abs(best - trade["price"]) < 0.1
    # The book is drawn in steps of 100 ms: one step may lie between a trade and its book.
    assert hits >= 195


def test_same_moment_has_the_same_book_and_another_seed_another() -> None:
    def book(seed: int) -> list[list[float]]:
        replay = SandboxMarket(SAMPLE, seed=seed, start=START, speed=1, clock=lambda: START)
        return replay.book("ETHUSDT", START).bids.tolist()

    assert book(1) == book(1)
    assert book(1) != book(2)
