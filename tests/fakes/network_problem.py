"""A small training problem whose direction the second bar from the end tells."""

from dataclasses import replace

import numpy as np

from cryptoai_assets.lib.models.networks.problem import TrainingProblem, Windows
from cryptoai_assets.lib.models.networks.settings import LstmSettings, NetworkSettings, TransformerSettings

EPOCHS = 6
SETTINGS: dict[str, NetworkSettings] = {
    "lstm": replace(
        LstmSettings.start(),
        lookback=6,
        units=(16, 8),
        training=replace(LstmSettings.start().training, epochs=EPOCHS, batch=32, learning_rate=5e-3),
    ),
    "transformer": replace(
        TransformerSettings.start(),
        lookback=6,
        width=16,
        heads=2,
        layers=2,
        inner=32,
        training=replace(TransformerSettings.start().training, epochs=EPOCHS, batch=32, learning_rate=5e-3),
    ),
}


def small_problem(
    kind: str, *, stopping: bool = True, seed: int = 3, epochs: int = EPOCHS
) -> TrainingProblem:
    """2,000 windows over four features, two horizons; some outcomes are not known."""
    random = np.random.default_rng(11)
    bars = random.normal(size=(3000, 4)).astype(np.float32)
    last = np.arange(10, 3000, dtype=np.int64)
    lead = bars[last - 1, 2][:, None] + random.normal(0, 0.5, (len(last), 2))
    targets = np.stack([lead, lead > 0, bars[last, :1] + 0 * lead], axis=1).astype(np.float32)
    targets[::50, 1, 0] = np.nan
    cut = 2000
    return TrainingProblem(
        settings=SETTINGS[kind],
        horizons=2,
        bars=bars,
        training=Windows(last[:cut], targets[:cut]),
        stopping=Windows(last[cut + 10 :], targets[cut + 10 :]) if stopping else None,
        epochs=epochs,
        planned=EPOCHS,
        seed=seed,
    )
