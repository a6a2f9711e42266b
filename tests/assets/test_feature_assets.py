"""The audit and the report in real Dagster runs: made once, and stopped by a feature that is wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import mlflow
import polars as pl
import pytest
from fakes.mortal_desk import MLFLOW_WARNINGS
from fakes.walk_rows import HORIZONS, walk_grid

from cryptoai_assets.defs.features.assets import feature_audit, feature_report
from cryptoai_assets.defs.features.checks import rules_of_the_catalog
from cryptoai_assets.defs.features.recipes import audit_path, audited_names, report_paths
from cryptoai_assets.defs.market_data.assets import clean_candles, raw_candles
from cryptoai_assets.defs.recipes import IN_ORDER, stale_partitions
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.feature_report import RUN_NAME
from cryptoai_assets.lib.feature_set import candle_features
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.store import read_stored_parquet, write_parquet_atomically
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.features.catalog import feature_frame, largest_warmup

pytestmark = MLFLOW_WARNINGS
PROJECT = Path(__file__).parents[2]
NAMES = candle_features(market_preset("sample"))
FIRST, LAST = "2018-01-01|BTCUSD", "2018-08-01|BTCUSD"
RANGE = {"dagster/asset_partition_range_start": FIRST, "dagster/asset_partition_range_end": LAST}
# What the platform says of the audit of this process's catalog, as one line of JSON.
AUDIT = """
import json, sys
import dagster as dg
from cryptoai_assets.defs.features.assets import feature_audit
from cryptoai_assets.defs.features.checks import rules_of_the_catalog
from cryptoai_assets.defs.resources import MarketResource

result = dg.materialize(
    [feature_audit, rules_of_the_catalog],
    resources={"market": MarketResource(name="sample", root=sys.argv[1])},
    raise_on_error=False,
)
found = {e.check_name: [e.passed, e.blocking, e.description] for e in result.get_asset_check_evaluations()}
print(json.dumps({"success": result.success, "checks": found}))
"""


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> MarketResource:
    """Eight real months of one symbol; never to be changed."""
    market = MarketResource(name="sample", root=str(tmp_path_factory.mktemp("candles")))
    with dg.DagsterInstance.ephemeral() as instance:
        made = dg.materialize(
            [raw_candles, clean_candles], resources={"market": market}, instance=instance, tags=RANGE
        )
    assert made.success
    return market


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_audit_and_report_come_before_anything_is_trained() -> None:
    order = ["features", "feature_audit", "training_dataset", "feature_report", "model_settings"]
    assert sorted(order, key=IN_ORDER.index) == order
    assert len(set(IN_ORDER)) == len(IN_ORDER)


def test_catalog_passes_its_audit_once(candles: MarketResource, instance: dg.DagsterInstance) -> None:
    assert stale_partitions(instance, candles, "feature_audit") == [""]
    made = dg.materialize(
        [clean_candles, feature_audit, rules_of_the_catalog],
        selection=[feature_audit],
        resources={"market": candles},
        instance=instance,
    )
    checks = {found.check_name: found for found in made.get_asset_check_evaluations()}
    assert set(checks) == {"no_feature_sees_the_future", "no_feature_forgets_its_warmup"}
    assert all(found.passed and found.blocking for found in checks.values())
    audit = read_stored_parquet(audit_path(candles.home))
    assert audit["feature"].to_list() == list(audited_names(candles))
    assert {"log_return_1", "bitcoin_beta_60"} < set(audit["feature"])
    [materialization] = made.asset_materializations_for_node("feature_audit")
    shown = materialization.metadata["audit"]
    assert isinstance(shown, dg.TableMetadataValue)
    assert len(shown.records) == audit.height
    assert stale_partitions(instance, candles, "feature_audit") == []


def test_features_that_the_page_adds_wrongly_stop_what_is_downstream_by_name(
    candles: MarketResource, tmp_path: Path
) -> None:
    """In a process of its own, whose catalog really has the page's family."""
    shutil.copytree(PROJECT / "edge_bundle", tmp_path / "edge_bundle")
    wrong = re.findall(r"```python\n(.*?)```", (PROJECT / "docs" / "features.md").read_text(), re.DOTALL)[1]
    folder = tmp_path / "edge_bundle" / "features"
    (folder / "own.py").write_text(wrong)
    catalog = (folder / "catalog.py").read_text()
    assert "\nFAMILIES = (" in catalog
    (folder / "catalog.py").write_text(
        catalog.replace("\nFAMILIES = (", "\nfrom edge_bundle.features import own\n\nFAMILIES = (own, ", 1)
    )
    root = tmp_path / "root"
    shutil.copytree(candles.root, root)
    done = subprocess.run(
        [sys.executable, "-c", AUDIT, str(root)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{PROJECT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert not told["success"]
    passed, blocking, sentence = told["checks"]["no_feature_sees_the_future"]
    assert (passed, blocking) == (False, True)
    assert sentence.startswith("next_return reads 1 later bar: for BTCUSD at 2018-")
    assert "; " not in sentence
    passed, blocking, sentence = told["checks"]["no_feature_forgets_its_warmup"]
    assert (passed, blocking) == (False, True)
    assert re.fullmatch(
        r"ema_gap_50 is off by \S+ times its size from a tail of its warm-up of 50 bars: 800 would be enough",
        sentence,
    )


@pytest.fixture(scope="module")
def dataset() -> pl.DataFrame:
    grid = walk_grid(["BTCUSD", "ETHUSD"], bars=4600 + largest_warmup(NAMES), seed=31)
    return feature_frame(grid, NAMES).join(
        target_frame(grid, horizons=HORIZONS),
        on=["open_time", "symbol"],
        how="left",
        maintain_order="left",
    )


def test_report_is_in_the_metadata_and_in_one_run_of_mlflow(
    dataset: pl.DataFrame, instance: dg.DagsterInstance, copied_registry: Callable[[], Path]
) -> None:
    root = copied_registry()
    market = MarketResource(name="sample", root=str(root))
    write_parquet_atomically(dataset, market.home.training_dataset)

    result = dg.materialize([feature_report], resources={"market": market}, instance=instance)
    [materialization] = result.asset_materializations_for_node("feature_report")
    metadata = materialization.metadata
    families = [name for name in metadata if name.startswith("family_")]
    assert len(families) >= 7
    for name in (*families, "correlation_clusters"):
        assert str(metadata[name].value).startswith("![](data:image/png;base64,")
    assert "do not choose" in str(metadata["warning"].value)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("cryptoai")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{RUN_NAME}'")
    assert run.info.run_id == metadata["mlflow_run"].value
    kept = {file.path for file in client.list_artifacts(run.info.run_id, "tables")}
    assert kept == {f"tables/{path.name}" for path in report_paths(market.home).values()}
    features = read_stored_parquet(report_paths(market.home)["features"])
    assert features["feature"].to_list() == list(NAMES)
    assert stale_partitions(instance, market, "feature_report") == []
