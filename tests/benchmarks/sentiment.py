"""How many headlines a second each method scores; the transformer on texts of 32 pieces on average."""

from collections.abc import Callable
from time import perf_counter

import numpy as np
from benchmarks.rows import BenchRow

from cryptoai_assets.lib.sentiment_methods.textblob_polarity import TextBlobSentiment
from edge_bundle.sentiment.keywords import KeywordSentiment
from edge_bundle.sentiment.method import SentimentMethod
from edge_bundle.sentiment.transformer import TransformerSentiment
from edge_bundle.sentiment.vader import VaderSentiment

HEADLINES, WORDS_A_HEADLINE, ROUNDS = 64, 30, 5
GOAL = 150.0
_WORDS = [
    "bitcoin",
    "price",
    "rises",
    "falls",
    "after",
    "the",
    "report",
    "on",
    "market",
    "risk",
    "today",
    "as",
    "traders",
    "return",
    "to",
    "buy",
    "more",
]
METHODS: dict[str, Callable[[], SentimentMethod]] = {
    "keywords": KeywordSentiment,
    "vader": VaderSentiment.load,
    "textblob": TextBlobSentiment,
    "transformer-int8": lambda: TransformerSentiment.load(threads=2),
}


def measure() -> list[BenchRow]:
    """One row a method."""
    random = np.random.default_rng(1)
    texts = [" ".join(random.choice(_WORDS, WORDS_A_HEADLINE)) for _ in range(HEADLINES)]
    return [_row(name, load(), texts) for name, load in METHODS.items()]


def _row(name: str, method: SentimentMethod, texts: list[str]) -> BenchRow:
    """The median of the rounds, after one that warms up."""
    method.scores(texts[:4])
    seconds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        method.scores(texts)
        seconds.append(perf_counter() - start)
    rate = len(texts) / float(np.median(seconds))
    goal = GOAL if name == "transformer-int8" else None
    return BenchRow(f"sentiment/{name}", rate, "texts/s", goal, None if goal is None else rate >= goal)
