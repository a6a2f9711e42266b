"""A device's day of candles: read whole, refused by name, and never more than a device may keep."""

import hashlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fakes.daily_files import csv, parquet
from fakes.tiny_bundle import walk_candles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptoai_serving.daily_candles import ExpectedDay, Kind, checked_day, keep
from cryptoai_serving.errors import DailyFileRefusedError
from edge_bundle.errors import CandlesRefusedError

DAY = datetime(2019, 9, 2, tzinfo=UTC)
CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=48, interval="30m", seed=1, start=DAY)
EXPECTED = ExpectedDay(DAY.date(), "30m", ("BTCUSD", "ETHUSD"), DAY + timedelta(days=1))


@pytest.mark.parametrize(("write", "kind"), [(csv, "csv"), (parquet, "parquet")])
def test_day_is_read_whole(write: Any, kind: Kind) -> None:
    assert checked_day(write(CANDLES.clear()), kind, EXPECTED).equals(CANDLES.clear())
    assert checked_day(write(CANDLES.sample(fraction=1.0, shuffle=True, seed=1)), kind, EXPECTED).equals(
        CANDLES
    )
    assert ExpectedDay.from_json(EXPECTED.to_json()) == EXPECTED


@pytest.mark.parametrize(
    ("candles", "told"),
    [
        (CANDLES.with_columns(pl.col("open_time") + timedelta(hours=1)), "not of 2019-09-02"),
        (CANDLES.with_columns(pl.col("open_time") + timedelta(seconds=1)), "grid of 30m"),
        (CANDLES.with_columns(symbol=pl.lit("DOGEUSD")), "symbols beside BTCUSD, ETHUSD"),
        (pl.concat([CANDLES, CANDLES.tail(1)]), "a bar twice"),
        (CANDLES.drop("volume"), "columns absent: volume"),
        (CANDLES.with_columns(close=pl.lit("high")), "is not a"),
    ],
)
@pytest.mark.parametrize(("write", "kind"), [(csv, "csv"), (parquet, "parquet")])
def test_what_is_no_day_of_candles_is_refused_by_name(
    candles: pl.DataFrame, told: str, write: Any, kind: Kind
) -> None:
    with pytest.raises(CandlesRefusedError, match=told):
        checked_day(write(candles), kind, EXPECTED)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["csv", "parquet"]),
    place=st.integers(0, 10_000),
    planted=st.binary(max_size=12),
)
def test_broken_file_is_refused_or_holds_candles_of_the_day(kind: Kind, place: int, planted: bytes) -> None:
    whole = csv(CANDLES) if kind == "csv" else parquet(CANDLES)
    place %= len(whole)
    broken = whole[:place] + planted + whole[place + len(planted) :]
    try:
        found = checked_day(broken, kind, EXPECTED)
    except CandlesRefusedError:
        return
    assert set(found["open_time"].dt.date()) == {DAY.date()}
    assert set(found["symbol"]) <= {"BTCUSD", "ETHUSD"}


def test_device_keeps_so_many_days_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "pi").mkdir()
    for number in range(3):
        (tmp_path / "pi" / f"{date(2020, 1, 1) + timedelta(days=number)}.parquet").touch()
    content = csv(CANDLES)
    with pytest.raises(DailyFileRefusedError, match="3 days"):
        keep(
            content,
            "csv",
            device="pi",
            promised_sha256=hashlib.sha256(content).hexdigest(),
            expected=EXPECTED,
            folder=tmp_path,
            most_days=3,
        )
