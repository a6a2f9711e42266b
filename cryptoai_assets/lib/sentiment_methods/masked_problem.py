"""What an encoder is pretrained further on: hidden pieces of the texts that it is tuned on, to be guessed.

Source: Devlin et al., BERT, NAACL 2019, for what is hidden; Gururangan et al., Don't Stop Pretraining, ACL
2020, for doing so on the texts of the task.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cryptoai_assets.lib.sentiment_methods.encoder import EncoderWeights
from cryptoai_assets.lib.sentiment_methods.tuning_problem import padded
from edge_bundle.sentiment.transformer import PADDING

# Of the pieces that are to be guessed: shown as the mask, and as another piece of the texts; the rest stays.
_MASKED, _EXCHANGED = 0.8, 0.1

Pieces = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PretrainingSettings:
    """Settings of a further pretraining.

    Parameters
    ----------
    epochs
        Times that every text is read; the learning rates rise over the first tenth and fall to 0.
    batch
        Texts a step.
    rate, head_rate
        Learning rates of the encoder and of the new layers that guess.
    decay
        Of weights, without biases and norms.
    dropout
        Share of values that a step leaves out.
    guessed
        Share of pieces that are to be guessed.
    """

    epochs: int
    batch: int
    rate: float
    head_rate: float
    decay: float
    dropout: float
    guessed: float


class Hidden(NamedTuple):
    """Texts of which some pieces are hidden.

    Parameters
    ----------
    shown
        (texts, pieces) as the encoder reads them.
    places
        (texts, pieces) whether a piece is to be guessed.
    wanted
        (guesses,) the pieces there, row by row.
    """

    shown: Pieces
    places: npt.NDArray[np.bool_]
    wanted: Pieces


@dataclass(frozen=True, slots=True)
class PretrainingProblem:
    """Texts as numbers of pieces, the weights to begin with, and the seed.

    Parameters
    ----------
    mask
        Number of the piece that stands for a hidden one.
    unguessed
        Numbers of pieces that no text says, such as where it ends.
    """

    settings: PretrainingSettings
    start: EncoderWeights
    pieces: Sequence[Sequence[int]]
    mask: int
    unguessed: Collection[int]
    seed: int

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.settings.epochs * ceil(len(self.pieces) / self.settings.batch)

    def hidden(self, rows: Sequence[int] | Pieces, random: np.random.Generator) -> Hidden:
        """Some texts, with other pieces hidden each time."""
        whole = padded([self.pieces[row] for row in rows])
        said = ~np.isin(whole, [PADDING, *self.unguessed])
        places = said & (random.random(whole.shape) < self.settings.guessed)
        drawn = random.random(whole.shape)
        shown = np.where(places & (drawn < _MASKED), self.mask, whole)
        exchanged = places & (drawn >= 1 - _EXCHANGED)
        shown[exchanged] = random.choice(whole[said], int(exchanged.sum()))
        return Hidden(shown, places, whole[places])
