"""The one interface of every sentiment method: from texts to shares of negative, neutral and positive."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_bundle.errors import EdgeBundleError

LABELS = ("negative", "neutral", "positive")
# From here on a polarity is no longer neutral: the threshold that VADER's authors give for its compound.
NEUTRAL_BELOW = 0.05
MOST_CHARACTERS = 2_000
_ADDRESS = re.compile(r"https?://\S+|\bt\.co/\S+")


class SentimentUnavailableError(EdgeBundleError):
    """A method cannot answer now, such as a language model whose server is away."""


@dataclass(frozen=True, slots=True)
class Sentiment:
    """What one method says of one text.

    Parameters
    ----------
    negative, neutral, positive
        Shares, which sum to 1.
    method, version
        Who said it: of a chain, the member that answered.
    """

    negative: float
    neutral: float
    positive: float
    method: str
    version: str

    @property
    def score(self) -> float:
        """From -1, all negative, to 1, all positive."""
        return self.positive - self.negative

    @property
    def label(self) -> str:
        """Name of the largest share; the neutral one where it is as large as another."""
        shares = (self.negative, self.neutral, self.positive)
        return LABELS[max((1, 0, 2), key=lambda place: shares[place])]


class SentimentMethod(Protocol):
    """A way to score texts."""

    @property
    def name(self) -> str:
        """What it is called wherever it is shown."""
        ...

    @property
    def version(self) -> str:
        """Tells two states of it apart whose scores may differ."""
        ...

    def scores(self, texts: Sequence[str]) -> list[Sentiment]:
        """What it says of each text, in their order; of an empty text, all neutral.

        Raises
        ------
        SentimentUnavailableError
            When it cannot answer now.
        """
        ...


def of_polarity(polarity: float, *, method: str, version: str) -> Sentiment:
    """Shares of a method that says one number in -1..1.

    The side's share is one half at the threshold of neutral, and rises along a line to 1 on both sides of it.
    """
    size = min(abs(polarity), 1.0)
    if size < NEUTRAL_BELOW:
        share = 0.5 * size / NEUTRAL_BELOW
    else:
        share = 0.5 + 0.5 * (size - NEUTRAL_BELOW) / (1 - NEUTRAL_BELOW)
    sides = (0.0, share) if polarity > 0 else (share, 0.0)
    return Sentiment(sides[0], 1.0 - share, sides[1], method, version)


def plain_text(text: str) -> str:
    """Text as every method reads it: in one line, without addresses, at most `MOST_CHARACTERS`."""
    return " ".join(_ADDRESS.sub(" ", text[: 4 * MOST_CHARACTERS]).split())[:MOST_CHARACTERS]
