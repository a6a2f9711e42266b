"""The zoo: every kind comes back from its record as it was, starts where it says, and is refused by name."""

import json
from importlib.util import find_spec

import optuna
import pytest

from cryptoai_assets.lib.models.networks.settings import LstmSettings
from cryptoai_assets.lib.models.zoo import (
    KINDS,
    NetworksNotInstalledError,
    UnknownKindError,
    forecaster,
    kind_settings,
    model_from,
    model_record,
)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_come_back_from_their_record_and_a_trial_of_them_suggests_them(kind: str) -> None:
    start = kind_settings(kind).start()
    assert model_from(json.loads(json.dumps(model_record(start)))) == start
    assert kind_settings(kind).suggested(optuna.trial.FixedTrial(dict(start.as_trial()))) == start


def test_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(UnknownKindError, match="'oracle' is not known; choose among xgboost"):
        model_from({"kind": "oracle"})


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed here")
def test_network_without_pytorch_is_refused_with_the_cure() -> None:
    with pytest.raises(NetworksNotInstalledError, match=r"lstm needs torch: pip install -e '.\[networks\]'"):
        forecaster(LstmSettings.start(), threads=1)
