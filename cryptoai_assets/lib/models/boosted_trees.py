"""Gradient-boosted trees: a direction head and a volatility head per horizon, pooled over all symbols.

The expected return follows from both heads: a coefficient per horizon, fitted on later rows than the trees,
times the lead of the probability over one half, times the expected volatility.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import xgboost

from cryptoai_assets.lib.datasets import Dataset, Float64Array
from cryptoai_assets.lib.models.forecaster_model import Predictions, rows_of
from edge_bundle.windows import Float32Array

# The feature whose level the volatility heads forecast relative to, so that calm and wild years look alike.
VOLATILITY_ANCHOR = "return_deviation_60"
VOLATILITY_FLOOR = 1e-6
CALIBRATION_SHARE = 0.2
INTERVAL_COVERAGE = 0.8
RANGE_QUANTILE = 0.0005
DIRECTION_OBJECTIVE = "binary:logistic"
VOLATILITY_OBJECTIVE = "reg:squarederror"


@dataclass(frozen=True, slots=True)
class TreeSettings:
    """Settings of the boosted trees; each head has the same."""

    trees: int
    learning_rate: float
    max_depth: int
    min_child_weight: float
    subsample: float
    column_share: float
    l2: float
    max_bins: int = 64

    def parameters(self, *, objective: str, seed: int, threads: int) -> dict[str, object]:
        """Arguments of XGBoost's training function."""
        return {
            "objective": objective,
            "eta": self.learning_rate,
            "max_depth": self.max_depth,
            "min_child_weight": self.min_child_weight,
            "subsample": self.subsample,
            "colsample_bytree": self.column_share,
            "lambda": self.l2,
            "max_bin": self.max_bins,
            "tree_method": "hist",
            "seed": seed,
            "nthread": threads,
        }


# Where the search starts, and what a run without a search uses.
START_SETTINGS = TreeSettings(
    trees=150,
    learning_rate=0.04,
    max_depth=5,
    min_child_weight=100.0,
    subsample=0.7,
    column_share=0.6,
    l2=1.0,
)


@dataclass(frozen=True, slots=True)
class Coupling:
    """What ties one horizon's heads together, fitted on rows after those that the trees saw.

    Parameters
    ----------
    return_slope
        Expected return, in expected volatilities, at a probability of one (half of it at a lead of 0.25).
    interval_factor
        Half-width of the interval in expected volatilities.
    """

    return_slope: float
    interval_factor: float


@dataclass(frozen=True, slots=True)
class FittedBoostedTrees:
    """Fitted heads; `cryptoai_assets.lib.export` writes them as one graph.

    Parameters
    ----------
    direction, volatility
        One booster a horizon, over the features `selected`.
    range_low, range_high
        Per feature of the input; a value outside was hardly seen in training.
    """

    horizons: tuple[int, ...]
    names: tuple[str, ...]
    selected: tuple[int, ...]
    direction: tuple[xgboost.Booster, ...]
    volatility: tuple[xgboost.Booster, ...]
    coupling: tuple[Coupling, ...]
    range_low: Float32Array
    range_high: Float32Array
    range_limit: float

    def predict(self, data: Dataset) -> Predictions:
        """Predictions of the native library, which the exported graph is compared with."""
        rows = rows_of(data.values)
        matrix = xgboost.DMatrix(rows[:, self.selected])
        anchor = rows[:, self.names.index(VOLATILITY_ANCHOR)].astype(np.float64)
        up = np.column_stack([head.predict(matrix) for head in self.direction]).astype(np.float64)
        relative = np.column_stack([head.predict(matrix) for head in self.volatility]).astype(np.float64)
        volatility = np.exp(relative) * np.maximum(anchor, VOLATILITY_FLOOR)[:, None]
        slopes = np.array([coupling.return_slope for coupling in self.coupling])
        return Predictions(slopes * (2 * up - 1) * volatility, up, volatility)

    def importance(self) -> Mapping[str, float]:
        """Share of the total gain per feature, over the direction heads, largest first."""
        gain = dict.fromkeys((self.names[k] for k in self.selected), 0.0)
        for head in self.direction:
            for key, value in head.get_score(importance_type="total_gain").items():
                gain[self.names[self.selected[int(key[1:])]]] += float(np.mean(value))
        total = sum(gain.values()) or 1.0
        return dict(sorted(((n, g / total) for n, g in gain.items()), key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True)
class DirectionHead:
    """A direction head by itself."""

    selected: tuple[int, ...]
    booster: xgboost.Booster

    def probability_up(self, data: Dataset) -> Float64Array:
        """Probability of up of every row."""
        rows = rows_of(data.values)[:, self.selected]
        return np.asarray(self.booster.predict(xgboost.DMatrix(rows)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """Boosted trees with their settings."""

    settings: TreeSettings
    threads: int
    kind: str = "boosted_trees"

    def fit(self, data: Dataset, *, horizons: tuple[int, ...], seed: int) -> FittedBoostedTrees:
        """Fit the heads on all rows, and what couples them on the last fifth, out of sample."""
        names = data.names
        selected = _varying(data)
        earlier, later = _calibration_split(data, max(horizons))
        trial = self._heads(earlier, horizons, selected, seed, (), names)
        coupling = _coupling(trial.predict(later), later, horizons)
        return self._heads(data, horizons, selected, seed, coupling, names)

    def direction_head(self, data: Dataset, *, horizon: int, seed: int) -> "DirectionHead":
        """Fit the direction head of one horizon alone, as a search does."""
        selected = _varying(data)
        rows = rows_of(data.values)[:, selected]
        return DirectionHead(
            selected, self._booster(rows, data.target("up", horizon), DIRECTION_OBJECTIVE, seed + horizon)
        )

    def _heads(
        self,
        data: Dataset,
        horizons: tuple[int, ...],
        selected: tuple[int, ...],
        seed: int,
        coupling: tuple[Coupling, ...],
        names: tuple[str, ...],
    ) -> FittedBoostedTrees:
        rows = rows_of(data.values)
        low, high = np.quantile(rows, [RANGE_QUANTILE, 1 - RANGE_QUANTILE], axis=0).astype(np.float32)
        outside = ((rows < low) | (rows > high)).mean(axis=1)
        inputs = rows[:, selected]
        return FittedBoostedTrees(
            horizons=horizons,
            names=names,
            selected=selected,
            direction=tuple(
                self._booster(inputs, data.target("up", h), DIRECTION_OBJECTIVE, seed + h) for h in horizons
            ),
            volatility=tuple(
                self._booster(inputs, _relative_volatility(data, h), VOLATILITY_OBJECTIVE, seed + h)
                for h in horizons
            ),
            coupling=coupling or tuple(Coupling(1.0, 1.0) for _ in horizons),
            range_low=low,
            range_high=high,
            range_limit=float(np.quantile(outside, 0.999)),
        )

    def _booster(
        self, rows: Float32Array, target: Float64Array, objective: str, seed: int
    ) -> xgboost.Booster:
        known = np.isfinite(target)
        matrix = xgboost.QuantileDMatrix(
            rows[known], label=target[known], max_bin=self.settings.max_bins, nthread=self.threads
        )
        parameters = self.settings.parameters(objective=objective, seed=seed, threads=self.threads)
        return xgboost.train(parameters, matrix, num_boost_round=self.settings.trees)

    def describe(self) -> dict[str, object]:
        """Settings for the record."""
        return asdict(self.settings)


def _relative_volatility(data: Dataset, horizon: int) -> Float64Array:
    """Log of the realised volatility over the anchor's; NaN where nothing moved or nothing is known."""
    realised = data.target("volatility", horizon)
    anchor = np.maximum(data.column(VOLATILITY_ANCHOR), VOLATILITY_FLOOR)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.log(realised / anchor)
    # A still bar has no logarithm; it counts as one twentieth of the usual move.
    relative = np.where(realised == 0, -3.0, relative)
    return np.clip(relative, -3.0, 4.0)


def _varying(data: Dataset) -> tuple[int, ...]:
    """Select the features that are not constant in the training rows."""
    spread = np.ptp(rows_of(data.values), axis=0)
    return tuple(int(k) for k in np.flatnonzero(spread > 0))


def _calibration_split(data: Dataset, horizon: int) -> tuple[Dataset, Dataset]:
    times = data.times
    cut = int(len(times) * (1 - CALIBRATION_SHARE))
    return data.between(None, times[max(cut - horizon, 1)]), data.between(times[cut], None)


def _coupling(predicted: Predictions, later: Dataset, horizons: tuple[int, ...]) -> tuple[Coupling, ...]:
    couplings = []
    for column, horizon in enumerate(horizons):
        realised = later.target("return", horizon)
        volatility = predicted.expected_volatility[:, column]
        lead = (2 * predicted.probability_up[:, column] - 1) * volatility
        known = np.isfinite(realised)
        lead, realised, volatility = lead[known], realised[known], volatility[known]
        # Weighted least squares through the origin: each row in units of its own volatility.
        weight = 1 / volatility**2
        slope = float((weight * lead * realised).sum() / max((weight * lead**2).sum(), 1e-12))
        slope = max(slope, 0.0)
        miss = np.abs(realised - slope * lead) / volatility
        couplings.append(Coupling(slope, float(np.quantile(miss, INTERVAL_COVERAGE))))
    return tuple(couplings)
