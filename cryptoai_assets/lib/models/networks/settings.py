"""Settings of the networks: their shape, and how they are trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import optuna


@dataclass(frozen=True, slots=True)
class EpochSettings:
    """How a network is trained.

    Parameters
    ----------
    epochs
        At most.
    windows
        At most, over all epochs: a long series is gone through fewer times than a short one.
    patience
        Epochs without a better validation loss, after which the training ends.
    stopping_share
        Of the training rows, the last in time, that decide when to stop.
    return_weight, volatility_weight
        Of the losses beside that of the direction, each in shares of what saying the mean costs.
    """

    epochs: int
    windows: int
    patience: int
    batch: int
    learning_rate: float
    weight_decay: float
    stopping_share: float
    return_weight: float
    volatility_weight: float

    def planned_epochs(self, windows: int) -> int:
        """How often a training goes through so many windows, when nothing stops it; at least once."""
        return max(1, min(self.epochs, self.windows // max(1, windows)))


_EPOCHS = EpochSettings(
    epochs=24,
    windows=150_000,
    patience=3,
    batch=64,
    learning_rate=1e-3,
    weight_decay=1e-2,
    stopping_share=0.15,
    return_weight=0.25,
    volatility_weight=0.25,
)


@dataclass(frozen=True, slots=True)
class LstmSettings:
    """Layers of LSTM cells; the heads read what the last layer holds after the last bar.

    Parameters
    ----------
    units
        Of each layer.
    dropout
        Between the layers and before the heads.
    """

    lookback: int
    units: tuple[int, ...]
    dropout: float
    training: EpochSettings
    kind: ClassVar[str] = "lstm"

    @classmethod
    def start(cls) -> Self:
        """Layers of 128, 64 and 32 units over 60 bars."""
        return cls(lookback=60, units=(128, 64, 32), dropout=0.2, training=_EPOCHS)

    @classmethod
    def suggested(cls, trial: optuna.trial.BaseTrial) -> Self:  # noqa: ARG003 — a trial costs a whole training
        """Nothing is searched."""
        return cls.start()

    def as_trial(self) -> Mapping[str, Any]:
        """Nothing is searched."""
        return {}

    @property
    def width(self) -> int:
        """Of what the heads read."""
        return self.units[-1]


@dataclass(frozen=True, slots=True)
class TransformerSettings:
    """An encoder with sinusoidal positions; the heads read its last bar.

    Each layer normalises what it reads. Source: Xiong et al., "On layer normalization in the Transformer
    architecture", 2020.

    Parameters
    ----------
    inner
        Width of the two dense layers after each attention.
    """

    lookback: int
    width: int
    heads: int
    layers: int
    inner: int
    dropout: float
    training: EpochSettings
    kind: ClassVar[str] = "transformer"

    @classmethod
    def start(cls) -> Self:
        """Four layers of width 128 with four heads, over 60 bars."""
        return cls(lookback=60, width=128, heads=4, layers=4, inner=512, dropout=0.1, training=_EPOCHS)

    @classmethod
    def suggested(cls, trial: optuna.trial.BaseTrial) -> Self:  # noqa: ARG003 — a trial costs a whole training
        """Nothing is searched."""
        return cls.start()

    def as_trial(self) -> Mapping[str, Any]:
        """Nothing is searched."""
        return {}


NetworkSettings = LstmSettings | TransformerSettings
