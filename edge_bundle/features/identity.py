"""Identity features: whose bar it is, so that one model for all symbols may treat each in its own way."""

import polars as pl

from edge_bundle.features.feature import Feature

PREFIX = "symbol_is_"


def tells(name: str) -> bool:
    """Whether a feature of this name is of this family."""
    return name.startswith(PREFIX)


def features(symbol: str) -> list[Feature]:
    """Members that tell one symbol from the others."""
    own = pl.col("symbol") == symbol
    return [Feature(PREFIX + symbol, own.cast(pl.Float64), 0, "0 or 1", f"1 on bars of {symbol}.", 1.0)]
