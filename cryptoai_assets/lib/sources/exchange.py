"""Candles of an exchange over REST, through ccxt: any span in pages, closed bars only.

Knows nothing about what makes a row plausible: the quality rules judge rows as the venue gave them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import ccxt
import polars as pl

from cryptoai_assets.lib.sources.candle_source import Fetched, SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.patience import Patience, SourceUnavailableError, asked_wait
from edge_bundle.candles import CANDLE_SCHEMA, UTC_MICROSECONDS, candle_frame, interval_duration
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, empty_facts

Answer = TypeVar("Answer")
VENUES: Mapping[str, str] = MappingProxyType(
    {
        "Binance.US": "binanceus",
        "Binance": "binance",
        "Coinbase": "coinbase",
        "Kraken": "kraken",
        "Bitstamp": "bitstamp",
    }
)
# These send a bar of volume 0 for a quiet slot, so an absent slot says nothing about trades: the venue was
# down, or the answer is not whole. Sources: github.com/ccxt/ccxt issues 4170 and 8068 (Binance); the answer
# of Kraken that ccxt's kraken.fetch_ohlcv quotes holds a bar of volume and count 0.
SENDS_QUIET_BARS = frozenset({"binance", "binanceus", "binanceusdm", "binancecoinm", "kraken"})
# ccxt's table for Binance.US says 1,200 requests a minute and 1 for a page of candles, but what it inherits
# from Binance wins: 0.4 a page, measured with ccxt 4.5.64. This keeps to the table, with room.
MILLISECONDS_BETWEEN_REQUESTS = MappingProxyType({"binanceus": 60.0})
SIMULATED_HEADER = "x-cryptoai-simulated"
BARRED = (401, 403, 407, 418, 451)
PASSING = (408, 425, 429)
_REFUSALS = (ccxt.AuthenticationError, ccxt.BadSymbol, ccxt.BadRequest, ccxt.NotSupported)
_PAGE_BARS = 500
_ROW_SCHEMA = {
    "open_time": pl.Int64(),
    **{name: dtype for name, dtype in CANDLE_SCHEMA.items() if name not in ("open_time", "symbol")},
}
_EPOCH = datetime.fromtimestamp(0, tz=UTC)
_SHOWN_CHARACTERS = 200


@dataclass(slots=True)
class ExchangeSource:
    """Candles of one venue's spot markets; questions go out one at a time, at the venue's rate.

    Parameters
    ----------
    venue
        A name in `VENUES` or any ccxt id.
    base_url
        Another server that speaks the venue's protocol, such as the sandbox; its path goes before the
        venue's own. None is the venue.
    timeout_seconds
        To connect, and between two pieces of an answer.
    clock
        Ours; a bar is closed when it is so by the venue's clock and by this one.
    simulated
        Whether the server is a simulation, which its name then says. One that calls itself simulated is
        refused otherwise.
    milliseconds_between_requests
        None is what the venue allows, as ccxt or `MILLISECONDS_BETWEEN_REQUESTS` knows.
    """

    venue: str
    interval: str
    _: KW_ONLY
    base_url: str | None
    patience: Patience
    timeout_seconds: float
    clock: Callable[[], datetime]
    simulated: bool = False
    milliseconds_between_requests: float | None = None
    _client: Any = field(init=False, repr=False)
    _turn: Lock = field(default_factory=Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Choose the venue's client; nothing is asked yet.

        Raises
        ------
        SourceRefusedError
            When ccxt does not know the venue, or the venue does not offer the interval.
        """
        identity = VENUES.get(self.venue, self.venue)
        if identity not in ccxt.exchanges:
            raise SourceRefusedError(
                f"venue {self.venue!r} is not known: choose one of {', '.join(VENUES)}, or an id of ccxt"
            )
        self._client = _client_class(identity)(
            {"enableRateLimit": True, "timeout": round(self.timeout_seconds * 1000)}
        )
        # Candles need no list of currencies, which some venues give to key holders only.
        self._client.has["fetchCurrencies"] = False
        if "types" in (self._client.options.get("fetchMarkets") or {}):
            self._client.options["fetchMarkets"]["types"] = ["spot"]
        if self.base_url is not None:
            self._client.urls["api"] = _moved(self._client.urls["api"], self.base_url.rstrip("/"))
        pace = self.milliseconds_between_requests
        pace = MILLISECONDS_BETWEEN_REQUESTS.get(identity) if pace is None else pace
        if pace is not None:
            self._client.rateLimit, self._client.weighs = pace, False
        if self.interval not in (offered := self._client.timeframes or {}):
            raise SourceRefusedError(
                f"{self.venue} has no bars of {self.interval}; it offers {', '.join(offered)}"
            )

    @property
    def name(self) -> str:
        """Stands as the source of its facts."""
        return f"simulated {self.venue}" if self.simulated else self.venue

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        self._client.session.close()

    def now(self) -> datetime:
        """Time by the clock of the venue, where it tells it, or by ours: whichever is earlier."""

        def question() -> datetime:
            return datetime.fromtimestamp(self._client.fetch_time() / 1000, tz=UTC)

        told = self._ask(question) if self._client.has.get("fetchTime") else self.clock()
        return min(told, self.clock())

    def symbols_offered(self, quote: str) -> list[str]:
        """Symbols that are traded against a quote now, sorted."""
        return sorted(
            symbol
            for symbol, markets in self._spot_markets().items()
            if any(market["quote"] == quote and market["active"] is not False for market in markets)
        )

    def fetch(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """Closed bars with ``start <= open_time < end``, in order; see `fetch_pages`."""
        pages = list(self.fetch_pages(symbol, start, end))
        candles = pl.concat([pl.DataFrame(schema=CANDLE_SCHEMA), *(page.candles for page in pages)])
        facts = pl.concat([empty_facts(), *(page.facts for page in pages)])
        if not candles["open_time"].is_sorted():  # a row that differs at a page's border
            candles = candles.sort("open_time", maintain_order=True)
        return Fetched(candles, facts)

    def fetch_pages(self, symbol: str, start: datetime, end: datetime) -> Iterator[Fetched]:
        """Closed bars with ``start <= open_time < end``, a page at a time: what came can be stored at once.

        What is closed is decided by the first question: the venue's clock, where it tells it, or ours,
        whichever is earlier. Rows come as the venue gave them. Only a row that repeats one of the page
        before, value for value, is dropped; a doubled, late or broken row inside an answer is left to the
        quality rules, and so is a row that differs from the same bar on the page before.

        A page that leaves slots out is looked at twice. A slot that both looks leave out, with a later bar
        answered, becomes a ``no_trade`` fact, known now, unless the venue is one of `SENDS_QUIET_BARS`:
        then, and past the last bar answered, it stays unknown.

        Raises
        ------
        SourceRefusedError
            When asking again is of no use: unknown symbol, barred address, refused key.
        SourceError
            When there was no answer, or no whole one, try after try.
        """
        market, step = self._market(symbol), self._step
        end = min(end, self.now() - step + timedelta(microseconds=1))
        asked = quiet_from = _slot_from(start, step)
        before = pl.DataFrame(schema=CANDLE_SCHEMA)
        while asked < end:
            until = min(asked + self._page_bars * step, _slot_from(end, step))
            answer = self._two_looks(market, symbol, asked, until)
            page = _new_rows(answer.filter(pl.col("open_time").is_between(start, end, closed="left")), before)
            if page.height:
                inside = page.filter(pl.col("open_time") < until)
                absent = self._absent(page, quiet_from, _last(inside) if inside.height else quiet_from)
                yield Fetched(page, self._quiet(symbol, absent))
                before, following = page, _last(page) + step
                # An answer of old rows only must not be asked for again and again.
                asked = quiet_from = following if following > asked else until
            elif answer.height and answer["open_time"][0] >= end:
                return
            else:
                asked = until
                quiet_from = quiet_from if before.height else asked

    @property
    def _step(self) -> timedelta:
        return interval_duration(self.interval)

    @property
    def _page_bars(self) -> int:
        """Bars that the venue gives at once."""
        limits = ((self._client.features or {}).get("spot") or {}).get("fetchOHLCV") or {}
        return limits.get("limit") or _PAGE_BARS

    def _two_looks(self, market: str, symbol: str, since: datetime, until: datetime) -> pl.DataFrame:
        """Answer to a page; when it leaves slots out, with the rows that a second one adds."""
        first = self._page(market, symbol, since, until)
        covered = min(until, _last(first)) if first.height else until
        if self._absent(first, since, covered).is_empty():
            return first
        second = self._page(market, symbol, since, until)
        return pl.concat([first, _new_rows(second, first)]).sort("open_time", maintain_order=True)

    def _page(self, market: str, symbol: str, since: datetime, until: datetime) -> pl.DataFrame:
        """Rows of one answer, in order of time."""
        since_ms, bars = round(since.timestamp() * 1000), (until - since) // self._step

        def question() -> pl.DataFrame:
            rows = self._client.fetch_ohlcv(market, self.interval, since_ms, bars)
            raw = pl.DataFrame(rows, schema=_ROW_SCHEMA, orient="row", strict=False)
            return candle_frame(raw.with_columns(symbol=pl.lit(symbol)))

        return self._ask(question)

    def _absent(self, rows: pl.DataFrame, since: datetime, until: datetime) -> pl.Series:
        """Slots from `since` to before `until` that hold no row."""
        slots = pl.datetime_range(
            since, until, self._step, closed="left", time_unit="us", time_zone="UTC", eager=True
        )
        return slots.filter(~slots.is_in(rows["open_time"].implode()))

    def _quiet(self, symbol: str, absent: pl.Series) -> pl.DataFrame:
        if self._client.id in SENDS_QUIET_BARS:
            return empty_facts()
        return pl.select(
            symbol=pl.lit(symbol),
            event_time=absent,
            known_at=pl.lit(self.clock(), UTC_MICROSECONDS),
            source=pl.lit(self.name),
            name=pl.lit(NO_TRADE),
            value=pl.lit(1.0),
        ).select(pl.col(name).cast(dtype) for name, dtype in FACT_SCHEMA.items())

    def _market(self, symbol: str) -> str:
        """Name that ccxt has for a symbol."""
        offered = self._spot_markets()
        markets = offered.get(symbol, [])
        if len(markets) != 1:
            near = [name for name in sorted(offered) if name.startswith(symbol[:3])]
            raise SourceRefusedError(
                f"{self.name} offers {len(markets)} spot markets {symbol}, 1 needed; "
                f"symbols_offered tells what it has, such as {', '.join(near[:8] or sorted(offered)[:8])}"
            )
        return str(markets[0]["symbol"])

    def _spot_markets(self) -> dict[str, list[dict[str, Any]]]:
        """Spot markets by canonical symbol, asked for once."""

        def question() -> dict[str, list[dict[str, Any]]]:
            found: dict[str, list[dict[str, Any]]] = {}
            for market in self._client.load_markets().values():
                if market["spot"]:
                    found.setdefault(f"{market['base']}{market['quote']}", []).append(market)
            if not found:
                raise SourceUnavailableError(f"{self.name} answered that it has no spot market at all")
            return found

        return self._ask(question)

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        def once() -> Answer:
            with self._turn:
                try:
                    answer = question()
                except Exception as error:  # ccxt reads what a venue sends: anything can be raised
                    raise self._failure(error) from error
                if SIMULATED_HEADER in self._client.answer_headers and not self.simulated:
                    raise SourceRefusedError(
                        f"{self.venue} at {self.base_url} is a simulation: set it so, or leave it"
                    )
                return answer

        try:
            return self.patience.call(once)
        except SourceUnavailableError as error:
            tries = f"at most {self.patience.tries} tries"
            raise SourceError(f"{error}; {tries}: try again later, or look at its status page") from error

    def _failure(self, error: Exception) -> Exception:
        """What an error means for the one who asks: wait and try again, or let it be."""
        status, headers = self._client.answer_status, self._client.answer_headers
        wait = asked_wait(headers.get("Retry-After"), self.clock())
        words = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
        told = f"{self.name} gave no answer: {type(error).__name__} {words}"
        if status in BARRED and wait is None:
            return SourceRefusedError(
                f"{told}: status {status} bars this address; stop asking, and use another venue or address"
            )
        if isinstance(error, _REFUSALS) or (400 <= (status or 0) < 500 and status not in BARRED + PASSING):
            return SourceRefusedError(f"{told}: it is not offered so; check symbol, interval and key")
        return SourceUnavailableError(told, wait_seconds=wait)


def _client_class(identity: str) -> type[Any]:
    """Client of ccxt for a venue, which keeps what it drops: the status, the headers, and every row."""

    class Client(getattr(ccxt, identity)):  # type: ignore[misc] # ccxt has a class a venue
        weighs = True
        answer_status: int | None = None
        answer_headers: Mapping[str, str] = MappingProxyType({})

        def fetch(self, *request: Any, **settings: Any) -> Any:
            """Answer as JSON; ccxt hands text on when it cannot be parsed, and then finds no row in it."""
            self.answer_status, self.answer_headers = None, {}
            answer = super().fetch(*request, **settings)
            if not isinstance(answer, dict | list):
                raise ccxt.BadResponse(f"{self.id} sent {answer[:_SHOWN_CHARACTERS]!r}, which is no JSON")
            return answer

        def calculate_rate_limiter_cost(self, *request: Any) -> Any:
            """Requests that a question counts for: the venue's weight, or 1."""
            return super().calculate_rate_limiter_cost(*request) if self.weighs else 1

        def on_rest_response(self, code: int, *rest: Any) -> Any:
            """Keep status and headers for whom an error is explained to."""
            self.answer_status, self.answer_headers = code, rest[3]
            return super().on_rest_response(code, *rest)

        def parse_ohlcvs(self, ohlcvs: Any, market: Any = None, *_: Any) -> list[Any]:
            """All rows: ccxt drops those that it cannot read or did not ask for, without a word."""
            return [self.parse_ohlcv(row, market) for row in ohlcvs]

    return Client


def _moved(address: Any, base_url: str) -> Any:
    """Addresses of ccxt with another server in place of the venue's; they may be nested by kind."""
    if isinstance(address, dict):
        return {kind: _moved(part, base_url) for kind, part in address.items()}
    return base_url + urlsplit(address).path


def _slot_from(moment: datetime, step: timedelta) -> datetime:
    """The first slot that opens then or later."""
    return _EPOCH - (_EPOCH - moment) // step * step


def _last(rows: pl.DataFrame) -> datetime:
    last: datetime = rows["open_time"][-1]
    return last


def _new_rows(rows: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Rows that are not, value for value, among those before."""
    if rows.is_empty() or before.is_empty() or rows["open_time"][0] > _last(before):
        return rows
    return rows.join(before, on=list(CANDLE_SCHEMA), how="anti", maintain_order="left")
