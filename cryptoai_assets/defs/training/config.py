"""How much work a training is, chosen when it is launched."""

from datetime import datetime
from typing import Literal

import dagster as dg

from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.training import FULL, SMALL, TrainingSettings


class TrainingConfig(dg.Config):
    """Size of the search and of the walk-forward, and the time that the data are read as of.

    Parameters
    ----------
    size
        ``small`` for minutes, ``full`` for all folds and trials.
    as_of
        ISO 8601 with an offset; None is the present of the market.
    cause
        Why this training runs, as a sensor or a person states it.
    """

    size: Literal["small", "full"] = "small"
    as_of: str | None = None
    cause: str | None = None

    def training(self, market: Market) -> TrainingSettings:
        """Settings of this size, with the kinds of model that the market names.

        Raises
        ------
        ModelChoiceError
            When one of them cannot be trained here.
        """
        return (SMALL if self.size == "small" else FULL).of_market(market)

    def time(self, now: datetime) -> datetime:
        """Time that the data are read as of."""
        return datetime.fromisoformat(self.as_of) if self.as_of else now
