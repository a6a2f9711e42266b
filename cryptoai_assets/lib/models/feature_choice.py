"""Which features a model reads: those that a first, quick look at the training rows found of use."""

from functools import partial

import numpy as np

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.tree_heads import LightgbmSettings
from cryptoai_assets.lib.models.tree_rows import TreeRows, tree_rows
from cryptoai_assets.lib.side_by_side import side_by_side
from edge_bundle.features import identity

# More cost time and bytes in every tree, and say little that these do not.
MOST_FEATURES = 96
# With fewer, to tell symbols apart was not shown to help; with more it was.
LEAST_ROWS_A_SYMBOL = 40_000
FIRST_LOOK = LightgbmSettings(
    trees=40,
    learning_rate=0.1,
    leaves=15,
    rows_a_leaf=500,
    subsample=0.5,
    column_share=0.5,
    l2=1.0,
)


def chosen_features(
    data: Dataset, *, horizons: tuple[int, ...], always: str, seed: int, threads: int
) -> tuple[str, ...]:
    """Names of the features with the greatest share of gain in quick trees on the training rows.

    Direction and volatility of every horizon have the same say. All where there are at most `MOST_FEATURES`.
    What tells the symbols apart is beside those where it is readable: its gain is in what it makes of the
    others.

    Parameters
    ----------
    always
        A feature that the model needs whatever its gain.

    .. warning:: Call it on training rows only: a choice made on rows that are scored later is a leak.
    """
    readable = readable_features(data)
    told = {name for name in readable if identity.tells(name)}
    alike = data.with_features([name for name in readable if name not in told])
    kept = told | _most_useful(alike, horizons, always, seed=seed, threads=threads)
    return tuple(name for name in readable if name in kept)


def readable_features(data: Dataset) -> tuple[str, ...]:
    """All, without what tells the symbols apart where they have less than `LEAST_ROWS_A_SYMBOL` each."""
    told = [name for name in data.names if identity.tells(name)]
    enough = len(data) >= LEAST_ROWS_A_SYMBOL * len(told)
    return data.names if enough else tuple(name for name in data.names if name not in told)


def _most_useful(
    data: Dataset, horizons: tuple[int, ...], always: str, *, seed: int, threads: int
) -> set[str]:
    if len(data.names) <= MOST_FEATURES:
        return {*data.names}
    places, rows = tree_rows(data)
    targets = [
        target
        for horizon in horizons
        for target in (data.target("up", horizon), _log_volatility(data.target("volatility", horizon)))
    ]
    looks = [partial(_shares, rows, target, seed=seed) for target in targets]
    shares = np.sum(side_by_side(looks, threads=threads), axis=0)
    # The first of equals in the catalog's order, so that the choice is the same everywhere.
    best = [data.names[places[k]] for k in np.argsort(-shares, kind="stable")]
    return {always, *[name for name in best if name != always][: MOST_FEATURES - 1]}


def _shares(rows: TreeRows, target: Float64Array, *, seed: int) -> Float64Array:
    if np.isfinite(target).sum() < 2 * FIRST_LOOK.rows_a_leaf:
        return np.zeros(rows.values.shape[1])
    head = FIRST_LOOK.grow(rows, target, objective="volatility", seed=seed)
    gain = head.gain()
    return np.asarray(gain / max(float(gain.sum()), 1e-12), dtype=np.float64)


def _log_volatility(realised: Float64Array) -> Float64Array:
    with np.errstate(divide="ignore"):
        return np.where(realised > 0, np.log(realised), np.nan)
