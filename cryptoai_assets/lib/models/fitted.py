"""What every fitted forecaster has, whatever its heads are made of: enough to write it as one graph."""

from collections.abc import Mapping
from typing import Protocol

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.coupling import Coupling, TrainingRange
from cryptoai_assets.lib.models.forecaster_model import Predictions


class FittedForecaster(Protocol):
    """A fitted forecaster, which `cryptoai_assets.lib.export` writes as a bundle."""

    @property
    def lookback(self) -> int:
        """Bars that it reads."""
        ...

    @property
    def horizons(self) -> tuple[int, ...]:
        """In bars, in the order of its outputs."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Features that it reads, in order."""
        ...

    @property
    def coupling(self) -> tuple[Coupling, ...]:
        """By horizon."""
        ...

    @property
    def training_range(self) -> TrainingRange:
        """Outside of which it abstains."""
        ...

    def predict(self, data: Dataset) -> Predictions:
        """Predictions for every row, which the exported graph is compared with."""
        ...

    def importance(self) -> Mapping[str, float]:
        """Share of each feature, largest first."""
        ...
