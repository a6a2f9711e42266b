"""Ingestion killed with SIGKILL: each file is the old one or the new one, and the next run finishes."""

import random
import secrets
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
from fakes.archives import archive, embedded_candles

from cryptoai_assets.defs.market_data.assets import clean_candles, raw_candles
from cryptoai_assets.defs.market_data.partitions import SYMBOL_MONTH
from cryptoai_assets.defs.market_data.recipes import RECIPES
from cryptoai_assets.defs.materialization import recorded_fingerprints
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.planner import out_of_date
from edge_bundle.candles import validated_candles

PROJECT = Path(__file__).parents[2]
KEYS = [key for key in SYMBOL_MONTH.get_partition_keys() if key[:7] <= "2018-02"]
KILLS = 4
LONGEST_LIFE_SECONDS = 1.2
INGESTION = """
import sys
from test_killed_ingestion import ingested_completely
print("ready", flush=True)
ingested_completely(sys.argv[1], sys.argv[2])
"""


def market_of(root: str, archive: str) -> MarketResource:
    return MarketResource(name="sample", root=root, archive=archive)


def opened_instance(root: str) -> dg.DagsterInstance:
    (folder := Path(root, "dagster")).mkdir(exist_ok=True)
    return dg.DagsterInstance.local_temp(str(folder), overrides={"telemetry": {"enabled": False}})


def ingested_completely(root: str, archive: str) -> bool:
    """One Dagster run over all keys; afterwards nothing is out of date."""
    market = market_of(root, archive)
    with opened_instance(root) as instance:
        done = dg.materialize(
            [raw_candles, clean_candles],
            resources={"market": market},
            instance=instance,
            tags={
                "dagster/asset_partition_range_start": KEYS[0],
                "dagster/asset_partition_range_end": KEYS[-1],
            },
        )
        return done.success and not any(stale_keys(instance, market, asset) for asset in RECIPES)


def stale_keys(instance: dg.DagsterInstance, market: MarketResource, asset: str) -> list[str]:
    recipes = {str(key): RECIPES[asset](market, key) for key in KEYS}
    return out_of_date(recipes, recorded_fingerprints(instance, asset))


def killed_after(seconds: float, root: Path, archive: Path) -> bool:
    """Ingest in a process of its own and kill it; whether it was still at work."""
    with subprocess.Popen(
        [sys.executable, "-c", INGESTION, str(root), str(archive)],
        env={"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}:{Path(__file__).parent}", "HOME": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False


def test_killed_ingestion_leaves_old_or_new_files_and_the_next_run_finishes(tmp_path: Path) -> None:
    old = embedded_candles().filter(pl.col("open_time").dt.strftime("%Y-%m") <= "2018-02")
    new = old.with_columns(volume=pl.col("volume") * 2)
    before, after = archive(tmp_path / "old", old), archive(tmp_path / "new", new)
    assert ingested_completely(str(tmp_path), str(before))
    market = market_of(str(tmp_path), str(after))
    stores = market.stores

    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    kills = sum(killed_after(chance.uniform(0, LONGEST_LIFE_SECONDS), tmp_path, after) for _ in range(KILLS))
    assert kills > 0

    for key in KEYS:
        symbol, month = key[11:], key[:7]
        own = (pl.col("symbol") == symbol) & (pl.col("open_time").dt.strftime("%Y-%m") == month)
        for store in (stores.raw_candles, stores.clean_candles):
            held = store.month(symbol, month)
            assert held.equals(old.filter(own)) or held.equals(new.filter(own)), (store.root, key)

    with opened_instance(str(tmp_path)) as instance:
        assert stale_keys(instance, market, "raw_candles") == KEYS
    assert ingested_completely(str(tmp_path), str(after))
    candles = stores.clean_candles.read(market.settings.symbols)
    validated_candles(candles, interval="30m")
    assert candles.equals(new)
    assert list(stores.folder.rglob("*.tmp")) == []
