"""Where the networks that read charts and candles come from, chosen when a run is launched."""

from importlib.util import find_spec
from typing import Literal

import dagster as dg


class ReaderConfig(dg.Config):
    """Size of a training.

    Parameters
    ----------
    size
        ``shipped`` takes the weights that the project brings; ``small`` trains for seconds, ``full`` for
        hours; ``auto`` is ``small`` where PyTorch is installed and the market has windows enough, and
        ``shipped`` elsewhere.
    cause
        Why this training runs, where it refreshes a champion of its kind.
    """

    size: Literal["auto", "shipped", "small", "full"] = "auto"
    cause: str = "trained on the newest candles"

    def origin(self, *, enough: bool) -> Literal["shipped", "small", "full"]:
        """Size, decided; what is decided by itself trains only where there are windows enough."""
        if self.size == "auto":
            return "small" if enough and find_spec("torch") else "shipped"
        return self.size
