"""Patterns and images of charts in a real Dagster run on real candles, made once."""

from collections.abc import Iterator

import dagster as dg
import polars as pl
import pytest
from fakes.chart_market import chart_market, metadata_of

from cryptoai_assets.defs.charts.assets import chart_images, chart_pattern_labels, chart_pattern_study
from cryptoai_assets.defs.charts.recipes import events_path, set_path, study_path
from cryptoai_assets.defs.recipes import IN_ORDER, stale_partitions
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.charts.dataset import TRAINING, ChartSet
from cryptoai_assets.lib.charts.events import EVENT_SCHEMA
from cryptoai_assets.lib.store import read_stored_parquet
from edge_bundle.candles import interval_duration
from edge_bundle.chart_rule import RULE
from edge_bundle.detector import pattern_names


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, instance: dg.DagsterInstance) -> MarketResource:
    """Eight real months of one symbol, and their charts."""
    folder = tmp_path_factory.mktemp("charts")
    return chart_market(folder, instance, first="2018-01-01", last="2018-08-01")


def test_charts_come_before_what_is_trained() -> None:
    order = ["clean_candles", "chart_pattern_labels", "chart_images", "training_dataset"]
    assert sorted(order, key=IN_ORDER.index) == order


def test_events_are_known_at_the_bar_that_confirms_them(
    market: MarketResource, instance: dg.DagsterInstance
) -> None:
    made = dg.materialize([chart_pattern_labels], resources={"market": market}, instance=instance)
    events = read_stored_parquet(events_path(market.home))
    assert dict(events.schema) == EVENT_SCHEMA
    assert set(events["pattern"]) == set(pattern_names()) - {"none"}
    bar = interval_duration(market.settings.interval)
    last = events.select(pl.max_horizontal("e1", "e2", "e3", "e4", "e5")).to_series()
    after = (events["known_at"] - bar - last) / bar
    assert after.min() == RULE.nearest_end_bars
    assert after.max() == RULE.farthest_end_bars
    metadata = metadata_of(made, "chart_pattern_labels")
    assert metadata["dagster/row_count"].value == events.height
    assert metadata["rule"].value == RULE.fingerprint
    assert 0.1 < metadata["labelled_share"].value < 0.2
    assert stale_partitions(instance, market, "chart_pattern_labels") == []


def test_images_are_packed_with_a_contact_sheet_in_the_metadata(
    market: MarketResource, instance: dg.DagsterInstance
) -> None:
    made = dg.materialize([chart_images], resources={"market": market}, instance=instance)
    data = ChartSet.load(set_path(market.home))
    metadata = metadata_of(made, "chart_images")
    assert metadata["dagster/row_count"].value == len(data)
    assert metadata["parts"].value[TRAINING] == (data.part == TRAINING).sum()
    assert str(metadata["samples"].value).startswith("![](data:image/png;base64,")
    # A bit a pixel and ink, which compresses.
    assert metadata["megabytes"].value * 1e6 < 1_000 * len(data)
    assert stale_partitions(instance, market, "chart_images") == []


def test_study_has_a_row_a_pattern_and_horizon_beside_chance(
    market: MarketResource, instance: dg.DagsterInstance
) -> None:
    made = dg.materialize([chart_pattern_study], resources={"market": market}, instance=instance)
    study = read_stored_parquet(study_path(market.home))
    assert study.height == 2 * 10 * 3
    metadata = metadata_of(made, "chart_pattern_study")
    assert metadata["costs_bps"].value == 46.0
    shares = metadata["labelled_share"].value
    assert isinstance(shares, dict)
    assert shares["market"] == pytest.approx(shares["brownian"], abs=0.03)
    assert str(metadata["differences"].value).startswith("![](data:image/png;base64,")
    assert stale_partitions(instance, market, "chart_pattern_study") == []
