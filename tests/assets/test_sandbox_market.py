"""The replayed market: what it tells is exact, has happened, and is the same whichever way it is asked."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.market import SandboxMarket, UnknownSymbolError, resampled
from edge_bundle.candles import CANDLE_SCHEMA, validated_candles

SAMPLE = pl.read_parquet(sample_file()).sort("symbol", "open_time")
START = datetime(2019, 1, 10, 12, 17, 31, tzinfo=UTC)
MINUTE, HALF_HOUR = timedelta(minutes=1), timedelta(minutes=30)
SYMBOLS = st.sampled_from(["BTCUSDT", "EOSUSDT", "ETHUSDT", "LTCUSDT", "XRPUSDT"])


@dataclass
class Clock:
    """Shows the time that it is set to."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


def market(seed: int = 1, *, start: datetime = START, clock: Clock | None = None) -> SandboxMarket:
    return SandboxMarket(SAMPLE, seed=seed, start=start, speed=60, clock=clock or Clock())


def sample_of(symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
    own = (pl.col("symbol") == symbol.removesuffix("T")) & pl.col("open_time").is_between(
        start, end, closed="left"
    )
    return SAMPLE.filter(own).with_columns(symbol=pl.lit(symbol))


@settings(max_examples=25)
@given(st.integers(0, 2**32), SYMBOLS, st.integers(0, 22_000), st.integers(1, 100))
def test_minutes_resampled_are_the_half_hours_of_the_sample(
    seed: int, symbol: str, first: int, count: int
) -> None:
    start = datetime(2017, 10, 1, tzinfo=UTC) + first * HALF_HOUR
    end = min(start + count * HALF_HOUR, datetime(2019, 1, 10, 12, tzinfo=UTC))
    replay = market(seed)
    minutes = replay.bars(symbol, "1m", start, end)
    candles = sample_of(symbol, start, end)
    validated_candles(minutes, interval="1m")
    assert minutes.height == 30 * candles.height
    assert resampled(minutes, HALF_HOUR).equals(candles)
    assert resampled(replay.bars(symbol, "5m", start, end), HALF_HOUR).equals(candles)
    assert replay.bars(symbol, "30m", start, end).equals(candles)


@settings(max_examples=25)
@given(SYMBOLS, st.integers(0, 660_000), st.integers(1, 200))
def test_any_window_is_the_same_as_cut_from_a_longer_one(symbol: str, first: int, count: int) -> None:
    start = datetime(2017, 10, 1, tzinfo=UTC) + first * MINUTE
    end, day = start + count * MINUTE, timedelta(days=1)
    long = market().bars(symbol, "1m", start - day, end + day)
    cut = long.filter(pl.col("open_time").is_between(start, end, closed="left"))
    assert market().bars(symbol, "1m", start, end).equals(cut)


@settings(max_examples=15)
@given(SYMBOLS, st.integers(0, 22_000), st.integers(0, 2**32))
def test_trades_resampled_are_the_minutes_that_traded(symbol: str, first: int, seed: int) -> None:
    start = datetime(2017, 10, 1, tzinfo=UTC) + first * HALF_HOUR
    replay, end = market(seed), start + 2 * HALF_HOUR
    tape = replay.trades(symbol, start, end)
    bars = tape.group_by(pl.col("time").dt.truncate("1m").alias("open_time"), maintain_order=True).agg(
        symbol=pl.col("symbol").first(),
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
        volume=pl.col("volume").sum(),
    )
    klines = replay.klines(symbol, "1m", start=start, end=end, limit=1000).filter(pl.col("volume") > 0)
    assert klines.select(*CANDLE_SCHEMA).equals(bars)
    assert klines["trades"].sum() == tape.height
    bought = tape.filter("buy").group_by(pl.col("time").dt.truncate("1m"), maintain_order=True)
    assert klines.filter(pl.col("buy_volume") > 0)["buy_volume"].equals(
        bought.agg(pl.col("volume").sum().alias("buy_volume"))["buy_volume"]
    )
    assert tape["time"].is_sorted()
    assert (tape["volume"] > 0).all()


def test_trade_numbers_have_no_gap_from_one_half_hour_to_the_next() -> None:
    replay = market()
    start = datetime(2018, 3, 1, tzinfo=UTC)
    tape = replay.trades("ETHUSDT", start, start + 10 * HALF_HOUR)
    first = tape["trade_id"][0]
    assert tape["trade_id"].to_list() == list(range(first, first + tape.height))
    assert replay.trades_from("ETHUSDT", first + 700, 900).equals(tape[700:1600])
    assert replay.trades_from("ETHUSDT", 0, 3)["trade_id"].to_list() == [1, 2]
    newest = replay.newest_trades("ETHUSDT", 1000)
    assert newest.height == 1000
    assert newest["time"][-1] <= replay.now()
    assert replay.trades_from("ETHUSDT", newest["trade_id"][-1], 10).height == 1


def test_time_runs_at_its_speed_from_its_start() -> None:
    clock = Clock()
    replay = market(clock=clock)
    assert replay.now() == START
    clock.time += timedelta(seconds=2)
    assert replay.now() == START + 2 * MINUTE


def test_nothing_after_now_is_told() -> None:
    clock, far = Clock(), START + timedelta(days=400)
    replay = market(clock=clock)
    for interval, newest in (("1m", 16), ("5m", 10), ("30m", -30), ("1h", -60)):
        bars = replay.bars("BTCUSDT", interval, START - timedelta(days=1), far)
        assert bars["open_time"][-1] == datetime(2019, 1, 10, 12, tzinfo=UTC) + newest * MINUTE
    assert replay.trades("BTCUSDT", START - MINUTE, far)["time"].max() <= START
    clock.time += timedelta(seconds=0.5)
    newest_minute = replay.bars("BTCUSDT", "1m", START - MINUTE, far)["open_time"][-1]
    assert newest_minute == datetime(2019, 1, 10, 12, 17, tzinfo=UTC)


@pytest.mark.parametrize("interval", ["1m", "5m", "30m"])
def test_running_bar_grows_into_the_bar_that_closes(interval: str) -> None:
    clock = Clock()
    opened = datetime(2019, 1, 10, 12, tzinfo=UTC)
    replay = market(start=opened, clock=clock)
    seen, step = [], timedelta(minutes=int(interval[:-1]))
    for second in range(0, int(step.total_seconds()), 7):
        clock.time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second) / 60
        seen.append(replay.running_bar("BTCUSDT", interval))
    running = pl.concat(seen)
    assert running["open_time"].unique().to_list() == [opened]
    assert running["volume"].is_sorted()
    assert running["high"].is_sorted()
    assert running["low"].is_sorted(descending=True)
    clock.time = datetime(2026, 1, 1, tzinfo=UTC) + step / 60
    closed = replay.bars("BTCUSDT", interval, opened, opened + step)
    assert closed["open"][0] == running["open"][-1]
    assert closed["volume"][0] >= running["volume"][-1] > 0


def test_klines_are_the_first_from_a_start_or_the_newest() -> None:
    replay, far = market(), START + timedelta(days=1)
    start = datetime(2018, 5, 1, 0, 7, tzinfo=UTC)
    first = replay.klines("BTCUSDT", "1m", start=start, end=far, limit=1000)
    assert first.select(*CANDLE_SCHEMA).equals(replay.bars("BTCUSDT", "1m", start, start + 1000 * MINUTE))
    for interval in ("1m", "15m", "30m", "4h", "1d"):
        newest = replay.klines("BTCUSDT", interval, start=None, end=far, limit=7).select(*CANDLE_SCHEMA)
        assert newest.equals(replay.bars("BTCUSDT", interval, START - timedelta(days=30), far).tail(7))


def test_half_hours_that_the_sample_does_not_hold_are_absent() -> None:
    held = SAMPLE.filter(pl.col("symbol") == "BTCUSD")["open_time"]
    hole = held.filter(held.diff().shift(-1) > HALF_HOUR)[0] + HALF_HOUR
    replay = market(start=datetime(2019, 9, 1, tzinfo=UTC))
    assert replay.bars("BTCUSDT", "1m", hole, hole + HALF_HOUR).is_empty()
    assert replay.trades("BTCUSDT", hole, hole + HALF_HOUR).is_empty()
    assert replay.bars("BTCUSDT", "1m", hole - HALF_HOUR, hole + HALF_HOUR).height in {0, 30}
    assert replay.book("BTCUSDT", hole + MINUTE).bids.shape[1] == 2


def test_symbol_that_is_not_held_is_refused_by_name() -> None:
    with pytest.raises(UnknownSymbolError, match="not DOGEUSDT"):
        market().bars("DOGEUSDT", "1m", START, START)
    assert market().symbols == ("BTCUSDT", "EOSUSDT", "ETHUSDT", "LTCUSDT", "XRPUSDT")


def test_market_that_ended_tells_its_last_bars() -> None:
    replay = market(start=datetime(2020, 1, 1, tzinfo=UTC))
    assert replay.running_bar("BTCUSDT", "1m").is_empty()
    newest = replay.klines("BTCUSDT", "1m", start=None, end=replay.now(), limit=1)
    assert newest["open_time"].to_list() == [datetime(2019, 10, 1, 0, 29, tzinfo=UTC)]
