"""Shapley values by their definition: every coalition of few features, for every baseline row."""

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]


def shapley_by_definition(said: Callable[[Rows], Values], window: Rows, baseline: Rows) -> Values:
    """(features,) of a window (lookback, features) against windows (rows, lookback, features)."""
    features = window.shape[-1]
    worth = {}
    for size in range(features + 1):
        for held in combinations(range(features), size):
            mixed = baseline.copy()
            mixed[..., list(held)] = window[..., list(held)]
            worth[frozenset(held)] = said(mixed).mean()
    values = np.zeros(features)
    for held, own in worth.items():
        for feature in set(range(features)) - held:
            share = 1 / (features * comb(features - 1, len(held)))
            values[feature] += share * (worth[held | {feature}] - own)
    return values
