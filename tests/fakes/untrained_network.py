"""Networks that nobody trained: weights from a seed, and all that a fit would add fitted on real rows."""

from dataclasses import replace

import numpy as np

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.coupling import Coupling, TrainingRange
from cryptoai_assets.lib.models.networks.fitted import Calibration, FittedNetwork, RobustScaling
from cryptoai_assets.lib.models.networks.settings import LstmSettings, NetworkSettings, TransformerSettings
from cryptoai_assets.lib.models.networks.weights import first_weights

TINY_LSTM = replace(LstmSettings.start(), lookback=8, units=(12, 6))
TINY_TRANSFORMER = replace(TransformerSettings.start(), lookback=8, width=16, heads=2, layers=2, inner=24)


def untrained_network(
    settings: NetworkSettings, data: Dataset, *, horizons: tuple[int, ...], seed: int
) -> FittedNetwork:
    """Network over all features of the data, whose outputs differ from row to row."""
    random = np.random.default_rng(seed)
    weights = dict(first_weights(settings, features=len(data.names), horizons=len(horizons), seed=seed))
    for name, values in weights.items():
        noise = random.normal(0, 0.5 * values.shape[-1] ** -0.5, values.shape).astype(np.float32)
        weights[name] = values + noise
    return FittedNetwork(
        settings=settings,
        horizons=horizons,
        names=data.names,
        scaling=RobustScaling.of(data),
        weights=weights,
        calibration=tuple(
            Calibration(0.5 + 0.1 * k, 0.9 - 0.1 * k, 0.05 * k - 0.1) for k in range(len(horizons))
        ),
        coupling=tuple(Coupling(1.1 + 0.1 * k, 0.3 + 0.1 * k, 1.3) for k in range(len(horizons))),
        training_range=TrainingRange.of(data),
        epochs=0,
    )
