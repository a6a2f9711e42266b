"""Released methods: those that a device runs, refused by name when anything about them is another."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.releases import name_champion
from fakes.sentiment_releases import AS_OF, release_sentiment

from cryptoai_assets.lib.sentiment_methods.sentiment_bundle import write_sentiment_bundle
from edge_bundle.errors import BundleRefusedError
from edge_bundle.manifest import file_sha256, manifest_record
from edge_bundle.releases import ReleasedVersion
from edge_bundle.sentiment.release import (
    GOLDEN_TEXTS_NAME,
    METHODS,
    MODEL,
    SentimentBundle,
    SentimentManifest,
    released_method,
)
from edge_bundle.sentiment.transformer import GRAPH_NAME, TransformerSentiment

TEXTS = ["Bitcoin rises sharply", "Exchange files for bankruptcy", ""]


@pytest.mark.parametrize("method", METHODS)
def test_bundle_scores_as_the_method_that_it_was_made_of(tmp_path: Path, method: str) -> None:
    bundle = write_sentiment_bundle(tmp_path / "bundle", method, as_of=AS_OF, git_commit="c")
    assert bundle.method.name == method
    assert bundle.selftest().passed
    assert bundle.selftest().largest_difference == 0
    assert set(manifest_record(bundle.folder)["files"]) == {path.name for path in bundle.folder.iterdir()} - {
        "manifest.json"
    }
    if method == "transformer":
        assert bundle.method.scores(TEXTS) == TransformerSentiment.load().scores(TEXTS)


def test_shipped_transformer_answers_until_a_method_is_released(tmp_path: Path) -> None:
    assert released_method(tmp_path).version == TransformerSentiment.load().version
    release_sentiment(tmp_path, "vader", version=2)
    assert released_method(tmp_path).name == "vader"
    name_champion(tmp_path, MODEL, None)
    assert released_method(tmp_path).name == "transformer"


def test_release_that_is_not_what_the_channel_promises_is_refused(tmp_path: Path) -> None:
    release_sentiment(tmp_path, "keywords", version=1)
    name_champion(tmp_path, MODEL, ReleasedVersion(1, "0" * 64))
    with pytest.raises(BundleRefusedError, match="version 1 of cryptoai-sentiment is not what"):
        released_method(tmp_path)


def written(folder: Path, **changed: str) -> Path:
    bundle = write_sentiment_bundle(folder / "bundle", "keywords", as_of=AS_OF, git_commit="c")
    replace(bundle.manifest, **changed).write(bundle.folder)
    return bundle.folder


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"method": "oracle"}, "oracle is no method here"),
        ({"method_version": "0"}, "keywords is of version 1 here, the bundle promises 0"),
    ],
)
def test_method_that_this_machine_does_not_have_is_refused(
    tmp_path: Path, changed: dict[str, str], told: str
) -> None:
    with pytest.raises(BundleRefusedError, match=told):
        SentimentBundle.load(written(tmp_path, **changed))


def test_changed_or_unlisted_file_is_refused(tmp_path: Path) -> None:
    folder = write_sentiment_bundle(tmp_path / "bundle", "transformer", as_of=AS_OF, git_commit="c").folder
    manifest = SentimentManifest.read(folder)
    (folder / GRAPH_NAME).write_bytes(b"another graph")
    with pytest.raises(BundleRefusedError, match=GRAPH_NAME):
        SentimentBundle.load(folder)
    replace(manifest, files={}).write(folder)
    with pytest.raises(BundleRefusedError, match=f"lists no {GOLDEN_TEXTS_NAME}"):
        SentimentBundle.load(folder)


def test_golden_texts_that_score_otherwise_fail_the_replay(tmp_path: Path) -> None:
    bundle = write_sentiment_bundle(tmp_path / "bundle", "keywords", as_of=AS_OF, git_commit="c")
    golden = json.loads((bundle.folder / GOLDEN_TEXTS_NAME).read_text())
    golden[0]["shares"] = [1.0, 0.0, 0.0]
    (bundle.folder / GOLDEN_TEXTS_NAME).write_text(json.dumps(golden))
    files = {GOLDEN_TEXTS_NAME: file_sha256(bundle.folder / GOLDEN_TEXTS_NAME)}
    replace(bundle.manifest, files=files).write(bundle.folder)
    assert not SentimentBundle.load(bundle.folder).selftest().passed
