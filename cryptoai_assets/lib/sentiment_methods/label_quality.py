"""How well a method labels texts that people have labelled."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score

from cryptoai_assets.lib.sentiment_methods.labelled import LabelledText
from edge_bundle.sentiment.method import LABELS, SentimentMethod


class Quality(NamedTuple):
    """How well a method labels texts.

    Parameters
    ----------
    calibration_error
        Mean distance of confidence and accuracy over ten bins of confidence, weighted by their texts.
    """

    accuracy: float
    macro_f1: float
    f1: Mapping[str, float]
    calibration_error: float


def quality(method: SentimentMethod, texts: Sequence[LabelledText]) -> Quality:
    """How well a method labels texts."""
    said = method.scores([one.text for one in texts])
    shares = np.array([(one.negative, one.neutral, one.positive) for one in said])
    return quality_of(
        shares, np.array([LABELS.index(one.label) for one in said]), np.array([one.label for one in texts])
    )


def confidence_bins(confidence: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """(texts,) which tenth of 0 to 1 each confidence lies in."""
    return np.minimum((confidence * 10).astype(np.int64), 9)


def quality_of(
    shares: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]
) -> Quality:
    """Quality of shares (texts, 3), of labels (texts,) that they mean, against the truth (texts,)."""
    right = labels == truth
    each = f1_score(truth, labels, labels=range(len(LABELS)), average=None, zero_division=0.0)
    confidence = shares.max(axis=1)
    bins = confidence_bins(confidence)
    gaps = [
        abs(right[bins == place].mean() - confidence[bins == place].mean()) * (bins == place).mean()
        for place in np.unique(bins)
    ]
    return Quality(
        float(right.mean()),
        float(np.mean(each)),
        {label: float(score) for label, score in zip(LABELS, each, strict=True)},
        float(np.sum(gaps)),
    )
