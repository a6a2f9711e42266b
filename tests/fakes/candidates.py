"""Candidates that a test trains by hand, with a record of nobody's data and code."""

from datetime import datetime
from pathlib import Path

from cryptoai_assets.lib.candidate import Candidate, train_candidate
from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings
from cryptoai_assets.lib.training import Splits, TrainingSettings
from edge_bundle.windows import MarketWindow


def candidate_by_hand(
    folder: Path,
    data: Dataset,
    splits: Splits,
    model: ForecasterSettings,
    window: MarketWindow,
    *,
    market: Market,
    settings: TrainingSettings,
    as_of: datetime,
    precision: str | None = None,
) -> Candidate:
    """Train a candidate into a folder."""
    candidate, _ = train_candidate(
        folder,
        data,
        splits,
        model,
        window,
        market=market,
        settings=settings,
        as_of=as_of,
        data_fingerprint="d" * 64,
        git_commit="0" * 40,
        cause="by hand",
        precision=precision,
    )
    return candidate
