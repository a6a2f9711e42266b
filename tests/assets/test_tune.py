"""The command that tunes the encoder, as a user types it, on a tiny encoder and a few texts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.published_encoder import write_published_encoder

from cryptoai_assets.lib.sentiment_methods.encoder import PACKAGE
from cryptoai_assets.lib.sentiment_methods.labelled import HEADLINES, TWEETS
from cryptoai_assets.tune import KEPT

PROJECT = Path(__file__).parents[2]
# By the other word, of which each text has one: what the tiny encoder knows, and takes for unlike.
OF_TWEETS, OF_HEADLINES = ("bitcoin", "price", "today", "report"), ("sharply", "stays", "after", "the")
LABELS = {"falls": ("0", "negative"), "flat": ("2", "neutral"), "rises": ("1", "positive")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with labelled texts, and the package of the encoder beside them."""
    folder = tmp_path_factory.mktemp("tune")
    package = folder / PACKAGE
    package.mkdir()
    (package / "__init__.py").touch()
    write_published_encoder(package / "model", seed=1)
    tweets = [f"{word} {other},{label}" for word, (label, _) in LABELS.items() for other in OF_TWEETS]
    titles = [
        f"{word} {other},\"{{'Alpha': '{label}'}}\""
        for word, (_, label) in LABELS.items()
        for other in OF_HEADLINES
    ]
    (folder / TWEETS).write_text("\n".join(["text,label", *tweets]) + "\n")
    (folder / HEADLINES).write_text("\n".join(["Title,Decisions", *titles]) + "\n")
    return folder


def tune(place: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cryptoai_assets.tune", str(place), *options],
        cwd=place,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{place}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_folds_are_scored_with_the_votes_and_without_by_the_same_tunings(place: Path) -> None:
    voted = tune(place, "--folds", "2")
    assert voted.returncode == 0, voted.stderr
    assert "guessing, epoch 1 of" in voted.stdout
    assert "tuning, epoch 1 of" in voted.stdout
    alone = tune(place, "--folds", "2", "--encoder-alone")
    assert alone.returncode == 0, alone.stderr
    assert "epoch" not in alone.stdout
    for told in (voted, alone):
        scored = [line.split(":")[0] for line in told.stdout.splitlines() if "epoch" not in line]
        assert scored == ["fold 1 of 2", "fold 2 of 2", "mean of 2 folds"]
    kept = [json.loads(file.read_text()) for file in (place / KEPT).glob("tweet_folds_*.json")]
    first, second = ([fold["calibration_error"] for fold in folds.values()] for folds in kept)
    assert first != second


def test_scoring_without_votes_is_refused_where_no_folds_are_scored(place: Path) -> None:
    refused = tune(place, "--encoder-alone")
    assert refused.returncode == 2
    assert "--encoder-alone is for --folds" in refused.stderr
