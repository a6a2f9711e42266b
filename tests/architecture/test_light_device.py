"""The edge bundle stays light: after real work, none of the heavy libraries has been loaded."""

import json
import subprocess
import sys

HEAVY = (
    "bentoml",
    "dagster",
    "evidently",
    "fastapi",
    "matplotlib",
    "mlflow",
    "onnx",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "torch",
    "xgboost",
)
# Imports every module of the device and computes model input over the whole catalog.
REAL_WORK = """
import importlib, json, pkgutil, sys
from datetime import datetime, timedelta, UTC
import numpy as np, polars as pl
import edge_bundle

for module in pkgutil.walk_packages(edge_bundle.__path__, "edge_bundle."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from edge_bundle.candles import bar_grid, candle_frame, validated_candles
from edge_bundle.features.catalog import catalog, feature_frame, largest_warmup
from edge_bundle.windows import model_input

names = list(catalog())
rows = largest_warmup(names) + 3
close = 100 + np.sin(np.arange(rows))
start = datetime(2020, 1, 1, tzinfo=UTC)
raw = pl.DataFrame({
    "open_time": [start + timedelta(minutes=minute) for minute in range(rows)],
    "symbol": ["BTCUSD"] * rows,
    "open": close, "high": close + 1, "low": close - 1, "close": close, "volume": np.full(rows, 2.0),
})
candles = validated_candles(candle_frame(raw), interval="1m")
features = feature_frame(bar_grid(candles, interval="1m", max_missing_bars=3), names)
values = model_input(features, names, lookback=2, bar=timedelta(minutes=1))
print(json.dumps({"rows": len(values.values), "loaded": sorted(sys.modules)}))
"""


def test_device_computes_its_model_input_without_a_heavy_library() -> None:
    done = subprocess.run([sys.executable, "-c", REAL_WORK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["rows"] == 2
    assert [name for name in HEAVY if name in result["loaded"]] == []
