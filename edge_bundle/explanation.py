"""Why a forecast is what it is: Shapley values of its features, which add up to it, from the bundle alone.

What is explained is the probability of up of one horizon, against a baseline: the mean of what is said of the
bundle's golden rows, which are real rows spread evenly over what it was trained on. A feature's value is what
the probability changes by when the feature takes the forecast's value in place of a golden row's, averaged
over all golden rows and all orders in which the features may change. It says what moved the model, not what
moves the market.

Source: Lundberg et al., From local explanations to global understanding with explainable AI for trees, Nature
Machine Intelligence 2, 2020 (interventional); Strumbelj and Kononenko, JMLR 11, 2010 (sampled orders).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from math import factorial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from edge_bundle.errors import BundleRefusedError
from edge_bundle.forecast import MEMBER_SEPARATOR, member_names
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GOLDEN_NAME
from edge_bundle.windows import Float32Array

LEAVES_NAME = "leaves.npz"
# Rows that a sampled explanation asks the graph about, at most: a window of many bars takes as much longer.
SAMPLED_ROWS, SAMPLED_BARS = 2_000, 16_000
LEAST_ORDERS = 4
# Asked at once: more of them leave the processor's caches, and take longer each.
BARS_AT_ONCE = 1_000
DIRECTION = "probability_up"
Unit = Literal["probability", "log_odds"]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Contribution:
    """Of one feature.

    Parameters
    ----------
    value
        Of the feature, at the newest bar.
    contribution
        In the explanation's unit.
    standard_error
        Of a sampled contribution, over the orders that were drawn; None of an exact one.
    """

    feature: str
    value: float
    contribution: float
    standard_error: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Contributions that, with the baseline, add up to what is said.

    Parameters
    ----------
    part
        Member of an ensemble, or an empty text for the whole.
    unit
        In which it adds up: log odds for boosted trees, the probability itself otherwise.
    baseline
        Mean over the golden rows.
    said
        Of the forecast, by the graph.
    orders
        Orders of the features that were drawn; None where the contributions are exact.
    contributions
        One a feature, the largest first.
    """

    part: str
    unit: Unit
    baseline: float
    said: float
    orders: int | None
    contributions: tuple[Contribution, ...]

    @property
    def remainder(self) -> float:
        """What is said less what the baseline and the contributions add up to: rounding, and no more."""
        return self.said - self.baseline - sum(one.contribution for one in self.contributions)


@dataclass(frozen=True, slots=True)
class TreeHeads:
    """Leaves of the trees that say directions, one head after the other.

    A leaf is reached by rows with ``low <= feature < high`` in every condition, one a feature.

    Parameters
    ----------
    parts, horizons, log_odds, bases
        Of each head: the member of an ensemble or an empty text, the bars ahead, whether its sum is log odds,
        and what it says before any tree.
    leaves
        Of each head, their number.
    weights, conditions
        Of each leaf: what it adds, and the number of its conditions, which may be none.
    features, lows, highs
        Of each condition; the feature's place in the model's input.
    """

    parts: npt.NDArray[np.str_]
    horizons: npt.NDArray[np.int64]
    log_odds: npt.NDArray[np.bool_]
    bases: Float64Array
    leaves: npt.NDArray[np.int64]
    weights: Float32Array
    conditions: npt.NDArray[np.uint16]
    features: npt.NDArray[np.uint16]
    lows: Float32Array
    highs: Float32Array

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises
        ------
        BundleRefusedError
            When it holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                return cls(**{field.name: archive[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleRefusedError(f"{path.name} cannot be read: {error}") from error

    def write(self, path: Path) -> None:
        """Write it without anything that could run when it is read."""
        arrays: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(path, allow_pickle=False, **arrays)

    def of_horizon(self, horizon: int) -> "dict[str, TreeHead]":
        """Heads of one horizon, by part."""
        leaf_ends = np.cumsum(self.leaves)
        condition_ends = np.cumsum(self.conditions, dtype=np.int64)
        found = {}
        for place in np.flatnonzero(self.horizons == horizon):
            first, last = int(leaf_ends[place] - self.leaves[place]), int(leaf_ends[place])
            start = int(condition_ends[first - 1]) if first else 0
            end = int(condition_ends[last - 1]) if last else 0
            found[str(self.parts[place])] = TreeHead(
                log_odds=bool(self.log_odds[place]),
                base=float(self.bases[place]),
                weights=self.weights[first:last],
                conditions=self.conditions[first:last],
                features=self.features[start:end].astype(np.intp),
                lows=self.lows[start:end],
                highs=self.highs[start:end],
            )
        return found


@dataclass(frozen=True, slots=True)
class TreeHead:
    """Leaves of one head; see `TreeHeads`."""

    log_odds: bool
    base: float
    weights: Float32Array
    conditions: npt.NDArray[np.uint16]
    features: npt.NDArray[np.intp]
    lows: Float32Array
    highs: Float32Array

    def said(self, rows: Float32Array) -> Float64Array:
        """(rows,) the sum over the leaves that rows (rows, features) reach, in the head's own unit."""
        return np.array(
            [self.base + float(self.weights[self._all(self._met(row))].sum(dtype=np.float64)) for row in rows]
        )

    def shapley(self, row: Float32Array, baseline: Float32Array) -> Float64Array:
        """(features,) exact interventional Shapley values of a row (features,) against (rows, features).

        For one baseline row a leaf is reached by a coalition that holds all features whose condition only the
        forecast's row meets, and none of those whose condition only the baseline's row meets.
        """
        values = np.zeros(len(row))
        gain, loss = _shares(int(self.conditions.max(initial=0)))
        own = self._met(row)
        for other in map(self._met, baseline):
            # Most leaves have a condition that neither meets: no coalition reaches them.
            reachable = self._all(own | other)
            weights, conditions = self.weights[reachable], self.conditions[reachable]
            owner = np.repeat(np.arange(len(weights)), conditions)
            inside = np.repeat(reachable, self.conditions)
            needed, forbidden = (own & ~other)[inside], (other & ~own)[inside]
            counts = [
                np.bincount(owner, flags, len(weights)).astype(np.intp) for flags in (needed, forbidden)
            ]
            added = needed * (weights * gain[*counts])[owner] - forbidden * (weights * loss[*counts])[owner]
            values += np.bincount(self.features[inside], added, len(row))
        return values / len(baseline)

    def _met(self, row: Float32Array) -> npt.NDArray[np.bool_]:
        """(conditions,) whether each holds."""
        own = row[self.features]
        return np.asarray((self.lows <= own) & (own < self.highs), np.bool_)

    def _all(self, met: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(leaves,) whether all conditions are met; a leaf without one is always reached."""
        owner = np.repeat(np.arange(len(self.weights)), self.conditions)
        return np.asarray(np.bincount(owner[~met], minlength=len(self.weights)) == 0, np.bool_)


@dataclass(frozen=True, slots=True)
class DrawnOrders:
    """What the graph says while golden rows become a window, feature by feature, each in an order of its own.

    It says so for all horizons and members at once: whichever is explained, the graph is asked once.

    Parameters
    ----------
    window
        (lookback, features) that they become.
    orders
        (orders, features) places of the features, in the order in which they change.
    said
        Probabilities of up by output, (orders, features + 1, horizons), from the golden row to the window.
    """

    window: Float32Array
    orders: npt.NDArray[np.intp]
    said: dict[str, Float64Array]


@dataclass(frozen=True, slots=True)
class Explainer:
    """What a bundle's forecasts are explained with; made once for a bundle by `of`.

    Parameters
    ----------
    baseline
        (rows, lookback, features) windows of the golden rows, in the order of what is said of them.
    trees
        None for bundles without trees, and for those of before leaves were kept.
    threads
        That ask the graph at once.
    """

    forecaster: Forecaster
    baseline: Float32Array
    trees: TreeHeads | None
    threads: int = 1

    @classmethod
    def of(cls, forecaster: Forecaster, *, threads: int = 1) -> Self:
        """Read what a bundle holds for it.

        Raises
        ------
        BundleRefusedError
            When its leaves cannot be read.
        """
        with np.load(forecaster.folder / GOLDEN_NAME) as archive:
            order = np.argsort(archive[DIRECTION].mean(axis=1), kind="stable")
            baseline = archive["window"][order]
        kept = LEAVES_NAME in forecaster.manifest.files
        trees = TreeHeads.read(forecaster.folder / LEAVES_NAME) if kept else None
        return cls(forecaster, baseline, trees, threads)

    @property
    def members(self) -> tuple[str, ...]:
        """Members of an ensemble that can be explained by themselves."""
        return member_names(self.forecaster.session.outputs)

    def drawn(self, window: Float32Array, *, seed: int) -> DrawnOrders:
        """Ask the graph about golden rows that become a window (lookback, features).

        Parameters
        ----------
        seed
            Of the orders; the same seed draws the same.
        """
        lookback, features = window.shape
        random = np.random.default_rng(seed)
        most = min(SAMPLED_ROWS, SAMPLED_BARS // lookback) // (features + 1)
        count = min(max(most, LEAST_ORDERS), len(self.baseline))
        drawn = [random.permutation(features) for _ in range(0, count, 2)]
        # Every other order is the one before it, backwards: what two features do together evens out.
        orders = np.array([order for one in drawn for order in (one, one[::-1])][:count])
        # The middles of equal shares of the golden rows say, together, about what all of them say.
        starts = self.baseline[((np.arange(count) + 0.5) * len(self.baseline) / count).astype(int)]
        with ThreadPoolExecutor(self.threads) as pool:
            paths = list(pool.map(partial(self._path, window), starts, orders))
        return DrawnOrders(
            window, orders, {name: np.stack([path[name] for path in paths]) for name in paths[0]}
        )

    def explanation(
        self, window: Float32Array, horizon: int, *, part: str, seed: int, drawn: DrawnOrders | None = None
    ) -> Explanation:
        """Explain what is said of a window (lookback, features): exactly for trees, else by drawn orders.

        A mean of several libraries' probabilities is no sum of trees: an ensemble's orders are drawn, its
        members' are not.

        Parameters
        ----------
        horizon
            Bars ahead; one of the bundle's.
        part
            One of `members`, or an empty text for the whole.
        seed
            Of the orders that are drawn; the same seed gives the same explanation.
        drawn
            What `drawn` gave for this window and seed, if it was asked for before.
        """
        heads = self.trees.of_horizon(horizon) if self.trees else {}
        if part in heads:
            return self._exact(part, heads[part], window, horizon)
        return self._sampled(part, horizon, drawn or self.drawn(window, seed=seed))

    def is_exact(self, horizon: int, part: str) -> bool:
        """Whether nothing need be drawn to explain it."""
        return self.trees is not None and part in self.trees.of_horizon(horizon)

    def _exact(self, part: str, head: TreeHead, window: Float32Array, horizon: int) -> Explanation:
        row, baseline = window[-1], np.ascontiguousarray(self.baseline[:, -1])
        said = float(self._probability(window[None], horizon, part)[0])
        return Explanation(
            part=part,
            unit="log_odds" if head.log_odds else "probability",
            baseline=float(head.said(baseline).mean()),
            said=float(np.log(said / (1 - said))) if head.log_odds else said,
            orders=None,
            contributions=self._ranked(row, head.shapley(row, baseline), None),
        )

    def _sampled(self, part: str, horizon: int, drawn: DrawnOrders) -> Explanation:
        """Mean of what each feature adds when its turn comes, and how far the orders are apart."""
        place = self.forecaster.manifest.horizons.index(horizon)
        said = drawn.said[_direction(part)][:, :, place]
        changes = np.empty(drawn.orders.shape)
        np.put_along_axis(changes, drawn.orders, np.diff(said, axis=1), axis=1)
        error = changes.std(axis=0, ddof=1) / np.sqrt(len(changes))
        return Explanation(
            part=part,
            unit="probability",
            baseline=float(said[:, 0].mean()),
            said=float(said[0, -1]),
            orders=len(changes),
            contributions=self._ranked(drawn.window[-1], changes.mean(axis=0), error),
        )

    def _path(
        self, window: Float32Array, start: Float32Array, order: npt.NDArray[np.intp]
    ) -> dict[str, Float64Array]:
        """(features + 1, horizons) probabilities by output, as a golden row becomes the window."""
        lookback, features = window.shape
        changed = np.arange(features)[:, None] > np.argsort(order)  # (steps, features)
        at_once = max(BARS_AT_ONCE // lookback, 1)
        parts = [
            self._directions(np.where(steps[:, None, :], window, start))
            for steps in np.array_split(changed, range(at_once, features, at_once))
        ]
        # The window is asked about alone, as the forecast was: what batches round differently adds up.
        parts.append(self._directions(window[None]))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _directions(self, windows: Float32Array) -> dict[str, Float64Array]:
        """(windows, horizons) probabilities of up by output, of the whole and of every member."""
        outputs = self.forecaster.outputs(np.ascontiguousarray(windows))
        return {name: outputs[name].astype(np.float64) for name in map(_direction, ("", *self.members))}

    def _probability(self, windows: Float32Array, horizon: int, part: str) -> Float64Array:
        """(windows,) probability of up by the graph, of the whole or of a member."""
        place = self.forecaster.manifest.horizons.index(horizon)
        return self._directions(windows)[_direction(part)][:, place]

    def _ranked(
        self, row: Float32Array, values: Float64Array, errors: Float64Array | None
    ) -> tuple[Contribution, ...]:
        names: Sequence[str] = self.forecaster.manifest.features
        return tuple(
            Contribution(
                names[place],
                float(row[place]),
                float(values[place]),
                None if errors is None else float(errors[place]),
            )
            for place in np.argsort(-np.abs(values), kind="stable")
        )


def _direction(part: str) -> str:
    """Output that says the direction, of the whole or of a member."""
    return f"{part}{MEMBER_SEPARATOR}{DIRECTION}" if part else DIRECTION


def _shares(most: int) -> tuple[Float64Array, Float64Array]:
    """Share of orders in which one feature opens a leaf, and in which one shuts it.

    By the number of features that the leaf needs and the number that it forbids. One that is needed opens it
    when it comes last of the needed and before all that is forbidden; one that is forbidden shuts it when it
    comes first of the forbidden and after all that is needed.
    """
    gain, loss = np.zeros((2, most + 1, most + 1))
    for needed in range(most + 1):
        for forbidden in range(most + 1 - needed):
            orders = factorial(needed + forbidden)
            if needed:
                gain[needed, forbidden] = factorial(needed - 1) * factorial(forbidden) / orders
            if forbidden:
                loss[needed, forbidden] = factorial(needed) * factorial(forbidden - 1) / orders
    return gain, loss
