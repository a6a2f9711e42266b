"""Quality rules: each fault is blamed by name, good rows are kept, absent bars are told apart."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptoai_assets.lib.quality import SENTENCES, absent_bars, broken_rows, screened, verdicts
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
        [(START + row[0] * BAR / 2, *row[1:]) for row in rows],  # type: ignore[operator]
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


def test_real_collector_that_lost_four_fifths_is_listed_as_missing(shared_data) -> None:  # type: ignore[no-untyped-def]
    raw = pl.read_parquet(shared_data("bad/bybit_btc_1m_80pct_missing.parquet"))
    candles = candle_frame(raw.rename({"ts": "open_time"}).with_columns(symbol=pl.lit("BTCUSDT")))
    told = screened(candles, interval="1m")
    assert told.accepted.height == 40_000
    gaps = absent_bars(
        told.accepted,
        symbols=["BTCUSDT"],
        interval="1m",
        no_trade=told.accepted.select("symbol", "open_time").clear(),
        start=told.accepted["open_time"][0],
        end=told.accepted["open_time"][-1],
    )
    assert gaps["bars"].unique().to_list() == [801]
    assert gaps["kind"].unique().to_list() == ["missing"]


def test_real_archive_that_is_newest_first_is_put_in_order(shared_data) -> None:  # type: ignore[no-untyped-def]
    raw = pl.read_parquet(shared_data("bad/btcusd_1h_swapped_volume_newest_first.parquet"))
    candles = raw.select(
        pl.from_epoch("unix").dt.replace_time_zone("UTC").dt.cast_time_unit("us").alias("open_time"),
        *(column for column in CANDLE_SCHEMA if column != "open_time"),
    )
    told = screened(candles, interval="1h")
    assert told.reordered > 33_000
    validated_candles(told.accepted, interval="1h")
    assert told.accepted.height + told.rejected.height + told.repeated == candles.height
