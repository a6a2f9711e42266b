"""The kinds of forecaster that can be searched, trained, exported and released, by name."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, cast

from cryptoai_assets.lib.models.blend import Blend, BlendSettings
from cryptoai_assets.lib.models.ensemble import EnsembleSettings
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings
from cryptoai_assets.lib.models.networks.network import Network
from cryptoai_assets.lib.models.networks.problem import UNTOLD, NetworkRun
from cryptoai_assets.lib.models.networks.settings import EpochSettings, LstmSettings, TransformerSettings
from cryptoai_assets.lib.models.tree_heads import (
    ForestSettings,
    LightgbmSettings,
    TreeSettings,
    XgboostSettings,
)
from cryptoai_assets.lib.models.trees import Trees

_ALL: tuple[type[ForecasterSettings], ...] = (
    XgboostSettings,
    LightgbmSettings,
    ForestSettings,
    EnsembleSettings,
    LstmSettings,
    TransformerSettings,
    BlendSettings,
)
KINDS: Mapping[str, type[ForecasterSettings]] = MappingProxyType({kind.kind: kind for kind in _ALL})


# Anything that the settings of a kind become.
Forecaster = Trees | Network | Blend


class UnknownKindError(Exception):
    """No kind of forecaster has the name that was asked for."""


class NetworksNotInstalledError(Exception):
    """A network was asked for where PyTorch is not installed."""


def kind_settings(name: str) -> type[ForecasterSettings]:
    """Settings of a kind.

    Raises
    ------
    UnknownKindError
        When there is no such kind; the known ones are listed.
    """
    if name not in KINDS:
        raise UnknownKindError(f"model kind {name!r} is not known; choose among {', '.join(KINDS)}")
    return KINDS[name]


def forecaster(settings: ForecasterSettings, *, threads: int, run: NetworkRun = UNTOLD) -> Forecaster:
    """Model of some settings, ready to be fitted.

    Parameters
    ----------
    run
        What the trainings of networks keep and tell.

    Raises
    ------
    NetworksNotInstalledError
        When the settings are a network's, and PyTorch is not installed.
    """
    if isinstance(settings, BlendSettings):
        members = [forecaster(member, threads=threads, run=run) for member in settings.members]
        return Blend([member for member in members if not isinstance(member, Blend)], threads)
    if not isinstance(settings, (LstmSettings, TransformerSettings)):
        return Trees(cast(TreeSettings, settings), threads=threads)
    try:
        from cryptoai_assets.lib.models.networks.gradients import GradientSolver
    except ModuleNotFoundError as error:
        raise NetworksNotInstalledError(
            f"{settings.kind} needs {error.name}: pip install -e '.[networks]' -c constraints.txt"
        ) from error
    return Network(settings, GradientSolver(threads, run.checkpoints), threads, run.after_epoch)


def model_record(settings: ForecasterSettings) -> dict[str, Any]:
    """Settings with the name of their kind, as JSON keeps them."""
    fields: dict[str, Any] = asdict(settings)  # type: ignore[call-overload] # all are dataclasses
    if isinstance(settings, (EnsembleSettings, BlendSettings)):
        fields["members"] = [model_record(member) for member in settings.members]
    return {"kind": settings.kind, **fields}


def model_from(record: Mapping[str, Any]) -> ForecasterSettings:
    """Settings that `model_record` wrote."""
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record.items()
        if name != "kind"
    }
    kind = kind_settings(record["kind"])
    if kind in (EnsembleSettings, BlendSettings):
        fields["members"] = tuple(model_from(member) for member in fields["members"])
    if "training" in fields:
        fields["training"] = EpochSettings(**record["training"])
    return kind(**fields)
