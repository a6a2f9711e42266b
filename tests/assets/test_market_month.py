"""A month on its way into the store: what a killed run leaves of it, and until when it is asked for."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.archives import archive
from fakes.tiny_bundle import walk_candles

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.market_month import MarketMonth, months_to_take
from cryptoai_assets.lib.sources.archive import ArchiveSource

MONTH = "2026-03"


@pytest.fixture
def ended() -> int:
    """Number of a process that has ended."""
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    return int(gone.stdout)


def test_next_look_removes_every_half_written_file_whether_or_not_it_writes_it_itself(
    tmp_path: Path, ended: int
) -> None:
    market = MarketResource(name="live", root=str(tmp_path), time="2026-03-31T12:00:00+00:00")
    now = market.now()
    candles = walk_candles(["BTCUSDT"], bars=120, interval="1m", seed=1, start=now - timedelta(hours=2))
    source = ArchiveSource(archive(tmp_path / "venue", candles), "1m", "venue")
    place = MarketMonth(market.settings, market.stores, market.gaps, "BTCUSDT", MONTH)
    place.take(source, overlap_bars=0, now=now)
    place.clean()
    place.find_gaps(now=now)

    folders = [path for path in market.stores.folder.rglob("BTCUSDT") if path.is_dir()]
    tables = {*folders, market.stores.late_rejected.root / "BTCUSDT", market.gaps.root / "BTCUSDT"}
    assert {"raw_candles", "late_rejected", "gaps"} < {folder.parent.name for folder in tables}
    for folder in tables:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".{MONTH}.parquet.{ended}.tmp").write_bytes(b"half a fi")
    own = market.stores.raw_facts.root / "BTCUSDT" / f".{MONTH}.parquet.{os.getpid()}.tmp"
    own.write_bytes(b"half a fi")
    place.take(source, overlap_bars=30, now=now)
    assert list(tmp_path.rglob("*.tmp")) == [own]
    assert place.stores.raw_candles.month("BTCUSDT", MONTH).equals(candles)


def source_of(folder: Path, *, since: datetime, until: datetime) -> ArchiveSource:
    """A venue that has every minute of a time, and nothing before or after."""
    bars = (until - since) // timedelta(minutes=1)
    candles = walk_candles(["BTCUSDT"], bars=bars, interval="1m", seed=1, start=since)
    return ArchiveSource(archive(folder, candles), "1m", "venue")


def look(market: MarketResource, source: ArchiveSource, now: datetime) -> list[str]:
    """Take and clean what is asked for now."""
    months = months_to_take(market.settings, market.stores, "BTCUSDT", now)
    for month in months:
        place = MarketMonth(market.settings, market.stores, market.gaps, "BTCUSDT", month)
        place.take(source, overlap_bars=30, now=now)
        place.clean()
        place.find_gaps(now=now)
    return months


def test_end_of_a_month_that_nobody_looked_at_is_fetched_whenever_the_next_look_is(tmp_path: Path) -> None:
    market = MarketResource(name="live", root=str(tmp_path))
    last, back = datetime(2026, 3, 31, 19, tzinfo=UTC), datetime(2026, 4, 2, 9, tzinfo=UTC)
    source = source_of(tmp_path / "venue", since=last - timedelta(hours=1), until=back + timedelta(hours=1))
    assert look(market, source, last) == ["2026-03"]
    assert look(market, source, back) == ["2026-03", "2026-04"]
    assert look(market, source, back + timedelta(minutes=5)) == ["2026-04"]
    stored = market.stores.clean_candles.read(["BTCUSDT"])["open_time"]
    assert stored.diff().drop_nulls().unique().to_list() == [timedelta(minutes=1)]


def test_end_that_the_venue_does_not_deliver_is_asked_for_once_and_is_a_gap_then(tmp_path: Path) -> None:
    market = MarketResource(name="live", root=str(tmp_path))
    last, back = datetime(2026, 3, 31, 19, tzinfo=UTC), datetime(2026, 4, 2, 9, tzinfo=UTC)
    source = source_of(tmp_path / "venue", since=last - timedelta(hours=1), until=last)
    look(market, source, last)
    assert look(market, source, back) == ["2026-03", "2026-04"]
    assert look(market, source, back) == ["2026-04"]
    gaps = market.gaps.current(["BTCUSDT"], interval="1m", month="2026-03")
    assert gaps.filter(pl.col("from") == last)["to"].to_list() == [datetime(2026, 3, 31, 23, 59, tzinfo=UTC)]


def test_months_in_which_nobody_looked_are_asked_for_back_to_one_whose_end_is_known(tmp_path: Path) -> None:
    market = MarketResource(name="live", root=str(tmp_path))
    noon = datetime(2026, 5, 3, 12, tzinfo=UTC)
    assert months_to_take(market.settings, market.stores, "BTCUSDT", noon) == ["2026-05"]
    assert months_to_take(market.settings, market.stores, "BTCUSDT", datetime(2025, 12, 31, tzinfo=UTC)) == []
    january = datetime(2026, 2, 1, tzinfo=UTC)
    source = source_of(tmp_path / "venue", since=january - timedelta(hours=1), until=january)
    assert look(market, source, january) == ["2026-01", "2026-02"]
    assert look(market, source, noon) == ["2026-02", "2026-03", "2026-04", "2026-05"]
    assert look(market, source, noon) == ["2026-05"]
