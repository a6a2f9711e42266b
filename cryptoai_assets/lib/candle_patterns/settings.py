"""Settings of the candlestick network: its shape, and how it is trained."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class CandleNetSettings:
    """Convolutions along the bars, of three bars each, and what the last bars have become, compared.

    Parameters
    ----------
    channels
        Of each convolution.
    windows
        Of an epoch, all made for it alone: `made_share` of them pieced together anew, the others as they were
        traded.
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
    common_share: float
    batch: int
    learning_rate: float
    kind: ClassVar[str] = "candles"
