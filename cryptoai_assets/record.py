"""`make record`: record the order book and the trades of the market until Ctrl-C, for microstructure bars.

`make up` starts it too for a market that grows, and keeps the messages of the last days only.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from cryptoai_assets.defs.resources import MarketResource, configured_resource
from cryptoai_assets.lib.sources.binance_recorder import BinanceRecorder, EventStamp, Stamp
from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.exchange_stream import counts_changes, is_streamed
from cryptoai_assets.lib.sources.stream_recorder import StreamRecorder
from cryptoai_assets.lib.sources.web import WebClient

# Where each venue that speaks Binance's protocol is: REST, and websockets.
ADDRESSES: Mapping[str, tuple[str, str]] = {
    "Binance.US": ("https://api.binance.us", "wss://stream.binance.us:9443"),
    "Binance": ("https://api.binance.com", "wss://stream.binance.com:9443"),
}
SILENCE_SECONDS = 20.0
SNAPSHOTS_PER_SECOND = 1.0
PAUSE_SECONDS = 60.0


def is_recorded(venue: str) -> bool:
    """Whether books and trades of a venue can be recorded."""
    return venue in ADDRESSES or is_streamed(venue)


def recorder_of(market: MarketResource, kept_days: int | None = None) -> BinanceRecorder | StreamRecorder:
    """Recorder of a market's venue, or of its simulation: of its own messages, or of what ccxt.pro tells.

    Raises
    ------
    SourceRefusedError
        When the venue has no streams.
    """
    venue = market.settings.venue
    recordings = replace(market.home.recordings, kept_days=kept_days)
    if venue not in ADDRESSES:
        return StreamRecorder(recordings, market.settings.symbols, market.stream(), time.time_ns)
    rest, socket = ADDRESSES[venue]
    stamp: Stamp = _received
    if market.settings.source == "sandbox":
        rest, stamp = f"{market.sandbox}/binance", EventStamp()
        socket = rest.replace("http", "ws", 1)
    web = WebClient(
        venue,
        rest,
        requests_per_second=SNAPSHOTS_PER_SECOND,
        timeout_seconds=SILENCE_SECONDS,
        patience=market.patience,
        clock=market.clock,
    )
    return BinanceRecorder(
        recordings,
        market.settings.symbols,
        web,
        socket,
        stamp,
        market.patience,
        SILENCE_SECONDS,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, build, say where, hand over."""
    parser = argparse.ArgumentParser(prog="python -m cryptoai_assets.record", description=__doc__)
    parser.add_argument("--keep-days", type=int, help="days of messages that are kept; all when not given")
    options = parser.parse_args(arguments)
    market = configured_resource()
    try:
        recorder = recorder_of(market, options.keep_days)
    except SourceRefusedError as error:
        parser.error(str(error))
    sys.stdout.write(f"Recording {', '.join(market.settings.symbols)} into {market.home.recordings.root}\n")
    if not counts_changes(market.settings.venue):
        sys.stdout.write(f"{unnumbered(market.settings.venue)}\n")
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        record(recorder, _never, time.sleep)
    return 0


def unnumbered(venue: str) -> str:
    """What is to be known of the books of a venue that counts no changes."""
    return (
        f"{venue} gives no sequence numbers that ccxt reads: a change of the book that is lost shows only "
        "when the book crosses; trades count as missed around each lost connection."
    )


def record(
    recorder: BinanceRecorder | StreamRecorder, stopped: Callable[[], bool], sleep: Callable[[float], None]
) -> None:
    """Record until `stopped`; a venue that cannot be had is tried again after a pause."""
    while not stopped():
        try:
            recorder.record(stopped)
        except SourceError as error:
            sys.stderr.write(f"{error}; the next try is in {PAUSE_SECONDS:g} s\n")
            sys.stderr.flush()
            sleep(PAUSE_SECONDS)


def _never() -> bool:
    """Only Ctrl-C ends the program; tests stop a recording by another answer."""
    return False


def _received(_message: Mapping[str, Any]) -> int:
    return time.time_ns()


if __name__ == "__main__":
    sys.exit(main())
