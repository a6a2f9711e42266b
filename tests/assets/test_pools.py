"""A pool per venue: one question at a time, whatever runs beside it, and no slot kept by the dead."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from fakes.asking_job import asking_job

from cryptoai_assets.defs.market_data.partitions import venue_pool
from cryptoai_assets.lib.market import PRESETS

PROJECT = Path(__file__).parents[2]
SETTINGS = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
POOL = "binance_us"
OPS = """
from cryptoai_assets.definitions import defs
whole = defs()
names = ("raw_candles", "repaired_gaps", "clean_candles")
print({name: whole.resolve_assets_def(name).op.pool for name in names})
"""
ASKING = asking_job(POOL)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    overrides = {"telemetry": {"enabled": False}, "concurrency": SETTINGS["concurrency"]}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
        yield instance


def test_what_asks_a_venue_is_in_its_pool_and_what_reads_a_file_in_none() -> None:
    assert [venue_pool(PRESETS[name]) for name in ("sample", "live", "sandbox")] == [None, POOL, POOL]
    environment = {**os.environ, "CRYPTOAI_MARKET": "live", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OPS],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    told = {"raw_candles": POOL, "repaired_gaps": POOL, "clean_candles": None}
    assert done.stdout.strip() == str(told)


def test_pool_has_one_slot_that_the_dead_give_back(instance: dg.DagsterInstance) -> None:
    assert ASKING.execute_in_process(instance=instance).success
    storage = instance.event_log_storage
    assert storage.get_concurrency_info(POOL).slot_count == 1
    assert storage.get_concurrency_info(POOL).active_slot_count == 0
    assert SETTINGS["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
