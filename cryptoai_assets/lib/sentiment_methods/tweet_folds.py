"""How well the tuning labels tweets that it has not read: fold by fold, each kept when it is done."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cryptoai_assets.lib.fingerprints import code_fingerprint, settings_fingerprint
from cryptoai_assets.lib.quantization import with_integer_products
from cryptoai_assets.lib.sentiment_methods.encoder import pretrained_weights, words_file
from cryptoai_assets.lib.sentiment_methods.encoder_gradients import meanings
from cryptoai_assets.lib.sentiment_methods.encoder_graph import encoder_graph
from cryptoai_assets.lib.sentiment_methods.label_quality import Quality, quality
from cryptoai_assets.lib.sentiment_methods.labelled import (
    HEADLINES,
    TWEETS,
    LabelledText,
    folds,
    headlines,
    text_hash,
    tweets,
    unlike_earlier,
)
from cryptoai_assets.lib.sentiment_methods.shipment import write_weights
from cryptoai_assets.lib.sentiment_methods.tuning import MEMBERS, mean_weights, tuned_on
from cryptoai_assets.lib.sentiment_methods.tuning_problem import AfterEpoch, TuningSettings
from edge_bundle.sentiment.transformer import TransformerSentiment, piece_ids, word_table

_CODE = (
    "cryptoai_assets.lib.sentiment_methods.encoder_gradients",
    "cryptoai_assets.lib.sentiment_methods.encoder_graph",
    "cryptoai_assets.lib.sentiment_methods.tweet_folds",
    "cryptoai_assets.lib.quantization",
)


@dataclass(frozen=True, slots=True)
class FoldMember:
    """One tuning of those whose weights are averaged; `besides` is whether it reads the other texts too."""

    settings: TuningSettings
    besides: bool
    seed: int


# The first of what is shipped. Averaged with one on the tweets alone it labelled a fold less well.
FOLD_MEMBERS = (FoldMember(MEMBERS[0].settings, besides=True, seed=0),)


@dataclass(frozen=True, slots=True)
class TweetFolds:
    """A scoring by folds: its texts, of which no two are near-duplicates, and how each fold is tuned.

    Parameters
    ----------
    besides
        Other labelled texts, for training alone.
    kept
        Folder of the folds that are done; a scoring of other texts, settings or code has its own.
    """

    texts: Sequence[LabelledText]
    besides: Sequence[LabelledText]
    encoder: Path
    members: Sequence[FoldMember]
    count: int
    seed: int
    kept: Path

    @property
    def _results(self) -> Path:
        made_of = {
            "texts": [(text_hash(one.text), one.label) for one in self.texts],
            "besides": [(text_hash(one.text), one.label) for one in self.besides],
            "members": [asdict(member) for member in self.members],
            "folds": (self.count, self.seed),
            "code": code_fingerprint(*_CODE),
        }
        return self.kept / f"tweet_folds_{settings_fingerprint(made_of)[:12]}.json"

    def qualities(self, *, after_epoch: AfterEpoch) -> Iterator[tuple[int, Quality]]:
        """Number and quality of each fold, in INT8 as shipped; what was done before is read back."""
        numbers = folds(len(self.texts), count=self.count, seed=self.seed)
        for fold in range(self.count):
            done = _read(self._results)
            if str(fold) not in done:
                training, testing = (
                    [one for one, chosen in zip(self.texts, rows, strict=True) if chosen]
                    for rows in (numbers != fold, numbers == fold)
                )
                done[str(fold)] = self._tested(training, testing, after_epoch)._asdict()
                _write(self._results, done)
            yield fold, Quality(**done[str(fold)])

    def _tested(
        self, training: Sequence[LabelledText], testing: Sequence[LabelledText], after_epoch: AfterEpoch
    ) -> Quality:
        weights = [
            tuned_on(
                [*training, *(self.besides if member.besides else ())],
                member.settings,
                member.seed,
                self.encoder,
                after_epoch=after_epoch,
            )
            for member in self.members
        ]
        graph = with_integer_products(encoder_graph(mean_weights(weights)))
        with TemporaryDirectory() as folder:
            write_weights(Path(folder), graph, words_file(self.encoder), record={}, bounded=False)
            return quality(TransformerSentiment.load(Path(folder)), testing)


def unlike_tweets(folder: Path, encoder: Path) -> tuple[tuple[LabelledText, ...], tuple[LabelledText, ...]]:
    """Tweets of a folder of labelled texts, and its headlines with one label, of which no two are alike.

    By words or by meaning; a headline that is near to a tweet is left out, not the tweet.
    """
    found, single = tweets(folder / TWEETS), headlines(folder / HEADLINES)
    every = [*found, *single.single, *single.agreeing]
    pieces = piece_ids(word_table(words_file(encoder)), [one.text for one in every])
    kept = unlike_earlier([one.text for one in every], meanings(pretrained_weights(encoder), pieces))
    unlike = [(row, every[row]) for row in np.flatnonzero(kept)]
    return (
        tuple(one for row, one in unlike if row < len(found)),
        tuple(one for row, one in unlike if row >= len(found)),
    )


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def _write(file: Path, done: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".tmp")
    draft.write_text(json.dumps(done, indent=1))
    draft.replace(file)
