"""Any text classifier of Hugging Face, such as FinBERT, by its name or by a folder on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from edge_bundle.sentiment.method import LABELS, Sentiment, SentimentUnavailableError, plain_text

FINBERT = "ProsusAI/finbert"
# Words that models use for our labels; their case does not count.
_OURS: Mapping[str, str] = {
    **{label: label for label in LABELS},
    **{"bearish": "negative", "bullish": "positive", "neg": "negative", "neu": "neutral", "pos": "positive"},
}
BATCH = 16


@dataclass(frozen=True, slots=True)
class HuggingFaceSentiment:
    """A loaded classifier; a `SentimentMethod`."""

    _classify: Any
    version: str
    name: str = "hugging_face"

    @classmethod
    def load(cls, model: str, *, offline: bool) -> Self:
        """Load a model: a folder, or a name that is downloaded where `offline` does not forbid it.

        Raises
        ------
        SentimentUnavailableError
            When it cannot be had, or its labels do not mean negative, neutral and positive.
        """
        try:
            words = AutoTokenizer.from_pretrained(model, local_files_only=offline)
            weights = AutoModelForSequenceClassification.from_pretrained(model, local_files_only=offline)
        except (OSError, ValueError) as error:
            raise SentimentUnavailableError(
                f"the model {model} cannot be had ({type(error).__name__}): name a folder that holds it"
            ) from error
        labels = {str(label).lower() for label in (weights.config.id2label or {}).values()}
        if unknown := sorted(labels - set(_OURS)):
            raise SentimentUnavailableError(
                f"the model {model} has the label {unknown[0]}: {', '.join(sorted(_OURS))} are understood"
            )
        classify = pipeline("text-classification", model=weights, tokenizer=words, top_k=None, device="cpu")
        return cls(classify, Path(model).name)

    def scores(self, texts: Sequence[str]) -> list[Sentiment]:
        """See `SentimentMethod.scores`."""
        plain = [plain_text(text) for text in texts]
        told = (
            self._classify([text for text in plain if text], batch_size=BATCH, truncation=True)
            if any(plain)
            else []
        )
        answers = iter(told)
        return [self._said(next(answers)) if text else self._silent() for text in plain]

    def _said(self, shares: Sequence[Mapping[str, Any]]) -> Sentiment:
        held = dict.fromkeys(LABELS, 0.0)
        for share in shares:
            held[_OURS[str(share["label"]).lower()]] += float(share["score"])
        negative, neutral, positive = held.values()
        return Sentiment(negative, neutral, positive, self.name, self.version)

    def _silent(self) -> Sentiment:
        return Sentiment(0.0, 1.0, 0.0, self.name, self.version)
