"""Changes of source: bars that another source than the market's gave, and facts whose source was replaced."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl

from cryptoai_assets.lib.market_data import givers

# Share of the bars of the newest hour or day that others may give: single bars are mended so, and no more.
MOST_FOREIGN: Mapping[timedelta, float] = {timedelta(hours=1): 0.5, timedelta(days=1): 0.1}
# How long a replaced source of facts is told.
TOLD_FOR = timedelta(days=7)


def bars_by_source(candles: pl.DataFrame, facts: pl.DataFrame, *, source: str) -> pl.DataFrame:
    """Who gave each bar: the source of its newest mark, or the market's where it bears none.

    Returns
    -------
    DataFrame
        ``symbol``, ``open_time``, ``source``.
    """
    return (
        candles.select("symbol", "open_time")
        .join(givers(facts), on=["symbol", "open_time"], how="left")
        .with_columns(pl.col("source").fill_null(source))
    )


def foreign_shares(bars: pl.DataFrame, *, source: str) -> pl.DataFrame:
    """Sources that give more of a symbol's newest bars than they may.

    Parameters
    ----------
    bars
        From `bars_by_source`.

    Returns
    -------
    DataFrame
        ``symbol``, ``source``, ``hours`` (of the window, up to the symbol's newest bar), ``bars`` (of the
        source), ``share`` (of all in the window); the largest share first.
    """
    found = []
    for window, most in MOST_FOREIGN.items():
        newest = bars.filter(pl.col("open_time") > pl.col("open_time").max().over("symbol") - window)
        shares = (
            newest.with_columns(all_bars=pl.len().over("symbol"))
            .group_by("symbol", "source")
            .agg(pl.len().alias("bars"), share=pl.len() / pl.col("all_bars").first())
            .filter(pl.col("source") != source, pl.col("share") > most)
        )
        hours = pl.lit(window // timedelta(hours=1), pl.Int64).alias("hours")
        found.append(shares.select("symbol", "source", hours, "bars", "share"))
    return pl.concat(found).sort("share", "symbol", "hours", descending=[True, False, False])


def replaced_sources(facts: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
    """Series whose newest fact is of another source than the one that gave it before.

    Parameters
    ----------
    facts
        In `edge_bundle.facts.FACT_SCHEMA`, of all sources.

    Returns
    -------
    DataFrame
        ``name``, ``symbol``, ``before``, ``source`` (of the newest), ``since`` (when it began);
        those that were replaced within `TOLD_FOR`, in the order of their names.
    """
    series = ["name", "symbol"]
    turns = (
        facts.sort("known_at", "event_time", maintain_order=True)
        .with_columns(before=pl.col("source").shift(1).over(series))
        .filter(pl.col("before") != pl.col("source"))
        .group_by(series)
        .agg(pl.col("before", "source").last(), since=pl.col("known_at").last())
    )
    return turns.filter(now - pl.col("since") < TOLD_FOR).sort(series)
