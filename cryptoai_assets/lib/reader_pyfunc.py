"""A registered bundle that reads pictures or candles as a pyfunc: MLflow runs this file."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryptoai_assets.lib.replayed_bundles import loaded_bundle
from cryptoai_assets.lib.tracking import BUNDLE_ARTIFACT, declare_pyfunc, pyfunc_base
from edge_bundle.candle_reader import CandleReader
from edge_bundle.detector import Detector
from edge_bundle.errors import BundleRefusedError


class ReaderModel(pyfunc_base()):  # type: ignore[misc]  # a base that is loaded when it is asked for
    """Probabilities of a bundle: one row a picture, or a window of candles."""

    def load_context(self, context: Any) -> None:
        """Verify and load the bundle among the artifacts.

        Raises
        ------
        BundleRefusedError
            When it reads neither pictures nor candles.
        """
        loaded = loaded_bundle(Path(context.artifacts[BUNDLE_ARTIFACT]))
        if not isinstance(loaded, Detector | CandleReader):
            raise BundleRefusedError(f"{loaded.manifest.model} reads no arrays: it is registered otherwise")
        self.reader = loaded

    def predict(
        self,
        context: Any,
        model_input: np.ndarray,
        params: Any = None,
    ) -> npt.NDArray[np.float32]:
        """Read what the signature states: one row of probabilities a row."""
        if isinstance(self.reader, Detector):
            return self.reader.read(model_input).probabilities
        return self.reader.read(model_input)


declare_pyfunc(ReaderModel())
