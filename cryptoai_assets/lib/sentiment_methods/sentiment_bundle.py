"""A sentiment method as a bundle that can be registered and released."""

import json
import shutil
from datetime import datetime
from pathlib import Path

from edge_bundle.manifest import file_sha256
from edge_bundle.sentiment.release import (
    GOLDEN_TEXTS_NAME,
    METHODS,
    MODEL,
    SentimentBundle,
    SentimentManifest,
    shares,
)
from edge_bundle.sentiment.transformer import GRAPH_NAME, RECORD_NAME, WEIGHTS, WORDS_NAME

_FILES = {"transformer": (GRAPH_NAME, WORDS_NAME, RECORD_NAME)}
GOLDEN_TEXTS = (
    "Bitcoin surges to a record high as buyers return",
    "Shares crash as the exchange files for bankruptcy",
    "The board meets on Friday to consider the accounts",
    "Regulator does not approve the fund, price falls 12%",
    "$ETH up, $BTC flat after the report",
    "",
)


def write_sentiment_bundle(
    folder: Path, method: str, *, weights: Path = WEIGHTS, as_of: datetime, git_commit: str
) -> SentimentBundle:
    """Write a bundle of one of `METHODS`, and load it.

    Parameters
    ----------
    weights
        Of the transformer.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in _FILES.get(method, ()):
        shutil.copyfile(weights / name, folder / name)
    loaded = METHODS[method](folder)
    said = loaded.scores(GOLDEN_TEXTS)
    golden = [
        {"text": text, "shares": list(shares(one))} for text, one in zip(GOLDEN_TEXTS, said, strict=True)
    ]
    (folder / GOLDEN_TEXTS_NAME).write_text(json.dumps(golden, indent=1) + "\n")
    SentimentManifest(
        files={path.name: file_sha256(path) for path in sorted(folder.iterdir())},
        model=MODEL,
        method=method,
        method_version=loaded.version,
        as_of=as_of.isoformat(),
        git_commit=git_commit,
    ).write(folder)
    return SentimentBundle.load(folder)
