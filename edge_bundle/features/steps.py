"""Steps: the intermediate columns that several features are made of, each computed once.

A step reads the bars and other steps. Its name starts with an underscore; `step` gives the column, so that a
feature stays a short expression: the time to plan one grows with the square of its length.
"""

import math
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import polars as pl
import polars_talib as talib

# The weight under which a decayed bar no longer counts towards a feature's memory.
NEGLIGIBLE_WEIGHT = 1e-12
# A volatility under a thousandth of a basis point is none: what rounding leaves in a running mean of squares
# after the moves have left its window is of this order, and depends on how long the window has been running.
NEGLIGIBLE_VOLATILITY = 1e-7

SHARED_RETURNS = (1, 2, 3, 5, 10, 15, 60, 240)
DEVIATION_SPANS = (5, 15, 60, 240)
# Sizes of a candle's parts, in usual ranges. Prices move in ticks and sizes tie with round numbers: with
# these none does, whatever the last digit of a running mean is.
TINY, SMALL, LONG, EQUAL = (size * (1 + 1e-9) for size in (0.1, 0.3, 0.6, 0.05))
AVERAGE_SPANS = (5, 10, 20, 50, 100, 200)
MACD_SPANS = (12, 26, 9)
WILDER_PERIODS = (3, 7, 14, 28)
# A day, a week and a month of half hours; the last is a day of minutes as well.
REALISED_SPANS = (48, 336, 1440)
REGIME_SPANS = (480, 1440)
# Of RiskMetrics (1996), for days and for months, and a slow one.
DECAYS = (0.94, 0.97, 0.99)


def step(name: str) -> pl.Expr:
    """Column of a step.

    Raises
    ------
    ValueError
        When no step has the name.
    """
    if f"_{name}" not in steps():
        raise ValueError(f"{name} is no shared step; add it to steps()")
    return pl.col(f"_{name}")


def quotient(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """Numerator over a denominator that is never negative; 0 where it vanishes, as on a flat series."""
    return pl.when(denominator > NEGLIGIBLE_WEIGHT).then(numerator / denominator).otherwise(0.0)


def root(mean_square: pl.Expr) -> pl.Expr:
    """Root of a running mean of squared returns; exactly 0 where it is negligible, as on a flat series.

    Polars computes what is named twice here two times, so give it a step.
    """
    return pl.when(mean_square > NEGLIGIBLE_VOLATILITY**2).then(mean_square.sqrt()).otherwise(0.0)


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Part of a width in price; 0 where the width is none."""
    return pl.when(whole > NEGLIGIBLE_WEIGHT * pl.col("close")).then(part / whole).otherwise(0.0)


def inverse(column: pl.Expr, present: pl.Expr) -> pl.Expr:
    """One over a column, 0 where it is not present: to multiply by it is to divide where that is possible."""
    return pl.when(present).then(1 / column).otherwise(0.0)


def bars_before(column: pl.Expr, bars: int) -> pl.Expr:
    """Value of some bars ago, and the first one where there is none: TA-Lib is slow where it sees a null."""
    return column.shift(bars, fill_value=column.first())


def flag(seen: pl.Expr) -> pl.Expr:
    """1 where it is so, 0 elsewhere; a cast takes polars five times as long."""
    return pl.when(seen).then(1.0).otherwise(0.0)


def log_return(bars: int) -> pl.Expr:
    """Log return of the close over `bars` bars; shared where several features read it."""
    if bars in SHARED_RETURNS:
        return pl.col("_return" if bars == 1 else f"_return_{bars}")
    return _close_return(bars)


# Running means and sums come from TA-Lib, three to five times faster than polars. Theirs carry the rounding
# of every bar since the column began, which a block of bars keeps small: see `computed_features`. Where one
# bar may outweigh all others by many powers of ten, as in a fourth power, polars sums without that.
def mean(values: pl.Expr, bars: int) -> pl.Expr:
    """Mean of the last bars, of values without a null."""
    return talib.sma(values, timeperiod=bars)


def total(values: pl.Expr, bars: int) -> pl.Expr:
    """Sum of the last bars, of values without a null."""
    return talib.sum(values, timeperiod=bars)


def ema(values: pl.Expr, span: int) -> pl.Expr:
    """Exponential mean with the alpha 2 / (span + 1), begun with the mean of the first `span` bars."""
    return talib.ema(values, timeperiod=span)


def wilder_mean(values: pl.Expr, period: int) -> pl.Expr:
    """Wilder's smoothing over `period` bars, an exponential mean with the alpha 1 / period."""
    return ema(values, 2 * period - 1)


def variance(values: pl.Expr, bars: int) -> pl.Expr:
    """Sample variance of the last bars, of values that are not far from 0 for their deviation."""
    population: pl.Expr = talib.var(values, timeperiod=bars)
    return population * (bars / (bars - 1))


@cache
def steps() -> Mapping[str, pl.Expr]:
    """Every step by the name of its column."""
    families = (_bar_steps, _candle_steps, _return_steps, _average_steps, _direction_steps, _volume_steps)
    named = {name: expression for family in families for name, expression in family().items()}
    return MappingProxyType({f"_{name}": expression for name, expression in named.items()})


@cache
def planned_steps(columns: frozenset[str]) -> tuple[tuple[pl.Expr, ...], ...]:
    """Steps that the columns are made of, in rounds: each reads the bars and the rounds before it."""
    rounds: dict[int, list[pl.Expr]] = {}
    for name in sorted(_needed(columns)):
        rounds.setdefault(_depth(name), []).append(steps()[name].alias(name))
    return tuple(tuple(rounds[depth]) for depth in sorted(rounds))


@cache
def columns_read(columns: frozenset[str]) -> frozenset[str]:
    """Columns that a grid must have for these: the given ones, and what the steps among them are made of."""
    return (columns | frozenset().union(*(_read(name) for name in _needed(columns)))) - steps().keys()


def _needed(columns: frozenset[str]) -> frozenset[str]:
    own = columns.intersection(steps())
    return own.union(*(_needed(_read(name)) for name in own))


@cache
def _read(name: str) -> frozenset[str]:
    return frozenset(steps()[name].meta.root_names())


@cache
def _depth(name: str) -> int:
    return 1 + max((_depth(read) for read in _read(name) if read in steps()), default=0)


_open, _high, _low, _close, _volume = (pl.col(name) for name in ("open", "high", "low", "close", "volume"))


def _bar_steps() -> dict[str, pl.Expr]:
    """Shape of the bar, and the extremes of the last bars."""
    moment = pl.col("open_time").dt.epoch("s")
    return {
        # 1970-01-01 was a Thursday: three days after a Monday.
        "minute_of_week": ((moment // 60 + 3 * 1440) % 10080).cast(pl.Float64),
        "close_before": bars_before(_close, 1),
        "spread": _high - _low,
        "body": _close - _open,
        "body_top": pl.max_horizontal("open", "close"),
        "body_bottom": pl.min_horizontal("open", "close"),
        "upper_shadow": _high - pl.col("_body_top"),
        "lower_shadow": pl.col("_body_bottom") - _low,
        "true_range": talib.trange(_high, _low, _close),
        # Extremes come from TA-Lib, five times faster; no arithmetic, so they are exact all the same.
        **{f"lowest_{n}": talib.min(_low, timeperiod=n) for n in (14, 60, 240)},
        **{f"highest_{n}": talib.max(_high, timeperiod=n) for n in (14, 60, 240)},
        **{f"width_{n}": pl.col(f"_highest_{n}") - pl.col(f"_lowest_{n}") for n in (14, 60, 240)},
        "stochastic_14": share(_close - pl.col("_lowest_14"), pl.col("_width_14")),
        **{f"log_{price}": pl.col(price).log() for price in ("open", "high", "low", "close")},
        "aroon_25": talib.aroon(_high, _low, timeperiod=25),
    }


def _candle_steps() -> dict[str, pl.Expr]:
    """Parts of the candle in units of what is usual, and words for them."""
    usual, per_usual = pl.col("_usual_range"), pl.col("_per_usual_range")
    body, upper, lower = (pl.col(f"_{part}_size") for part in ("body", "upper", "lower"))
    side = pl.col("_side")
    words = {
        "rise": body > SMALL,
        "fall": body < -SMALL,
        "long_rise": body > LONG,
        "long_fall": body < -LONG,
        "small": (body > -SMALL) & (body < SMALL),
        "rise_on": pl.col("_rise") & (upper < SMALL) & (_open >= pl.col("_open_1")) & pl.col("_opens_below"),
        "fall_on": pl.col("_fall") & (lower < SMALL) & (_open <= pl.col("_open_1")) & pl.col("_opens_above"),
        "higher_high": _high > _high.shift(1),
        "lower_low": _low < _low.shift(1),
        "fell": pl.col("_close_before") < _close.shift(6),
        "rose": pl.col("_close_before") > _close.shift(6),
    }
    return {
        # Of the bars before this one, which shall be judged by it.
        "usual_range": mean(pl.col("_true_range"), 14).shift(1),
        "per_usual_range": inverse(usual, usual > NEGLIGIBLE_VOLATILITY * _close),
        **{
            f"{part}_size": pl.col(column) * per_usual
            for part, column in (("body", "_body"), ("upper", "_upper_shadow"), ("lower", "_lower_shadow"))
        },
        "open_1": _open.shift(1),
        "opens_below": _open <= pl.col("_close_before") + EQUAL * usual,
        "opens_above": _open >= pl.col("_close_before") - EQUAL * usual,
        "middle": (_open + _close) / 2,
        "tiny_upper": upper < TINY,
        "tiny_lower": lower < TINY,
        **words,
        **{f"{word}_{back}": pl.col(f"_{word}").shift(back) for word in words for back in (1, 2)},
        "side": pl.col("_change").sign(),
        "bar": pl.int_range(pl.len()),
        "run_start": pl.when((side != side.shift(1)).fill_null(True)).then(pl.col("_bar")).forward_fill(),
    }


def _return_steps() -> dict[str, pl.Expr]:
    """One-bar returns, their products, and what volatility is made of."""
    one_bar, square = pl.col("_return"), pl.col("_square")
    high_low, close_open = pl.col("_high_low"), pl.col("_close_open")
    high_open, low_open = (pl.col(f"_log_{price}") - pl.col("_log_open") for price in ("high", "low"))
    return {
        **{f"return_{n}" if n > 1 else "return": _close_return(n) for n in SHARED_RETURNS},
        "square": one_bar * one_bar,
        "lagged": one_bar * bars_before(one_bar, 1),
        "lagged_size": pl.col("_lagged").abs(),
        "cube": square * one_bar,
        "fourth": square * square,
        **{f"variance_{n}": mean(square, n) for n in DEVIATION_SPANS},
        **{f"deviation_{n}": root(pl.col(f"_variance_{n}")) for n in DEVIATION_SPANS},
        # Where nothing moved it is 0, and so is every distance that is measured in deviations.
        **{
            f"per_deviation_{n}": inverse(pl.col(f"_deviation_{n}"), pl.col(f"_deviation_{n}") > 0)
            for n in DEVIATION_SPANS
        },
        **{
            f"per_variance_{n}": pl.col(f"_per_deviation_{n}") * pl.col(f"_per_deviation_{n}")
            for n in (60, 240)
        },
        **{f"autocovariance_{n}": mean(pl.col("_lagged"), n) for n in (60, 240)},
        **{f"bipower_{n}": mean(pl.col("_lagged_size"), n) * (math.pi / 2) for n in (60, 240)},
        "high_low": pl.col("_log_high") - pl.col("_log_low"),
        "high_low_square": high_low * high_low,
        "close_open": pl.col("_log_close") - pl.col("_log_open"),
        "open_gap": pl.col("_log_open") - bars_before(pl.col("_log_close"), 1),
        "garman_klass": 0.5 * pl.col("_high_low_square") - (2 * math.log(2) - 1) * close_open * close_open,
        "rogers_satchell": high_open * (high_open - close_open) + low_open * (low_open - close_open),
        **{
            f"{name}_{n}": mean(pl.col(f"_{name}"), n)
            for name in ("high_low_square", "garman_klass", "rogers_satchell")
            for n in (20, 60)
        },
        **{f"gap_variance_{n}": variance(pl.col("_open_gap"), n) for n in (20, 60)},
        **{f"body_variance_{n}": variance(close_open, n) for n in (20, 60)},
        **{f"yang_zhang_{n}": _yang_zhang(n) for n in (20, 60)},
        **{f"squares_{n}": total(square, n) for n in REALISED_SPANS},
        **{f"path_{n}": total(one_bar.abs(), n) for n in (20, 60, 240)},
        **{f"decayed_{100 * decay:.0f}": square.ewm_mean(alpha=1 - decay, adjust=False) for decay in DECAYS},
        **{f"spread_{n}": pl.col(f"_variance_{n}") - (log_return(n) / n) ** 2 for n in (15, 60)},
        "leader_product": one_bar * pl.col("_leader_return"),
        "leader_square": pl.col("_leader_return") ** 2,
        **{f"leader_mean_square_{n}": pl.col("_leader_square").rolling_mean(n) for n in (60, 240)},
        "mirrored_autocovariance_60": -pl.col("_autocovariance_60"),
        **{f"calm_{n}": pl.col("_deviation_60") - mean(pl.col("_deviation_60"), n) for n in REGIME_SPANS},
        **{f"calm_variance_{n}": variance(pl.col("_deviation_60"), n) for n in REGIME_SPANS},
        **{f"calm_deviation_{n}": root(pl.col(f"_calm_variance_{n}")) for n in REGIME_SPANS},
    }


def _close_return(bars: int) -> pl.Expr:
    return pl.col("_log_close") - bars_before(pl.col("_log_close"), bars)


def _yang_zhang(bars: int) -> pl.Expr:
    share = 0.34 / (1.34 + (bars + 1) / (bars - 1))
    return (
        pl.col(f"_gap_variance_{bars}")
        + share * pl.col(f"_body_variance_{bars}")
        + (1 - share) * pl.col(f"_rogers_satchell_{bars}")
    )


def _average_steps() -> dict[str, pl.Expr]:
    """Averages of the close, and its deviation from them."""
    fast, slow, signal = MACD_SPANS
    macd = pl.col("_macd")
    return {
        **{f"mean_{n}": mean(_close, n) for n in AVERAGE_SPANS},
        **{f"weighted_{n}": talib.wma(_close, timeperiod=n) for n in AVERAGE_SPANS},
        # Distance of the weighted from the plain mean: what the slope of a regression is made of.
        **{f"lead_{n}": pl.col(f"_weighted_{n}") / pl.col(f"_mean_{n}") - 1 for n in (20, 50, 200)},
        **{
            f"price_variance_{n}": _close.rolling_var(n, ddof=0) / pl.col(f"_mean_{n}") ** 2
            for n in (20, 50, 200)
        },
        **{f"price_deviation_{n}": root(pl.col(f"_price_variance_{n}")) for n in (20, 50, 200)},
        **{
            f"per_price_deviation_{n}": inverse(
                pl.col(f"_price_deviation_{n}"), pl.col(f"_price_deviation_{n}") > 0
            )
            for n in (20, 50, 200)
        },
        **{f"ema_{n}": ema(_close, n) for n in (fast, slow)},
        "macd": pl.col(f"_ema_{fast}") - pl.col(f"_ema_{slow}"),
        "macd_signal": ema(macd, signal),
        "macd_unit": pl.col("_per_deviation_60") / _close,
        "triple_ema_15": ema(ema(ema(_close, 15), 15), 15),
    }


def _direction_steps() -> dict[str, pl.Expr]:
    """Moves of the close, and Wilder's directional movement."""
    change = pl.col("_change")
    rise, fall = pl.col("_high_rise"), pl.col("_low_fall")
    return {
        "change": _close - pl.col("_close_before"),
        "change_size": change.abs(),
        "high_rise": _high - bars_before(_high, 1),
        "low_fall": bars_before(_low, 1) - _low,
        "up_move": pl.when((rise > fall) & (rise > 0)).then(rise).otherwise(0.0),
        "down_move": pl.when((fall > rise) & (fall > 0)).then(fall).otherwise(0.0),
        **{f"{name}_14": wilder_mean(pl.col(f"_{name}"), 14) for name in ("up_move", "down_move")},
        **{
            f"{name}_{n}": wilder_mean(pl.col(f"_{name}"), n)
            for name in ("change", "change_size")
            for n in WILDER_PERIODS
        },
        "true_range_14": wilder_mean(pl.col("_true_range"), 14),
        "movement_14": pl.col("_up_move_14") + pl.col("_down_move_14"),
        "movement_balance_14": pl.col("_up_move_14") - pl.col("_down_move_14"),
        "per_movement_14": inverse(
            pl.col("_movement_14"), pl.col("_movement_14") > NEGLIGIBLE_VOLATILITY * _close
        ),
        "per_true_range_14": inverse(
            pl.col("_true_range_14"), pl.col("_true_range_14") > NEGLIGIBLE_VOLATILITY * _close
        ),
    }


def _volume_steps() -> dict[str, pl.Expr]:
    """Volume by side and by price.

    A running sum is never tested against 0, for it keeps the rounding of what has left the window: whether
    anything was traded in it, the greatest volume tells.
    """
    typical = pl.col("_typical")
    relative_spread = pl.col("_spread") / _close
    return {
        **{f"most_{n}": talib.max(_volume, timeperiod=n) for n in (5, 20, 60, 240)},
        **{f"volume_{n}": total(_volume, n) for n in (5, 20, 60, 240)},
        **{
            f"per_volume_{n}": inverse(pl.col(f"_volume_{n}"), pl.col(f"_most_{n}") > 0)
            for n in (5, 20, 60, 240)
        },
        "moved_volume": pl.col("_change").sign() * _volume,
        "body_volume": pl.col("_body").sign() * _volume,
        "pushed_volume": quotient(pl.col("_body") / _close, relative_spread) * _volume,
        "located_volume": quotient((2 * _close - _high - _low) / _close, relative_spread) * _volume,
        "typical": (_high + _low + _close) / 3,
        "flow": typical * _volume,
        "typical_side": (typical - bars_before(typical, 1)).sign(),
        "decided_flow": pl.col("_typical_side").abs() * pl.col("_flow"),
        "sided_flow": pl.col("_typical_side") * pl.col("_flow"),
        "most_decided_flow_14": talib.max(pl.col("_decided_flow"), timeperiod=14),
        "decided_flow_14": total(pl.col("_decided_flow"), 14),
        # Their quotient is near a price, of which small parts count: neither may keep any rounding.
        **{f"flow_{n}": pl.col("_flow").rolling_sum(n) for n in (20, 60, 240)},
        **{f"whole_volume_{n}": _volume.rolling_sum(n) for n in (20, 60, 240)},
        "volume_of_60": 60 * _volume * pl.col("_per_volume_60"),
    }
