"""Candlestick patterns: each on hand-drawn candles, none on near misses, and TA-Lib agrees where gaps are."""

from datetime import timedelta
from functools import cache

import numpy as np
import polars as pl
import polars_talib as talib
import pytest
from fakes.tiny_bundle import START, walk_candles

from edge_bundle.candles import bar_grid, candle_frame
from edge_bundle.features.candlesticks import features
from edge_bundle.features.catalog import catalog, feature_frame

Candle = tuple[float, float, float, float]
NAMES = tuple(feature.name for feature in features() if feature.unit.endswith("or 1"))
# The usual range of a drawing is 1, around a price of 100.
LADDER = [0.4 * rung for rung in range(20)]
FALL: list[Candle] = [(108 - k, 108.3 - k, 107.3 - k, 107.6 - k) for k in LADDER]
RISE: list[Candle] = [(200 - o, 200 - low, 200 - h, 200 - c) for o, h, low, c in FALL]

# What comes before, the candles (open, high, low, close), and those that come near. Each opens where the one
# before it closed, but where a near miss is that it does not.
DRAWN: dict[str, tuple[list[Candle], list[Candle], list[list[Candle]]]] = {
    "doji": (
        FALL,
        [(100, 100.4, 99.6, 100.05)],
        [[(100, 100.4, 99.6, 100.15)], [(100, 100.1, 99.95, 100.05)]],
    ),
    "hammer": (
        FALL,
        [(100, 100.2, 99.3, 100.15)],
        [[(100, 100.5, 99.3, 100.15)], [(100, 100.2, 99.6, 100.15)], [(100, 100.5, 99.3, 100.45)]],
    ),
    "shooting_star": (
        RISE,
        [(100, 100.7, 99.8, 99.85)],
        [[(100, 100.7, 99.5, 99.85)], [(100, 100.4, 99.8, 99.85)], [(100, 100.7, 99.5, 99.55)]],
    ),
    "marubozu": (
        FALL,
        [(100, 101.05, 99.95, 101)],
        [[(100, 101.2, 99.95, 101)], [(100, 101.05, 99.8, 101)], [(100, 100.55, 99.95, 100.5)]],
    ),
    "bullish_engulfing": (
        FALL,
        [(100, 100.1, 99.5, 99.6), (99.6, 100.3, 99.5, 100.2)],
        [
            [(100, 100.1, 99.5, 99.6), (99.6, 100.3, 99.5, 99.95)],
            [(100, 100.1, 99.5, 99.6), (99.7, 100.3, 99.5, 100.2)],
            [(99.6, 100.1, 99.5, 100), (100, 100.6, 99.9, 100.5)],
        ],
    ),
    "bearish_engulfing": (
        RISE,
        [(100, 100.5, 99.9, 100.4), (100.4, 100.5, 99.7, 99.8)],
        [
            [(100, 100.5, 99.9, 100.4), (100.4, 100.5, 99.7, 100.05)],
            [(100, 100.5, 99.9, 100.4), (100.3, 100.5, 99.7, 99.8)],
        ],
    ),
    "harami": (
        FALL,
        [(100, 100.1, 98.9, 99), (99, 99.4, 98.9, 99.2)],
        [
            [(100, 100.1, 98.9, 99), (99, 99.6, 98.9, 99.5)],
            [(100, 100.1, 98.9, 99), (99, 99.4, 98.7, 98.8)],
            [(100, 100.1, 99.5, 99.6), (99.6, 99.9, 99.5, 99.7)],
        ],
    ),
    "piercing_line": (
        FALL,
        [(100, 100.1, 98.9, 99), (99, 99.8, 98.7, 99.7)],
        [
            [(100, 100.1, 98.9, 99), (99, 99.8, 98.7, 99.4)],
            [(100, 100.1, 98.9, 99), (99, 99.8, 98.95, 99.7)],
            [(100, 100.1, 98.9, 99), (99, 100.2, 98.7, 100.1)],
        ],
    ),
    "dark_cloud_cover": (
        RISE,
        [(100, 101.1, 99.9, 101), (101, 101.3, 100.2, 100.3)],
        [
            [(100, 101.1, 99.9, 101), (101, 101.3, 100.2, 100.6)],
            [(100, 101.1, 99.9, 101), (101, 101.05, 100.2, 100.3)],
            [(100, 101.1, 99.9, 101), (101, 101.3, 99.8, 99.9)],
        ],
    ),
    "tweezer_top": (
        RISE,
        [(100, 100.6, 99.9, 100.5), (100.5, 100.62, 99.9, 100)],
        [
            [(100, 100.6, 99.9, 100.5), (100.5, 100.8, 99.9, 100)],
            [(100, 100.6, 99.9, 100.5), (100.5, 100.62, 100.2, 100.4)],
        ],
    ),
    "tweezer_bottom": (
        FALL,
        [(100, 100.1, 99.4, 99.5), (99.5, 100.1, 99.38, 100)],
        [
            [(100, 100.1, 99.4, 99.5), (99.5, 100.1, 99.2, 100)],
            [(100, 100.1, 99.4, 99.5), (99.5, 99.8, 99.38, 99.6)],
        ],
    ),
    "morning_star": (
        FALL,
        [(100, 100.1, 98.9, 99), (99, 99.2, 98.6, 99.1), (99.1, 100, 99, 99.9)],
        [
            [(100, 100.1, 98.9, 99), (99, 99.2, 98.6, 99.1), (99.1, 100, 99, 99.45)],
            [(100, 100.1, 98.9, 99), (99, 99.2, 98.95, 99.1), (99.1, 100, 99, 99.9)],
            [(100, 100.1, 98.9, 99), (99, 99.6, 98.6, 99.5), (99.5, 100.2, 99, 100.1)],
        ],
    ),
    "evening_star": (
        RISE,
        [(100, 101.1, 99.9, 101), (101, 101.4, 100.8, 100.9), (100.9, 101, 100, 100.1)],
        [
            [(100, 101.1, 99.9, 101), (101, 101.4, 100.8, 100.9), (100.9, 101, 100, 100.55)],
            [(100, 101.1, 99.9, 101), (101, 101.05, 100.8, 100.9), (100.9, 101, 100, 100.1)],
        ],
    ),
    "three_white_soldiers": (
        FALL,
        [(100, 100.6, 99.9, 100.5), (100.5, 101.1, 100.4, 101), (101, 101.6, 100.9, 101.5)],
        [
            [(100, 100.6, 99.9, 100.5), (100.5, 101.1, 100.4, 101), (101, 101.3, 100.9, 101.2)],
            [(100, 100.6, 99.9, 100.5), (100.5, 101.6, 100.4, 101), (101, 101.6, 100.9, 101.5)],
            [(100, 100.6, 99.9, 100.5), (100.5, 101.1, 100.4, 101), (101.3, 101.9, 101.2, 101.8)],
        ],
    ),
    "three_black_crows": (
        RISE,
        [(100, 100.1, 99.4, 99.5), (99.5, 99.6, 98.9, 99), (99, 99.1, 98.4, 98.5)],
        [
            [(100, 100.1, 99.4, 99.5), (99.5, 99.6, 98.9, 99), (99, 99.1, 98.7, 98.8)],
            [(100, 100.1, 99.4, 99.5), (99.5, 99.6, 98.4, 99), (99, 99.1, 98.4, 98.5)],
            [(100, 100.1, 99.4, 99.5), (99.5, 99.6, 98.9, 99), (98.7, 98.8, 98.1, 98.2)],
        ],
    ),
}
every_pattern = pytest.mark.parametrize("name", DRAWN)


def drawing(candles: list[Candle]) -> pl.DataFrame:
    rows = [
        (START + k * timedelta(minutes=30), "BTCUSD", *map(float, row), 1.0) for k, row in enumerate(candles)
    ]
    columns = ["open_time", "symbol", "open", "high", "low", "close", "volume"]
    frame = candle_frame(pl.DataFrame(rows, schema=columns, orient="row"))
    return frame.with_columns(traded=True, missing_run=pl.lit(0, pl.UInt32), segment=pl.lit(0, pl.UInt32))


def mirrored(candles: list[Candle]) -> list[Candle]:
    return [(200 - open_, 200 - low, 200 - high, 200 - close) for open_, high, low, close in candles]


def last(name: str, candles: list[Candle]) -> float:
    value = feature_frame(drawing(candles), [name])[name][-1]
    assert value is not None
    return abs(float(value))


@every_pattern
def test_pattern_is_seen_where_it_is_drawn_and_in_no_near_miss(name: str) -> None:
    before, candles, near_misses = DRAWN[name]
    assert len(near_misses) >= 2
    assert last(name, before + candles) == 1
    assert [last(name, before + miss) for miss in near_misses] == [0] * len(near_misses)


@every_pattern
def test_pattern_is_seen_at_its_own_bar_only(name: str) -> None:
    before, candles, _ = DRAWN[name]
    calm = [(candles[-1][3], candles[-1][3] + 0.2, candles[-1][3] - 0.2, candles[-1][3] + 0.15)]
    assert last(name, before + candles + calm) == 0
    assert last(name, before) == 0


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("hammer", "shooting_star"),
        ("bullish_engulfing", "bearish_engulfing"),
        ("piercing_line", "dark_cloud_cover"),
        ("tweezer_bottom", "tweezer_top"),
        ("morning_star", "evening_star"),
        ("three_white_soldiers", "three_black_crows"),
    ],
)
def test_pattern_upside_down_is_its_twin(name: str, twin: str) -> None:
    for one, other in ((name, twin), (twin, name)):
        before, candles, near_misses = DRAWN[one]
        assert last(other, mirrored(before + candles)) == 1
        assert not any(last(other, mirrored(before + miss)) for miss in near_misses)


@pytest.mark.parametrize(("name", "sign"), [("marubozu", 1.0), ("harami", 1.0)])
def test_pattern_of_both_directions_has_the_sign_of_its_own(name: str, sign: float) -> None:
    before, candles, _ = DRAWN[name]
    assert feature_frame(drawing(before + candles), [name])[name][-1] == sign
    assert feature_frame(drawing(mirrored(before + candles)), [name])[name][-1] == -sign


@pytest.mark.parametrize("name", ["hammer", "shooting_star", "tweezer_top", "tweezer_bottom"])
def test_reversal_needs_something_to_reverse(name: str) -> None:
    before, candles, _ = DRAWN[name]
    assert last(name, (RISE if before is FALL else FALL) + candles) == 0


def test_every_pattern_is_drawn() -> None:
    assert set(DRAWN) == set(NAMES)
    assert len(DRAWN) == 15
    assert set(DRAWN) <= set(catalog())


# --- TA-Lib, which wants gaps

ORACLE = {
    "doji": talib.cdldoji,
    "hammer": talib.cdlhammer,
    "shooting_star": talib.cdlshootingstar,
    "marubozu": talib.cdlmarubozu,
    "bullish_engulfing": talib.cdlengulfing,
    "bearish_engulfing": talib.cdlengulfing,
    "harami": talib.cdlharami,
    "piercing_line": talib.cdlpiercing,
    "dark_cloud_cover": talib.cdldarkcloudcover,
    "morning_star": talib.cdlmorningstar,
    "evening_star": talib.cdleveningstar,
    "three_white_soldiers": talib.cdl3whitesoldiers,
    "three_black_crows": talib.cdl3blackcrows,
}
FALLING = {"bearish_engulfing"}
# The last candles of a drawing with the gaps that the textbook has.
GAPPED: dict[str, tuple[list[Candle], list[Candle]]] = {
    **{name: (before, candles) for name, (before, candles, _) in DRAWN.items() if name in ORACLE},
    "doji": (FALL, [(100, 100.4, 99.6, 100.03)]),
    "hammer": (FALL, [(99.65, 99.75, 98.9, 99.7)]),
    "shooting_star": (RISE, [(100.4, 101.2, 100.3, 100.35)]),
    "piercing_line": (FALL, [(100, 100.1, 98.9, 99), (98.8, 99.8, 98.7, 99.7)]),
    "dark_cloud_cover": (RISE, [(100, 101.1, 99.9, 101), (101.2, 101.3, 100.2, 100.3)]),
    "harami": (FALL, [(100, 100.1, 98.9, 99), (99.2, 99.4, 99.1, 99.3)]),
    "morning_star": (FALL, [(100, 100.1, 98.9, 99), (98.7, 98.8, 98.5, 98.75), (99, 100, 98.9, 99.9)]),
    "evening_star": (
        RISE,
        [(100, 101.1, 99.9, 101), (101.3, 101.5, 101.2, 101.25), (101, 101.1, 100, 100.1)],
    ),
    "three_white_soldiers": (
        FALL,
        [(100, 100.75, 99.95, 100.7), (100.5, 101.25, 100.4, 101.2), (101, 101.75, 100.9, 101.7)],
    ),
    "three_black_crows": (
        RISE,
        [(99.8, 99.9, 98.95, 99), (99.5, 99.6, 98.55, 98.6), (99, 99.1, 98.05, 98.1)],
    ),
}
every_oracle = pytest.mark.parametrize("name", ORACLE)


@cache
def gapped_walk() -> pl.DataFrame:
    """Bars that open away from where the one before them closed."""
    random, bars = np.random.default_rng(3), 120_000
    gap, body = random.normal(0, 6e-4, bars), 2e-3 * random.standard_t(4, bars)
    close = 100 * np.exp(np.cumsum(gap + body))
    open_ = close * np.exp(-body)
    shadow = np.abs(random.normal(0, 7e-4, (2, bars)))
    return walk_candles(("BTCUSD",), bars=bars, interval="30m", seed=1).with_columns(
        open=open_,
        high=np.maximum(open_, close) * (1 + shadow[0]),
        low=np.minimum(open_, close) * (1 - shadow[1]),
        close=close,
    )


def seen_by_talib(name: str, grid: pl.DataFrame) -> pl.Series:
    found = grid.select(ORACLE[name](*(pl.col(price) for price in ("open", "high", "low", "close"))))
    value = found.to_series()
    if name.endswith("engulfing"):
        return value < 0 if name in FALLING else value > 0
    return value != 0


@every_oracle
def test_gapped_drawing_is_seen_by_both(name: str) -> None:
    before, candles = GAPPED[name]
    grid = drawing(before + candles)
    assert seen_by_talib(name, grid)[-1]
    assert feature_frame(grid, [name])[name][-1] != 0


def test_market_without_gaps_shows_talib_none_of_the_patterns_that_it_shows_here() -> None:
    walk = walk_candles(("BTCUSD",), bars=20_000, interval="30m", seed=1)
    grid = bar_grid(walk, interval="30m", max_missing_bars=3)
    found = feature_frame(grid, NAMES)
    for name in ("shooting_star", "morning_star", "evening_star", "three_black_crows"):
        assert not seen_by_talib(name, grid).any()
    for name in NAMES:
        assert 0 < (found[name].drop_nulls() != 0).mean() < 0.2


@every_oracle
def test_pattern_of_talib_on_a_gapped_walk_is_seen_five_times_as_often_as_elsewhere(name: str) -> None:
    grid = bar_grid(gapped_walk(), interval="30m", max_missing_bars=3)
    seen = feature_frame(grid, [name])[name].fill_null(0.0) != 0
    oracle = seen_by_talib(name, grid)
    assert oracle.sum() >= 20
    assert seen.filter(oracle).mean() > 5 * seen.mean()
