"""Rows that trees grow on: each library bins them once, however many heads and trials are grown on them.

Bins depend on the rows alone, and take more than half as long as the growing of one head.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import lightgbm
import numpy as np
import xgboost

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.forecaster_model import rows_of
from edge_bundle.features import identity
from edge_bundle.windows import Float32Array

# A split by symbol gains little by itself: it lets what comes below it be another thing for each symbol. So
# its gain counts as often as this,
IDENTITY_GAIN = 10.0
# and all that tells symbols apart is drawn as often as this share of the other features, however many it is.
IDENTITY_SHARE = 0.2


class TreeRows:
    """Rows whose bins are kept; several heads may grow on them at a time.

    Parameters
    ----------
    values
        (rows, features) without constant columns.
    told
        Places of the features that tell the symbols apart.
    """

    def __init__(self, values: Float32Array, told: Sequence[int] = ()) -> None:
        self.values = values
        self._told = tuple(told)
        self._binning = Lock()
        self._lightgbm: dict[int, lightgbm.Dataset] = {}
        self._idle: dict[int, list[xgboost.QuantileDMatrix]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def gain_weights(self) -> Float64Array | None:
        """(features,) by which the gain of a split counts; None where all are alike."""
        return self._weights(IDENTITY_GAIN) if self._told else None

    @property
    def draw_weights(self) -> Float64Array | None:
        """(features,) by which a feature is drawn, where some are; None where all are alike."""
        others = self.values.shape[1] - len(self._told)
        return self._weights(IDENTITY_SHARE * max(others, 1) / len(self._told)) if self._told else None

    def _weights(self, told: float) -> Float64Array:
        weights = np.ones(self.values.shape[1])
        weights[list(self._told)] = told
        return weights

    def for_lightgbm(self, target: Float64Array, *, max_bins: int) -> lightgbm.Dataset:
        """Rows whose target is known, with it."""
        with self._binning:
            if max_bins not in self._lightgbm:
                parameters = {
                    "max_bin": max_bins,
                    # What cannot be split depends on the head's settings, which come later.
                    "feature_pre_filter": False,
                    "force_row_wise": True,
                    "num_threads": 1,
                    "verbosity": -1,
                }
                self._lightgbm[max_bins] = lightgbm.Dataset(self.values, params=parameters).construct()
        known = np.flatnonzero(np.isfinite(target))
        part = self._lightgbm[max_bins].subset(known.tolist()).construct()
        return part.set_label(target[known])

    @contextmanager
    def for_xgboost(self, target: Float64Array, *, max_bins: int) -> Iterator[xgboost.QuantileDMatrix]:
        """All rows, of which one whose target is not known weighs nothing.

        A matrix holds one target at a time: whoever asks meanwhile gets another one of the same bins.
        """
        idle = self._idle[max_bins]
        try:
            matrix = idle.pop()
        except IndexError:
            drawn = self.draw_weights
            matrix = xgboost.QuantileDMatrix(self.values, max_bin=max_bins, nthread=1, feature_weights=drawn)
        known = np.isfinite(target)
        matrix.set_info(label=np.where(known, target, 0.0), weight=known.astype(np.float32))
        try:
            yield matrix
        finally:
            idle.append(matrix)


def varying(data: Dataset) -> tuple[int, ...]:
    """Places of the features that are not constant in the training rows."""
    spread = np.ptp(rows_of(data.values), axis=0)
    return tuple(int(k) for k in np.flatnonzero(spread > 0))


def tree_rows(data: Dataset) -> tuple[tuple[int, ...], TreeRows]:
    """Places of the features that vary, and the rows of these."""
    selected = varying(data)
    return selected, selected_rows(data, selected)


def selected_rows(data: Dataset, selected: Sequence[int]) -> TreeRows:
    """Rows of the features at some places."""
    told = [k for k, place in enumerate(selected) if identity.tells(data.names[place])]
    return TreeRows(np.ascontiguousarray(rows_of(data.values)[:, selected]), told)


def kept_tree_rows(data: Dataset) -> tuple[tuple[int, ...], TreeRows]:
    """Return `tree_rows`, the same ones whenever it is asked of the same dataset."""
    if _KEY not in data.derived:
        data.derived.setdefault(_KEY, tree_rows(data))
    selected, rows = data.derived[_KEY]
    return selected, rows


_KEY = "tree_rows"
