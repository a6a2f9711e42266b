"""What a bundle answers on the machine at hand: raw outputs over many windows, and whole forecasts of a few.

It is run as a program on the emulated device and imported on the server: the same lines on both.
"""

import importlib
import json
import pkgutil
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

import edge_bundle
from edge_bundle.candles import interval_duration
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow, model_input, window_features

FORECASTS = 3


def answers(bundle: Path, candles: Path, windows: int) -> dict[str, npt.NDArray[Any]]:
    """Answers of a bundle about the newest windows of one symbol.

    Returns
    -------
    dict
        ``input``, and each output of the graph, a row a window, each window alone; ``forecast``, the same of
        the first output by the whole way from candles, of the `FORECASTS` newest.
    """
    forecaster, bars = Forecaster.load(bundle), pl.read_parquet(candles)
    manifest, step = forecaster.manifest, interval_duration(forecaster.manifest.interval)
    tail = bars.tail(manifest.bars_needed + windows - 1)
    frame = window_features(
        MarketWindow(tail),
        manifest.features,
        interval=manifest.interval,
        max_missing_bars=manifest.max_missing_bars,
    ).tail(windows + manifest.lookback - 1)
    values = model_input(frame, manifest.features, lookback=manifest.lookback, bar=step).values
    assert len(values) == windows, (len(values), windows)
    said = [forecaster.outputs(values[place : place + 1]) for place in range(windows)]
    forecasts = [
        forecaster.forecast(MarketWindow(tail.head(tail.height - back).tail(manifest.bars_needed)))[0]
        for back in reversed(range(FORECASTS))
    ]
    return {
        "input": values[:, -1],
        "forecast": np.array([[one.probability_up for one in forecast.horizons] for forecast in forecasts]),
        **{name: np.concatenate([one[name] for one in said]) for name in said[0]},
    }


def main(candles: str, windows: str, out: str, *bundles: str) -> None:
    """Load every module of the device, tell where it is from, and write the answers of each bundle."""
    for module in pkgutil.walk_packages(edge_bundle.__path__, "edge_bundle."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for place, bundle in enumerate(bundles):
        said = answers(Path(bundle), Path(candles), int(windows))
        np.savez(Path(out) / f"{place}.npz", allow_pickle=False, **said)
    sys.stdout.write(json.dumps([platform.machine(), edge_bundle.__file__]))


if __name__ == "__main__":
    main(*sys.argv[1:])
