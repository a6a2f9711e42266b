"""The bar to beat: one LightGBM on 21 plain features, per symbol, on a forward-filled grid.

The recipe was published with its scores, so that any forecaster can be held against it on the same rows:
regression on the sign of the forward return, 150 trees, learning rate .03, 31 leaves, at least 500 rows a
leaf, 70 % of rows, 60 % of columns; for volatility the same features on the log of the realised one at .05.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import lightgbm
import numpy as np
import polars as pl

from cryptoai_assets.lib.side_by_side import side_by_side
from cryptoai_assets.lib.splits import Fold

RETURN_SPANS = (1, 2, 3, 5, 10, 15, 30, 60, 120, 240)
DEVIATION_SPANS = (5, 15, 60, 240)
_TREES = {"num_leaves": 31, "min_data_in_leaf": 500, "bagging_fraction": 0.7, "bagging_freq": 1}
_SETTINGS = _TREES | {"feature_fraction": 0.6, "verbosity": -1, "objective": "regression"}
_ROUNDS = 150
_KEYS = ("open_time", "symbol")


def reference_rows(candles: pl.DataFrame, *, interval: timedelta, horizons: Sequence[int]) -> pl.DataFrame:
    """Features and targets of one symbol on its forward-filled grid; absent bars are rows too."""
    step = interval
    grid = candles.upsample("open_time", every=step).with_columns(
        pl.col("volume").fill_null(0.0), pl.col("symbol", "close").forward_fill()
    )
    grid = grid.with_columns(pl.col("open", "high", "low").fill_null(pl.col("close")))
    close, volume = pl.col("close"), pl.col("volume")
    one_bar = (close / close.shift(1)).log()
    spread = pl.col("high") - pl.col("low")
    columns = [
        *((close / close.shift(n)).log().alias(f"return_{n}") for n in RETURN_SPANS),
        *(one_bar.rolling_std(n).alias(f"deviation_{n}") for n in DEVIATION_SPANS),
        pl.when(spread > 0).then((close - pl.col("low")) / spread).otherwise(0.5).alias("close_location"),
        (spread / close).alias("range"),
        (volume / (volume.rolling_mean(60) + 1e-9)).alias("volume_ratio"),
        (volume.rolling_mean(5) + 1e-9).log().alias("log_volume"),
        pl.col("open_time").dt.hour().cast(pl.Float64).alias("hour"),
        *((close / close.ewm_mean(span=n, adjust=False) - 1).alias(f"ema_{n}") for n in (20, 100)),
    ]
    targets = [
        target
        for h in horizons
        for target in (
            (close.shift(-h) / close).log().alias(f"forward_{h}"),
            (one_bar**2).rolling_sum(h).shift(-h).clip(lower_bound=0.0).sqrt().alias(f"realised_{h}"),
        )
    ]
    return grid.select(*_KEYS, *columns, *targets)


def reference_forecasts(
    rows: pl.DataFrame, folds: Sequence[Fold], *, horizon: int, seed: int, threads: int
) -> pl.DataFrame:
    """Out-of-sample scores of one symbol.

    Parameters
    ----------
    rows
        From `reference_rows`.

    Returns
    -------
    DataFrame
        ``open_time``, ``symbol``, ``score`` (above 0 says up) and ``volatility`` of every test row.
    """
    known = rows.filter(pl.col(f"forward_{horizon}").is_not_null())
    parts = [partial(_fold_forecasts, known, rows, fold, horizon=horizon, seed=seed) for fold in folds]
    return pl.concat(side_by_side(parts, threads=threads))


def _fold_forecasts(
    known: pl.DataFrame, rows: pl.DataFrame, fold: Fold, *, horizon: int, seed: int
) -> pl.DataFrame:
    names = [
        name for name in rows.columns if name not in _KEYS and not name.startswith(("forward_", "realised_"))
    ]
    train = known.filter(pl.col("open_time") < fold.train_end)
    test = rows.filter(pl.col("open_time").is_between(fold.test_start, fold.test_end, closed="left"))
    inputs, asked = train.select(names).to_numpy(), test.select(names).to_numpy()
    settings = _SETTINGS | {"seed": seed, "num_threads": 1}
    direction = lightgbm.train(
        settings | {"learning_rate": 0.03},
        lightgbm.Dataset(inputs, np.sign(train[f"forward_{horizon}"].to_numpy()), free_raw_data=True),
        num_boost_round=_ROUNDS,
    )
    realised = np.log(np.maximum(train[f"realised_{horizon}"].to_numpy(), 1e-6))
    volatility = lightgbm.train(
        settings | {"learning_rate": 0.05}, lightgbm.Dataset(inputs, realised), num_boost_round=_ROUNDS
    )
    return test.select(
        *_KEYS,
        score=pl.Series(np.asarray(direction.predict(asked))),
        volatility=pl.Series(np.exp(np.asarray(volatility.predict(asked)))),
    )
