"""The checks of features and of the training dataset, in real Dagster runs over the user's own data."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from cryptoai_assets.defs.features.assets import features
from cryptoai_assets.defs.features.checks import features_ignore_later_bars
from cryptoai_assets.defs.features.recipes import feature_names
from cryptoai_assets.defs.market_data.assets import clean_candles, raw_candles
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.defs.training.assets import training_dataset
from cryptoai_assets.defs.training.checks import rules_of_the_training_dataset
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.lib.store import write_parquet_atomically
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.candles import UTC_MICROSECONDS, candle_frame
from edge_bundle.features.catalog import feature_frame
from edge_bundle.windows import MarketWindow, window_grid

SYMBOL = "BTCUSD"
FACTS = "rows_have_their_facts"
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


def checked(
    instance: dg.DagsterInstance, market: MarketResource, frame: pl.DataFrame
) -> dict[str, dg.AssetCheckEvaluation]:
    write_parquet_atomically(frame, market.home.training_dataset)
    result = dg.materialize(
        [training_dataset, rules_of_the_training_dataset],
        selection=dg.AssetSelection.checks_for_assets(training_dataset),
        resources={"market": market},
        instance=instance,
        raise_on_error=False,
    )
    return evaluations(result)


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
    frame = feature_frame(grid, feature_names(market)).join(
        target_frame(grid, horizons=settings.horizons), on=["open_time", "symbol"], how="left"
    )

    assert [found.passed for found in checked(instance, market, frame).values()] == [True] * 3
    leaking = frame.with_columns(pl.col("return_2").fill_null(0.0).alias("log_return_5"))
    found = checked(instance, market, leaking)
    assert found["splits_are_purged"].passed
    label = found["inputs_do_not_contain_the_label"]
    assert (label.passed, label.blocking) == (False, True)
    assert "log_return_5 and return_2 have a rank correlation of 1.000" in str(
        label.metadata["finding_1"].value
    )


def test_training_stops_where_the_newest_rows_lack_a_fact_and_goes_on_after_a_hole_that_is_told(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    bars, end = 8_000, datetime(2019, 8, 1, tzinfo=UTC)
    market = MarketResource(name="sandbox", root=str(tmp_path), beyond=["outside"], time=end.isoformat())
    names = feature_names(market)
    noise = np.random.default_rng(5)
    moves = {h: noise.normal(size=bars) for h in market.settings.horizons}
    frame = pl.DataFrame(
        {
            "open_time": pl.datetime_range(
                end - bars * market.settings.bar, end, "1m", closed="left", eager=True
            ).cast(UTC_MICROSECONDS),
            "symbol": "BTCUSDT",
            "traded": True,
            "segment": 0,
            **dict(zip(names, noise.normal(size=(len(names), bars)), strict=True)),
            **{f"return_{h}": move for h, move in moves.items()},
            **{f"up_{h}": (move > 0).astype(np.int8) for h, move in moves.items()},
            **{f"volatility_{h}": np.abs(move) for h, move in moves.items()},
        }
    )

    def without(first: int, last: int) -> dict[str, dg.AssetCheckEvaluation]:
        row, score = pl.int_range(pl.len()), "outside/VIXCLS/score"
        hole = row.is_between(first, last, closed="left")
        return checked(instance, market, frame.with_columns(pl.when(~hole).then(pl.col(score)).alias(score)))

    assert [found.passed for found in without(0, 0).values()] == [True] * 3
    inside = without(4_000, 4_200)
    assert [found.passed for found in inside.values() if found.check_name != FACTS] == [True] * 2
    assert (inside[FACTS].passed, inside[FACTS].severity) == (False, dg.AssetCheckSeverity.WARN)
    assert inside[FACTS].description == "200 rows lack VIXCLS, from 2019-07-29 05:20 to 2019-07-29 08:39"
    at_the_end = without(7_990, bars)[FACTS]
    assert (at_the_end.passed, at_the_end.blocking) == (False, True)
    assert at_the_end.severity is dg.AssetCheckSeverity.ERROR
    assert str(at_the_end.description).startswith(
        "10 rows lack VIXCLS, from 2019-07-31 23:50 to 2019-07-31 23:59, the newest one; see why"
    )
    none = without(0, bars)
    assert [found.passed for found in none.values()].count(False) == 1
    assert str(none[FACTS].description).startswith("8,000 rows lack VIXCLS")
