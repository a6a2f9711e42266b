"""The one HTTP client of our own adapters: it keeps a rate, bounds every answer, and has patience."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, NoReturn, TypeVar

import httpx

from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.patience import Patience, SourceUnavailableError, asked_wait

Answer = TypeVar("Answer")
Params = Mapping[str, str | int]
BANNED = (401, 403, 451)
PASSING = (408, 425, 429)
MAX_REDIRECTS = 3
_SHOWN_CHARACTERS = 160


@dataclass(slots=True)
class WebClient:
    """Questions to one server, of which at most one is under way.

    Parameters
    ----------
    name
        Of the source, for messages.
    timeout_seconds
        Of one try: to connect, between two pieces of the answer, and for the whole of it.
    clock
        Against which a ``Retry-After`` date is read.
    secrets
        Parameters that go with every question and are never shown, such as an API key. The client below
        logs each address that it asks as information: where there are secrets, keep ``httpx`` at warnings.
    secret_headers
        Headers that go with every question and are never shown, such as a bearer's token.
    max_body_bytes
        Of an answer, decompressed.
    stopwatch
        Seconds that never run backwards, in real time; keeps the rate and the time-out.
    """

    name: str
    base_url: str
    requests_per_second: float
    timeout_seconds: float
    patience: Patience
    clock: Callable[[], datetime]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_body_bytes: int = 32 * 2**20
    stopwatch: Callable[[], float] = time.monotonic
    _client: httpx.Client | None = field(default=None, init=False, repr=False)
    _free_at: float = field(default=-math.inf, init=False, repr=False)
    _turn: Lock = field(default_factory=Lock, init=False, repr=False)

    def json(self, path: str, params: Params) -> Any:
        """Answer to a GET, parsed; see `text`."""
        return self._ask(path, params, _parsed)

    def text(self, path: str, params: Params) -> str:
        """Answer to a GET.

        Raises
        ------
        SourceRefusedError
            When asking again is of no use: banned or without a key, not found, redirected to another
            server, or longer than `max_body_bytes`.
        SourceError
            When there was no answer, or no whole one, try after try.
        """
        return self._ask(path, params, _decoded)

    def _ask(self, path: str, params: Params, read: Callable[[bytes], Answer]) -> Answer:
        def once() -> Answer:
            with self._turn:
                self._await_turn()
                body = self._body(path, params)
            try:
                return read(body)
            except (ValueError, RecursionError) as error:
                raise SourceUnavailableError(f"{self.name} answered {path} with what is no answer") from error

        try:
            return self.patience.call(once)
        except SourceUnavailableError as error:
            tries = f"at most {self.patience.tries} tries"
            raise SourceError(f"{error}; {tries}: try again later, or look at its status page") from error

    def _await_turn(self) -> None:
        wait = self._free_at - self.stopwatch()
        if wait > 0:
            self.patience.sleep(wait)
        self._free_at = max(self._free_at, self.stopwatch()) + 1 / self.requests_per_second

    def _body(self, path: str, params: Params) -> bytes:
        deadline = self.stopwatch() + self.timeout_seconds
        url = self.base_url.rstrip("/") + path
        try:
            asked = {**params, **self.secrets}
            headers = dict(self.secret_headers)
            with self._connected().stream("GET", url, params=asked, headers=headers) as response:
                body = self._bounded(response, path, deadline)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            what = f"{self.name} did not answer {path} ({type(error).__name__})"
            raise SourceUnavailableError(what) from error
        if response.status_code != httpx.codes.OK:
            self._refuse(response, path, body)
        return body

    def _connected(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(
                timeout=self.timeout_seconds,
                # A connection that was left open may be dead by the next question.
                limits=httpx.Limits(max_keepalive_connections=0),
                follow_redirects=True,
                max_redirects=MAX_REDIRECTS,
                event_hooks={"request": [self._refuse_other_servers]},
            )
        return self._client

    def _refuse_other_servers(self, request: httpx.Request) -> None:
        own = httpx.URL(self.base_url)
        if (request.url.scheme, request.url.host, request.url.port) != (own.scheme, own.host, own.port):
            raise SourceRefusedError(
                f"{self.name} redirects to {request.url.netloc.decode()}, which is another server: "
                "set its address if the move is meant"
            )

    def _bounded(self, response: httpx.Response, path: str, deadline: float) -> bytes:
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > self.max_body_bytes:
                raise SourceRefusedError(
                    f"{self.name} answered {path} with more than {self.max_body_bytes:,} bytes: ask for less"
                )
            if self.stopwatch() > deadline:
                raise SourceUnavailableError(
                    f"{self.name} did not end its answer to {path} within {self.timeout_seconds:g} s"
                )
        return bytes(body)

    def _refuse(self, response: httpx.Response, path: str, body: bytes) -> NoReturn:
        status = response.status_code
        told = f"{self.name} answered {path} with status {status}{self._shown(body)}"
        if status in BANNED:
            raise SourceRefusedError(
                f"{told}: this address or key may not ask it; check the key, or do without it"
            )
        if status in PASSING or status >= 500:
            wait = asked_wait(response.headers.get("Retry-After"), self.clock())
            raise SourceUnavailableError(told, wait_seconds=wait)
        raise SourceRefusedError(f"{told}: what was asked for is not offered there")

    def _shown(self, body: bytes) -> str:
        """Start of what the server says, in one line and without a secret."""
        words = " ".join(body.decode(errors="replace").split())
        # Of a header such as "Bearer token" the last word is the secret.
        hidden = [value.split()[-1] for value in self.secret_headers.values() if value.strip()]
        for secret in (*self.secrets.values(), *hidden):
            words = words.replace(secret, "…")
        return f" ({words[:_SHOWN_CHARACTERS]})" if words else ""


def _parsed(body: bytes) -> Any:
    return json.loads(body, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _decoded(body: bytes) -> str:
    return body.decode()
