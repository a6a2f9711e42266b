"""Methods behind each other: what one cannot score the next one does, and the answer says whose it is."""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_bundle.sentiment.method import Sentiment, SentimentMethod, SentimentUnavailableError


@dataclass(frozen=True, slots=True)
class SentimentChain:
    """A method that falls back from the first to the last; a `SentimentMethod`.

    Parameters
    ----------
    methods
        Best first. Texts are given one at a time, so that one that spoils its answer costs itself alone;
        after `patience` failures in a row a method is left out for the rest of a call.
    """

    methods: Sequence[SentimentMethod]
    patience: int

    @property
    def name(self) -> str:
        """Names of all, in their order."""
        return ">".join(method.name for method in self.methods)

    @property
    def version(self) -> str:
        """Versions of all, in their order."""
        return ">".join(method.version for method in self.methods)

    def scores(self, texts: Sequence[str]) -> list[Sentiment]:
        """See `SentimentMethod.scores`; each answer bears the method that gave it."""
        failures = [0] * len(self.methods)
        return [self._score(text, failures) for text in texts]

    def _score(self, text: str, failures: list[int]) -> Sentiment:
        told = "no method is left"
        for place, method in enumerate(self.methods):
            if failures[place] >= self.patience:
                continue
            try:
                [said] = method.scores([text])
            except SentimentUnavailableError as error:
                failures[place] += 1
                told = str(error)
            else:
                failures[place] = 0
                return said
        raise SentimentUnavailableError(f"none of {self.name} can answer: {told}")
