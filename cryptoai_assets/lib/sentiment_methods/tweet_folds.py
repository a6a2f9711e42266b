"""How well the tuning labels tweets that it has not read: fold by fold, each kept when it is done."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cryptoai_assets.lib.fingerprints import code_fingerprint, settings_fingerprint
from cryptoai_assets.lib.sentiment_methods.encoder import words_file
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
from cryptoai_assets.lib.sentiment_methods.tuning import (
    TUNING_CODE,
    Recipe,
    integer_graph,
    meanings_of,
    tuned,
    voting_graph,
)
from cryptoai_assets.lib.sentiment_methods.tuning_problem import AfterEpoch
from cryptoai_assets.lib.sentiment_methods.votes import VoteSettings
from edge_bundle.sentiment.transformer import TransformerSentiment
from edge_bundle.whole_file import replace_file

_SCORING_CODE = (
    "cryptoai_assets.lib.sentiment_methods.encoder_graph",
    "cryptoai_assets.lib.sentiment_methods.evened",
    "cryptoai_assets.lib.sentiment_methods.tuning",
    "cryptoai_assets.lib.sentiment_methods.tweet_folds",
    "cryptoai_assets.lib.sentiment_methods.votes",
    "cryptoai_assets.lib.quantization",
)


@dataclass(frozen=True, slots=True)
class TweetFolds:
    """A scoring by folds: its texts, of which no two are near-duplicates, and how each fold is tuned.

    Parameters
    ----------
    besides
        Other labelled texts, which every fold is tuned on too.
    votes
        How the votes beside the encoder are learnt, from the training tweets and the other texts; None for
        none.
    kept
        Folder of the folds that are done; a scoring of other texts, another recipe or other code has its own.
    """

    texts: Sequence[LabelledText]
    besides: Sequence[LabelledText]
    encoder: Path
    recipe: Recipe
    votes: VoteSettings | None
    count: int
    seed: int
    kept: Path

    @property
    def _results(self) -> Path:
        made_of = {
            "texts": _known(self.texts),
            "besides": _known(self.besides),
            "recipe": asdict(self.recipe),
            "votes": asdict(self.votes) if self.votes else None,
            "folds": (self.count, self.seed),
            "code": code_fingerprint(*TUNING_CODE, *_SCORING_CODE),
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
                replace_file(self._results, json.dumps(done, indent=1))
            yield fold, Quality(**done[str(fold)])

    def _tested(
        self, training: Sequence[LabelledText], testing: Sequence[LabelledText], after_epoch: AfterEpoch
    ) -> Quality:
        read = [*self.besides, *training]
        weights = tuned(
            read,
            self.recipe,
            encoder=self.encoder,
            seed=self.seed,
            kept=self.kept,
            after_epoch=after_epoch,
        )
        graph = integer_graph(encoder_graph(weights), read, encoder=self.encoder)
        if self.votes:
            graph = voting_graph(graph, training, self.besides, settings=self.votes, encoder=self.encoder)
        with TemporaryDirectory() as folder:
            write_weights(Path(folder), graph, words_file(self.encoder), record={}, bounded=False)
            return quality(TransformerSentiment.load(Path(folder)), testing)


def unlike_tweets(folder: Path, encoder: Path) -> tuple[tuple[LabelledText, ...], tuple[LabelledText, ...]]:
    """Tweets of a folder of labelled texts, and its headlines with one label, of which no two are alike.

    By words or by meaning; a headline that is near to a tweet is left out, not the tweet.
    """
    found, single = tweets(folder / TWEETS), headlines(folder / HEADLINES)
    every = [*found, *single.single, *single.agreeing]
    plain = [one.text for one in every]
    kept = unlike_earlier(plain, meanings_of(plain, encoder=encoder))
    unlike = [(row, every[row]) for row in np.flatnonzero(kept)]
    return (
        tuple(one for row, one in unlike if row < len(found)),
        tuple(one for row, one in unlike if row >= len(found)),
    )


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def _known(texts: Sequence[LabelledText]) -> list[tuple[str, int]]:
    return [(text_hash(one.text), one.label) for one in texts]
