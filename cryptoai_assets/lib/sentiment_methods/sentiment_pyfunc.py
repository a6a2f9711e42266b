"""A released sentiment method as a pyfunc: MLflow runs this file, and the device's code answers."""

from pathlib import Path
from typing import Any

import pandas as pd

from cryptoai_assets.lib.tracking import BUNDLE_ARTIFACT, declare_pyfunc, pyfunc_base
from edge_bundle.sentiment.release import SentimentBundle


class SentimentModel(pyfunc_base()):  # type: ignore[misc]  # a base that is loaded when it is asked for
    """Shares, score and method: one row a text."""

    def load_context(self, context: Any) -> None:
        """Verify and load the bundle among the artifacts."""
        self.bundle = SentimentBundle.load(Path(context.artifacts[BUNDLE_ARTIFACT]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Score the texts of the column ``text``."""
        said = self.bundle.method.scores(model_input["text"].tolist())
        return pd.DataFrame(
            {
                "negative": one.negative,
                "neutral": one.neutral,
                "positive": one.positive,
                "score": one.score,
                "method": one.method,
            }
            for one in said
        )


declare_pyfunc(SentimentModel())
