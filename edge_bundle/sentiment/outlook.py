"""What the news say of a symbol: numbers, and one word with its reasons, in a file that readers follow."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from edge_bundle.errors import OutlookRefusedError
from edge_bundle.whole_file import replace_file

OUTLOOK_NAME = "sentiment.json"
SCHEMA_VERSION = 1
Recommendation = Literal["BUY", "SELL", "HOLD"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is said of one symbol, or of the whole market.

    Parameters
    ----------
    values
        By name, such as ``sentiment_24h`` in -1..1; a mean of nothing is None.
    recommendation
        What the news alone speak for; never an advice.
    reasons
        Sentences with the numbers that it rests on.
    """

    values: Mapping[str, float | None]
    recommendation: Recommendation
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """What is written about more than it was.

    Parameters
    ----------
    articles
        That name it within the last day.
    expected
        As many as a day would have, by the week before.
    """

    words: str
    articles: int
    expected: float


@dataclass(frozen=True, slots=True)
class Outlooks:
    """Everything that was told of a market's news at one time.

    Parameters
    ----------
    known_at
        ISO 8601: nothing that became known later is in it.
    live
        Whether it grows stale by the wall clock.
    method, method_version
        Who scored the newest articles.
    """

    known_at: str
    live: bool
    method: str
    method_version: str
    symbols: Mapping[str, Outlook]
    market: Outlook
    trending: tuple[Topic, ...]
    schema_version: int = SCHEMA_VERSION

    @property
    def moment(self) -> datetime:
        """Time of `known_at`."""
        return datetime.fromisoformat(self.known_at)

    def write(self, path: Path) -> None:
        """Replace the file; a reader sees the old one or the new one, whole."""
        replace_file(path, json.dumps(asdict(self), indent=1, sort_keys=True))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read what `write` wrote; None when nothing was ever told.

        Raises
        ------
        OutlookRefusedError
            When it cannot be read, or is of another schema version.
        """
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise OutlookRefusedError(f"{path.name} cannot be read: {type(error).__name__}") from error
        try:
            return cls._of(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise OutlookRefusedError(f"{path.name} is of another form: materialize news_mood") from error

    @classmethod
    def _of(cls, record: Mapping[str, Any]) -> Self:
        if set(record) != {field.name for field in fields(cls)} or record["schema_version"] != SCHEMA_VERSION:
            raise ValueError("absent or unknown entries")
        datetime.fromisoformat(record["known_at"])
        parts = {
            "symbols": {symbol: _outlook(one) for symbol, one in record["symbols"].items()},
            "market": _outlook(record["market"]),
            "trending": tuple(Topic(**topic) for topic in record["trending"]),
        }
        return cls(**{**record, **parts})


def _outlook(record: Mapping[str, Any]) -> Outlook:
    return Outlook(dict(record["values"]), record["recommendation"], tuple(record["reasons"]))
