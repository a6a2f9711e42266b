"""Settings of the service: what holds without an environment, and what one changes."""

from pathlib import Path

import pytest

from cryptoai_serving.settings import ServingSettings


def test_everything_lies_in_the_current_folder_without_an_environment() -> None:
    settings = ServingSettings.from_environment({})
    assert settings == ServingSettings.inside(Path())
    assert settings.model == "cryptoai-forecaster-sample"
    assert settings.bars == Path("data/sample/bars.db")


def test_another_market_brings_its_own_model_and_bars() -> None:
    settings = ServingSettings.from_environment({"CRYPTOAI_MARKET": "live"})
    assert (settings.model, settings.bars) == ("cryptoai-forecaster-live", Path("data/live/bars.db"))


def test_every_place_can_be_set() -> None:
    settings = ServingSettings.from_environment(
        {
            "CRYPTOAI_MODEL": "m",
            "CRYPTOAI_RELEASES": "/r",
            "CRYPTOAI_BARS": "/b.db",
            "CRYPTOAI_FORECAST_LOG": "/f.db",
        }
    )
    assert (settings.model, settings.releases) == ("m", Path("/r"))
    assert (settings.bars, settings.forecast_log) == (Path("/b.db"), Path("/f.db"))


def test_one_root_moves_all_that_is_not_set_and_leaves_an_address_alone() -> None:
    assert ServingSettings.from_environment({"CRYPTOAI_ROOT": "/p"}) == ServingSettings.inside(Path("/p"))
    settings = ServingSettings.from_environment(
        {"CRYPTOAI_ROOT": "/p", "CRYPTOAI_KEYS": "k.json", "CRYPTOAI_FORECAST_LOG": "postgresql://h/d"}
    )
    assert (settings.keys, settings.forecast_log) == (Path("/p/k.json"), "postgresql://h/d")


def test_hosts_are_names_without_scheme_and_port() -> None:
    settings = ServingSettings.from_environment({"CRYPTOAI_HOSTS": "Desk.Example, cryptoai"})
    assert settings.hosts == ("desk.example", "cryptoai")
    for wrong in ("http://desk.example", "desk.example:3600", "desk.example/"):
        with pytest.raises(ValueError, match="CRYPTOAI_HOSTS"):
            ServingSettings.from_environment({"CRYPTOAI_HOSTS": wrong})


def test_workers_and_the_folder_of_their_metrics_can_be_set() -> None:
    given = {"CRYPTOAI_WORKERS": "2", "PROMETHEUS_MULTIPROC_DIR": "/m", "CRYPTOAI_LIMITS": "/l.bin"}
    settings = ServingSettings.from_environment(given)
    assert (settings.workers, settings.metrics_folder, settings.limits) == (2, Path("/m"), Path("/l.bin"))
    with pytest.raises(ValueError, match="CRYPTOAI_WORKERS"):
        ServingSettings.from_environment({"CRYPTOAI_WORKERS": "0"})
