"""Chart patterns by the rule, and the dataset of chart images."""

from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from cryptoai_assets.defs.charts.recipes import (
    chart_images_recipe,
    chart_pattern_labels_recipe,
    chart_pattern_study_recipe,
    events_path,
    set_path,
    study_path,
)
from cryptoai_assets.defs.market_data.assets import clean_candles
from cryptoai_assets.defs.materialization import materialized, picture, table
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.charts.events import pattern_events
from cryptoai_assets.lib.charts.figures import contact_sheet
from cryptoai_assets.lib.charts.plan import SMALL_CHARTS, labelled_series, market_plan, planned_set
from cryptoai_assets.lib.charts.study import BASIS_POINTS, StudySettings, market_study, study_figure
from cryptoai_assets.lib.monthly_features import stored_window
from cryptoai_assets.lib.scoring import BootstrapSettings
from cryptoai_assets.lib.store import write_parquet_atomically

GROUP = "charts"
# Of the study, set before anything was seen: three hours, half a day and a day of half-hour bars; so many
# resamples that a difference can stand out among all rows after the correction.
STUDIED_HORIZONS = (6, 24, 48)
STUDY_BOOTSTRAP = BootstrapSettings(block_bars=5, resamples=5000, seed=6, confidence=0.95)


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


@dg.asset(group_name=GROUP, kinds={"polars", "parquet"}, deps=[clean_candles])
def chart_pattern_study(market: MarketResource) -> dg.MaterializeResult[None]:
    """One row a pattern and horizon: what came after it, after costs, beside like windows, and by chance.

    From `clean_candles`; Brownian paths like the symbols stand beside them. No promise of profit.
    """

    def make() -> dict[str, Any]:
        candles = stored_window(market.home, ()).candles
        costs = 2 * market.settings.costs.rate * BASIS_POINTS
        studied, shares = market_study(
            candles,
            interval=market.settings.interval,
            chart=SMALL_CHARTS.chart,
            rule=SMALL_CHARTS.rule,
            settings=StudySettings(STUDIED_HORIZONS, costs, STUDY_BOOTSTRAP),
        )
        write_parquet_atomically(studied, study_path(market.home))
        shown = studied.sort("p_adjusted", nulls_last=True)
        return {
            "dagster/row_count": studied.height,
            "costs_bps": costs,
            "labelled_share": shares,
            "significant": int((studied["p_adjusted"] < 1 - STUDY_BOOTSTRAP.confidence).sum()),
            "study": table(shown, shown.height),
            "differences": picture(study_figure(studied)),
        }

    return materialized(chart_pattern_study_recipe(market), make)
