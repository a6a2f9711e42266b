"""What runs is what the device's channel names, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.installed_device import MODEL, SYMBOLS, installed_device
from fakes.releases import name_champion
from fakes.tiny_bundle import write_tiny_bundle

from edge_bundle.device.models import installed_manifest, installed_model
from edge_bundle.errors import ReleaseRefusedError
from edge_bundle.releases import read_channel, release_folder


def test_installed_model_is_the_one_that_the_channel_promises(tmp_path: Path) -> None:
    settings = installed_device(tmp_path)
    model = installed_model(settings)
    assert (model.released.version, model.released.sha256) == (1, model.forecaster.digest)
    assert installed_manifest(settings) == model.forecaster.manifest


def test_sound_bundle_in_the_place_of_another_does_not_run(tmp_path: Path) -> None:
    settings = installed_device(tmp_path)
    folder = release_folder(settings.releases, MODEL, 1)
    write_tiny_bundle(folder, market="live", live=True, interval="1m", symbols=SYMBOLS, seed=2)
    with pytest.raises(ReleaseRefusedError, match="the channel promises"):
        installed_model(settings)


def test_device_without_a_champion_says_what_to_do(tmp_path: Path) -> None:
    settings = installed_device(tmp_path)
    name_champion(settings.releases, MODEL, None)
    assert read_channel(settings.releases, MODEL) is not None
    for chosen in (settings, replace(settings, model="other")):
        with pytest.raises(ReleaseRefusedError, match="run cryptoai-edge update"):
            installed_model(chosen)
