"""Answers about sentiment, from what the platform told of the news and from the released method."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

import anyio
from anyio.to_thread import run_sync

from cryptoai_serving.errors import NoModelError, NoNewsError, StoreUnavailableError, UnknownSymbolError
from edge_bundle.errors import EdgeBundleError
from edge_bundle.releases import ReleasedVersion, read_channel
from edge_bundle.sentiment.method import Sentiment, SentimentMethod
from edge_bundle.sentiment.outlook import OUTLOOK_NAME, Outlook, Outlooks

# As `edge_bundle.sentiment.release` has it, which is imported when a text is first scored.
MODEL = "cryptoai-sentiment"
# Of a market that lives; the platform tells a mood each hour.
STALE_AFTER = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class ScoredTexts:
    """What a method said, and the registered version that it is of; None is the shipped one."""

    said: Sequence[Sentiment]
    method: str
    method_version: str
    released: int | None


class SentimentDesk:
    """Reads what the platform told when it changes, and scores texts beside the event loop.

    Parameters
    ----------
    told
        Folder of the market, in which the platform tells what the news say.
    releases
        Root folder of the releases.
    """

    def __init__(self, *, told: Path, releases: Path, clock: Callable[[], datetime]) -> None:
        self._told, self._releases, self._clock = told / OUTLOOK_NAME, releases, clock
        self._outlooks: tuple[int, Outlooks] | None = None
        self._method: tuple[ReleasedVersion | None, SentimentMethod] | None = None
        self._loading = Lock()
        # One text after the other goes through the graph: more threads would take the forecasts' cores.
        self._turn = anyio.CapacityLimiter(1)

    async def of_symbol(self, symbol: str) -> tuple[Outlook, Outlook, Outlooks]:
        """Outlook of a symbol and of the market, as of now, and everything that was told.

        Raises
        ------
        NoNewsError, UnknownSymbolError, StoreUnavailableError
            When nothing was told, not of this symbol, or it cannot be read.
        """
        told = await asyncio.to_thread(self._read)
        if symbol not in told.symbols:
            raise UnknownSymbolError(
                f"nothing is told of {symbol}",
                where="symbol",
                cure=f"ask for one of {', '.join(sorted(told.symbols))}",
            )
        return self._as_of_now(told.symbols[symbol], told), self._as_of_now(told.market, told), told

    async def of_texts(self, texts: Sequence[str]) -> ScoredTexts:
        """Scores of texts by the released method, by the shipped one where none was released.

        Raises
        ------
        NoModelError
            When the release cannot be loaded.
        """
        return await run_sync(self._scored, texts, limiter=self._turn)

    def _read(self) -> Outlooks:
        try:
            stamp = self._told.stat().st_mtime_ns
            if self._outlooks is None or self._outlooks[0] != stamp:
                found = Outlooks.read(self._told)
                self._outlooks = None if found is None else (stamp, found)
        except FileNotFoundError:
            self._outlooks = None
        except (EdgeBundleError, OSError) as error:
            raise StoreUnavailableError(
                "what was told of the news cannot be read", cure="materialize news_mood again"
            ) from error
        if self._outlooks is None:
            raise NoNewsError(
                "nothing was told of the news yet",
                cure="materialize the group news, which a market that grows does by itself",
            )
        return self._outlooks[1]

    def _as_of_now(self, outlook: Outlook, told: Outlooks) -> Outlook:
        age = self._clock() - told.moment
        if not told.live or age <= STALE_AFTER:
            return outlook
        hours = age / timedelta(hours=1)
        old = f"this was known {hours:.1f} hours ago, at most {STALE_AFTER / timedelta(hours=1):g} is of now"
        return replace(outlook, recommendation="HOLD", reasons=(old, *outlook.reasons))

    def _scored(self, texts: Sequence[str]) -> ScoredTexts:
        released, method = self._loaded()
        return ScoredTexts(
            method.scores(texts), method.name, method.version, released.version if released else None
        )

    def _loaded(self) -> tuple[ReleasedVersion | None, SentimentMethod]:
        """The released method; loaded anew when the channel names another version."""
        try:
            from edge_bundle.sentiment.release import released_method

            with self._loading:
                channel = read_channel(self._releases, MODEL)
                wanted = channel.champion if channel else None
                if self._method is None or self._method[0] != wanted:
                    self._method = (wanted, released_method(self._releases))
                return self._method
        except ModuleNotFoundError as error:
            raise NoModelError(
                f"{error.name} is not installed", cure='pip install "cryptoai[sentiment]", then ask again'
            ) from error
        except (EdgeBundleError, OSError) as error:
            raise NoModelError(str(error), cure="promote or roll back cryptoai-sentiment again") from error
