"""A search in a process that ends by SIGKILL in the middle of a trial.

Run as ``python tests/fakes/mortal_search.py ADDRESS HEADS``: it ends when it should grow the head of that
number, of which every fold of a trial has one.
"""

import os
import signal
import sys
from typing import Any, ClassVar

from fakes.walk_rows import walk_rows

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.tree_heads import XgboostHead, XgboostSettings
from cryptoai_assets.lib.search import search_settings
from cryptoai_assets.lib.studies import Studies

SEED, TRIALS = 1, 9


def searched_rows() -> Dataset:
    return walk_rows(bars=2200, seed=14, symbols=("BTCUSD", "ETHUSD"))


class MortalXgboost(XgboostSettings):
    """Settings whose heads are counted; their record, and so their study, is that of `XgboostSettings`."""

    left: ClassVar[int]

    def grow(self, rows: Any, target: Any, **rest: Any) -> XgboostHead:
        MortalXgboost.left -= 1
        if MortalXgboost.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().grow(rows, target, **rest)


if __name__ == "__main__":
    address, heads = sys.argv[1:]
    MortalXgboost.left = int(heads)
    search_settings(
        searched_rows(),
        MortalXgboost,
        horizon=2,
        trials=TRIALS,
        seed=SEED,
        after_trial=lambda _: None,
        studies=Studies(address),
    )
