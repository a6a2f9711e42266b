"""A registered bundle as a pyfunc: MLflow runs this file, and the device's code answers."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import polars as pl

from edge_bundle.candles import candle_frame
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow


class BundleModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc]
    """Forecasts of a bundle: one row per symbol and horizon."""

    def load_context(self, context: Any) -> None:
        """Verify and load the bundle among the artifacts."""
        self.forecaster = Forecaster.load(Path(context.artifacts["bundle"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002
        """Forecast after the newest of the candles, whose columns the signature states."""
        window = MarketWindow(candle_frame(pl.from_pandas(model_input)))
        rows = [
            {
                "symbol": forecast.symbol,
                "open_time_ms": int(forecast.open_time.timestamp() * 1000),
                "horizon_bars": horizon.horizon_bars,
                "expected_return_bps": horizon.expected_return_bps,
                "probability_up": horizon.probability_up,
                "expected_volatility_bps": horizon.expected_volatility_bps,
                "lower_bps": horizon.lower_bps,
                "upper_bps": horizon.upper_bps,
                "abstention": forecast.abstention.reason if forecast.abstention else "",
            }
            for forecast in self.forecaster.forecast(window)
            for horizon in forecast.horizons
        ]
        return pd.DataFrame(rows)


mlflow.models.set_model(BundleModel())
