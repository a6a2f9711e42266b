"""Chart patterns by the rule, and the dataset of chart images."""

from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from cryptoai_assets.defs.charts.recipes import (
    chart_images_recipe,
    chart_pattern_labels_recipe,
    events_path,
    set_path,
)
from cryptoai_assets.defs.market_data.assets import clean_candles
from cryptoai_assets.defs.materialization import materialized, picture, table
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.charts.events import pattern_events
from cryptoai_assets.lib.charts.figures import contact_sheet
from cryptoai_assets.lib.charts.plan import SMALL_CHARTS, labelled_series, market_plan, planned_set
from cryptoai_assets.lib.monthly_features import stored_window
from cryptoai_assets.lib.store import write_parquet_atomically

GROUP = "charts"


@dg.asset(group_name=GROUP, kinds={"polars", "parquet"}, deps=[clean_candles])
def chart_pattern_labels(
    context: dg.AssetExecutionContext, market: MarketResource
) -> dg.MaterializeResult[None]:
    """One row an event: a chart pattern of Lo, Mamaysky and Wang, known at the bar that confirms it.

    From `clean_candles`, by a rule that was fixed before any network was trained on it.
    """

    def make() -> dict[str, Any]:
        candles = stored_window(market.home, ()).candles
        plan = market_plan(SMALL_CHARTS, market.settings, candles)
        series = labelled_series(candles, plan, context.log.info)
        events = pattern_events(series)
        write_parquet_atomically(events, events_path(market.home))
        counted = events.group_by("pattern").agg(
            pl.len().alias("events"), pl.col("stable", "raw_agrees").mean()
        )
        windows = sum(len(one.labels) for one in series)
        labelled = sum(int((one.labels.pattern != 0).sum()) for one in series)
        return {
            "dagster/row_count": events.height,
            "windows": windows,
            "labelled_share": labelled / max(windows, 1),
            "rule": plan.rule.fingerprint,
            "patterns": table(counted.sort("pattern"), counted.height),
        }

    return materialized(chart_pattern_labels_recipe(market), make)


@dg.asset(group_name=GROUP, kinds={"numpy"}, deps=[clean_candles])
def chart_images(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """One row a window: its picture and the rule's label, as packed arrays, split by time and by symbol.

    From `clean_candles`, drawn by the rasterizer of the device.
    """

    def make() -> dict[str, Any]:
        candles = stored_window(market.home, ()).candles
        plan = market_plan(SMALL_CHARTS, market.settings, candles)
        data = planned_set(candles, plan, context.log.info)
        data.save(set_path(market.home))
        parts, counts = np.unique(data.part, return_counts=True)
        return {
            "dagster/row_count": len(data),
            "parts": {str(part): int(count) for part, count in zip(parts, counts, strict=True)},
            "held_out_symbol": plan.split.held_out_symbol,
            "drawn": int(data.drawn.sum()),
            "megabytes": set_path(market.home).stat().st_size / 1e6,
            "samples": picture(contact_sheet(data, plan.chart, seed=plan.seed)),
        }

    return materialized(chart_images_recipe(market), make)
