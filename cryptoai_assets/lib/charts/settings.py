"""Settings of the chart networks: their shape, and how they are trained."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class ChartTraining:
    """How a chart network is trained.

    Parameters
    ----------
    images
        An epoch draws so many, as many of each pattern; `none_share` of them have none.
    fresh_share
        Of the images: those pieced together for this epoch alone.
    cooling_epochs
        The last ones, over which the learning rate falls to nothing. All before them are the same however
        many there are.
    turn_weight, pointer_weight
        Of the losses beside that of the class: each bar's turn, and the bars of the key points.
    """

    epochs: int
    cooling_epochs: int
    images: int
    fresh_share: float
    none_share: float
    batch: int
    learning_rate: float
    weight_decay: float
    turn_weight: float
    pointer_weight: float


@dataclass(frozen=True, slots=True)
class VisionTransformerSettings:
    """A Vision Transformer with one token a bar: a patch is a bar's columns from top to bottom.

    Source: Dosovitskiy et al., "An image is worth 16x16 words", 2021.

    Parameters
    ----------
    inner
        Width of the two dense layers after each attention.
    stem_bars
        Bars that each convolution along the closes sees, before the first attention.
    stem_steps, stem_batch, stem_rate
        Of what these convolutions are taught alone, before the first epoch: each bar's turn, on windows that
        nobody traded; the rate falls over the second half.
    """

    width: int
    stem_bars: tuple[int, ...]
    stem_steps: int
    stem_batch: int
    stem_rate: float
    heads: int
    layers: int
    inner: int
    training: ChartTraining
    kind: ClassVar[str] = "vit"


@dataclass(frozen=True, slots=True)
class PictureCnnSettings:
    """The paper's convolutional network: blocks of 5 x 3 filters, each halving the height.

    Source: Jiang, Kelly and Xiu (2023), whose network for 60 bars has 64, 128, 256 and 512 filters.
    """

    filters: tuple[int, ...]
    training: ChartTraining
    kind: ClassVar[str] = "cnn"


@dataclass(frozen=True, slots=True)
class CloseNetSettings:
    """A 1-D network that reads the closes of the picture instead of the picture."""

    width: int
    layers: int
    training: ChartTraining
    kind: ClassVar[str] = "closes"


ChartSettings = VisionTransformerSettings | PictureCnnSettings | CloseNetSettings
