"""A dataset: model inputs side by side with what followed them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from edge_bundle.windows import INPUT_KEYS, Float32Array, complete_bars

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


class LookbackError(Exception):
    """A model reads more bars than the dataset holds for each row."""


@dataclass(frozen=True, slots=True)
class History:
    """Bars that inputs longer than one bar are gathered from, only when they are asked for.

    Parameters
    ----------
    bars
        (bars, all features) of every symbol, one symbol after the other; all rows of a dataset share them.
    last
        (rows,) place of each row's last bar.
    columns
        Places of the dataset's features in `bars`.
    lookback
        Bars in a row, without a hole, that every row has.
    """

    bars: Float32Array
    last: Int64Array
    columns: tuple[int, ...]
    lookback: int

    def windows(self, lookback: int, rows: Int64Array) -> Float32Array:
        """(rows, lookback, features) of some rows."""
        places = self.last[rows][:, None] + np.arange(1 - lookback, 1)
        whole = self.bars[places]
        if self.columns == tuple(range(self.bars.shape[1])):
            return np.asarray(whole)
        return np.ascontiguousarray(whole[:, :, self.columns])


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows to train or to score on, sorted by open time and symbol.

    Parameters
    ----------
    keys
        ``open_time``, ``symbol``.
    values
        (rows, 1, features) float32, finite: the last bar of each input, which is all that most models read.
    targets
        Columns of `target_frame`, without keys; a null means not known.
    history
        The bars before it; None where inputs are one bar long.
    derived
        What was made of these very rows, by name, for whoever asks again; a part of them begins without.
    """

    keys: pl.DataFrame
    values: Float32Array
    names: tuple[str, ...]
    targets: pl.DataFrame
    history: History | None = None
    derived: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __len__(self) -> int:
        return self.keys.height

    def rows(self, mask: npt.NDArray[np.bool_]) -> Self:
        """Keep the rows of a mask."""
        history = self.history and replace(self.history, last=self.history.last[mask])
        return replace(
            self,
            keys=self.keys.filter(mask),
            values=self.values[mask],
            targets=self.targets.filter(mask),
            history=history,
        )

    def windows(self, lookback: int, rows: Int64Array | None = None) -> Float32Array:
        """(rows, lookback, features): the very input that a graph takes; of some rows, or of all.

        Raises
        ------
        LookbackError
            When fewer bars than `lookback` are held for each row.
        """
        held = self.history.lookback if self.history else self.values.shape[1]
        if lookback > held:
            raise LookbackError(
                f"{held} bars a row are held, {lookback} needed: raise the lookback of the market"
            )
        if self.history is None or lookback == 1:
            return self.values[:, -lookback:] if rows is None else self.values[rows, -lookback:]
        return self.history.windows(lookback, np.arange(len(self)) if rows is None else rows)

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
        own = self.history and tuple(self.history.columns[column] for column in columns)
        history = self.history and replace(self.history, columns=own or ())
        return replace(self, values=values, names=tuple(names), history=history)

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
    lookback
        The most bars that a model will read; only bars with as many behind them are rows.
    """
    bars, last = complete_bars(features, names, lookback=lookback, bar=bar)
    keys = features.select(INPUT_KEYS)[last].with_columns(last=pl.Series(last))
    joined = (
        keys.filter("traded")
        .join(targets, on=["open_time", "symbol"], how="inner")
        .sort("open_time", "symbol")
    )
    places = joined["last"].to_numpy()
    return Dataset(
        keys=joined.select("open_time", "symbol"),
        values=bars[places][:, None, :],
        names=tuple(names),
        targets=joined.drop("last", "traded", "open_time", "symbol"),
        history=None if lookback == 1 else History(bars, places, tuple(range(len(names))), lookback),
    )
