"""The device's one HTTP client: one question, a bounded answer, and no patience."""

import json
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import httpx

from edge_bundle.errors import EdgeBundleError

TIMEOUT_SECONDS = 10.0
MOST_BYTES = 8 * 2**20
# What a venue answers to an address that it does not serve; Binance bans with 418.
BANNED = (401, 403, 418, 451)


class NoAnswerError(EdgeBundleError):
    """A server did not answer, or not with what was asked for.

    Parameters
    ----------
    banned
        Whether it said that it never will.
    """

    def __init__(self, message: str, *, banned: bool = False) -> None:
        super().__init__(message)
        self.banned = banned


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said; `address` is where it was found in the end."""

    status: int
    address: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Web:
    """A server.

    Parameters
    ----------
    name
        For messages and as the source of what comes from it.
    headers
        That go with every question and are never shown.
    """

    name: str
    url: str
    timeout_seconds: float = TIMEOUT_SECONDS
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def json(self, path: str, params: Mapping[str, str | int]) -> Any:
        """Answer to a GET, parsed.

        Raises
        ------
        NoAnswerError
            When there is no whole answer of status 200 and at most `MOST_BYTES` within the time, or no JSON.
        """
        body = self.body(path, params)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise NoAnswerError(f"{self.name} answered {path} with what is no JSON") from error

    def body(self, path: str, params: Mapping[str, str | int], *, most_bytes: int = MOST_BYTES) -> bytes:
        """Bytes of the answer to a GET; see `json`."""
        return self.answer(path, params, most_bytes=most_bytes).body

    def answer(
        self,
        path: str,
        params: Mapping[str, str | int],
        *,
        most_bytes: int = MOST_BYTES,
        wanted: Container[int] = (httpx.codes.OK,),
        headers: Mapping[str, str] = MappingProxyType({}),
        follows: bool = False,
    ) -> Answer:
        """Whole answer to a GET; see `json`.

        Parameters
        ----------
        wanted
            Statuses that are an answer.
        headers
            That go with this question alone.
        follows
            Whether another address that the server names is asked instead.
        """
        asked = path or self.url
        deadline = time.monotonic() + 3 * self.timeout_seconds
        try:
            with httpx.stream(
                "GET",
                self.url.rstrip("/") + path if path else self.url,
                params=dict(params) or None,
                headers={**self.headers, **headers},
                timeout=self.timeout_seconds,
                follow_redirects=follows,
            ) as answer:
                if answer.status_code not in wanted:
                    told = f"{self.name} answered {asked} with status {answer.status_code}"
                    raise NoAnswerError(told, banned=answer.status_code in BANNED)
                read = bytearray()
                for piece in answer.iter_bytes():
                    read += piece
                    if len(read) > most_bytes or time.monotonic() > deadline:
                        raise NoAnswerError(f"{self.name} answered {asked} with more than was asked for")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswerError(f"{self.name} did not answer {asked} ({type(error).__name__})") from error
        return Answer(answer.status_code, str(answer.url), answer.headers, bytes(read))
