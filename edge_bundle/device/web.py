"""The device's one HTTP client: one question, a bounded answer, and no patience."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
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
        deadline = time.monotonic() + 3 * self.timeout_seconds
        try:
            with httpx.stream(
                "GET",
                self.url.rstrip("/") + path,
                params=dict(params),
                headers=dict(self.headers),
                timeout=self.timeout_seconds,
            ) as answer:
                if answer.status_code != httpx.codes.OK:
                    told = f"{self.name} answered {path} with status {answer.status_code}"
                    raise NoAnswerError(told, banned=answer.status_code in BANNED)
                read = bytearray()
                for piece in answer.iter_bytes():
                    read += piece
                    if len(read) > most_bytes or time.monotonic() > deadline:
                        raise NoAnswerError(f"{self.name} answered {path} with more than was asked for")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswerError(f"{self.name} did not answer {path} ({type(error).__name__})") from error
        return bytes(read)
