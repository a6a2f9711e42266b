"""Evidently's methods along time: its own numbers on sorted samples, without what a single call costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.special import rel_entr, stdtr

from cryptoai_monitoring.reports import SMALLEST_P, cramer_von_mises_scores, evidently_score
from cryptoai_monitoring.thresholds import Float64Array, Int64Array

# Evidently's, of samples whose share in a bin, or whose spread, is zero.
EMPTY_SHARE, SMALLEST_SPREAD = 1e-4, 1e-3

Statistic = Callable[[Float64Array, Float64Array], float]


@dataclass(frozen=True, slots=True)
class EvidentlyPaths:
    """Scores along time, as `evidently_score` gives them.

    Parameters
    ----------
    chances
        Score of each Kolmogorov-Smirnov distance that was met, by both sizes: its exact chance takes long.
    """

    chances: dict[tuple[int, int, float], float] = field(default_factory=dict)

    def path(
        self, method: str, known: Float64Array, values: Float64Array, looks: Int64Array, bars: int
    ) -> Float64Array:
        """Score of one column's window at each look.

        Parameters
        ----------
        method
            One of `METHODS`.
        known
            What each window is compared with.
        values
            (rows,) of which the windows are the last `bars` up to each look.
        """
        windows = [values[look + 1 - bars : look + 1] for look in looks]
        ordered = np.sort(known)
        found = np.array([METHODS[method](ordered, np.sort(window)) for window in windows])
        if method == "ks":
            return np.array([self._ks(*one, known) for one in zip(found, windows, strict=True)])
        return cramer_von_mises_scores(found) if method == "cramer_von_mises" else found

    def _ks(self, distance: float, window: Float64Array, known: Float64Array) -> float:
        """Ask Evidently once for each distance."""
        met = (len(known), len(window), float(distance))
        if met not in self.chances:
            self.chances[met] = evidently_score("ks", known, window)[0]
        return self.chances[met]


def _wasserstein(known: Float64Array, window: Float64Array) -> float:
    both = np.sort(np.concatenate([known, window]), kind="stable")
    below = np.searchsorted(known, both[:-1], side="right")
    apart = below / len(known) - (np.arange(1, len(both)) - below) / len(window)
    return float((np.abs(apart) * np.diff(both)).sum() / max(known.std(), SMALLEST_SPREAD))


def _shares(known: Float64Array, window: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Share of either sample in Sturges' bins of both."""
    low, high = min(known[0], window[0]), max(known[-1], window[-1])
    count = len(known) + len(window)
    edges = np.histogram_bin_edges(np.array([low, high]), int(np.ceil(np.log2(count) + 1)))
    return _share(known, edges), _share(window, edges)


def _share(ordered: Float64Array, edges: Float64Array) -> Float64Array:
    below = np.searchsorted(ordered, edges)
    below[-1] = len(ordered)
    return np.asarray(np.diff(below) / len(ordered), dtype=np.float64)


def _filled(share: Float64Array) -> Float64Array:
    least = share[share > 0].min()
    return np.where(share > 0, share, least / 10**6 if least <= EMPTY_SHARE else EMPTY_SHARE)


def _psi(known: Float64Array, window: Float64Array) -> float:
    then, now = (_filled(share) for share in _shares(known, window))
    return float(((then - now) * np.log(then / now)).sum())


def _jensenshannon(known: Float64Array, window: Float64Array) -> float:
    then, now = _shares(known, window)
    middle = (then + now) / 2
    apart = (rel_entr(then, middle) + rel_entr(now, middle)).sum()
    return float(max(apart / 2, 0.0) ** 0.5)


def _t_test(known: Float64Array, window: Float64Array) -> float:
    sizes = np.array([len(known), len(window)])
    freedom = sizes.sum() - 2
    squares = sum(((one - one.mean()) ** 2).sum() for one in (known, window))
    error = (squares / freedom * (1 / sizes).sum()) ** 0.5
    p_value = 2 * stdtr(freedom, -abs(known.mean() - window.mean()) / max(error, SMALLEST_P))
    return float(-np.log10(max(p_value, SMALLEST_P)))


def _kolmogorov_smirnov(known: Float64Array, window: Float64Array) -> float:
    """Numerator of the largest distance, a whole number."""
    upto = np.arange(1, len(known) + 1)
    below_known, upto_known = (np.searchsorted(window, known, side=side) for side in ("left", "right"))
    # Of equal ones of the known the last is judged after, and the first before them.
    last = np.append(known[1:] != known[:-1], True)
    first = np.append(True, known[1:] != known[:-1])
    after = np.abs(len(window) * upto - len(known) * upto_known)[last].max()
    before = np.abs(len(window) * (upto - 1) - len(known) * below_known)[first].max()
    return float(max(after, before))


def _cramer_von_mises(known: Float64Array, window: Float64Array) -> float:
    """Normalise the statistic, by ranks among both samples."""
    sizes = len(known), len(window)
    squares = sum(
        len(one) * float(((_own_rank(one) + _rank(other, one)) ** 2).sum())
        for one, other in ((known, window), (window, known))
    )
    product, both = sizes[0] * sizes[1], sum(sizes)
    statistic = squares / (product * both) - (4 * product - 1) / (6 * both)
    spread = (both + 1) * (4 * product * both - 3 * (sizes[0] ** 2 + sizes[1] ** 2) - 2 * product)
    variance = spread / (45 * both**2 * 4 * product)
    return float(1 / 6 + (statistic - (1 + 1 / both) / 6) / (45 * variance) ** 0.5)


def _own_rank(ordered: Float64Array) -> Float64Array | float:
    """Middle rank less the place of each; nothing where all differ."""
    if (ordered[1:] > ordered[:-1]).all():
        return 0.0
    return _rank(ordered, ordered) + 0.5 - np.arange(1, len(ordered) + 1)


def _rank(ordered: Float64Array, of: Float64Array) -> Float64Array:
    """How many are below each, and half of those that are equal."""
    below, upto = (np.searchsorted(ordered, of, side=side) for side in ("left", "right"))
    return np.asarray((below + upto) / 2, dtype=np.float64)


METHODS: Mapping[str, Statistic] = {
    "wasserstein": _wasserstein,
    "ks": _kolmogorov_smirnov,
    "psi": _psi,
    "jensenshannon": _jensenshannon,
    "cramer_von_mises": _cramer_von_mises,
    "t_test": _t_test,
}
