"""The hourly watch: a planted fault is named within its time, and a calm market is left alone."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from cryptoai_assets.evaluate.clustered_market import (
    AGREEMENT,
    COLUMNS,
    FEATURES,
    clustered_market,
    with_feature_fault,
    with_reversed_relation,
)
from cryptoai_monitoring.hourly import (
    DAY,
    DRAWN,
    HOUR,
    RELATION_SHARE,
    SHOWN,
    STATISTICS,
    Column,
    HourlyWatch,
    Pace,
)
from cryptoai_monitoring.relation import FALLS, Looks
from cryptoai_monitoring.thresholds import AlarmRate, Float64Array, alarm_scale

PACE = Pace(timedelta(minutes=15))
A_DAY = PACE.bars(DAY)
REFERENCE_DAYS, LIVE_DAYS = 90, 60
RATE = AlarmRate(a_month=1.0, block_days=10, draws=100, seed=3)
FIRST = REFERENCE_DAYS * A_DAY
ROW = FIRST + 20 * A_DAY + 13


def columns(symbol: str = "S", names: Sequence[str] = COLUMNS) -> list[Column]:
    return [Column(symbol, name, agreement=name == AGREEMENT) for name in names]


@pytest.fixture(scope="module")
def market() -> pl.DataFrame:
    return clustered_market(FIRST + LIVE_DAYS * A_DAY, seed=5)


@pytest.fixture(scope="module")
def watch(market: pl.DataFrame) -> HourlyWatch:
    return HourlyWatch.of(market[:FIRST].to_numpy(), columns(), PACE, RATE)


def table(watch: HourlyWatch, market: pl.DataFrame, hours: float) -> pl.DataFrame:
    """Table so many hours after the fault."""
    return watch.table(market[: ROW + int(hours * PACE.bars(HOUR))].to_numpy())


def drifted(watch: HourlyWatch, market: pl.DataFrame, hours: float) -> list[str]:
    return table(watch, market, hours).filter("drifted")["column"].to_list()


@pytest.mark.parametrize("column", FEATURES[:4])
def test_changed_units_and_a_frozen_feature_are_named_within_the_hour(
    watch: HourlyWatch, market: pl.DataFrame, column: str
) -> None:
    assert drifted(watch, market, 1) == []
    other = with_feature_fault(market, "changed units", column=column, row=ROW)
    assert drifted(watch, other, 1) == [column]
    still = table(watch, with_feature_fault(market, "frozen feature", column=column, row=ROW), 1)
    assert still.filter("drifted").select("column", "statistic").rows() == [(column, "still")]


def test_shift_of_one_deviation_is_named_within_a_day(watch: HourlyWatch, market: pl.DataFrame) -> None:
    faulty = with_feature_fault(market, "shift of one deviation", column="return", row=ROW)
    assert "return" in drifted(watch, faulty, 24)


def test_relation_that_is_reversed_is_seen_within_ten_days(watch: HourlyWatch, market: pl.DataFrame) -> None:
    assert "agreement" not in drifted(watch, market, 240)
    turned = with_reversed_relation(market, ROW)
    assert drifted(watch, turned, 240)[0] == AGREEMENT
    # Of 384 bars, whose mean agreement of 0.1 was turned: four standard errors.
    assert table(watch, turned, 96).filter("drifted").select("column", "statistic").rows() == [
        (AGREEMENT, "reversed")
    ]


def test_agreement_that_grows_is_no_drift_and_its_bars_count_at_any_level(
    watch: HourlyWatch, market: pl.DataFrame
) -> None:
    later = pl.int_range(pl.len()) >= ROW
    agreed = pl.when(later).then(pl.col(AGREEMENT).abs()).otherwise(pl.col(AGREEMENT))
    assert drifted(watch, market.with_columns(agreed), 240) == []
    as_any_other = HourlyWatch.of(
        market[:FIRST].to_numpy(), [Column("S", name) for name in COLUMNS], PACE, RATE
    )
    assert AGREEMENT in drifted(as_any_other, market.with_columns(agreed), 240)


def test_rate_is_shared_with_the_relation_only_where_there_is_one(market: pl.DataFrame) -> None:
    names = [name for name in COLUMNS if name != AGREEMENT]
    values = market[:FIRST].select(names).to_numpy()
    alone = HourlyWatch.of(values, columns(names=names), PACE, RATE)
    assert alone.relation is None
    assert np.isnan(alone.excess(values[-PACE.longest :])[-1, -len(FALLS) :]).all()
    shared = HourlyWatch.of(values, columns(names=names), PACE, RATE.part(1 - RELATION_SHARE))
    assert shared.scale.limit > alone.scale.limit


def test_market_that_grows_wild_altogether_is_no_fault_of_a_feature(
    watch: HourlyWatch, market: pl.DataFrame
) -> None:
    later = pl.int_range(pl.len()) >= ROW
    moves = [name for name in COLUMNS if name not in ("forecast", "agreement")]
    wild = market.with_columns(pl.when(later).then(pl.col(name) * 1.5).otherwise(name) for name in moves)
    assert drifted(watch, wild, 12) == []
    alone = market.with_columns(pl.when(later).then(pl.col("return") * 3).otherwise("return"))
    assert drifted(watch, alone, 12) == ["return"]


def test_values_that_stay_away_are_told_and_those_of_other_columns_judged_all_the_same(
    watch: HourlyWatch, market: pl.DataFrame
) -> None:
    later = pl.int_range(pl.len()) >= ROW
    away = market.with_columns(pl.when(~later).then(pl.col("size")).alias("size"))
    found = table(watch, away, 2).filter("drifted")
    assert found.select("column", "statistic").rows() == [("size", "absent_1h")]
    both = with_feature_fault(away, "changed units", column="return", row=ROW)
    assert set(drifted(watch, both, 2)) == {"size", "return"}


def test_symbols_are_held_against_their_own_volatility(market: pl.DataFrame) -> None:
    side = np.concatenate([market.to_numpy(), clustered_market(market.height, seed=6).to_numpy()], axis=1)
    symbols = [*columns("A"), *columns("B")]
    watch = HourlyWatch.of(side[:FIRST], symbols, PACE, RATE)
    wild = side.copy()
    wild[ROW:, : len(COLUMNS)] *= 4
    calm, beside = (watch.excess(values[ROW - PACE.longest : ROW + A_DAY])[-20:] for values in (side, wild))
    own = np.array([column.symbol == "B" for column in symbols])
    assert np.array_equal(calm[:, :, own], beside[:, :, own], equal_nan=True)
    assert not np.array_equal(calm[:, :, ~own], beside[:, :, ~own], equal_nan=True)
    wild[ROW:, COLUMNS.index("return")] *= 1_000
    found = watch.table(wild[: ROW + 4]).filter("drifted")
    assert found.select("symbol", "column").rows()[0] == ("A", "return")


def test_column_that_never_moved_is_told_when_it_does(market: pl.DataFrame) -> None:
    flat = market.with_columns(flat=pl.lit(7.0))
    watch = HourlyWatch.of(flat[:FIRST].to_numpy(), columns(names=flat.columns), PACE, RATE)
    assert drifted(watch, flat, 1) == []
    later = pl.int_range(pl.len()) >= ROW
    moved = flat.with_columns(flat=pl.when(later).then(8.0).otherwise(7.0))
    assert "flat" in drifted(watch, moved, 1)


def test_statistics_do_not_depend_on_the_unit(market: pl.DataFrame, watch: HourlyWatch) -> None:
    units = 10.0 ** np.arange(-4, 5)
    scaled = HourlyWatch.of(market[:FIRST].to_numpy() * units, columns(), PACE, RATE)
    window = market[FIRST - PACE.longest : FIRST + A_DAY].to_numpy()
    plain, other = watch.excess(window)[-20:], scaled.excess(window * units)[-20:]
    known = np.isfinite(plain)
    assert np.array_equal(known, np.isfinite(other))
    assert np.allclose(plain[known], other[known], rtol=1e-6, atol=1e-6)


def test_reference_of_too_few_days_is_refused_with_numbers(market: pl.DataFrame) -> None:
    rows = market[: 19 * A_DAY].to_numpy()
    with pytest.raises(ValueError, match="days of reference are too few for thresholds; 10 needed"):
        HourlyWatch.of(rows, columns(), PACE, RATE)


def test_pace_of_bars_longer_than_an_hour_looks_at_each() -> None:
    slow = Pace(timedelta(hours=4))
    assert slow.looks(3).tolist() == [0, 1, 2]
    assert (slow.bars(HOUR), slow.bars(DAY)) == (1, 6)
    assert PACE.looks(9).tolist() == [0, 4, 8]
    assert len(STATISTICS) == len(DRAWN) + len(SHOWN) + len(FALLS)
    assert (slow.sums, PACE.sums) == (Looks(1, 6, 60), Looks(4, 24, 240))


def alarms(draw: Callable[[np.random.Generator, int], Float64Array], *, rate: float) -> float:
    """Share of later days with an alarm, over many references."""
    flagged = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        days = np.repeat(np.arange(100), 8)
        scale = alarm_scale(draw(random, 800), days, AlarmRate(rate * 30.4375, 5, 20, seed))
        later = scale.excess(draw(random, 800))
        flagged += (later.reshape(100, -1).max(axis=1) > 1).tolist()
    return float(np.mean(flagged))


def test_stated_share_of_days_alarms_however_many_statistics_and_whatever_their_tails() -> None:
    def drawn(random: np.random.Generator, rows: int) -> Float64Array:
        return np.column_stack([random.normal(size=(rows, 20)), random.standard_t(4, size=(rows, 5)) * 100])

    assert 0.03 <= alarms(drawn, rate=0.05) <= 0.07


def test_statistic_that_wanders_for_days_is_not_taken_for_calm() -> None:
    def wandering(random: np.random.Generator, rows: int) -> Float64Array:
        level = np.repeat(random.normal(size=(rows // 80 + 1, 6)), 80, axis=0)[:rows]
        return level + 0.3 * random.normal(size=(rows, 6))

    # Judged by what is usual in its own part a reference seems calm: then a fifth of all days alarms.
    assert alarms(wandering, rate=0.05) <= 0.13


def test_statistic_that_was_never_known_alarms_never() -> None:
    path = np.column_stack([np.random.default_rng(1).normal(size=400), np.full(400, np.nan)])
    scale = alarm_scale(path, np.repeat(np.arange(50), 8), RATE)
    assert (scale.excess(np.array([[0.0, 1e9]]))[0, 1]) == 0
