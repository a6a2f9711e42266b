"""How well the tuning labels tweets that it has not read: fold by fold, each kept when it is done."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from cryptoai_assets.lib.fingerprints import code_fingerprint, settings_fingerprint
from cryptoai_assets.lib.quantization import with_integer_products
from cryptoai_assets.lib.sentiment_methods.encoder import EncoderWeights, pretrained_weights, words_file
from cryptoai_assets.lib.sentiment_methods.encoder_gradients import tuned_weights
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
    MEMBERS,
    as_read,
    mean_weights,
    meanings_of,
    voting_graph,
)
from cryptoai_assets.lib.sentiment_methods.tuning_problem import AfterEpoch, TuningProblem, TuningSettings
from cryptoai_assets.lib.sentiment_methods.votes import VoteSettings
from edge_bundle.sentiment.transformer import TransformerSentiment

_TUNING_CODE = (
    "cryptoai_assets.lib.sentiment_methods.encoder_gradients",
    "cryptoai_assets.lib.sentiment_methods.tuning_problem",
)
_SCORING_CODE = (
    "cryptoai_assets.lib.sentiment_methods.encoder_graph",
    "cryptoai_assets.lib.sentiment_methods.tweet_folds",
    "cryptoai_assets.lib.sentiment_methods.votes",
    "cryptoai_assets.lib.quantization",
)


@dataclass(frozen=True, slots=True)
class FoldMember:
    """One tuning of those whose weights are averaged.

    Parameters
    ----------
    first
        How the other texts are read before the tweets, once for all folds; None where they are not.
    """

    first: TuningSettings | None
    settings: TuningSettings
    seed: int


_SETTINGS = replace(MEMBERS[0].settings, epochs=3, batch=64, rate=1e-4)
FOLD_MEMBERS = (FoldMember(replace(_SETTINGS, rate=1.3e-4, head_rate=2e-3), _SETTINGS, seed=0),)


@dataclass(frozen=True, slots=True)
class TweetFolds:
    """A scoring by folds: its texts, of which no two are near-duplicates, and how each fold is tuned.

    Parameters
    ----------
    besides
        Other labelled texts, for training alone.
    votes
        How the votes beside the encoder are learnt, from the training tweets and the other texts; None for
        none.
    kept
        Folder of the folds that are done; a scoring of other texts, settings or code has its own.
    """

    texts: Sequence[LabelledText]
    besides: Sequence[LabelledText]
    encoder: Path
    members: Sequence[FoldMember]
    votes: VoteSettings | None
    count: int
    seed: int
    kept: Path

    @property
    def _results(self) -> Path:
        made_of = {
            "texts": _known(self.texts),
            "besides": _known(self.besides),
            "members": [asdict(member) for member in self.members],
            "votes": asdict(self.votes) if self.votes else None,
            "folds": (self.count, self.seed),
            "code": code_fingerprint(*_TUNING_CODE, *_SCORING_CODE),
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
                _replaced(self._results, json.dumps(done, indent=1).encode())
            yield fold, Quality(**done[str(fold)])

    def _tested(
        self, training: Sequence[LabelledText], testing: Sequence[LabelledText], after_epoch: AfterEpoch
    ) -> Quality:
        weights = [self._member_weights(member, training, after_epoch) for member in self.members]
        graph = with_integer_products(encoder_graph(mean_weights(weights)))
        if self.votes:
            graph = voting_graph(graph, training, self.besides, settings=self.votes, encoder=self.encoder)
        with TemporaryDirectory() as folder:
            write_weights(Path(folder), graph, words_file(self.encoder), record={}, bounded=False)
            return quality(TransformerSentiment.load(Path(folder)), testing)

    def _member_weights(
        self, member: FoldMember, training: Sequence[LabelledText], after_epoch: AfterEpoch
    ) -> EncoderWeights:
        start = pretrained_weights(self.encoder)
        if member.first is None:
            return self._tuned(training, member.settings, member.seed, (), start, after_epoch)
        first = (_known(self.besides), asdict(member.first))
        begun = self._tuned(self.besides, member.first, member.seed, (), start, after_epoch)
        return self._tuned(training, member.settings, member.seed, first, begun, after_epoch)

    def _tuned(
        self,
        texts: Sequence[LabelledText],
        settings: TuningSettings,
        seed: int,
        before: tuple[object, ...],
        start: EncoderWeights,
        after_epoch: AfterEpoch,
    ) -> EncoderWeights:
        """Weights of a tuning, which are kept; `before` is what made its start of the published weights."""
        made_of = {
            "texts": _known(texts),
            "settings": (asdict(settings), seed),
            "before": before,
            "code": code_fingerprint(*_TUNING_CODE),
        }
        file = self.kept / f"tuned_{settings_fingerprint(made_of)[:12]}.safetensors"
        if not file.is_file():
            pieces, labels = as_read(texts, self.encoder)
            problem = TuningProblem(settings, start, pieces, labels, seed)
            _replaced(file, save(dict(tuned_weights(problem, after_epoch=after_epoch))))
        return load_file(file)


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


def _replaced(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".tmp")
    draft.write_bytes(content)
    draft.replace(file)
