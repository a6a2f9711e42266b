"""A registered bundle as a pyfunc: MLflow runs this file, and the device's code answers."""

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from cryptoai_assets.lib.tracking import BUNDLE_ARTIFACT, declare_pyfunc, pyfunc_base
from edge_bundle.candles import candle_frame
from edge_bundle.forecast import VALUE_NAMES
from edge_bundle.forecaster import Forecaster
from edge_bundle.windows import MarketWindow


class BundleModel(pyfunc_base()):  # type: ignore[misc]  # a base that is loaded when it is asked for
    """Forecasts of a bundle: one row per symbol and horizon."""

    def load_context(self, context: Any) -> None:
        """Verify and load the bundle among the artifacts."""
        self.forecaster = Forecaster.load(Path(context.artifacts[BUNDLE_ARTIFACT]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Forecast after the newest of the candles, whose columns the signature states.

        Returns
        -------
        DataFrame
            Columns of the signature; NaN for the values of a forecast that abstains, whose reason is in
            ``abstention`` (empty otherwise).
        """
        window = MarketWindow(candle_frame(pl.from_pandas(model_input)))
        rows = [
            {
                "symbol": forecast.symbol,
                "open_time_ms": round(forecast.open_time.timestamp() * 1000),
                "horizon_bars": horizon.horizon_bars,
                **{name: getattr(horizon, name) for name in VALUE_NAMES},
                "abstention": forecast.abstention.reason if forecast.abstention else "",
            }
            for forecast in self.forecaster.forecast(window)
            for horizon in forecast.horizons
        ]
        return pd.DataFrame(rows).astype(dict.fromkeys(VALUE_NAMES, "float64"))


declare_pyfunc(BundleModel())
