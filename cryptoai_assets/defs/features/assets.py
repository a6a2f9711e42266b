"""Features of every bar by symbol and month, their audit, and a report about them."""

from typing import Any

import dagster as dg

from cryptoai_assets.defs.features.recipes import (
    audit_path,
    audited_names,
    feature_audit_recipe,
    feature_names,
    feature_report_recipe,
    features_recipe,
    report_paths,
)
from cryptoai_assets.defs.market_data.assets import ONE_RUN, clean_candles
from cryptoai_assets.defs.market_data.partitions import SYMBOL_MONTH, symbol_and_month
from cryptoai_assets.defs.materialization import materialized, materialized_partitions, picture, table
from cryptoai_assets.defs.orderbook.assets import microstructure_bars
from cryptoai_assets.defs.outside.assets import FACT_ASSETS
from cryptoai_assets.defs.resources import MarketResource, configured_market, configured_resource
from cryptoai_assets.lib.feature_audit import AUDITED_TIMES, MOST_BARS, audited_times, market_features
from cryptoai_assets.lib.feature_audit import feature_audit as audit_table
from cryptoai_assets.lib.feature_figures import report_figures
from cryptoai_assets.lib.feature_report import feature_report as described_features
from cryptoai_assets.lib.feature_report import record_report
from cryptoai_assets.lib.monthly_features import month_features, months_before, stored_window
from cryptoai_assets.lib.store import read_stored_parquet, write_parquet_atomically
from cryptoai_assets.lib.training import SMALL
from edge_bundle.candles import newest_bars
from edge_bundle.features.catalog import chosen_features, largest_warmup
from edge_bundle.features.sources import facts_read, reads_market
from edge_bundle.windows import window_grid

# A month's features read the months before it, as far back as the longest warm-up reaches.
_NAMES = feature_names(configured_resource())
# What features read besides: the bars of all symbols at once, and facts.
_SYMBOLS = dg.AllPartitionMapping() if reads_market(_NAMES) else dg.IdentityPartitionMapping()
FACTS_OF_FEATURES = [
    *(FACT_ASSETS.values() if "outside" in configured_market().beyond else ()),
    *((microstructure_bars,) if "microstructure" in configured_market().beyond else ()),
]
WARMED_MONTHS = dg.MultiPartitionMapping(
    {
        "month": dg.DimensionPartitionMapping(
            "month",
            dg.TimeWindowPartitionMapping(
                start_offset=-months_before(configured_market(), _NAMES),
                allow_nonexistent_upstream_partitions=True,
            ),
        ),
        "symbol": dg.DimensionPartitionMapping("symbol", _SYMBOLS),
    }
)


@dg.asset(
    partitions_def=SYMBOL_MONTH,
    backfill_policy=ONE_RUN,
    group_name="features",
    kinds={"polars", "parquet"},
    deps=[
        dg.AssetDep(clean_candles, partition_mapping=WARMED_MONTHS),
        *(dg.AssetDep(facts, partition_mapping=dg.AllPartitionMapping()) for facts in FACTS_OF_FEATURES),
    ],
)
def features(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per symbol and grid bar, one column per catalog feature; null while warming up.

    From `clean_candles`, by the code that the device runs. A month costs the same whatever the history.
    """
    home, names = market.home, feature_names(market)

    def compute(key: str) -> dict[str, Any]:
        symbol, month = symbol_and_month(key)
        frame = month_features(home, symbol, month, names)
        home.features.write(symbol, month, frame)
        complete = frame.drop_nulls().height
        return {
            "dagster/row_count": frame.height,
            "complete_rows": complete,
            "features": len(names),
            "facts_read": sorted(facts_read(names)),
            "largest_warmup_bars": largest_warmup(names),
            "preview": table(frame.tail(5)),
        }

    return materialized_partitions(context, lambda key: features_recipe(market, key), compute)


@dg.asset(group_name="features", kinds={"polars", "parquet"}, deps=[clean_candles])
def feature_audit(market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per feature that the sources allow: whether it reads later bars or forgets its warm-up.

    Computed anew from `clean_candles` and facts: from the bars up to a few times, from tails of these, and
    from the whole history. Its checks stop what is downstream.
    """

    def make() -> dict[str, Any]:
        home, settings, names = market.home, market.settings, audited_names(market)
        window = stored_window(home, names)
        grid = window_grid(window, interval=settings.interval, max_missing_bars=settings.max_missing_bars)
        asked = newest_bars(grid, MOST_BARS)
        times = audited_times(asked, count=AUDITED_TIMES)
        compute = market_features(window.facts, settings.greatest_age, settings.bar)
        audit = audit_table(asked, chosen_features(names), times=times, compute=compute)
        write_parquet_atomically(audit, audit_path(home))
        return {
            "dagster/row_count": audit.height,
            "times": [f"{time:%Y-%m-%d %H:%M}" for time in times],
            "bars": asked.height,
            "audit": table(audit, audit.height),
        }

    return materialized(feature_audit_recipe(market), make)


# The key of the training dataset is named, since its module imports this one.
@dg.asset(
    group_name="features", kinds={"parquet", "mlflow"}, deps=[feature_audit, dg.AssetKey("training_dataset")]
)
def feature_report(context: dg.AssetExecutionContext, market: MarketResource) -> dg.MaterializeResult[None]:
    """One row per catalog feature: coverage, distribution, drift by month, rank ICs by fold, its cluster.

    From `training_dataset`; MLflow keeps the tables. Correlations are of at most 20,000 rows.

    .. warning:: Rank ICs are descriptions in sample. Do not choose features by them: choose inside training
       folds only. The final stretch, on which versions are scored, is left out of them.
    """

    def make() -> dict[str, Any]:
        home, recipe = market.home, feature_report_recipe(market)
        frame = read_stored_parquet(home.training_dataset)
        report = described_features(frame, feature_names(market), market=market.settings, settings=SMALL)
        paths = report_paths(home)
        for name, rows in report.tables.items():
            write_parquet_atomically(rows, paths[name])
        run_id = record_report(
            home.tracking,
            report,
            list(paths.values()),
            fingerprint=recipe.fingerprint(),
            tags={"market": market.name, "dagster/run_id": context.run.run_id},
        )
        return {
            "dagster/row_count": report.features.height,
            "warning": "Rank ICs are in sample: do not choose features by them.",
            "mlflow_run": run_id,
            "features": table(report.features, report.features.height),
            **{name: picture(figure) for name, figure in report_figures(report).items()},
        }

    return materialized(feature_report_recipe(market), make)
