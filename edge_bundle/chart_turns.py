"""The turns of a chart as a network sees them, read together: tops and bottoms take turns."""

from dataclasses import dataclass

import numpy as np

from edge_bundle.chart import Float64Array
from edge_bundle.chart_rule import BoolArray, Int8Array, Int64Array, Turn
from edge_bundle.windows import Float32Array

# Of a probability, so that the odds of a turn on every bar, multiplied, stay finite.
_LEAST = np.float32(1e-5)


@dataclass(frozen=True, slots=True)
class SeenTurns:
    """The likeliest turns of pictures.

    Parameters
    ----------
    turns
        (pictures, bars) of `Turn`.
    chance
        (pictures,) of these among all that could be: the share of their probability.
    """

    turns: Int8Array
    chance: Float64Array


def alternating_turns(said: Float32Array, *, unconfirmed: int) -> SeenTurns:
    """Likeliest of all orders in which a bottom follows each top, and a top each bottom.

    A network says each bar's turn by itself, and where it wavers between two bars it may name both, or none:
    the one order that it finds likeliest as a whole has neither.

    Parameters
    ----------
    said
        (pictures, bars, 3) probabilities of bottom, none and top.
    unconfirmed
        Bars at the end, on which no turn can be known yet.

    Source: Viterbi, "Error bounds for convolutional codes", 1967.
    """
    pictures, bars, _ = said.shape
    known = bars - unconfirmed
    none = np.maximum(said[:, :known, 1:2], _LEAST)
    # (bars, sides, pictures): odds of a bottom, and of a top, against no turn
    odds = np.ascontiguousarray((said[:, :known, ::2] / none).transpose(1, 2, 0), dtype=np.float64)
    best, total = np.ones((2, pictures)), np.ones((2, pictures))  # by which side the last turn is of
    turned = np.zeros((known + 1, 2, pictures), dtype=np.bool_)
    for bar in range(known):
        move = best[::-1] * odds[bar]
        turned[bar + 1] = move > best
        best = np.maximum(best, move)
        total = total + total[::-1] * odds[bar]
    # No turn at all leads to both sides, and counts once.
    return SeenTurns(_traced(turned, best.argmax(axis=0), bars), best.max(axis=0) / (total.sum(axis=0) - 1))


def _traced(turned: BoolArray, side: Int64Array, bars: int) -> Int8Array:
    """(pictures, bars) turns of the paths that end on a side, from where each bar's best path turned.

    Parameters
    ----------
    turned
        (1 + bars, sides, pictures), of which the first is before all bars.
    """
    places = np.arange(len(turned))[:, None, None]
    latest = np.maximum.accumulate(np.where(turned, places, 0), axis=0)
    picture = np.arange(len(side))
    turns = np.full((1 + bars, len(side)), Turn.NONE, dtype=np.int8)
    place = latest[-1, side, picture]
    while place.any():
        turns[place, picture] = 2 * side + Turn.BOTTOM
        side = 1 - side
        place = latest[np.maximum(place - 1, 0), side, picture]
    return np.ascontiguousarray(turns[1:].T)
