"""A dataset: model inputs side by side with what followed them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from edge_bundle.windows import Float32Array, model_input

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows to train or to score on, sorted by open time and symbol.

    Parameters
    ----------
    keys
        ``open_time``, ``symbol``.
    values
        (rows, lookback, features) float32, finite: the very input that the graph takes.
    targets
        Columns of `target_frame`, without keys; a null means not known.
    """

    keys: pl.DataFrame
    values: Float32Array
    names: tuple[str, ...]
    targets: pl.DataFrame

    def __len__(self) -> int:
        return self.keys.height

    def rows(self, mask: npt.NDArray[np.bool_]) -> Self:
        """Keep the rows of a mask."""
        return type(self)(self.keys.filter(mask), self.values[mask], self.names, self.targets.filter(mask))

    def between(self, start: datetime | None, end: datetime | None) -> Self:
        """Rows with ``start <= open_time < end``; None leaves that side open."""
        mask = np.ones(len(self), dtype=bool)
        if start is not None:
            mask &= (self.keys["open_time"] >= start).to_numpy()
        if end is not None:
            mask &= (self.keys["open_time"] < end).to_numpy()
        return self.rows(mask)

    def with_features(self, names: Sequence[str]) -> Self:
        """Keep some features, in the order of `names`; the same dataset where they are its own."""
        if tuple(names) == self.names:
            return self
        columns = [self.names.index(name) for name in names]
        values = np.ascontiguousarray(self.values[:, :, columns])
        return type(self)(self.keys, values, tuple(names), self.targets)

    def of_symbols(self, symbols: Sequence[str]) -> Self:
        """Rows of some symbols."""
        return self.rows(self.keys["symbol"].is_in(list(symbols)).to_numpy())

    def target(self, kind: str, horizon: int) -> Float64Array:
        """Target column ``kind_horizon`` as float64; NaN where it is not known."""
        return self.targets[f"{kind}_{horizon}"].cast(pl.Float64).fill_null(np.nan).to_numpy()

    def column(self, name: str) -> Float64Array:
        """One feature of the last bar of each input, as float64."""
        return self.values[:, -1, self.names.index(name)].astype(np.float64)

    @property
    def times(self) -> list[datetime]:
        """Distinct open times, ascending."""
        return self.keys["open_time"].unique().sort().to_list()


def dataset(
    features: pl.DataFrame, targets: pl.DataFrame, names: Sequence[str], *, lookback: int, bar: timedelta
) -> Dataset:
    """Join complete model inputs of traded bars with their targets.

    Parameters
    ----------
    features
        From `edge_bundle.features.catalog.feature_frame`, sorted by symbol and open time.
    targets
        From `cryptoai_assets.lib.targets.target_frame`.
    """
    inputs = model_input(features, names, lookback=lookback, bar=bar)
    keys = inputs.keys.with_row_index("row").filter("traded").drop("traded")
    joined = keys.join(targets, on=["open_time", "symbol"], how="inner").sort("open_time", "symbol")
    return Dataset(
        keys=joined.select("open_time", "symbol"),
        values=inputs.values[joined["row"].to_numpy()],
        names=tuple(names),
        targets=joined.drop("row", "open_time", "symbol"),
    )
