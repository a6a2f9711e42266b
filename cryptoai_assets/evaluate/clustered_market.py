"""A simulated market that never drifts though its volatility clusters, and faults planted into it."""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from cryptoai_monitoring.thresholds import Float64Array

# A GARCH(1, 1) process: a shock is half forgotten after 69 bars.
PERSISTENCE, SHOCK = 0.90, 0.09
WARMUP = 600
# Correlation of the forecast with the next return, as those of real minutes are.
RELATION = 0.13
FEATURES = ("return", "size", "volatility_20", "volatility_100", "momentum_20", "range_10")
AGREEMENT = "agreement"
COLUMNS = (*FEATURES, "forecast", "target", AGREEMENT)


def clustered_features(rows: int, seed: int) -> pl.DataFrame:
    """Six features of one stationary series; each row's come from its past only."""
    noise = np.random.default_rng(seed).standard_normal(rows + WARMUP)
    return _features(_clustered_returns(noise)).tail(rows)


def clustered_market(rows: int, seed: int) -> pl.DataFrame:
    """`COLUMNS`: the features, a forecast of the next return, what came, and if the last forecast agreed."""
    random = np.random.default_rng(seed)
    told = random.standard_normal(rows + WARMUP)
    noise = random.standard_normal(rows + WARMUP)
    noise[1:] = RELATION * told[:-1] + (1 - RELATION**2) ** 0.5 * noise[1:]
    returns = _clustered_returns(noise)
    features = _features(returns).with_columns(forecast=pl.Series(told), target=pl.Series(returns))
    return features.with_columns(agreement=_agreement()).tail(rows).select(COLUMNS)


def _agreement() -> pl.Expr:
    return pl.col("forecast").shift(1).clip(-3, 3) * pl.col("target").sign()


def _clustered_returns(noise: Float64Array) -> Float64Array:
    returns = np.empty_like(noise)
    variance = 1.0
    for bar, shock in enumerate(noise):
        returns[bar] = np.sqrt(variance) * shock
        variance = (1 - PERSISTENCE - SHOCK) + SHOCK * returns[bar] ** 2 + PERSISTENCE * variance
    return returns


def _features(returns: Float64Array) -> pl.DataFrame:
    change = pl.col("return")
    return pl.DataFrame({"return": returns}).select(
        "return",
        size=change.abs(),
        volatility_20=change.rolling_std(20),
        volatility_100=change.rolling_std(100),
        momentum_20=change.rolling_sum(20),
        range_10=change.rolling_max(10) - change.rolling_min(10),
    )


def shifted(values: Float64Array, usual: Float64Array) -> Float64Array:
    """One deviation more."""
    return np.asarray(values + usual.std())


def doubled_variance(values: Float64Array, usual: Float64Array) -> Float64Array:
    """Twice the variance, around the same mean."""
    return np.asarray(usual.mean() + 2**0.5 * (values - usual.mean()))


def other_units(values: Float64Array, _usual: Float64Array) -> Float64Array:
    """Thousandths in place of wholes."""
    return np.asarray(values * 1_000)


def frozen(values: Float64Array, _usual: Float64Array) -> Float64Array:
    """The last value for ever."""
    return np.full_like(values, values[0])


# Values since the fault, and the usual ones, to faulty values.
FEATURE_FAULTS: Mapping[str, Callable[[Float64Array, Float64Array], Float64Array]] = {
    "shift of one deviation": shifted,
    "doubled variance": doubled_variance,
    "changed units": other_units,
    "frozen feature": frozen,
}


def with_feature_fault(market: pl.DataFrame, fault: str, *, column: str, row: int) -> pl.DataFrame:
    """Let one column be faulty from a row on; the rows before it are what is usual."""
    values = market[column].to_numpy()
    faulty = FEATURE_FAULTS[fault](values[row:], values[:row])
    return market.with_columns(pl.Series(column, np.concatenate([values[:row], faulty])))


def with_reversed_relation(market: pl.DataFrame, row: int) -> pl.DataFrame:
    """Let forecasts mean the opposite from a row on."""
    later = pl.int_range(pl.len()) >= row
    told = pl.when(later).then(-pl.col("forecast")).otherwise(pl.col("forecast"))
    return market.with_columns(forecast=told).with_columns(agreement=_agreement())


def with_decayed_relation(market: pl.DataFrame, row: int, *, rows: int, seed: int) -> pl.DataFrame:
    """Let ever more forecasts mean nothing, none after so many rows more mean anything."""
    random = np.random.default_rng(seed)
    share = np.clip((np.arange(market.height) - row) / rows, 0, 1)
    lost = random.random(market.height) < share
    told = np.where(lost, random.standard_normal(market.height), market["forecast"].to_numpy())
    return market.with_columns(forecast=pl.Series(told)).with_columns(agreement=_agreement())
