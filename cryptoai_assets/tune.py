"""`python -m cryptoai_assets.tune FOLDER`: make the weights of the sentiment transformer again.

With `--votes` the encoder stays as it is, and only the votes beside it are learnt again, in a minute. With
`--folds 5` it makes none: it scores the same tuning on the tweets instead, each fifth by what was tuned on
the other four and the headlines. Killed, it goes on with the fold that was not done; with `--encoder-alone`
it scores the same tunings without the votes.

It needs PyTorch (``make networks``) and the encoder's package, which is not read at any other time. All
texts, or a fold, take a core most of an hour; what is done is kept, the pretraining by itself.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from cryptoai_assets.lib.sentiment_methods.encoder import EncoderAbsentError, package_folder
from cryptoai_assets.lib.sentiment_methods.label_quality import Quality
from cryptoai_assets.lib.sentiment_methods.labelled import LabelledTextError
from cryptoai_assets.lib.sentiment_methods.shipment import ShipmentError
from cryptoai_assets.lib.sentiment_methods.tuning import (
    RECIPE,
    SPLIT_SEED,
    VOTES,
    labelled_sets,
    shipped,
    shipped_anew,
    tuned,
)
from cryptoai_assets.lib.sentiment_methods.tuning_problem import Progress
from cryptoai_assets.lib.sentiment_methods.tweet_folds import TweetFolds, unlike_tweets
from cryptoai_assets.lib.sentiment_methods.votes import VoteSettings
from edge_bundle.sentiment.transformer import WEIGHTS

COMMAND = "python -m cryptoai_assets.tune"
# Of tunings and folds that are done.
KEPT = Path("build/tune")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, tune, ship what came of it with its scores."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("texts", type=Path, help="folder of the labelled texts, which are not shipped")
    parser.add_argument("--into", type=Path, default=WEIGHTS, help="folder of the weights")
    parser.add_argument("--votes", action="store_true", help="learn the votes alone again")
    parser.add_argument("--folds", type=int, help="score the tuning on the tweets by so many folds instead")
    parser.add_argument("--encoder-alone", action="store_true", help="score the folds without votes")
    options = parser.parse_args(arguments)
    if options.encoder_alone and not options.folds:
        parser.error("--encoder-alone is for --folds")
    votes = None if options.encoder_alone else VOTES
    try:
        encoder = package_folder()
        if options.folds:
            _score_by_folds(options.texts, encoder, votes, count=options.folds)
            return 0
        if options.votes:
            record = shipped_anew(options.texts, encoder=encoder, folder=options.into)
        else:
            sets = labelled_sets(options.texts, encoder, seed=SPLIT_SEED)
            weights = tuned(sets.read, RECIPE, encoder=encoder, seed=SPLIT_SEED, kept=KEPT, after_epoch=_say)
            record = shipped(sets, weights, RECIPE, encoder=encoder, folder=options.into, command=COMMAND)
    except (EncoderAbsentError, LabelledTextError, ShipmentError, OSError) as error:
        parser.error(str(error))
    sys.stdout.writelines(f"{name} {record[name]}\n" for name in ("fp32", "int8", "with_votes"))
    return 0


def _score_by_folds(texts: Path, encoder: Path, votes: VoteSettings | None, *, count: int) -> None:
    tweets, besides = unlike_tweets(texts, encoder)
    scoring = TweetFolds(tweets, besides, encoder, RECIPE, votes, count, SPLIT_SEED, kept=KEPT)
    found = []
    for fold, scored in scoring.qualities(after_epoch=_say):
        found.append(scored)
        _tell(f"fold {fold + 1} of {count}", [scored])
    _tell(f"mean of {count} folds", found)


def _tell(what: str, scored: Sequence[Quality]) -> None:
    accuracy, macro_f1 = fmean(one.accuracy for one in scored), fmean(one.macro_f1 for one in scored)
    sys.stdout.write(f"{what}: accuracy {accuracy:.4f}, macro-F1 {macro_f1:.4f}\n")
    sys.stdout.flush()


def _say(progress: Progress) -> None:
    sys.stdout.write(
        f"{progress.stage}, epoch {progress.epoch} of {progress.epochs}: loss {progress.loss:.4f}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
