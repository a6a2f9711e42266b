"""The whole asset graph on real candles: made once, made again only where something changed."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
from fakes.evidently_warnings import EVIDENTLY_WARNINGS
from fakes.mortal_desk import MLFLOW_WARNINGS
from fakes.platform_places import places_disagreeing
from fakes.project_root import PROJECT, Made, ProjectRoot

from cryptoai_assets.defs.market_data.partitions import SYMBOL_MONTH
from cryptoai_assets.defs.recipes import IN_ORDER, PARTITIONED
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.demo import summary
from cryptoai_assets.lib.candidate import Candidate
from cryptoai_assets.lib.model_card import CARD_NAME
from cryptoai_assets.lib.training_record import TRIAL_TAG

pytestmark = [*MLFLOW_WARNINGS, *EVIDENTLY_WARNINGS]

CHANGED_BAR = datetime(2019, 7, 10, 12, tzinfo=UTC)


def test_first_call_makes_every_asset_and_partition_once(trained: Any) -> None:
    every = sorted(SYMBOL_MONTH.get_partition_keys())
    assert trained.made == {asset: every if asset in PARTITIONED else [""] for asset in IN_ORDER}


def test_gate_ledger_aliases_and_releases_agree(trained: Any) -> None:
    assert places_disagreeing(trained.root.path) == []


def test_second_call_makes_nothing_even_when_files_were_touched(trained: Any) -> None:
    stores = MarketResource(name="sample", root=str(trained.root.path)).stores
    for store in (stores.raw_candles, stores.clean_candles):
        os.utime(store.path("BTCUSD", "2019-07"))
    assert trained.root.make() == {}


def test_summary_says_what_came_out(trained: Any) -> None:
    lines = summary(MarketResource(name="sample", root=str(trained.root.path)).home)
    assert any("registered version" in line and line.endswith("version 1") for line in lines)


def test_mlflow_holds_the_card_of_the_version_and_its_trials_and_folds_below_one_run(trained: Any) -> None:
    home = MarketResource(name="sample", root=str(trained.root.path)).home
    candidate = Candidate.read(home.candidate)
    client = mlflow.MlflowClient(home.tracking.uri)
    card = (home.candidate / CARD_NAME).read_text()
    assert f"# {candidate.model}, version 1\n" in card
    assert [entry.path for entry in client.list_artifacts(candidate.run_id, "card")] == [f"card/{CARD_NAME}"]
    assert str(client.get_model_version(candidate.model, "1").description).startswith(card.splitlines()[0])
    run = client.get_run(candidate.run_id)
    below = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{candidate.run_id}'")
    trials = [run for run in below if TRIAL_TAG in run.data.tags]
    searched = json.loads(home.model_settings.read_bytes())
    assert len(trials) == searched["trials_on_rows"]
    assert len(trials) == sum(len(found["losses"]) for found in searched["kinds"].values())
    assert len(below) - len(trials) == candidate.settings.folds
    backtest = json.loads(home.backtest.read_bytes())
    assert backtest["trials_in_all"] == backtest["strategies_tried"] * len(trials)
    assert run.data.tags["version"] == "1"


def test_model_that_cannot_be_trained_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "cryptoai_assets.demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "CRYPTOAI_MODELS": "lightgbm, oracle"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "model kind 'oracle' is not known; choose among xgboost" in run.stderr
    assert not (tmp_path / "data").exists()


@pytest.fixture(scope="module")
def changed(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[ProjectRoot, Made]:
    """One price of one month is another one, written through the store."""
    root = trained.root.copied_to(tmp_path_factory.mktemp("changed") / "root")
    store = MarketResource(name="sample", root=str(root.path)).stores.raw_candles
    candles = store.month("BTCUSD", "2019-07")
    here = pl.col("open_time") == CHANGED_BAR
    middle = (pl.col("high") + pl.col("low")) / 2
    altered = candles.with_columns(close=pl.when(here).then(middle).otherwise("close"))
    assert not altered.equals(candles)
    store.write("BTCUSD", "2019-07", altered)
    return root, root.make()


def test_changed_month_makes_its_descendants_again_and_nothing_else(changed: Any) -> None:
    _, made = changed
    assert made == {
        # August's first bars are judged by July's last ones.
        "clean_candles": ["2019-07-01|BTCUSD", "2019-08-01|BTCUSD"],
        # And they read them.
        "features": ["2019-07-01|BTCUSD", "2019-08-01|BTCUSD"],
        # The chart network's training ended before: its bytes are the same, and so is what is released.
        **{asset: [""] for asset in IN_ORDER if asset not in PARTITIONED and asset != "released_chart_vit"},
    }


def test_after_the_change_all_places_still_agree_and_nothing_is_stale(changed: Any) -> None:
    root, _ = changed
    assert places_disagreeing(root.path) == []
    assert root.make() == {}
