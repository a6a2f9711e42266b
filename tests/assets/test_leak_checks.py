"""The checks of features and of the training dataset, in real Dagster runs over the user's own data."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from cryptoai_assets.defs.features.assets import features
from cryptoai_assets.defs.features.checks import features_ignore_later_bars
from cryptoai_assets.defs.market_data.assets import clean_candles, raw_candles
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.training.assets import training_dataset
from cryptoai_assets.defs.training.checks import rules_of_the_training_dataset
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.candles import candle_frame
from edge_bundle.features.catalog import feature_frame, short_memory
from edge_bundle.windows import MarketWindow, window_grid

SYMBOL = "BTCUSD"
FIRST, LAST = f"2017-10-01|{SYMBOL}", f"2017-11-01|{SYMBOL}"
RANGE = {"dagster/asset_partition_range_start": FIRST, "dagster/asset_partition_range_end": LAST}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def market(tmp_path: Path) -> MarketResource:
    return MarketResource(name="sample", root=str(tmp_path))


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def test_features_that_read_later_bars_are_named(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    made = dg.materialize(
        [raw_candles, clean_candles, features, features_ignore_later_bars],
        resources={"market": market},
        instance=instance,
        tags=RANGE,
    )
    honest = evaluations(made)["features_ignore_later_bars"]
    assert honest.passed
    assert set(honest.metadata) == {f"{SYMBOL} 2017-10", f"{SYMBOL} 2017-11"}
    store = market.home.features
    shifted = store.month(SYMBOL, "2017-11").with_columns(pl.col("bar_range").shift(-1))
    store.write(SYMBOL, "2017-11", shifted)
    again = dg.materialize(
        [features, features_ignore_later_bars],
        selection=dg.AssetSelection.checks_for_assets(features),
        resources={"market": market},
        instance=instance,
        raise_on_error=False,
    )
    found = evaluations(again)["features_ignore_later_bars"]
    assert (found.passed, found.blocking) == (False, True)
    sentence = str(found.metadata[f"{SYMBOL} 2017-11"].value)
    assert sentence.startswith("bar_range reads later bars: ")
    assert "equal in 20 complete rows" in str(found.metadata[f"{SYMBOL} 2017-10"].value)


def test_training_dataset_that_holds_its_label_is_named(
    instance: dg.DagsterInstance, market: MarketResource
) -> None:
    settings = market.settings
    sample = candle_frame(pl.read_parquet(sample_file())).filter(pl.col("symbol") == SYMBOL)
    grid = window_grid(
        MarketWindow(sample.head(9000)),
        interval=settings.interval,
        max_missing_bars=settings.max_missing_bars,
    )
    frame = feature_frame(grid, short_memory()).join(
        target_frame(grid, horizons=settings.horizons), on=["open_time", "symbol"], how="left"
    )

    def checked(frame: pl.DataFrame) -> dict[str, dg.AssetCheckEvaluation]:
        write_parquet_atomically(frame, market.home.training_dataset)
        result = dg.materialize(
            [training_dataset, rules_of_the_training_dataset],
            selection=dg.AssetSelection.checks_for_assets(training_dataset),
            resources={"market": market},
            instance=instance,
            raise_on_error=False,
        )
        return evaluations(result)

    assert [found.passed for found in checked(frame).values()] == [True, True]
    leaking = frame.with_columns(pl.col("return_2").fill_null(0.0).alias("log_return_5"))
    found = checked(leaking)
    assert found["splits_are_purged"].passed
    label = found["inputs_do_not_contain_the_label"]
    assert (label.passed, label.blocking) == (False, True)
    assert "log_return_5 and return_2 have a rank correlation of 1.000" in str(
        label.metadata["finding_1"].value
    )
