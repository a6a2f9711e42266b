"""How often outcomes lie in the intervals that a fitted forecaster promises, whatever kind it is."""

from typing import Protocol

import numpy as np

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.coupling import Coupling
from cryptoai_assets.lib.models.forecaster_model import Predictions


class Promising(Protocol):
    """A fitted forecaster with intervals."""

    @property
    def coupling(self) -> tuple[Coupling, ...]: ...

    def predict(self, data: Dataset) -> Predictions: ...


def shares_held(fitted: Promising, test: Dataset, horizons: tuple[int, ...]) -> list[float]:
    """Share of known outcomes inside their interval, by horizon."""
    said, shares = fitted.predict(test), []
    for column, horizon in enumerate(horizons):
        realised = test.target("return", horizon)
        known = np.isfinite(realised)
        half = fitted.coupling[column].interval_factor * said.expected_volatility[known, column]
        held = np.abs(realised[known] - said.expected_return[known, column]) <= half
        shares.append(float(held.mean()))
    return shares
