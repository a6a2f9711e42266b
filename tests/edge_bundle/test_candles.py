"""The candle frame at its border, what is refused by name, and the grid of bars against a plain loop."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fakes.tiny_bundle import walk_candles
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.candles import (
    CANDLE_SCHEMA,
    bar_grid,
    candle_frame,
    interval_duration,
    newest_bars,
    read_candles_csv,
    validated_candles,
)
from edge_bundle.errors import CandlesRefusedError

START = datetime(2019, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=30)
GRID_COLUMNS = (*CANDLE_SCHEMA, "traded", "missing_run", "segment")
HEADER = "open_time,symbol,open,high,low,close,volume"
NUMBERS = {"open": 2.0, "high": 3.0, "low": 1.0, "close": 2.5, "volume": 10.0}


def raw(open_times: list[Any], **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"open_time": open_times}).with_columns(
        **{name: pl.lit(value) for name, value in ({"symbol": "BTCUSD"} | NUMBERS | columns).items()}
    )


def candles(*slots: int, **columns: Any) -> pl.DataFrame:
    return candle_frame(raw([START + slot * STEP for slot in slots], **columns))


# --- the interval


@pytest.mark.parametrize(
    ("text", "length"),
    [("1m", timedelta(minutes=1)), ("4h", timedelta(hours=4)), ("1d", timedelta(days=1))],
)
def test_interval_is_a_number_and_a_unit(text: str, length: timedelta) -> None:
    assert interval_duration(text) == length


@pytest.mark.parametrize("text", ["", "m", "0m", "-1m", "1.5h", "30", "1M", "30m ", "99999m", "1 m"])
def test_interval_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(CandlesRefusedError, match=repr(text)):
        interval_duration(text)


# --- reading


@pytest.mark.parametrize(
    "time",
    [
        START,
        START.replace(tzinfo=None),
        START.astimezone(tz=None),
        "2019-01-01T00:00:00Z",
        "2019-01-01T00:00:00+00:00",
        "2019-01-01 00:00:00",
        "2019-01-01T00:00:00.000000",
        1_546_300_800_000,
    ],
    ids=str,
)
def test_one_moment_is_read_from_every_way_to_write_it(time: Any) -> None:
    frame = candle_frame(raw([time]))
    assert dict(frame.schema) == CANDLE_SCHEMA
    assert frame["open_time"].to_list() == [START]


def test_time_with_an_offset_is_moved_to_utc() -> None:
    zoned = raw([START]).with_columns(pl.col("open_time").dt.convert_time_zone("America/New_York"))
    assert candle_frame(zoned)["open_time"].to_list() == [START]


def test_hour_that_summer_time_doubles_elsewhere_stays_two_hours_in_utc() -> None:
    hours = [datetime(2019, 10, 27, hour, tzinfo=UTC) for hour in (0, 1)]
    local = raw(hours).with_columns(pl.col("open_time").dt.convert_time_zone("Europe/Berlin"))
    assert candle_frame(local)["open_time"].to_list() == hours


def test_times_may_come_as_milliseconds_under_their_own_name_and_other_columns_are_dropped() -> None:
    frame = raw([1_546_300_800_000], trades=7).rename({"open_time": "open_time_ms"})
    assert candle_frame(frame).equals(candles(0))


def test_frame_is_sorted_by_symbol_and_time() -> None:
    mixed = pl.concat([candles(1, 0, symbol="ETHUSD"), candles(2, 1)])
    assert candle_frame(mixed).select("symbol", "open_time").rows() == [
        ("BTCUSD", START + STEP),
        ("BTCUSD", START + 2 * STEP),
        ("ETHUSD", START),
        ("ETHUSD", START + STEP),
    ]


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (raw([START]).drop("close", "volume"), "columns absent: close, volume"),
        (raw([START], close="cheap"), "column close, row 0: 'cheap' is not a Float64"),
        (raw([START], volume=None), "column volume, row 0: None"),
        (raw(["2019-01-01T00:00:00Z", "yesterday"]), "column open_time, row 1: 'yesterday'"),
        (raw(["2019-01-01T00:00:00+02:00"]), r"column open_time, row 0: .*\+02:00"),
        (raw([1.5e12]), "open_time is Float64"),
        (raw([True]), "open_time is Boolean"),
        (raw([None]), "open_time is Null"),
        (raw(["9999-12-31T23:30:00Z"]), "column open_time, row 0"),
        (raw([datetime(1969, 12, 31)]), "column open_time, row 0"),  # noqa: DTZ001 — naive means UTC
        (raw([START], symbol=None), "column symbol, row 0: None"),
    ],
)
def test_frame_that_cannot_be_read_is_refused_by_column_and_row(frame: pl.DataFrame, named: str) -> None:
    with pytest.raises(CandlesRefusedError, match=named):
        candle_frame(frame)


@given(time=st.integers(-(2**63), 946_684_799_999) | st.integers(7_258_118_400_001, 2**63 - 1))
def test_whole_number_that_is_no_time_of_a_candle_is_refused(time: int) -> None:
    with pytest.raises(CandlesRefusedError, match=f"column open_time, row 0: {time} is not"):
        candle_frame(raw([time]))


@given(time=st.integers(946_684_800_000, 7_258_118_400_000))
def test_whole_number_between_2000_and_2200_is_read_to_the_millisecond(time: int) -> None:
    assert candle_frame(raw([time]))["open_time"].dt.epoch("us").to_list() == [time * 1000]


def test_epoch_seconds_are_not_taken_for_milliseconds() -> None:
    with pytest.raises(CandlesRefusedError, match=r"1546300800 is not a UTC time .*milliseconds"):
        candle_frame(raw([1_546_300_800]))


@pytest.mark.parametrize("microseconds", [-(2**62), 2**62])
def test_time_that_no_calendar_holds_is_refused_with_its_number(microseconds: int) -> None:
    far = raw([START]).with_columns(open_time=pl.Series([microseconds]).cast(pl.Datetime("us", "UTC")))
    with pytest.raises(CandlesRefusedError, match=f"row 0: {microseconds} is not a UTC time"):
        candle_frame(far)


def test_csv_gives_the_frame_that_it_was_written_from(tmp_path: Path) -> None:
    written = walk_candles(("BTCUSD", "ETHUSD"), bars=20, interval="30m", seed=3)
    file = tmp_path / "candles.csv"
    written.write_csv(file)
    assert read_candles_csv(file).equals(written)
    assert read_candles_csv(io.BytesIO(file.read_bytes())).equals(written)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "not a CSV file"),
        ("BTCUSD", "columns absent"),
        (f"{HEADER}\n2019-01-01T00:00:00Z,BTCUSD,2,3,1,2.5", "volume, row 0: None"),
        (f"{HEADER}\n2019-01-01T00:00:00Z,BTCUSD,2,3,1,2.5,10,11", "not a CSV file"),
        (f"{HEADER}\n9999999999999999999,BTCUSD,2,3,1,2.5,10", "open_time"),
    ],
)
def test_csv_that_holds_no_candles_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(CandlesRefusedError, match=named):
        read_candles_csv(io.BytesIO(text.encode()))


def test_csv_without_a_row_is_an_empty_frame() -> None:
    assert dict(read_candles_csv(io.BytesIO(HEADER.encode())).schema) == CANDLE_SCHEMA


# --- refusals


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (candles(0).drop("volume"), "schema is"),
        (candles(0).with_columns(pl.col("volume").cast(pl.Float32)), "schema is"),
        (candles(0, 1).reverse(), "BTCUSD at 2019-01-01 00:00:00 UTC is out of order"),
        (pl.concat([candles(0, symbol="ETHUSD"), candles(0)]), "BTCUSD at .* is out of order"),
        (candles(0, 1, 1), "BTCUSD at 2019-01-01 00:30:00 UTC is given twice"),
        (candle_frame(raw([START + timedelta(minutes=1)])), "00:01:00 UTC does not open on the 30m grid"),
        (candles(0, close=float("nan")), "not finite"),
        (candles(0, volume=float("inf")), "not finite"),
        (candles(0, low=0.0), "a price that is not positive"),
        (candles(0, open=-2.0, low=-2.0), "a price that is not positive"),
        (candles(0, volume=-1.0), "a negative volume"),
        (candles(0, high=2.4), "a high below its open, close or low"),
        (candles(0, low=2.1), "a low above its open, close or high"),
    ],
)
def test_candle_that_breaks_the_contract_is_refused_by_name(frame: pl.DataFrame, named: str) -> None:
    with pytest.raises(CandlesRefusedError, match=named):
        validated_candles(frame, interval="30m")


def test_refusal_counts_the_rows_that_share_its_reason() -> None:
    with pytest.raises(CandlesRefusedError, match=r"negative volume \(3 such rows\)"):
        validated_candles(candles(0, 1, 2, volume=-1.0), interval="30m")


def test_valid_candles_pass_unchanged() -> None:
    frame = walk_candles(("BTCUSD", "ETHUSD"), bars=50, interval="30m", seed=1)
    assert validated_candles(frame, interval="30m") is frame
    assert validated_candles(frame.clear(), interval="30m").is_empty()


def test_newest_bars_are_counted_for_each_symbol() -> None:
    frame = pl.concat([candles(0, 1, 2), candles(0, symbol="ETHUSD")])
    assert newest_bars(frame, 2).equals(pl.concat([candles(1, 2), candles(0, symbol="ETHUSD")]))


# --- the grid

SLOTS = st.lists(st.sampled_from(["trade", "trade", "quiet", "sent quiet", "missing"]), max_size=40).map(
    lambda kinds: ["trade", *kinds]
)


def market(kinds: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candles of a random walk, and no-trade evidence, at the slots that say so.

    A slot that is sent quiet holds a bar of volume 0 that the venue made of the close before.
    """
    walk = walk_candles(("BTCUSD",), bars=len(kinds), interval="30m", seed=5)
    slot = pl.Series(kinds)
    sent = walk.filter(slot.is_in(["trade", "sent quiet"]))
    quiet_here = pl.lit(slot.filter(slot.is_in(["trade", "sent quiet"])) == "sent quiet")
    close = pl.when(quiet_here).then(None).otherwise("close").forward_fill()
    bars = sent.with_columns(
        pl.when(quiet_here).then(close).otherwise(name).alias(name)
        for name in ("open", "high", "low", "close")
    ).with_columns(volume=pl.when(quiet_here).then(0.0).otherwise("volume"))
    return bars, walk.filter(slot == "quiet").select("symbol", "open_time")


def grid(bars: pl.DataFrame, quiet: pl.DataFrame | None, missing: int = 2) -> pl.DataFrame:
    return bar_grid(bars, interval="30m", max_missing_bars=missing, no_trade=quiet)


def looped_grid(bars: pl.DataFrame, quiet: pl.DataFrame, max_missing_bars: int) -> list[tuple[Any, ...]]:
    """The same grid, slot by slot."""
    candle_at = {row["open_time"]: row for row in bars.iter_rows(named=True)}
    quiet_at = set(quiet["open_time"])
    last = max([*candle_at, *quiet_at])
    rows: list[tuple[Any, ...]] = []
    pending: list[datetime] = []
    segment, opened, close = 0, False, 0.0
    for slot in range((last - START) // STEP + 1):
        time = START + slot * STEP
        if time not in candle_at and time not in quiet_at:
            pending.append(time)
            continue
        if len(pending) > max_missing_bars:
            segment, opened = segment + 1, False
        elif opened:
            for place, absent in enumerate(pending, start=1):
                rows.append((absent, "BTCUSD", *[close] * 4, 0.0, False, place, segment))
        pending = []
        if time in candle_at:
            candle = candle_at[time]
            close, opened = candle["close"], True
            rows.append((*candle.values(), candle["volume"] > 0, 0, segment))
        elif opened:
            rows.append((time, "BTCUSD", *[close] * 4, 0.0, False, 0, segment))
    return rows


@given(kinds=SLOTS, missing=st.integers(0, 4))
def test_grid_is_what_a_plain_loop_makes(kinds: list[str], missing: int) -> None:
    bars, quiet = market(kinds)
    made = grid(bars, quiet, missing)
    assert made.columns == list(GRID_COLUMNS)
    assert made.rows() == looped_grid(bars, quiet, missing)


@given(kinds=SLOTS, missing=st.integers(0, 4), data=st.data())
def test_no_row_depends_on_what_is_learned_later(kinds: list[str], missing: int, data: st.DataObject) -> None:
    cut = START + STEP * data.draw(st.integers(1, len(kinds)))
    bars, quiet = market(kinds)
    early = grid(bars.filter(pl.col("open_time") < cut), quiet.filter(pl.col("open_time") < cut), missing)
    late = grid(bars, quiet, missing)
    # A missing slot before the cut becomes a row only with the candle that ends its run.
    ended_later = late.filter(pl.col("open_time") < cut).join(early, on="open_time", how="anti")
    assert (ended_later["missing_run"] > 0).all()
    assert early.equals(late.join(early, on="open_time", how="semi"))


def test_slot_without_a_trade_is_a_bar_however_long_nobody_trades() -> None:
    bars, quiet = market(["trade", *["quiet"] * 30, "trade"])
    made = grid(bars, quiet, missing=0)
    assert made["segment"].unique().to_list() == [0]
    between = made.slice(1, 30)
    assert between["volume"].sum() == 0
    for price in ("open", "high", "low", "close"):
        assert between[price].unique().to_list() == [bars["close"][0]]


@pytest.mark.parametrize(("absent", "segments"), [(3, 1), (4, 2)])
def test_missing_bars_are_bridged_up_to_the_limit_and_cut_the_series_beyond_it(
    absent: int, segments: int
) -> None:
    bars, _ = market(["trade", *["missing"] * absent, "trade"])
    made = grid(bars, None, missing=3)
    assert made["segment"].n_unique() == segments
    assert made["missing_run"].max() == (absent if segments == 1 else 0)


def test_bars_without_a_trade_after_the_newest_candle_are_rows() -> None:
    bars, quiet = market(["trade", "quiet", "quiet"])
    assert grid(bars, quiet)["traded"].to_list() == [True, False, False]


def test_bar_that_a_venue_sends_of_a_slot_without_a_trade_is_a_no_trade_bar() -> None:
    sent, _ = market(["trade", "sent quiet", "sent quiet", "trade"])
    told, evidence = market(["trade", "quiet", "quiet", "trade"])
    assert grid(sent, None).equals(grid(told, evidence))
    assert grid(sent, None)["traded"].to_list() == [True, False, False, True]


def test_candle_whose_price_moved_was_traded_though_its_volume_is_not_told() -> None:
    bars, _ = market(["trade", "trade"])
    assert grid(bars.with_columns(volume=0.0), None)["traded"].all()


def test_segment_opens_with_a_candle() -> None:
    bars, quiet = market(["trade", "missing", "quiet", "trade"])
    made = grid(bars, quiet, missing=0)
    assert made.select("open_time", "segment").rows() == [(START, 0), (START + 3 * STEP, 1)]


def test_evidence_is_ignored_where_it_says_nothing_new() -> None:
    bars, _ = market(["trade", "trade", "trade"])
    says = pl.concat(
        [
            bars.select("symbol", "open_time"),
            bars.select(pl.lit("ETHUSD").alias("symbol"), pl.col("open_time") + 3 * STEP),
            bars.select("symbol", pl.col("open_time") - 3 * STEP),
            bars.select("symbol", pl.col("open_time") + timedelta(minutes=1)),
        ]
    )
    assert grid(bars, says).equals(grid(bars, None))
    assert grid(bars, pl.concat([says, says])).equals(grid(bars, None))


def test_symbols_are_cut_into_segments_on_their_own() -> None:
    made = grid(pl.concat([candles(0, 9), candles(0, 1, 2, symbol="ETHUSD")]), None)
    assert made.select("symbol", "segment").rows() == [
        ("BTCUSD", 0),
        ("BTCUSD", 1),
        ("ETHUSD", 0),
        ("ETHUSD", 0),
        ("ETHUSD", 0),
    ]


def test_grid_of_no_candles_has_the_columns_of_a_grid() -> None:
    assert grid(candles(0).clear(), None).schema == grid(candles(0), None).schema


def test_hole_of_two_centuries_costs_no_bars() -> None:
    apart = candle_frame(raw([datetime(2000, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)]))
    made = bar_grid(apart, interval="1m", max_missing_bars=3)
    assert made["segment"].to_list() == [0, 1]
