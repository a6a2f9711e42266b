"""Bundles of every kind, loaded and replayed on this machine before one of them may run."""

from pathlib import Path

from cryptoai_assets.lib.candle_patterns.plan import CANDLE_MODEL
from cryptoai_assets.lib.charts.plan import PATTERN_MODEL
from edge_bundle.candle_reader import CandleReader
from edge_bundle.detector import Detector
from edge_bundle.errors import BundleRefusedError
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import manifest_record
from edge_bundle.sentiment.release import MODEL as SENTIMENT_MODEL
from edge_bundle.sentiment.release import SentimentBundle

# Entries of a manifest by which a bundle that is no forecaster is known.
_OF_PICTURES, _OF_CANDLES, _OF_TEXTS = "chart", "bars", "method"
# Registered names, besides those of the forecasters.
READERS = (PATTERN_MODEL, CANDLE_MODEL, SENTIMENT_MODEL)


def replayed_bundle(folder: Path, *, model: str, promised: str | None) -> str:
    """Load a bundle of a model, replay its golden rows, and return its digest.

    Parameters
    ----------
    promised
        Digest of the registered bundle.

    Raises
    ------
    BundleRefusedError
        When it does not load, is not the promised one or of another model, or its golden rows disagree.
    """
    loaded = loaded_bundle(folder)
    if loaded.digest != promised:
        raise BundleRefusedError(
            f"the bundle is {loaded.digest[:12]}…, registered was {(promised or 'none')[:12]}"
        )
    if loaded.manifest.model != model:
        raise BundleRefusedError(f"the bundle is of the model {loaded.manifest.model}")
    result = loaded.selftest()
    if isinstance(result, bool):
        if not result:
            raise BundleRefusedError("golden rows differ by more than is allowed")
    elif not result.passed:
        raise BundleRefusedError(
            f"golden rows differ by {result.largest_difference:.2g} deviations and golden features by "
            f"{result.largest_feature_difference:.2g}; {result.tolerance} is allowed"
        )
    return loaded.digest


def loaded_bundle(folder: Path) -> Forecaster | Detector | CandleReader | SentimentBundle:
    """Load a bundle by what its manifest promises.

    Raises
    ------
    BundleRefusedError
        When it does not load.
    """
    entries = manifest_record(folder)
    if _OF_PICTURES in entries:
        return Detector.load(folder)
    if _OF_TEXTS in entries:
        return SentimentBundle.load(folder)
    return CandleReader.load(folder) if _OF_CANDLES in entries else Forecaster.load(folder)
