"""`python -m cryptoai_assets.tune FOLDER`: make the weights of the sentiment transformer again.

It needs PyTorch (``make networks``) and the encoder's package, which is not read at any other time. On two
cores that do nothing else it takes under an hour.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptoai_assets.lib.sentiment_methods.encoder import EncoderAbsentError, package_folder
from cryptoai_assets.lib.sentiment_methods.labelled import LabelledTextError
from cryptoai_assets.lib.sentiment_methods.shipment import ShipmentError
from cryptoai_assets.lib.sentiment_methods.tuning import (
    MEMBERS,
    SPLIT_SEED,
    labelled_sets,
    shipped,
    tuned_member,
)
from cryptoai_assets.lib.sentiment_methods.tuning_problem import Progress
from edge_bundle.sentiment.transformer import WEIGHTS

COMMAND = "python -m cryptoai_assets.tune"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, tune every member, ship their mean with its scores."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("texts", type=Path, help="folder of the labelled texts, which are not shipped")
    parser.add_argument("--into", type=Path, default=WEIGHTS, help="folder of the weights")
    options = parser.parse_args(arguments)
    try:
        encoder = package_folder()
        sets = labelled_sets(options.texts, encoder, seed=SPLIT_SEED)
        weights = [tuned_member(sets, member, encoder, after_epoch=_say) for member in MEMBERS]
        record = shipped(sets, MEMBERS, weights, encoder=encoder, folder=options.into, command=COMMAND)
    except (EncoderAbsentError, LabelledTextError, ShipmentError, OSError) as error:
        parser.error(str(error))
    sys.stdout.write(f"fp32 {record['fp32']}\nint8 {record['int8']}\n")
    return 0


def _say(progress: Progress) -> None:
    sys.stdout.write(f"epoch {progress.epoch} of {progress.epochs}: loss {progress.loss:.4f}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
