"""Released sentiment methods, put where a promotion puts them."""

from datetime import UTC, datetime
from pathlib import Path

from fakes.releases import name_champion

from cryptoai_assets.lib.sentiment_methods.sentiment_bundle import write_sentiment_bundle
from edge_bundle.releases import ReleasedVersion, release_folder
from edge_bundle.sentiment.release import MODEL, SentimentBundle

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)


def release_sentiment(root: Path, method: str, *, version: int) -> SentimentBundle:
    """Write a bundle of a method as `version` and make it the champion."""
    bundle = write_sentiment_bundle(
        release_folder(root, MODEL, version), method, as_of=AS_OF, git_commit="c0ffee"
    )
    name_champion(root, MODEL, ReleasedVersion(version, bundle.digest))
    return bundle
