"""Tree libraries behind one word: grow a head, one target from one set of rows.

It knows nothing about horizons, bundles or scores; `trees` beside it makes forecasters of heads.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

import lightgbm
import numpy as np
import optuna
import xgboost
from scipy.special import expit, logit

from cryptoai_assets.lib.datasets import Float64Array
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings
from cryptoai_assets.lib.models.tree_rows import TreeRows
from edge_bundle.windows import Float32Array

Objective = Literal["direction", "volatility"]
# As far as XGBoost lets a base go that is a probability, where every row has one and the same outcome.
_NEARLY_SURE = 1e-6


class TreeHead(Protocol):
    """Grown trees for one target."""

    def predict(self, rows: Float32Array) -> Float64Array:
        """(rows,) probability for a direction, log ratio for a volatility."""
        ...

    def gain(self) -> Float64Array:
        """(features,) what each feature added, in the library's own unit."""
        ...


class TreeSettings(ForecasterSettings, Protocol):
    """Settings of one tree library; every head of a forecaster has the same."""

    def grow(self, rows: TreeRows, target: Float64Array, *, objective: Objective, seed: int) -> TreeHead:
        """Grow trees on the rows whose target (rows,) is not NaN, on one thread."""
        ...


@dataclass(frozen=True, slots=True)
class XgboostHead:
    """Trees of XGBoost."""

    booster: xgboost.Booster

    def predict(self, rows: Float32Array) -> Float64Array:
        """Predict every row.

        The library adds one tree after another to its base, in float32. Beside a base of one half each of
        many trees loses the same last digits, so they are summed from nothing, and the base joins precisely.
        """
        nothing = np.zeros(len(rows), dtype=np.float32)
        trees = self.booster.inplace_predict(rows, predict_type="margin", base_margin=nothing)
        said = self.base + np.asarray(trees, dtype=np.float64)
        return np.asarray(expit(said) if self._is_log_odds else said, dtype=np.float64)

    @property
    def base(self) -> float:
        """What the trees add to: log odds where they say these."""
        told = json.loads(self._learner["learner_model_param"]["base_score"])
        # It is told in as many digits as tell a float32 from its neighbours.
        base = np.asarray(told, dtype=np.float32).astype(np.float64).item()
        return float(logit(np.clip(base, _NEARLY_SURE, 1 - _NEARLY_SURE))) if self._is_log_odds else base

    @property
    def _is_log_odds(self) -> bool:
        return bool(self._learner["objective"]["name"] == "binary:logistic")

    @property
    def _learner(self) -> Any:
        return json.loads(self.booster.save_config())["learner"]

    def gain(self) -> Float64Array:
        """Total gain of each feature."""
        gains = np.zeros(self.booster.num_features())
        for key, value in self.booster.get_score(importance_type="total_gain").items():
            gains[int(key[1:])] = float(np.mean(value))
        return gains


@dataclass(frozen=True, slots=True)
class XgboostSettings:
    """Gradient boosting by XGBoost, depth-wise over histograms."""

    trees: int
    learning_rate: float
    max_depth: int
    min_child_weight: float
    subsample: float
    column_share: float
    l2: float
    max_bins: int = 64
    kind: ClassVar[str] = "xgboost"

    @classmethod
    def start(cls) -> Self:
        """Many rows a leaf and few of the features a tree: a market has little signal, in many places."""
        return cls(
            trees=150,
            learning_rate=0.04,
            max_depth=6,
            min_child_weight=200.0,
            subsample=0.7,
            column_share=0.3,
            l2=10.0,
        )

    @classmethod
    def suggested(cls, trial: optuna.trial.BaseTrial) -> Self:
        """Settings that a search tries."""
        return cls(
            trees=trial.suggest_int("trees", 80, 240, step=10),
            learning_rate=trial.suggest_float("learning_rate", 0.02, 0.08, log=True),
            max_depth=trial.suggest_int("max_depth", 3, 7),
            min_child_weight=trial.suggest_float("min_child_weight", 20.0, 400.0, log=True),
            subsample=trial.suggest_float("subsample", 0.5, 0.9),
            column_share=trial.suggest_float("column_share", 0.3, 0.9),
            l2=trial.suggest_float("l2", 0.1, 30.0, log=True),
        )

    def as_trial(self) -> Mapping[str, Any]:
        """Parameters of a trial that suggests these settings."""
        names = ("trees", "learning_rate", "max_depth", "min_child_weight", "subsample", "column_share", "l2")
        return {name: getattr(self, name) for name in names}

    def grow(self, rows: TreeRows, target: Float64Array, *, objective: Objective, seed: int) -> XgboostHead:
        """Grow with the logistic loss for a direction, the squared one for a volatility."""
        parameters = {
            "objective": "binary:logistic" if objective == "direction" else "reg:squarederror",
            "eta": self.learning_rate,
            "max_depth": self.max_depth,
            "min_child_weight": self.min_child_weight,
            "subsample": self.subsample,
            "colsample_bytree": self.column_share,
            "lambda": self.l2,
            "max_bin": self.max_bins,
            "seed": seed,
        }
        return _xgboost_head(rows, target, parameters, rounds=self.trees)


@dataclass(frozen=True, slots=True)
class LightgbmHead:
    """Trees of LightGBM.

    Parameters
    ----------
    gain_weights
        Of the features, by which the library multiplied the gains that it noted.
    """

    booster: lightgbm.Booster
    gain_weights: Float64Array | None = None

    def predict(self, rows: Float32Array) -> Float64Array:
        """Predict every row."""
        return np.asarray(self.booster.predict(rows), dtype=np.float64)

    def gain(self) -> Float64Array:
        """Total gain of each feature."""
        noted = np.asarray(self.booster.feature_importance("gain"), dtype=np.float64)
        return noted if self.gain_weights is None else noted / self.gain_weights


@dataclass(frozen=True, slots=True)
class LightgbmSettings:
    """Gradient boosting by LightGBM, leaf-wise over histograms."""

    trees: int
    learning_rate: float
    leaves: int
    rows_a_leaf: int
    subsample: float
    column_share: float
    l2: float
    max_bins: int = 63
    kind: ClassVar[str] = "lightgbm"

    @classmethod
    def start(cls) -> Self:
        """Many rows a leaf and few of the features a tree."""
        return cls(
            trees=150,
            learning_rate=0.04,
            leaves=31,
            rows_a_leaf=500,
            subsample=0.7,
            column_share=0.3,
            l2=1.0,
        )

    @classmethod
    def suggested(cls, trial: optuna.trial.BaseTrial) -> Self:
        """Settings that a search tries."""
        return cls(
            trees=trial.suggest_int("trees", 80, 240, step=10),
            learning_rate=trial.suggest_float("learning_rate", 0.02, 0.08, log=True),
            leaves=trial.suggest_int("leaves", 8, 63, log=True),
            rows_a_leaf=trial.suggest_int("rows_a_leaf", 100, 2000, log=True),
            subsample=trial.suggest_float("subsample", 0.5, 0.9),
            column_share=trial.suggest_float("column_share", 0.3, 0.9),
            l2=trial.suggest_float("l2", 0.1, 30.0, log=True),
        )

    def as_trial(self) -> Mapping[str, Any]:
        """Parameters of a trial that suggests these settings."""
        names = ("trees", "learning_rate", "leaves", "rows_a_leaf", "subsample", "column_share", "l2")
        return {name: getattr(self, name) for name in names}

    def grow(self, rows: TreeRows, target: Float64Array, *, objective: Objective, seed: int) -> LightgbmHead:
        """Grow with the logistic loss for a direction, the squared one for a volatility."""
        weights = rows.gain_weights
        parameters = {
            "objective": "binary" if objective == "direction" else "regression",
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.rows_a_leaf,
            "bagging_fraction": self.subsample,
            "bagging_freq": 1,
            "feature_fraction": self.column_share,
            "feature_contri": None if weights is None else weights.tolist(),
            "lambda_l2": self.l2,
            "seed": seed,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        known = rows.for_lightgbm(target, max_bins=self.max_bins)
        return LightgbmHead(lightgbm.train(parameters, known, num_boost_round=self.trees), weights)


@dataclass(frozen=True, slots=True)
class ForestSettings:
    """A random forest by XGBoost over histograms; a direction is the mean of its leaves' shares of rises.

    Parameters
    ----------
    leaf_share
        Of the rows of a tree, that a leaf has at least.
    row_share
        Of the rows, that each tree draws without putting them back.
    column_share
        Of the features, that each split draws.
    """

    trees: int
    max_depth: int
    leaf_share: float
    row_share: float
    column_share: float
    max_bins: int = 64
    kind: ClassVar[str] = "random_forest"

    @classmethod
    def start(cls) -> Self:
        """Trees on a sixth of the rows each, with broad leaves, so that the graph stays small."""
        return cls(trees=80, max_depth=10, leaf_share=0.006, row_share=0.15, column_share=0.2)

    @classmethod
    def suggested(cls, trial: optuna.trial.BaseTrial) -> Self:
        """Settings that a search tries."""
        return cls(
            trees=trial.suggest_int("trees", 60, 100, step=10),
            max_depth=trial.suggest_int("max_depth", 6, 12),
            leaf_share=trial.suggest_float("leaf_share", 0.005, 0.03, log=True),
            row_share=trial.suggest_float("row_share", 0.1, 0.25),
            column_share=trial.suggest_float("column_share", 0.1, 0.4),
        )

    def as_trial(self) -> Mapping[str, Any]:
        """Parameters of a trial that suggests these settings."""
        names = ("trees", "max_depth", "leaf_share", "row_share", "column_share")
        return {name: getattr(self, name) for name in names}

    def grow(
        self,
        rows: TreeRows,
        target: Float64Array,
        *,
        objective: Objective,  # noqa: ARG002 — the squared error of a share is its Brier score
        seed: int,
    ) -> XgboostHead:
        """Grow on squared error, whatever the target."""
        parameters = {
            "objective": "reg:squarederror",
            "eta": 1.0,
            "max_depth": self.max_depth,
            "min_child_weight": max(1, int(self.leaf_share * self.row_share * np.isfinite(target).sum())),
            "subsample": self.row_share,
            "colsample_bynode": self.column_share,
            "lambda": 0.0,
            "max_bin": self.max_bins,
            "seed": seed,
            "num_parallel_tree": self.trees,
        }
        return _xgboost_head(rows, target, parameters, rounds=1)


def _xgboost_head(
    rows: TreeRows, target: Float64Array, parameters: Mapping[str, Any], *, rounds: int
) -> XgboostHead:
    """Grow over histograms, on one thread."""
    own = {**parameters, "tree_method": "hist", "nthread": 1}
    with rows.for_xgboost(target, max_bins=own["max_bin"]) as matrix:
        return XgboostHead(xgboost.train(own, matrix, num_boost_round=rounds))
