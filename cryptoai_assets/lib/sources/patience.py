"""Patience with a source that fails: how often it is asked again, and how long is waited in between."""

import email.utils
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import tenacity

Answer = TypeVar("Answer")


class SourceUnavailableError(Exception):
    """A source did not answer as it should, and may the next time.

    Parameters
    ----------
    wait_seconds
        What the source asks for before the next try; None when it does not say.
    """

    def __init__(self, message: str, *, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, slots=True)
class Patience:
    """Tries with exponentially growing waits, up to half of each drawn, or the wait that the source asks for.

    Parameters
    ----------
    tries
        At most, the first one included.
    first_seconds, longest_seconds
        Of the waits; a source that asks for more than the longest is given up.
    sleep
        Waits; handed in, so that a test does not.
    jitter
        Number in [0, 1), drawn for each wait.
    """

    tries: int
    first_seconds: float
    longest_seconds: float
    sleep: Callable[[float], None]
    jitter: Callable[[], float]

    def call(self, ask: Callable[[], Answer]) -> Answer:
        """Ask until there is an answer.

        Raises
        ------
        SourceUnavailableError
            The last one, when there was none.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._may_be_asked_again),
            stop=tenacity.stop_after_attempt(self.tries),
            wait=self._wait,
            sleep=self.sleep,
            reraise=True,
        )
        return retrying(ask)

    def _may_be_asked_again(self, error: BaseException) -> bool:
        return (
            isinstance(error, SourceUnavailableError) and (error.wait_seconds or 0.0) <= self.longest_seconds
        )

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, SourceUnavailableError) and error.wait_seconds is not None:
            return error.wait_seconds
        longest = min(self.first_seconds * 2.0 ** (state.attempt_number - 1), self.longest_seconds)
        return longest * (0.5 + 0.5 * self.jitter())


def asked_wait(retry_after: str | None, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, as a number or as a date; None when it says neither."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        pass
    else:
        return None if math.isnan(seconds) else max(seconds, 0.0)
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return None
    return max((moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds(), 0.0)
