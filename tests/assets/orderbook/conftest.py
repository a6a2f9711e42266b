"""The real capture of a futures book, parsed once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cryptoai_assets.lib.orderbook.captures import binance_capture, open_capture
from cryptoai_assets.lib.orderbook.events import Event

CAPTURE = "wire/binance_usdm_btcusdt_20240808.jsonl.gz"


@pytest.fixture(scope="session")
def futures_events(shared_data: Callable[[str], Path]) -> list[Event]:
    """Six minutes of diffs, best quotes and trades, and one snapshot of 1,000 levels a side."""
    with open_capture(shared_data(CAPTURE)) as stream:
        return list(binance_capture(stream, symbol="BTCUSDT", snapshot_limit=1000))
