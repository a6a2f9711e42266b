"""What an encoder is tuned on, and how: everything that decides what the tuned weights become.

It knows nothing of gradients; `encoder_gradients` beside it solves it with PyTorch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cryptoai_assets.lib.sentiment_methods.encoder import EncoderWeights
from edge_bundle.sentiment.transformer import PADDING


@dataclass(frozen=True, slots=True)
class TuningSettings:
    """Settings of a tuning.

    Parameters
    ----------
    epochs
        Times that every text is read; the learning rates rise over the first tenth and fall to 0.
    batch
        Texts a step.
    rate, head_rate
        Learning rates of the encoder and of the new last layer.
    decay
        Of weights, without biases and norms.
    dropout
        Share of values that a step leaves out.
    smoothing
        Share of a label that is spread over all three.
    agreement
        Weight, beside the loss of the labels, of how far apart two readings of a text are that leave out
        other values; 0 reads it once. Source: Liang et al., R-Drop, NeurIPS 2021.
    self_distilled
        Share, in the last epoch, of what the tuning itself said of a text an epoch before in what it should
        say; it rises from none in the first along a line. Source: Kim et al., Self-Knowledge Distillation
        with Progressive Refinement of Targets, ICCV 2021.
    averaged
        Memory of the moving average of the weights, which is what is kept, a look at every tenth step.
    """

    epochs: int
    batch: int
    rate: float
    head_rate: float
    decay: float
    dropout: float
    smoothing: float
    agreement: float
    self_distilled: float
    averaged: float

    def said_before(self, epoch: int) -> float:
        """Share of what was said an epoch before in the targets of an epoch, which count from 1."""
        return self.self_distilled * (epoch - 1) / max(1, self.epochs - 1)


@dataclass(frozen=True, slots=True)
class TuningProblem:
    """Texts as numbers of pieces, their labels, the weights to begin with, and the seed.

    Parameters
    ----------
    labels
        (texts,) places in `edge_bundle.sentiment.method.LABELS`.
    """

    settings: TuningSettings
    start: EncoderWeights
    pieces: Sequence[Sequence[int]]
    labels: npt.NDArray[np.int64]
    seed: int

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.settings.epochs * ceil(len(self.pieces) / self.settings.batch)


class Progress(NamedTuple):
    """An epoch that has ended, of a stage such as ``tuning``."""

    stage: str
    epoch: int
    epochs: int
    loss: float


AfterEpoch = Callable[[Progress], None]


def batches(
    pieces: Sequence[Sequence[int]], size: int, random: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Rows of each step of an epoch: drawn, and texts of like length together, so that little is padded."""
    order = random.permutation(len(pieces))
    lengths = np.array([len(row) for row in pieces])
    stretches = [order[start : start + 32 * size] for start in range(0, len(order), 32 * size)]
    by_length = [rows[np.argsort(lengths[rows], kind="stable")] for rows in stretches]
    steps = [rows[start : start + size] for rows in by_length for start in range(0, len(rows), size)]
    return [steps[place] for place in random.permutation(len(steps))]


def padded(rows: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    """(texts, pieces) of the longest, filled up with `PADDING`."""
    values = np.full((len(rows), max(map(len, rows))), PADDING, dtype=np.int64)
    for place, row in enumerate(rows):
        values[place, : len(row)] = row
    return values
