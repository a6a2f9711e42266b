"""A market of one's own, run in a process of its own: partitions are cut when the definitions are loaded."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

PROJECT = Path(__file__).parents[2]
_RUN = """
import json, sys
import dagster as dg
from cryptoai_assets.definitions import defs
from cryptoai_assets.defs.market_data.partitions import SYMBOL_MONTH
from cryptoai_assets.defs.resources import configured_resource

keys = [str(key) for key in SYMBOL_MONTH.get_partition_keys()]
span = {
    "dagster/asset_partition_range_start": keys[0],
    "dagster/asset_partition_range_end": keys[-1],
}
whole = defs()
wanted = dg.AssetSelection.assets(*sys.argv[1:])
with dg.DagsterInstance.ephemeral() as instance:
    result = dg.materialize(
        list(whole.assets) + list(whole.asset_checks or ()),
        selection=wanted,
        resources=whole.resources,
        instance=instance,
        tags=span,
        raise_on_error=False,
    )
print(json.dumps({
    "success": result.success,
    "checks": {
        found.check_name: {
            "passed": found.passed,
            "severity": found.severity.value,
            **{
                name: value.value
                for name, value in found.metadata.items()
                if isinstance(value.value, int | float | str)
            },
        }
        for found in result.get_asset_check_evaluations()
    },
}))
"""


def write_market(root: Path, name: str, candles: pl.DataFrame, settings: str) -> Mapping[str, str]:
    """Write a market's file and its archive, and return the environment that selects it."""
    (root / "markets").mkdir(parents=True, exist_ok=True)
    (root / "markets" / f"{name}.toml").write_text(settings)
    candles.write_parquet(root / "candles.parquet")
    return {
        "CRYPTOAI_MARKET": name,
        "CRYPTOAI_ROOT": str(root),
        "CRYPTOAI_ARCHIVE": str(root / "candles.parquet"),
    }


def materialized(environment: Mapping[str, str], *assets: str) -> dict[str, Any]:
    """Materialize assets over all partitions: whether it succeeded, and what the checks found."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _RUN, *assets],
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
