"""Networks that read charts and candles, from the project's weights to a release, in real Dagster runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import mlflow
import numpy as np
import pytest
from fakes.chart_market import chart_market, metadata_of
from fakes.mortal_desk import MLFLOW_WARNINGS

from cryptoai_assets.defs.charts.assets import chart_images
from cryptoai_assets.defs.readers.assets import (
    released_candle_cnn,
    released_chart_vit,
    trained_candle_cnn,
    trained_chart_vit,
)
from cryptoai_assets.defs.readers.config import ReaderConfig
from cryptoai_assets.defs.recipes import IN_ORDER
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.candle_patterns.plan import CANDLE_MODEL
from cryptoai_assets.lib.charts.plan import PATTERN_MODEL
from cryptoai_assets.lib.charts.weights import SHIPPED
from cryptoai_assets.lib.tracking import CHALLENGER, CHAMPION
from edge_bundle.chart import CHART_60
from edge_bundle.detection import Pattern
from edge_bundle.detector import Detector
from edge_bundle.manifest import bundle_digest
from edge_bundle.releases import read_channel, release_folder

pytestmark = MLFLOW_WARNINGS
READERS = {
    PATTERN_MODEL: (trained_chart_vit, released_chart_vit),
    CANDLE_MODEL: (trained_candle_cnn, released_candle_cnn),
}


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, instance: dg.DagsterInstance) -> MarketResource:
    """Eight real months of one symbol, after the shipped networks were trained, and their charts."""
    folder = tmp_path_factory.mktemp("readers")
    market = chart_market(folder, instance, first="2019-02-01", last="2019-09-01")
    assert dg.materialize([chart_images], resources={"market": market}, instance=instance).success
    return market


@pytest.fixture(scope="module")
def runs(market: MarketResource, instance: dg.DagsterInstance) -> Mapping[str, dg.ExecuteInProcessResult]:
    """What became of each network, taken as the project brings it."""
    config = {"config": {"size": "shipped"}}
    made = {}
    for model, assets in READERS.items():
        made[model] = dg.materialize(
            list(assets),
            resources={"market": market},
            instance=instance,
            run_config={"ops": {asset.op.name: config for asset in assets}},
        )
        assert made[model].success
    return made


@pytest.mark.parametrize("model", READERS)
def test_network_is_registered_gated_and_released(
    model: str, market: MarketResource, runs: Mapping[str, dg.ExecuteInProcessResult]
) -> None:
    trained, released = (metadata_of(runs[model], asset.op.name) for asset in READERS[model])
    tracking = market.home.tracking
    [version] = tracking.versions(model)
    assert (trained["origin"].value, trained["version"].value) == ("shipped", version.version)
    assert released["promote"].value is True, released["reasons"].value
    channel = read_channel(market.home.releases, model)
    assert channel is not None
    assert channel.champion is not None
    assert channel.champion.version == version.version
    assert (
        bundle_digest(release_folder(market.home.releases, model, version.version)) == version.bundle_sha256
    )
    for alias in (CHAMPION, CHALLENGER):
        holder = tracking.alias(model, alias)
        assert holder is not None
        assert holder.version == version.version
    assert "better than every baseline" in str(released["reasons"].value)


@pytest.mark.parametrize(
    ("model", "figures"),
    [(PATTERN_MODEL, {"confusion", "answers"}), (CANDLE_MODEL, {"answers_by_pattern", "answers"})],
)
def test_run_keeps_the_scores_the_classes_and_the_figures(
    model: str, figures: set[str], market: MarketResource, runs: Mapping[str, dg.ExecuteInProcessResult]
) -> None:
    tracking = market.home.tracking
    [version] = tracking.versions(model)
    metrics = tracking.metrics(version.run_id)
    assert {"all/balanced_ten", "stable/macro_f1"} <= set(metrics) or "test/macro_f1" in metrics
    assert len(tracking.record(version.run_id, "classes")["classes"]) == (
        11 if model == PATTERN_MODEL else 15
    )
    client = mlflow.MlflowClient(tracking.uri)
    kept = {Path(file.path).stem for file in client.list_artifacts(version.run_id, "figures")}
    assert kept == figures
    shown = metadata_of(runs[model], READERS[model][0].op.name)
    assert all(str(shown[name].value).startswith("![](data:image/png") for name in figures)


def test_registered_version_answers_as_a_pyfunc(
    market: MarketResource, runs: Mapping[str, dg.ExecuteInProcessResult]
) -> None:
    assert runs
    mlflow.set_tracking_uri(market.home.tracking.uri)
    model = mlflow.pyfunc.load_model(f"models:/{PATTERN_MODEL}/1")
    detector = Detector.load(SHIPPED / "vit")
    with np.load(SHIPPED / "vit" / "golden.npz") as golden:
        images = golden["images"]
    said = model.predict(images)
    assert said.shape == (len(images), len(Pattern))
    np.testing.assert_allclose(said, detector.read(images).probabilities, atol=1e-6)
    assert images.shape[1:] == (CHART_60.height, CHART_60.width)


def test_same_bytes_are_registered_once(
    market: MarketResource,
    instance: dg.DagsterInstance,
    runs: Mapping[str, dg.ExecuteInProcessResult],
) -> None:
    assert runs
    again = dg.materialize(
        [trained_chart_vit],
        resources={"market": market},
        instance=instance,
        run_config={"ops": {"trained_chart_vit": {"config": {"size": "shipped"}}}},
    )
    assert again.success
    assert len(market.home.tracking.versions(PATTERN_MODEL)) == 1


def test_too_few_windows_are_not_trained_on_by_itself() -> None:
    assert ReaderConfig().origin(enough=False) == "shipped"
    assert ReaderConfig(size="small").origin(enough=False) == "small"


def test_readers_come_after_their_images() -> None:
    order = ["chart_images", "trained_chart_vit", "released_chart_vit"]
    assert sorted(order, key=IN_ORDER.index) == order
