"""A raw recording of Binance's order book, best quotes and trades, as its websocket gives them.

It knows nothing of books: what the messages mean is found out from the recording, again if need be.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from cryptoai_assets.lib.orderbook.recordings import LineBuffer, Recordings
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.patience import Patience, SourceUnavailableError
from cryptoai_assets.lib.sources.web import WebClient

CHANNELS = ("depth@100ms", "bookTicker", "trade")
SNAPSHOT_LEVELS = 1_000
# A book that lost a message is put right by the next snapshot.
SNAPSHOT_EVERY_NS = 600 * 10**9
_DEPTH_PATH = "/api/v3/depth"

# Time of receipt of a message, in epoch nanoseconds.
Stamp = Callable[[Mapping[str, Any]], int]


@dataclass(slots=True)
class EventStamp:
    """Times of a simulated venue, whose clock is not ours: a message is received when it was sent."""

    newest_ns: int = 0

    def __call__(self, message: Mapping[str, Any]) -> int:
        """Time in the message, or the newest one where it holds none."""
        self.newest_ns = max(self.newest_ns, int(message.get("E", 0)) * 10**6)
        return self.newest_ns


@dataclass(slots=True)
class BinanceRecorder:
    """Records until it is told to stop, over as many connections as that takes.

    Parameters
    ----------
    web
        Of the REST address, for snapshots.
    socket_address
        Of the websockets, without a path.
    silence_seconds
        After which a connection that says nothing is opened anew.
    """

    recordings: Recordings
    symbols: Sequence[str]
    web: WebClient
    socket_address: str
    stamp: Stamp
    patience: Patience
    silence_seconds: float

    def record(self, stopped: Callable[[], bool]) -> None:
        """Record until `stopped`.

        Raises
        ------
        SourceError
            When the venue cannot be reached, try after try; what was recorded stays.
        """
        while not stopped():
            try:
                self.patience.call(lambda: self._session(stopped))
            except SourceUnavailableError as error:
                raise SourceError(f"{error}: try again later") from error

    def _session(self, stopped: Callable[[], bool]) -> None:
        streams = "/".join(f"{symbol.lower()}@{channel}" for symbol in self.symbols for channel in CHANNELS)
        try:
            with connect(
                f"{self.socket_address}/stream?streams={streams}", open_timeout=self.silence_seconds
            ) as socket:
                self._take(socket, stopped)
        except (OSError, TimeoutError, WebSocketException) as error:
            raise SourceUnavailableError(
                f"the websocket of {self.web.name} ended ({type(error).__name__})"
            ) from error

    def _take(self, socket: ClientConnection, stopped: Callable[[], bool]) -> None:
        lines = LineBuffer(self.recordings)
        asked: dict[str, int] = {}
        try:
            while not stopped():
                text = str(socket.recv(timeout=self.silence_seconds))
                symbol, known_at_ns, changes_book = heard(text, self.stamp)
                if symbol not in self.symbols or not known_at_ns:
                    continue
                # A line feed between two parts of JSON would end the line.
                lines.add(symbol, known_at_ns, text.replace("\n", " "))
                if changes_book and _due(asked.get(symbol), known_at_ns):
                    asked[symbol] = known_at_ns
                    lines.add(symbol, *self._snapshot(symbol))
        finally:
            lines.flush()

    def _snapshot(self, symbol: str) -> tuple[int, str]:
        """When the book of a symbol was received, which may be long after it was asked for, and the book."""
        answer = self.web.json(_DEPTH_PATH, {"symbol": symbol, "limit": SNAPSHOT_LEVELS})
        return self.stamp(answer), json.dumps(answer, separators=(",", ":"))


class Heard(NamedTuple):
    """Of which symbol a message is, when it was received, and whether it changes the book."""

    symbol: str
    known_at_ns: int
    changes_book: bool


def heard(text: str, stamp: Stamp) -> Heard:
    """What a message of the stream is, as far as the recording must know it.

    Raises
    ------
    SourceUnavailableError
        When it is none of Binance's: another connection may bring better ones.
    """
    try:
        message = json.loads(text).get("data", {})
        return Heard(str(message.get("s")), stamp(message), message.get("e") == "depthUpdate")
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SourceUnavailableError(
            f"the websocket told what is no message ({type(error).__name__})"
        ) from error


def _due(asked_ns: int | None, now_ns: int) -> bool:
    return asked_ns is None or now_ns - asked_ns >= SNAPSHOT_EVERY_NS
