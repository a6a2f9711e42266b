"""What is to be forecast: forward return, its direction, and realised volatility, in the one place."""

from collections.abc import Sequence

import polars as pl


def target_frame(grid: pl.DataFrame, *, horizons: Sequence[int]) -> pl.DataFrame:
    """Targets of every traded grid bar.

    .. warning:: Every column reads bars after its own. Nothing here may reach a model's input.

    Parameters
    ----------
    grid
        From `edge_bundle.candles.bar_grid`, sorted by symbol and open time.
    horizons
        In bars.

    Returns
    -------
    DataFrame
        ``open_time``, ``symbol`` and for each horizon h ``return_h`` (log return of the close over h bars),
        ``up_h`` (1, 0; null when the close did not move) and ``volatility_h`` (root of the sum of squared
        one-bar log returns). All are null where the horizon leaves the segment or the data.
    """
    own = ["symbol", "segment"]
    columns = []
    for horizon in horizons:
        forward = (pl.col("close").shift(-horizon) / pl.col("close")).log().over(own)
        squares = (pl.col("close") / pl.col("close").shift(1)).log() ** 2
        realised = squares.rolling_sum(horizon).shift(-horizon).clip(lower_bound=0.0).sqrt().over(own)
        columns += [
            forward.alias(f"return_{horizon}"),
            pl.when(forward != 0).then(forward > 0).cast(pl.Int8).alias(f"up_{horizon}"),
            realised.alias(f"volatility_{horizon}"),
        ]
    return grid.select("open_time", "symbol", "traded", *columns).filter("traded").drop("traded")
