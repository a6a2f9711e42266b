"""VADER: a general lexicon with rules for negation, degree and punctuation.

Source: Hutto and Gilbert, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text,
ICWSM 2014; MIT.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Self

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from edge_bundle.sentiment.method import Sentiment, of_polarity, plain_text


@dataclass(frozen=True, slots=True)
class VaderSentiment:
    """The compound of VADER; a `SentimentMethod`."""

    _analyzer: Any
    version: str
    name: str = "vader"

    @classmethod
    def load(cls) -> Self:
        """Read its lexicon."""
        return cls(SentimentIntensityAnalyzer(), version("vaderSentiment"))

    def scores(self, texts: Sequence[str]) -> list[Sentiment]:
        """See `SentimentMethod.scores`."""
        compounds = [self._analyzer.polarity_scores(plain_text(text))["compound"] for text in texts]
        return [of_polarity(compound, method=self.name, version=self.version) for compound in compounds]
