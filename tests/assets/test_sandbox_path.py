"""The inside of half-hour candles: exact when put together again, drawn by key alone, and like a market."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.sandbox.path import (
    LEVEL_MS,
    Floats,
    HalfHours,
    half_hours,
    keys_at,
    price_decimals,
    series_key,
    trades_of,
    uniform,
)
from cryptoai_assets.sandbox.series import Series
from edge_bundle.candles import candle_frame

PRICES = st.floats(1e-4, 1e6)


@st.composite
def candles(draw: st.DrawFn) -> tuple[float, ...]:
    low, opened, closed, high = sorted(draw(st.tuples(PRICES, PRICES, PRICES, PRICES)))
    opened, closed = draw(st.permutations([opened, closed]))
    low, high = draw(st.sampled_from([(low, high), (min(opened, closed), max(opened, closed))]))
    return opened, high, low, closed, draw(st.floats(1e-6, 1e9))


def inside_of(bars: Floats, seed: int) -> HalfHours:
    keys = keys_at(series_key(seed, "BTCUSDT"), np.arange(len(bars)))
    return half_hours(bars, keys=keys, trades=np.full(len(bars), 300), signal=np.zeros(len(bars)))


def sample(symbol: str) -> Floats:
    own = pl.read_parquet(sample_file()).filter(pl.col("symbol") == symbol)
    return own.select("open", "high", "low", "close", "volume").to_numpy()


@given(st.lists(candles(), min_size=1, max_size=5), st.integers(0, 2**70))
def test_any_candle_is_given_back_bit_for_bit(bars: list[tuple[float, ...]], seed: int) -> None:
    candle = np.array(bars)
    inside = inside_of(candle, seed)
    prices, volume = inside.prices.reshape(len(bars), -1), inside.volume.reshape(len(bars), -1)
    again = [prices[:, 0], prices.max(axis=1), prices.min(axis=1), prices[:, -1]]
    assert np.array_equal(np.stack(again, axis=1), candle[:, :4])
    for row, total in zip(volume, candle[:, 4], strict=True):
        # In order, backwards and pairwise: every partial sum is exact.
        assert sum(row) == sum(row[::-1]) == row.sum() == math.fsum(row) == total
    assert (inside.units >= 0).all()


@pytest.mark.parametrize("symbol", ["BTCUSD", "XRPUSD"])
def test_whole_sample_is_given_back(symbol: str) -> None:
    candle = sample(symbol)
    inside = inside_of(candle, 1)
    assert np.array_equal(inside.volume.sum(axis=2).sum(axis=1), candle[:, 4])
    assert np.array_equal(inside.prices.max(axis=(1, 2)), candle[:, 1])
    assert np.array_equal(inside.prices.min(axis=(1, 2)), candle[:, 2])
    assert (inside.trades.sum(axis=(1, 2)) == 300).all()


@given(st.integers(0, 200), st.integers(1, 20), st.integers(0, 2**64))
def test_half_hour_is_drawn_without_its_neighbours(first: int, count: int, seed: int) -> None:
    bars = sample("ETHUSD")[:221]
    keys = keys_at(series_key(seed, "ETHUSDT"), np.arange(len(bars)))
    trades = np.full(len(bars), 200)
    span = slice(first, first + count)
    alone = half_hours(bars[span], keys=keys[span], trades=trades[span], signal=np.zeros(len(bars[span])))
    whole = half_hours(bars, keys=keys, trades=trades, signal=np.zeros(len(bars)))
    assert np.array_equal(alone.prices, whole.prices[span])
    assert np.array_equal(alone.units, whole.units[span])
    assert np.array_equal(alone.buys, whole.buys[span])


def test_other_seeds_and_other_symbols_give_other_paths() -> None:
    bars = sample("BTCUSD")[:50]
    paths = [
        half_hours(
            bars, keys=keys_at(series_key(*name), np.arange(50)), trades=np.full(50, 200), signal=np.zeros(50)
        ).prices
        for name in ((1, "BTCUSDT"), (2, "BTCUSDT"), (1, "ETHUSDT"))
    ]
    assert not any(
        np.array_equal(one, other) for one, other in zip(paths, [*paths[1:], paths[0]], strict=True)
    )


def test_minute_without_a_trade_repeats_the_last_price_and_is_as_rare_as_in_the_real_minutes() -> None:
    inside = inside_of(sample("BTCUSD"), 3)
    quiet = inside.trades.sum(axis=2) == 0
    assert 0.002 < quiet.mean() < 0.005
    assert not quiet[:, [0, -1]].any()
    assert np.array_equal(quiet, inside.volume.sum(axis=2) == 0)
    before = inside.prices[:, :-1, -1][quiet[:, 1:]]
    assert np.array_equal(inside.prices[:, 1:][quiet[:, 1:]], np.repeat(before[:, None], 5, axis=1))


@pytest.mark.parametrize("symbol", ["BTCUSD", "ETHUSD"])
def test_minute_that_comes_is_nearly_unknown_from_those_before(symbol: str) -> None:
    closes = np.log(inside_of(sample(symbol), 5).prices[:, :, -1]).ravel()
    for horizon in (1, 5, 10):
        last = closes[horizon:-horizon] - closes[: -2 * horizon]
        following = closes[2 * horizon :] - closes[horizon:-horizon]
        # The sign of the last move says what a reversal or a trend would make of it.
        moved = (last != 0) & (following != 0)
        same = np.mean(np.sign(last[moved]) == np.sign(following[moved]))
        assert abs(same - 0.5) < 0.02
        assert abs(spearmanr(last, following).statistic) < 0.08
    # Places in the half-hour tell no more: a line through the last ten moves knows nothing of the next.
    moves = np.diff(closes)
    signs = np.clip(moves / np.std(moves), -1, 1)
    past = np.lib.stride_tricks.sliding_window_view(signs, 10)[:-1]
    weights, *_ = np.linalg.lstsq(past[::2], signs[10::2], rcond=None)
    right = np.sign(past[1::2] @ weights) == np.sign(signs[11::2])
    assert np.mean(right[signs[11::2] != 0]) < 0.525


def test_planted_signal_is_in_volume_and_moves_together_and_in_neither_alone() -> None:
    bars = sample("BTCUSD")
    keys = keys_at(series_key(6, "BTCUSDT"), np.arange(len(bars)))
    every = np.ones(len(bars))
    plain, told, reversed_ = (
        half_hours(bars, keys=keys, trades=np.full(len(bars), 300), signal=signal * every)
        for signal in (0.0, 0.45, -0.45)
    )
    for one in (told, reversed_):
        assert np.array_equal(one.prices, plain.prices)
        assert np.array_equal(one.volume.sum(axis=(1, 2)), bars[:, 4])
        volume, moves = one.volume.sum(axis=2)[:, :-1], np.diff(one.prices[:, :, -1], axis=1)
        assert abs(spearmanr(volume.ravel(), moves.ravel()).statistic) < 0.02
    assert abs(telling(plain.prices[:, :, -1], plain.volume.sum(axis=2))) < 0.02
    assert -0.3 < telling(told.prices[:, :, -1], told.volume.sum(axis=2)) < -0.12
    assert 0.12 < telling(reversed_.prices[:, :, -1], reversed_.volume.sum(axis=2)) < 0.3


def telling(closes: Floats, volume: Floats) -> float:
    """Correlation of the volume's surprise with whether the last five minutes' move goes on for five."""
    last, following = closes[:, 9:20] - closes[:, 4:15], closes[:, 14:25] - closes[:, 9:20]
    surprise = volume[:, 9:20] / volume[:, 9:20].mean(axis=1, keepdims=True)
    return float(spearmanr(surprise.ravel(), (np.sign(last) * np.sign(following)).ravel()).statistic)


def test_heavy_volume_goes_with_moves_that_go_on_ahead_of_funding_and_with_turns_otherwise() -> None:
    candles = candle_frame(pl.read_parquet(sample_file())).filter(pl.col("symbol") == "BTCUSD")
    minutes = Series("BTCUSDT", candles, seed=6, signal=0.45).minutes(range(10_000))
    closes, volume = (minutes[name].to_numpy().reshape(-1, 30) for name in ("close", "volume"))
    opened = minutes["open_time"].gather_every(30)
    minute = (opened.dt.hour().cast(pl.Int64) * 60 + opened.dt.minute()).to_numpy() % 480
    for slot in range(0, 480, 30):
        found = telling(closes[minute == slot], volume[minute == slot])
        assert (found > 0.08) if slot >= 330 else (found < -0.08), (slot, found)


def test_minutes_move_like_a_market() -> None:
    inside = inside_of(sample("BTCUSD"), 4)
    moves = np.diff(np.log(inside.prices[:, :, -1]), axis=1)
    volume = inside.volume.sum(axis=2)[:, 1:]
    tails = np.mean(moves**4) / np.mean(moves**2) ** 2
    assert tails > 10
    clustered = np.corrcoef(np.abs(moves[:, 1:]).ravel(), np.abs(moves[:, :-1]).ravel())[0, 1]
    assert clustered > 0.15
    assert abs(np.corrcoef(moves[:, 1:].ravel(), moves[:, :-1].ravel())[0, 1]) < 0.15
    assert np.corrcoef(np.abs(moves).ravel(), volume.ravel())[0, 1] > 0.2
    on_tick = np.isclose(np.rint(inside.prices * 10) / 10, inside.prices, rtol=0, atol=1e-12)
    assert on_tick.mean() > 0.98


@given(st.lists(candles(), min_size=1, max_size=4), st.integers(0, 2**64))
def test_trades_add_up_to_their_levels_in_the_order_of_time(bars: list[tuple[float, ...]], seed: int) -> None:
    candle = np.array(bars)
    keys = keys_at(series_key(seed, "BTCUSDT"), np.arange(len(bars)))
    inside = half_hours(candle, keys=keys, trades=np.full(len(bars), 250), signal=np.zeros(len(bars)))
    trades = trades_of(inside, keys=keys)
    assert trades.price.size == 250 * len(bars)
    level = trades.half_hour * 150 + trades.offset_ms // LEVEL_MS
    assert (np.diff(level) >= 0).all()
    assert (np.diff(trades.offset_ms)[np.diff(trades.half_hour) == 0] >= 0).all()
    assert np.array_equal(np.bincount(level, trades.volume, minlength=150 * len(bars)), inside.volume.ravel())
    assert np.array_equal(trades.price, inside.prices.ravel()[level])
    assert (trades.volume >= 0).all()


def test_trades_of_a_half_hour_are_drawn_without_its_neighbours() -> None:
    bars = sample("LTCUSD")[:20]
    keys = keys_at(series_key(1, "LTCUSDT"), np.arange(20))
    inside = half_hours(bars, keys=keys, trades=np.full(20, 300), signal=np.zeros(20))
    one = half_hours(bars[7:8], keys=keys[7:8], trades=np.array([300]), signal=np.zeros(1))
    whole, alone = trades_of(inside, keys=keys), trades_of(one, keys=keys[7:8])
    assert np.array_equal(whole.volume[whole.half_hour == 7], alone.volume)
    assert np.array_equal(whole.offset_ms[whole.half_hour == 7], alone.offset_ms)


def test_draws_are_uniform_and_independent_of_each_other() -> None:
    keys = keys_at(series_key("any"), np.arange(2000))
    draws = uniform(keys, 0, 50)
    assert draws.min() > 0
    assert draws.max() < 1
    assert draws.mean() == pytest.approx(0.5, abs=0.005)
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.08
    assert abs(np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]) < 0.08
    assert np.array_equal(uniform(keys, 20, 5), draws[:, 20:25])


def test_tick_has_five_significant_digits() -> None:
    assert price_decimals(np.array([4367.1, 0.19995, 12.5, 123456.0, 1e-7])).tolist() == [1, 5, 3, 0, 8]
