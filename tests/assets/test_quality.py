"""Quality rules: each fault is blamed by name, good rows are kept, absent bars are told apart."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.archives import embedded_candles
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.quality import (
    SENTENCES,
    Plausibility,
    absent_bars,
    broken_rows,
    deduplicated,
    screened,
    verdicts,
)
from edge_bundle.candles import CANDLE_SCHEMA, candle_frame, validated_candles

START = datetime(2018, 1, 1, tzinfo=UTC)
BAR = timedelta(minutes=30)


def bars(count: int = 6, symbol: str = "BTCUSD") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "open_time": [START + place * BAR for place in range(count)],
            "symbol": [symbol] * count,
            "open": [100.0 + place for place in range(count)],
            "high": [105.0 + place for place in range(count)],
            "low": [95.0 + place for place in range(count)],
            "close": [101.0 + place for place in range(count)],
            "volume": [10.0] * count,
        },
        schema=CANDLE_SCHEMA,
    )


def with_row(place: int, **values: object) -> pl.DataFrame:
    """Six bars, of which one has other values."""
    here = pl.int_range(pl.len()) == place
    return bars().with_columns(
        pl.when(here).then(pl.lit(value, dtype=CANDLE_SCHEMA[name])).otherwise(name).alias(name)
        for name, value in values.items()
    )


FAULTS = {
    "value_absent": {"close": None},
    "not_finite": {"volume": float("nan")},
    "not_positive": {"low": 0.0},
    "negative_volume": {"volume": -1.0},
    "high_below_low": {"high": 90.0},
    "open_or_close_outside_range": {"close": 200.0},
    "off_the_grid": {"open_time": START + 2 * BAR + timedelta(seconds=1)},
}


@pytest.mark.parametrize("reason", FAULTS)
def test_bad_row_is_rejected_by_name_and_the_others_are_kept(reason: str) -> None:
    raw = with_row(2, **FAULTS[reason])
    told = screened(raw, interval="30m")
    assert told.rejected["reason"].to_list() == [reason]
    assert told.rejected.drop("reason").equals(raw.slice(2, 1))
    assert told.accepted.equals(pl.concat([raw.head(2), raw.tail(3)]))


@pytest.mark.parametrize("reason", FAULTS)
def test_stored_row_that_breaks_a_rule_is_named_by_the_schema(reason: str) -> None:
    broken = broken_rows(with_row(2, **FAULTS[reason]), interval="30m")
    assert broken.height > 0
    assert set(broken["open_time"]) == set(with_row(2, **FAULTS[reason])["open_time"].slice(2, 1))
    expected = {"value_absent": "not_nullable", "not_finite": "not_nullable"}.get(reason, reason)
    assert expected in broken["reason"].to_list()


def test_clean_bars_break_nothing() -> None:
    assert broken_rows(bars(), interval="30m").is_empty()
    assert broken_rows(pl.concat([bars(), bars(symbol="ETHUSD")]), interval="30m").is_empty()


def test_stored_bars_out_of_order_are_named() -> None:
    broken = broken_rows(pl.concat([bars().tail(1), bars().head(1)]), interval="30m")
    assert broken.select("open_time", "reason").rows() == [(START, "out_of_order")]


def test_exact_copies_are_dropped_and_counted() -> None:
    told = screened(pl.concat([bars(), bars().head(2), bars().head(1)]), interval="30m")
    assert (told.repeated, told.rejected.height) == (3, 0)
    assert told.accepted.equals(bars())


def test_bar_given_twice_with_other_values_is_rejected_in_every_version() -> None:
    other = bars().slice(3, 1).with_columns(close=pl.lit(104.5))
    told = screened(pl.concat([bars(), other]), interval="30m")
    assert told.rejected["reason"].to_list() == ["duplicate_with_other_values"] * 2
    assert sorted(told.rejected["close"]) == [104.0, 104.5]
    assert told.accepted["open_time"].to_list() == [START + place * BAR for place in (0, 1, 2, 4, 5)]


def test_true_version_of_a_bar_survives_one_that_cannot_be_true() -> None:
    impossible = bars().slice(3, 1).with_columns(high=pl.lit(1.0))
    told = screened(pl.concat([bars(), impossible]), interval="30m")
    assert told.rejected["reason"].to_list() == ["high_below_low"]
    assert told.accepted.equals(bars())


def test_bars_out_of_order_are_sorted_and_counted() -> None:
    told = screened(bars().reverse(), interval="30m")
    assert told.reordered == 5
    assert told.accepted.equals(bars())


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 8),  # half an interval
            st.sampled_from(["BTCUSD", "ETHUSD"]),
            *[st.sampled_from([-1.0, 0.0, 1.0, 2.0, 3.0, float("nan"), float("inf")])] * 5,
        ),
        max_size=12,
    )
)
def test_no_row_is_lost_and_every_accepted_row_keeps_the_contract(rows: list[tuple[object, ...]]) -> None:
    raw = pl.DataFrame(
        [(START + row[0] * BAR / 2, *row[1:]) for row in rows],
        schema=CANDLE_SCHEMA,
        orient="row",
    )
    told = screened(raw, interval="30m")
    validated_candles(told.accepted, interval="30m")
    assert broken_rows(told.accepted, interval="30m").is_empty()
    assert told.accepted.height + told.rejected.height + told.repeated == raw.height


def test_each_reason_speaks_against_one_sentence() -> None:
    rejected = screened(with_row(2, **FAULTS["off_the_grid"]), interval="30m").rejected
    found = verdicts(bars(), rejected, interval="30m", max_rejected_share=0.5)
    assert {verdict.name: verdict.holds for verdict in found} == {
        name: name != "candles_are_on_the_grid" for name in SENTENCES
    }


@pytest.mark.parametrize(("share", "stops"), [(0.0, True), (0.1, True), (1 / 6, False), (0.2, False)])
def test_rejected_rows_stop_when_their_share_is_above_the_setting(share: float, stops: bool) -> None:
    told = screened(with_row(2, close=200.0), interval="30m")  # one of six
    verdict = verdicts(told.accepted, told.rejected, interval="30m", max_rejected_share=share)[-1]
    assert (verdict.holds, verdict.stops) == (False, stops)


def test_stored_row_that_breaks_a_rule_stops_whatever_the_share() -> None:
    verdict = verdicts(
        with_row(2, close=200.0),
        bars(0).with_columns(reason=pl.lit(None, pl.String)),
        interval="30m",
        max_rejected_share=1.0,
    )[-1]
    assert (verdict.name, verdict.holds, verdict.stops) == ("prices_are_consistent", False, True)


def runs(candles: pl.DataFrame, quiet: list[int], bars_in_window: int) -> list[tuple[object, ...]]:
    slots = pl.DataFrame(
        {"symbol": ["BTCUSD"] * len(quiet), "open_time": [START + place * BAR for place in quiet]},
        schema={"symbol": pl.String(), "open_time": CANDLE_SCHEMA["open_time"]},
    )
    found = absent_bars(
        candles,
        symbols=["BTCUSD"],
        interval="30m",
        no_trade=slots,
        start=START,
        end=START + bars_in_window * BAR,
    )
    return [((row[1] - START) // BAR, (row[2] - START) // BAR, *row[3:]) for row in found.rows()]


def without(*places: int) -> pl.DataFrame:
    return bars(10).filter(~pl.int_range(pl.len()).is_in(places))


def test_absent_bars_are_listed_as_runs_and_told_apart() -> None:
    assert runs(without(2, 3, 4, 7), quiet=[3, 5], bars_in_window=10) == [
        (2, 2, 1, "missing"),
        (3, 3, 1, "no_trade"),
        (4, 4, 1, "missing"),
        (7, 7, 1, "missing"),
    ]


def test_bars_absent_at_the_edges_of_the_window_are_listed() -> None:
    assert runs(without(0, 8, 9), quiet=[], bars_in_window=11) == [
        (0, 0, 1, "missing"),
        (8, 10, 3, "missing"),
    ]


def test_symbol_without_a_bar_is_one_run() -> None:
    assert runs(bars(0), quiet=[], bars_in_window=4) == [(0, 3, 4, "missing")]
    assert runs(bars(4), quiet=[], bars_in_window=4) == []


def test_real_collector_that_lost_four_fifths_is_listed_as_missing(
    shared_data: Callable[[str], Path],
) -> None:
    raw = pl.read_parquet(shared_data("bad/bybit_btc_1m_80pct_missing.parquet"))
    candles = candle_frame(raw.rename({"ts": "open_time"}).with_columns(symbol=pl.lit("BTCUSDT")))
    told = screened(candles, interval="1m")
    assert (told.accepted.height, told.rejected.height, told.repeated) == (40_000, 0, 0)
    first, minute = told.accepted["open_time"][0], timedelta(minutes=1)
    gaps = absent_bars(
        told.accepted,
        symbols=["BTCUSDT"],
        interval="1m",
        no_trade=told.accepted.select("symbol", "open_time").clear(),
        start=first,
        end=first + 200 * 1_001 * minute,
    )
    # It asked every 1,001 minutes for the next 200.
    assert gaps["kind"].unique().to_list() == ["missing"]
    assert gaps["bars"].unique().to_list() == [801]
    assert gaps["from"].to_list() == [first + (200 + 1_001 * place) * minute for place in range(200)]


def swapped_archive(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path).select(
        pl.from_epoch("unix").dt.replace_time_zone("UTC").dt.cast_time_unit("us").alias("open_time"),
        *(column for column in CANDLE_SCHEMA if column != "open_time"),
        quote_volume="Volume USD",
    )


def test_real_archive_is_caught_for_its_order_and_its_swapped_volumes(
    shared_data: Callable[[str], Path],
) -> None:
    candles = swapped_archive(shared_data("bad/btcusd_1h_swapped_volume_newest_first.parquet"))
    told = screened(candles, interval="1h")
    assert told.counts == {"base_and_quote_volume_swapped": 20_143, "out_of_order": 33_258, "exact_copy": 0}
    assert told.rejected["open_time"].max() == datetime(2020, 10, 12, 8, tzinfo=UTC)
    validated_candles(told.accepted, interval="1h")
    good = candles.filter(~(pl.col("volume") > pl.col("quote_volume"))).drop("quote_volume")
    assert told.accepted.equals(good.sort("open_time"))


def test_real_volumes_that_become_quote_volumes_are_told_by_the_volumes_before(
    shared_data: Callable[[str], Path],
) -> None:
    archive = swapped_archive(shared_data("bad/btcusd_1h_swapped_volume_newest_first.parquet"))
    honest = archive.sort("open_time").with_columns(volume=pl.min_horizontal("volume", "quote_volume"))
    assert screened(honest.drop("quote_volume"), interval="1h", plausibility=RULE).rejected.is_empty()
    swapped = pl.int_range(pl.len()).is_between(13_000, 15_999)
    mixed = honest.with_columns(
        volume=pl.when(swapped).then(pl.col("volume") * pl.col("close")).otherwise("volume")
    )
    told = screened(mixed.drop("quote_volume"), interval="1h", plausibility=RULE)
    assert set(told.counts) == {"base_and_quote_volume_swapped", "exact_copy", "out_of_order"}
    wrong = mixed.filter(swapped)["open_time"]
    assert told.rejected["open_time"].is_in(wrong.implode()).all()
    assert told.rejected.height >= 0.99 * wrong.len()


def test_real_trades_that_came_twice_are_dropped_and_counted(shared_data: Callable[[str], Path]) -> None:
    trades = pl.read_parquet(shared_data("bad/okcoin_trades_with_duplicates.parquet"))
    distinct, copies = deduplicated(trades)
    assert (distinct.height, copies) == (102_605, 9_823)
    assert distinct["timestamp"].is_sorted()
    assert distinct.is_unique().all()


# --- bars that are judged by the bars before them

RULE = Plausibility(
    bars=20, typical_moves=200.0, least_move=0.001, volume_factor=150.0, second_venue_move=0.05
)
NUMBERS = ("open", "high", "low", "close")


def long_history() -> pl.DataFrame:
    """Sixty bars at 1,000 and more, of which each moves by a thousandth."""
    wave = [1_000.0 * (1 + 0.001 * (place % 2)) for place in range(60)]
    return bars(60).with_columns(pl.Series(name, wave) for name in NUMBERS)


def times(factor: float, *places: int, columns: Sequence[str] = NUMBERS) -> pl.DataFrame:
    here = pl.int_range(pl.len()).is_in(places)
    return long_history().with_columns(
        pl.when(here).then(pl.col(name) * factor).otherwise(name).alias(name) for name in columns
    )


def rejected_places(candles: pl.DataFrame, **more: pl.DataFrame) -> list[tuple[int, str]]:
    told = screened(candles, interval="30m", plausibility=RULE, **more)
    assert told.accepted.height + told.rejected.height == candles.height
    return [((row[0] - START) // BAR, row[-1]) for row in told.rejected.rows()]


@pytest.mark.parametrize("factor", [0.1, 0.7, 1.3, 10.0])
def test_price_far_from_the_bars_before_it_is_rejected_and_its_neighbours_are_not(factor: float) -> None:
    assert rejected_places(times(factor, 40)) == [(40, "price_far_from_bars_before")]
    wick = "high" if factor > 1 else "low"
    assert rejected_places(times(factor, 40, columns=[wick])) == [(40, "price_far_from_bars_before")]


def test_bar_is_judged_by_no_later_bar() -> None:
    raw = times(3.0, 30, 31, 45)
    for length in range(1, 61):
        expected = [place for place in rejected_places(raw) if place[0] < length]
        assert rejected_places(raw.head(length)) == expected


def test_plausible_moves_first_bars_and_new_levels_are_no_faults() -> None:
    assert rejected_places(times(1.15, 40)) == []
    assert rejected_places(times(10.0, 0, 7, 19)) == []
    lasting = rejected_places(times(2.0, *range(30, 60)))
    assert [place for place, _ in lasting] == list(range(30, 41))  # then most of the bars before agree


def test_price_after_a_long_hole_may_have_gone_further() -> None:
    shifted = times(1.3, *range(30, 60)).with_columns(
        open_time=pl.when(pl.int_range(pl.len()) < 30)
        .then("open_time")
        .otherwise(pl.col("open_time") + 200 * BAR)
    )
    assert rejected_places(shifted) == []
    assert rejected_places(times(1.3, *range(30, 60))) != []


def test_bars_before_the_first_one_are_compared_with_it() -> None:
    raw = times(10.0, 40)
    assert rejected_places(raw.tail(20)) != rejected_places(raw)
    assert rejected_places(raw.tail(20), before=raw.head(40)) == rejected_places(raw)


def test_crash_that_a_second_venue_saw_is_no_fault() -> None:
    crash = times(0.5, 40)
    elsewhere = crash.with_columns(pl.col("close") * 1.01)
    assert rejected_places(crash, second_venue=elsewhere) == []
    alone = rejected_places(crash, second_venue=long_history())
    assert alone == [(40, "price_far_from_bars_before")]
    assert rejected_places(crash, second_venue=elsewhere.filter(pl.col("open_time") < START)) == alone


def test_volume_in_the_quote_currency_is_told_by_the_volumes_before_it() -> None:
    swapped = times(1_000.0, *range(40, 60), columns=["volume"])
    expected = [(place, "base_and_quote_volume_swapped") for place in range(40, 60)]
    assert rejected_places(swapped) == expected
    assert rejected_places(times(100.0, 40, columns=["volume"])) == []
    cheap = swapped.with_columns(pl.col(*NUMBERS) / 100)
    assert rejected_places(cheap) == []


def test_market_that_wakes_up_after_one_nearly_empty_bar_is_believed() -> None:
    quiet = pl.int_range(pl.len()).is_between(25, 50)
    asleep = long_history().with_columns(volume=pl.when(quiet).then(0.0).otherwise("volume"))
    first = pl.int_range(pl.len()) == 50
    awake = asleep.with_columns(volume=pl.when(first).then(1e-6).otherwise("volume"))
    assert rejected_places(awake) == []
    # With nothing from before the sleep to compare with, too.
    assert rejected_places(awake.slice(25)) == []
    nearly_empty = pl.int_range(pl.len()) < 30
    small = long_history().with_columns(volume=pl.when(nearly_empty).then(1e-6).otherwise("volume"))
    assert rejected_places(small) == []


def test_one_wild_volume_does_not_put_later_ones_under_suspicion_for_good() -> None:
    busy = pl.when(pl.int_range(pl.len()) % 30 == 0).then(40.0).otherwise(1.0)
    wild = pl.when(pl.int_range(pl.len()) == 91).then(8_000.0).otherwise("volume")
    raw = bars(300).with_columns(pl.lit(1_000.0).alias(name) for name in NUMBERS)
    raw = raw.with_columns(volume=busy).with_columns(volume=wild)
    told = screened(raw, interval="30m", plausibility=replace(RULE, bars=60))
    assert [(row[0] - START) // BAR for row in told.rejected.rows()] == [91]


def test_wild_volume_that_the_quote_volume_confirms_is_no_fault() -> None:
    wild = times(1_000.0, 40, columns=("volume",))
    assert rejected_places(wild) == [(40, "base_and_quote_volume_swapped")]
    assert rejected_places(wild.with_columns(quote_volume=pl.col("volume") * pl.col("close"))) == []


def test_quote_volume_at_a_price_below_one_is_the_smaller_of_the_two() -> None:
    cheap = long_history().with_columns(pl.col(*NUMBERS) / 10_000, quote_volume=pl.lit(1.0))
    assert screened(cheap, interval="30m").rejected.is_empty()
    turned = cheap.with_columns(quote_volume=pl.lit(100.0))
    assert screened(turned, interval="30m").rejected["reason"].unique().to_list() == [
        "base_and_quote_volume_swapped"
    ]


def test_embedded_sample_passes_every_rule() -> None:
    assert screened(embedded_candles(), interval="30m", plausibility=RULE).rejected.is_empty()
