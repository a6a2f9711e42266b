"""TextBlob: the mean polarity of the adjectives in its lexicon.

Source: Loria, TextBlob, https://textblob.readthedocs.io, MIT; its lexicon is De Smedt and Daelemans' Pattern.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from textblob import TextBlob

from edge_bundle.sentiment.method import Sentiment, of_polarity, plain_text


@dataclass(frozen=True, slots=True)
class TextBlobSentiment:
    """The polarity of TextBlob; a `SentimentMethod`."""

    name: str = "textblob"

    @property
    def version(self) -> str:
        """Of the library, with which its lexicon comes."""
        return version("textblob")

    def scores(self, texts: Sequence[str]) -> list[Sentiment]:
        """See `SentimentMethod.scores`."""
        polarities = [float(TextBlob(plain_text(text)).sentiment.polarity) for text in texts]
        return [of_polarity(one, method=self.name, version=self.version) for one in polarities]
