"""A month on its way into the store leaves nothing of a run that was killed."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.archives import archive
from fakes.tiny_bundle import walk_candles

from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.market_month import MarketMonth
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
