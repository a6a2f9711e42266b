"""The model on the device: which version runs, loaded and verified."""

from dataclasses import dataclass
from pathlib import Path

from edge_bundle.device.settings import DeviceSettings
from edge_bundle.errors import ReleaseRefusedError
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import Manifest
from edge_bundle.releases import ReleasedVersion, read_channel, release_folder


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A released version and its loaded bundle."""

    released: ReleasedVersion
    forecaster: Forecaster


def installed_manifest(settings: DeviceSettings) -> Manifest:
    """Read what the installed model wants, without loading it; see `installed_model`."""
    return Manifest.read(_folder(settings, _champion(settings)))


def installed_model(settings: DeviceSettings) -> InstalledModel:
    """Load the version that the device's own channel names champion.

    Raises
    ------
    ReleaseRefusedError
        When there is none, or its bundle is not the one that the channel promises.
    BundleRefusedError
        When its bundle is incomplete, changed, or made by other features than this code's.
    """
    released = _champion(settings)
    forecaster = Forecaster.load(_folder(settings, released))
    if forecaster.digest != released.sha256:
        raise ReleaseRefusedError(
            f"the bundle of version {released.version} has SHA-256 {forecaster.digest[:12]}…, the channel "
            f"promises {released.sha256[:12]}…: run cryptoai-edge update"
        )
    return InstalledModel(released, forecaster)


def _champion(settings: DeviceSettings) -> ReleasedVersion:
    channel = read_channel(settings.releases, settings.model)
    if channel is None or channel.champion is None:
        raise ReleaseRefusedError(
            f"no version of {settings.model} is installed in {settings.releases}: run cryptoai-edge update"
        )
    return channel.champion


def _folder(settings: DeviceSettings, released: ReleasedVersion) -> Path:
    return release_folder(settings.releases, settings.model, released.version)
