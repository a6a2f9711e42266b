"""How much work a training is, chosen when it is launched."""

from dataclasses import replace
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
    trials, search_minutes
        Of the search, in place of the size's own; the same data again with more of them go on with what was
        tried.
    """

    size: Literal["small", "full"] = "small"
    as_of: str | None = None
    cause: str | None = None
    trials: int | None = None
    search_minutes: float | None = None

    def training(self, market: Market) -> TrainingSettings:
        """Settings of this size, with what is set beside it and the kinds of model that the market names.

        Raises
        ------
        ModelChoiceError
            When one of them cannot be trained here.
        """
        size = SMALL if self.size == "small" else FULL
        return replace(
            size.of_market(market),
            trials=self.trials or size.trials,
            search_minutes=size.search_minutes if self.search_minutes is None else self.search_minutes,
        )

    def time(self, now: datetime) -> datetime:
        """Time that the data are read as of."""
        return datetime.fromisoformat(self.as_of) if self.as_of else now
