"""What is recorded of books is fresh, or it is told."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from cryptoai_assets.defs.orderbook.checks import GREATEST_SILENCE, books_are_recorded
from cryptoai_assets.defs.resources import MarketResource

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def verdict(root: Path, silence: timedelta | None, name: str = "live") -> dg.AssetCheckResult:
    """What is said when something was last recorded so long ago; of one symbol, the other one says less."""
    market = MarketResource(name=name, root=str(root), time=NOW.isoformat())
    if silence is not None:
        for symbol, more in (("BTCUSDT", timedelta(0)), ("ETHUSDT", timedelta(hours=1))):
            market.home.recordings.append(symbol, [(int(NOW.timestamp()) * 10**9, "{}")])
            last = (NOW - silence - more).timestamp()
            os.utime(market.home.recordings.path(symbol, NOW.date()), (last, last))
    found = books_are_recorded(market)
    assert isinstance(found, dg.AssetCheckResult)
    return found


@pytest.mark.parametrize(
    ("silence", "passed"),
    [(None, True), (timedelta(0), True), (GREATEST_SILENCE, True), (GREATEST_SILENCE + SECOND, False)],
)
def test_recorder_that_fell_silent_is_an_error_and_none_is_not(
    silence: timedelta | None, passed: bool, tmp_path: Path
) -> None:
    found = verdict(tmp_path, silence)
    assert (found.passed, found.severity) == (passed, dg.AssetCheckSeverity.ERROR)
    assert passed or "nothing was recorded since 2026-03-31 11:57:59 UTC" in str(found.description)


def test_market_that_ends_with_its_data_has_no_recorder_to_watch(tmp_path: Path) -> None:
    assert verdict(tmp_path, timedelta(days=3), "sample").passed
