"""The zoo: every kind comes back from its record as it was, starts where it says, and is refused by name."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from cryptoai_assets.lib.market import PRESETS, market_preset
from cryptoai_assets.lib.models.zoo import (
    KINDS,
    ShortLookbackError,
    UnknownKindError,
    kind_settings,
    long_enough,
    model_from,
    model_record,
    refuse_untrainable,
)

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", KINDS)
def test_settings_come_back_from_their_record_and_a_trial_of_them_suggests_them(kind: str) -> None:
    start = kind_settings(kind).start()
    assert model_from(json.loads(json.dumps(model_record(start)))) == start
    assert kind_settings(kind).suggested(optuna.trial.FixedTrial(dict(start.as_trial()))) == start


def test_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(UnknownKindError, match="'oracle' is not known; choose among xgboost"):
        model_from({"kind": "oracle"})


WITHOUT_PYTORCH = """
import sys

class Absent:  # as where PyTorch is not installed
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name=name)

sys.meta_path.insert(0, Absent())
from cryptoai_assets.lib.models.networks.settings import LstmSettings
from cryptoai_assets.lib.models.zoo import NetworksNotInstalledError, forecaster
try:
    forecaster(LstmSettings.start(), threads=1)
except NetworksNotInstalledError as error:
    print(error)
"""


def test_network_without_pytorch_is_refused_with_the_cure() -> None:
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTORCH],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "lstm needs torch: run `make networks`\n"


def test_network_on_a_market_of_short_rows_is_refused_with_the_setting() -> None:
    market = replace(market_preset("live"), name="mine", lookback=20)
    with pytest.raises(ShortLookbackError, match=r"transformer reads 60 bars.* mine holds 20: name it in"):
        refuse_untrainable(["xgboost", "transformer"], market=market)
    # Alone it has all members, beside others it has those.
    with pytest.raises(ShortLookbackError, match="lstm reads 60 bars"):
        refuse_untrainable(["blend"], market=market)
    refuse_untrainable(["xgboost", "lightgbm", "tree_ensemble", "blend"], market=market)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_takes_every_kind_that_it_names_and_is_as_it_was_without_networks(name: str) -> None:
    market = market_preset(name)
    named = long_enough(replace(market, models=tuple(KINDS)))
    assert named.lookback == 60
    refuse_untrainable(list(KINDS), market=named)
    assert long_enough(market) == market
    assert long_enough(replace(market, models=("lightgbm", "tree_ensemble"))).lookback == market.lookback
    assert long_enough(replace(market, models=("blend",))).lookback == 60
    with pytest.raises(UnknownKindError, match="'oracle' is not known"):
        refuse_untrainable(["lstm", "oracle"], market=long_enough(replace(named, models=("oracle",))))
