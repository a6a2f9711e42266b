"""Polite visits to many sites: a rate each, robots.txt, and nothing fetched again that has not changed."""

import math
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from threading import Lock
from urllib.robotparser import RobotFileParser

import httpx

from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.patience import Patience, SourceUnavailableError, asked_wait
from cryptoai_assets.lib.sources.web import MAX_REDIRECTS, PASSING
from edge_bundle.news.feed_items import ACCEPTED, asked_since, robot_file

FOR_GOOD = frozenset({httpx.codes.MOVED_PERMANENTLY, httpx.codes.PERMANENT_REDIRECT})
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a server gave to tell later whether a page has changed."""

    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What a visit brought.

    Parameters
    ----------
    body
        Unpacked; None when nothing has changed since the mark.
    address
        Where it lies in the end.
    moved
        Whether the server says that it moved there for good.
    """

    body: bytes | None
    address: str
    moved: bool
    content_type: str
    mark: Mark


@dataclass(slots=True)
class Visitor:
    """Visits to any site, one at a time.

    Parameters
    ----------
    user_agent
        Says who we are, and where to complain.
    requests_per_second
        To one site.
    max_body_bytes
        Of an answer, unpacked.
    stopwatch
        Seconds that never run backwards.
    """

    user_agent: str
    requests_per_second: float
    timeout_seconds: float
    patience: Patience
    clock: Callable[[], datetime]
    max_body_bytes: int = 16 * 2**20
    stopwatch: Callable[[], float] = time.monotonic
    _free_at: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    _rules: dict[str, RobotFileParser] = field(default_factory=dict, init=False, repr=False)
    _turn: Lock = field(default_factory=Lock, init=False, repr=False)

    def page(self, address: str, mark: Mark) -> Page:
        """Return a page if it has changed; where it leads on, each site is asked for its leave anew.

        Raises
        ------
        SourceRefusedError
            When a robots.txt forbids it, or asking again is of no use.
        SourceError
            When there was no answer, or no whole one, try after try.
        """
        headers = {"Accept": ACCEPTED} | asked_since(mark.etag, mark.last_modified)
        response, body, moved = self._led_on(address, headers)
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return Page(None, str(response.url), moved, "", mark)
        if response.status_code != httpx.codes.OK:
            raise SourceRefusedError(f"{address} answered with status {response.status_code}: is it right?")
        told = response.headers
        new = Mark(told.get("ETag"), told.get("Last-Modified"))
        return Page(body, str(response.url), moved, told.get("Content-Type", ""), new)

    def _led_on(self, address: str, headers: Mapping[str, str]) -> tuple[httpx.Response, bytes, bool]:
        """Answer of the last page that an address leads to, and whether all of the way is for good."""
        at, steps = address, list[int]()
        for _ in range(MAX_REDIRECTS + 1):
            self._ask_for_leave(at)
            try:
                response, body = self.patience.call(partial(self._got, at, headers, follows=False))
            except SourceUnavailableError as error:
                raise SourceError(f"{error}; at most {self.patience.tries} tries: try again later") from error
            if response.next_request is None:
                return response, body, bool(steps) and FOR_GOOD.issuperset(steps)
            steps.append(response.status_code)
            at = str(response.next_request.url)
        raise SourceRefusedError(f"{address} leads on more than {MAX_REDIRECTS} times: is it right?")

    def _ask_for_leave(self, address: str) -> None:
        url = _url(address)
        site = f"{url.scheme}://{url.netloc.decode()}"
        if site not in self._rules:
            self._rules[site] = self._robots(site)
        rules = self._rules[site]
        if not rules.can_fetch(self.user_agent, address):
            raise SourceRefusedError(f"{site}/robots.txt does not allow {url.path}: leave this feed out")

    def _robots(self, site: str) -> RobotFileParser:
        """Rules of a site; where there are none all is allowed, where they cannot be had nothing is.

        Source: RFC 9309, Robots Exclusion Protocol, section 2.3.1.
        """
        try:
            response, body = self.patience.call(lambda: self._got(f"{site}/robots.txt", {}, follows=True))
        except SourceUnavailableError as error:
            raise SourceError(f"{error}: without its robots.txt nothing may be read there") from error
        return robot_rules(site, body if response.status_code == httpx.codes.OK else b"")

    def _got(
        self, address: str, headers: Mapping[str, str], *, follows: bool
    ) -> tuple[httpx.Response, bytes]:
        with self._turn:
            self._await_turn(httpx.URL(address), self.requests_per_second)
            deadline = self.stopwatch() + self.timeout_seconds
            try:
                with (
                    httpx.Client(
                        timeout=self.timeout_seconds, follow_redirects=follows, max_redirects=MAX_REDIRECTS
                    ) as client,
                    client.stream("GET", address, headers={**self._who, **headers}) as response,
                ):
                    body = self._bounded(response, address, deadline)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                told = f"{address} did not answer ({type(error).__name__})"
                raise SourceUnavailableError(told) from error
        if response.status_code in PASSING or response.status_code >= 500:
            wait = asked_wait(response.headers.get("Retry-After"), self.clock())
            told = f"{address} answered with status {response.status_code}"
            raise SourceUnavailableError(told, wait_seconds=wait)
        return response, body

    @property
    def _who(self) -> Mapping[str, str]:
        return {"User-Agent": self.user_agent, "Accept-Encoding": "gzip"}

    def _await_turn(self, url: httpx.URL, rate: float) -> None:
        site = url.netloc.decode()
        wait = self._free_at.get(site, -math.inf) - self.stopwatch()
        if wait > 0:
            self.patience.sleep(wait)
        self._free_at[site] = self.stopwatch() + 1 / rate

    def _bounded(self, response: httpx.Response, address: str, deadline: float) -> bytes:
        """Body, unpacked where it is packed: some servers say gzip and send none, or do not say."""
        raw, unpacked = bytearray(), bytearray()
        unpack: zlib._Decompress | None = None
        for piece in response.iter_raw():
            raw += piece
            if unpack is None and raw[:2] == _GZIP:
                unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
                piece = bytes(raw)
            if unpack is not None:
                unpacked += self._unpacked(unpack, piece, address)
            if max(len(raw), len(unpacked)) > self.max_body_bytes:
                raise SourceRefusedError(f"{address} is longer than {self.max_body_bytes:,} bytes")
            if self.stopwatch() > deadline:
                raise SourceUnavailableError(f"{address} did not end within {self.timeout_seconds:g} s")
        return bytes(raw if unpack is None else unpacked)

    def _unpacked(self, unpack: "zlib._Decompress", piece: bytes, address: str) -> bytes:
        try:
            return unpack.decompress(piece, self.max_body_bytes + 1)
        except zlib.error as error:
            raise SourceUnavailableError(f"{address} sent what cannot be unpacked") from error


def _url(address: str) -> httpx.URL:
    """Address as it is asked; what a feed or a person gives may be none."""
    try:
        return httpx.URL(address)
    except httpx.InvalidURL as error:
        raise SourceRefusedError(f"{address[:80]!r} is no address ({error}): is it right?") from error


def robot_rules(site: str, body: bytes) -> RobotFileParser:
    """Rules of a site's robots.txt; those of an empty one allow all.

    Raises
    ------
    SourceRefusedError
        When it cannot be read: then nothing says what is allowed.
    """
    try:
        return robot_file(body)
    except ValueError as error:  # of a delay in other digits, or an address that is none
        raise SourceRefusedError(
            f"{site}/robots.txt cannot be read ({error}): leave this feed out"
        ) from error
