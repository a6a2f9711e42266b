"""Settings of the candlestick network: its shape, and how it is trained."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class CandleNetSettings:
    """Convolutions of a bar, of three bars, and of what those have become; beside them a plain layer.

    Parameters
    ----------
    channels
        Of each convolution.
    windows
        Of an epoch, all made for it alone: `made_share` of them pieced together anew, the others as they were
        traded.
    noisy_share, noises
        Of the made windows: those with noise on their prices, and its sizes in mean ranges, as many of each.
    common_share
        Of the windows that end with no rare pattern, which are most: those that are read. Each weighs as much
        more.
    cooling_epochs
        The last ones, over which the learning rate falls to nothing.
    """

    channels: tuple[int, ...]
    inner: int
    epochs: int
    cooling_epochs: int
    windows: int
    made_share: float
    noisy_share: float
    noises: tuple[float, ...]
    common_share: float
    batch: int
    learning_rate: float
    kind: ClassVar[str] = "candles"
