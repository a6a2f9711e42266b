"""Sentiment methods side by side on texts that none was trained on, and what the gate decides on."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptoai_assets.lib.datasets import Float64Array
from cryptoai_assets.lib.gate import (
    Bound,
    CanaryResult,
    Comparison,
    Evidence,
    GatePolicy,
    Margin,
)
from cryptoai_assets.lib.scoring import BootstrapSettings, Score, binned_calibration
from cryptoai_assets.lib.sentiment_methods.label_quality import Quality, confidence_bins, quality_of
from cryptoai_assets.lib.sentiment_methods.labelled import LabelledText, text_hash
from edge_bundle.sentiment.keywords import KeywordSentiment
from edge_bundle.sentiment.method import LABELS, Sentiment, SentimentMethod, SentimentUnavailableError
from edge_bundle.sentiment.release import METHODS, SentimentBundle, shares
from edge_bundle.sentiment.transformer import RECORD_NAME, WEIGHTS

# Set before any score is known. At this rate the hundred articles of a visit are scored within seconds.
LEAST_TEXTS_A_SECOND = 5.0
# Weights that were tuned to be less than sure are off by some points where texts are easy.
CALIBRATION_LIMIT = 0.15
POLICY = GatePolicy(
    non_inferiority_margin=Margin(0.005, relative=True),
    coverage_tolerance=0.0,  # a method promises no interval
    calibration_limit=CALIBRATION_LIMIT,
    # A text stands alone: blocks of one.
    bootstrap=BootstrapSettings(block_bars=1, resamples=2000, seed=7, confidence=0.95),
)
DRAW_SEED = 7
# Texts that a method is tested on, and one that is asked over a network or runs for seconds a text.
MOST_TEXTS, MOST_SLOW_TEXTS = 4_000, 100
SLOW = ("ollama", "hugging_face")
MAJORITY, KEYWORDS = "majority", "keywords"
_COMPANY = 8
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a method said of the first of the tested texts.

    Parameters
    ----------
    name
        By which a setting names it.
    texts
        How many it was asked about.
    brier
        Mean of `brier_scores`.
    """

    name: str
    version: str
    texts: int
    quality: Quality
    brier: float
    texts_a_second: float

    @property
    def is_candidate(self) -> bool:
        """Whether it may be released: a device runs it, fast enough."""
        return self.name in METHODS and self.texts_a_second >= LEAST_TEXTS_A_SECOND


@dataclass(frozen=True, slots=True)
class Compared:
    """All methods on the same texts.

    Parameters
    ----------
    absent
        Why a method was not compared, by name.
    """

    texts: tuple[LabelledText, ...]
    methods: tuple[Judged, ...]
    absent: Mapping[str, str]

    @property
    def best(self) -> Judged | None:
        """Candidate with the highest macro-F1, the lower Brier score among equals; None without any."""
        candidates = [one for one in self.methods if one.is_candidate]
        return max(candidates, key=lambda one: (one.quality.macro_f1, -one.brier), default=None)

    def record(self) -> dict[str, Any]:
        """What is kept of it, without any text."""
        return {
            "texts": len(self.texts),
            "methods": {row["method"]: row for row in self.table().to_dicts()},
            "absent": dict(self.absent),
            "best": None if self.best is None else self.best.name,
        }

    def table(self) -> pl.DataFrame:
        """One row a method, the best first."""
        rows = [
            {
                "method": one.name,
                "version": one.version,
                "texts": one.texts,
                "accuracy": one.quality.accuracy,
                "macro_f1": one.quality.macro_f1,
                **{f"f1_{label}": score for label, score in one.quality.f1.items()},
                "calibration_error": one.quality.calibration_error,
                "brier": one.brier,
                "texts_a_second": one.texts_a_second,
                "may_be_released": one.is_candidate,
            }
            for one in self.methods
        ]
        return pl.DataFrame(rows).sort("macro_f1", descending=True) if rows else pl.DataFrame()


def compared(
    texts: Sequence[LabelledText],
    methods: Mapping[str, Callable[[], SentimentMethod]],
    *,
    stopwatch: Callable[[], float],
) -> Compared:
    """Ask every method; one that cannot answer is absent, with what it said.

    Parameters
    ----------
    texts
        That no method was trained on; a draw of them is tested, the same for all.
    methods
        By name, loaded when they are asked.
    stopwatch
        Seconds that never run backwards.
    """
    drawn = drawn_texts(texts)
    found: list[Judged] = []
    absent: dict[str, str] = {}
    for name, load in methods.items():
        most = MOST_SLOW_TEXTS if name.partition(":")[0] in SLOW else len(drawn)
        try:
            found.append(_judged(name, load(), drawn[:most], stopwatch))
        except SentimentUnavailableError as error:
            absent[name] = str(error)
    return Compared(drawn, tuple(found), absent)


def drawn_texts(texts: Sequence[LabelledText]) -> tuple[LabelledText, ...]:
    """Those of the texts that are tested on, in a fixed order."""
    order = np.random.default_rng(DRAW_SEED).permutation(len(texts))[:MOST_TEXTS]
    return tuple(texts[place] for place in order)


def _judged(
    name: str, method: SentimentMethod, texts: Sequence[LabelledText], stopwatch: Callable[[], float]
) -> Judged:
    method.scores([texts[0].text])  # what is loaded at the first call is no part of its speed
    began = stopwatch()
    answers = method.scores([one.text for one in texts])
    rate = len(texts) / max(stopwatch() - began, 1e-9)
    truth = np.array([one.label for one in texts])
    said, labels = share_table(answers), np.array([LABELS.index(one.label) for one in answers])
    brier = float(brier_scores(said, truth).mean())
    return Judged(name, method.version, len(texts), quality_of(said, labels, truth), brier, rate)


def share_table(said: Sequence[Sentiment]) -> Float64Array:
    """(texts, 3) shares of negative, neutral and positive."""
    return np.array([shares(one) for one in said])


def brier_scores(said: Float64Array, truth: Int64Array) -> Float64Array:
    """(texts,) squared distance of the shares from the truth, 0 to 2.

    Source: Brier, Verification of forecasts expressed in terms of probability, 1950.
    """
    scores: Float64Array = ((said - np.eye(len(LABELS))[truth]) ** 2).sum(axis=1)
    return scores


def trained_hashes(weights: Path = WEIGHTS) -> frozenset[str]:
    """Hashes of the texts that a transformer's weights were tuned on, as its record keeps them."""
    return frozenset(json.loads((weights / RECORD_NAME).read_bytes()).get("training_text_hashes", ()))


def sentiment_evidence(
    texts: Sequence[LabelledText],
    bundle: SentimentBundle,
    champion: SentimentBundle | None,
    *,
    texts_a_second: float,
    trained: frozenset[str],
) -> Evidence:
    """What the gate decides on: the bundle as it lies on disk, on the texts that were compared on.

    Parameters
    ----------
    texts_a_second
        Of its method in the comparison.
    trained
        Hashes of the texts that the bundle's weights were tuned on.
    """
    truth = np.array([one.label for one in texts])
    said = bundle.method.scores([one.text for one in texts])
    ours = brier_scores(share_table(said), truth)
    times = pl.Series(range(len(texts)))
    error = _calibration(said, truth, times)
    return Evidence(
        times=times,
        champion=Comparison(_losses(champion.method, texts, truth), ours) if champion else None,
        baselines={
            MAJORITY: Comparison(brier_scores(_usual(truth), truth), ours),
            **(
                {}
                if bundle.manifest.method == KEYWORDS
                else {KEYWORDS: Comparison(_losses(KeywordSentiment(), texts, truth), ours)}
            ),
        },
        scores=(),  # the leak alarm knows forecasts of prices
        bounds=(
            Bound(error.name, error.value, error.lower, CALIBRATION_LIMIT),
            Bound("seconds_a_text", 1 / texts_a_second, 1 / texts_a_second, 1 / LEAST_TEXTS_A_SECOND),
        ),
        canaries=(_replays(bundle), _company(bundle, texts), _unread(texts, trained)),
        same_kind=champion is not None and champion.manifest.method == bundle.manifest.method,
        refresh_cause=None,
        acknowledged_by=None,
    )


def _calibration(said: Sequence[Sentiment], truth: Int64Array, times: pl.Series) -> Score:
    """Calibration error of `quality_of`, with its interval."""
    confidence = share_table(said).max(axis=1)
    right = (np.array([LABELS.index(one.label) for one in said]) == truth).astype(np.float64)
    return binned_calibration(confidence, right, confidence_bins(confidence), times, POLICY.bootstrap)


def _losses(method: SentimentMethod, texts: Sequence[LabelledText], truth: Int64Array) -> Float64Array:
    return brier_scores(share_table(method.scores([one.text for one in texts])), truth)


def _usual(truth: Int64Array) -> Float64Array:
    """(texts, 3) how often each label is the truth: what knows nothing of a text says of it."""
    shares_of_labels = np.bincount(truth, minlength=len(LABELS)) / len(truth)
    return np.tile(shares_of_labels, (len(truth), 1))


def _replays(bundle: SentimentBundle) -> CanaryResult:
    result = bundle.selftest()
    told = f"golden texts differ by {result.largest_difference:.2g}, {result.tolerance:g} is allowed"
    return CanaryResult("golden_texts_replay", result.passed, told)


def _company(bundle: SentimentBundle, texts: Sequence[LabelledText]) -> CanaryResult:
    """A text gets the same score alone and beside others."""
    first = [one.text for one in texts[:_COMPANY]]
    together = bundle.method.scores(first)
    alone = [bundle.method.scores([text])[0] for text in first]
    return CanaryResult(
        "company_changes_nothing", together == alone, f"{len(alone)} texts alone and together"
    )


def _unread(texts: Sequence[LabelledText], trained: frozenset[str]) -> CanaryResult:
    read = sum(text_hash(one.text) in trained for one in texts)
    return CanaryResult("tested_texts_were_never_read", read == 0, f"{read} of {len(texts)} were trained on")
