"""`make record`: record the order book and the trades of the market until Ctrl-C, for microstructure bars."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from cryptoai_assets.defs.resources import MarketResource, configured_resource
from cryptoai_assets.lib.sources.binance_recorder import BinanceRecorder, EventStamp, Stamp
from cryptoai_assets.lib.sources.web import WebClient

# Where each venue that speaks Binance's protocol is: REST, and websockets.
ADDRESSES: Mapping[str, tuple[str, str]] = {
    "Binance.US": ("https://api.binance.us", "wss://stream.binance.us:9443"),
    "Binance": ("https://api.binance.com", "wss://stream.binance.com:9443"),
}
SILENCE_SECONDS = 20.0
SNAPSHOTS_PER_SECOND = 1.0


def recorder_of(market: MarketResource) -> BinanceRecorder:
    """Recorder of a market's venue, or of its simulation.

    Raises
    ------
    KeyError
        When the venue does not speak Binance's protocol.
    """
    rest, socket = ADDRESSES[market.settings.venue]
    stamp: Stamp = _received
    if market.settings.source == "sandbox":
        rest, stamp = f"{market.sandbox}/binance", EventStamp()
        socket = rest.replace("http", "ws", 1)
    web = WebClient(
        market.settings.venue,
        rest,
        requests_per_second=SNAPSHOTS_PER_SECOND,
        timeout_seconds=SILENCE_SECONDS,
        patience=market.patience,
        clock=market.clock,
    )
    return BinanceRecorder(
        market.home.recordings,
        market.settings.symbols,
        web,
        socket,
        stamp,
        market.patience,
        SILENCE_SECONDS,
    )


def main(stopped: Callable[[], bool] = lambda: False) -> int:
    """Record, and say where."""
    market = configured_resource()
    sys.stdout.write(f"Recording {', '.join(market.settings.symbols)} into {market.home.recordings.root}\n")
    with suppress(KeyboardInterrupt):
        recorder_of(market).record(stopped)
    return 0


def _received(_message: Mapping[str, Any]) -> int:
    return time.time_ns()


if __name__ == "__main__":
    sys.exit(main())
