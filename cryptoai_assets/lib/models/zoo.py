"""The kinds of forecaster that can be searched, trained, exported and released, by name."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, cast

from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.models.blend import Blend, BlendSettings
from cryptoai_assets.lib.models.ensemble import EnsembleSettings
from cryptoai_assets.lib.models.forecaster_model import ForecasterSettings
from cryptoai_assets.lib.models.networks.network import Network
from cryptoai_assets.lib.models.networks.problem import UNTOLD, NetworkRun
from cryptoai_assets.lib.models.networks.settings import (
    EpochSettings,
    LstmSettings,
    NetworkSettings,
    TransformerSettings,
)
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


class ModelChoiceError(Exception):
    """A kind of forecaster cannot be trained.

    ::

        ModelChoiceError
        ├── UnknownKindError            no kind has the name that was asked for
        ├── NetworksNotInstalledError   a network is trained by PyTorch, which is not installed
        └── ShortLookbackError          a market's rows hold fewer bars than a network reads
    """


class UnknownKindError(ModelChoiceError):
    """No kind of forecaster has the name that was asked for."""


class NetworksNotInstalledError(ModelChoiceError):
    """A network was asked for where PyTorch is not installed."""


class ShortLookbackError(ModelChoiceError):
    """A network was asked for on a market whose lookback is shorter than the network's."""


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


def long_enough(market: Market) -> Market:
    """The market with a lookback that suffices for the models that it names; unknown ones are left alone."""
    starts = [KINDS[kind].start() for kind in market.models if kind in KINDS]
    return replace(market, lookback=max([market.lookback, *map(_lookback, starts)]))


def _lookback(settings: ForecasterSettings) -> int:
    """Bars that a model of some settings reads; trees read one."""
    own = settings.lookback if isinstance(settings, NetworkSettings) else 1
    return max([own, *map(_lookback, members_of(settings))])


def refuse_untrainable(kinds: Sequence[str], *, market: Market) -> None:
    """Refuse what cannot be trained, before time is spent on what can.

    Raises
    ------
    ModelChoiceError
        When a kind is not known, or is a network for which PyTorch or the market's lookback does not suffice.
    """
    starts = [kind_settings(kind).start() for kind in kinds]
    # An ensemble is made of the kinds beside it, and of all that it knows where it is alone.
    single = [settings for settings in starts if not members_of(settings)]
    for settings in single or [member for ensemble in starts for member in members_of(ensemble)]:
        if not isinstance(settings, NetworkSettings):
            continue
        if find_spec("torch") is None:
            raise _not_installed(settings, "torch")
        if settings.lookback > market.lookback:
            raise ShortLookbackError(
                f"{settings.kind} reads {settings.lookback} bars, a row of the market {market.name} holds "
                f"{market.lookback}: name it in the market's models"
            )


def members_of(settings: ForecasterSettings) -> tuple[ForecasterSettings, ...]:
    """Settings of an ensemble's members; none for a model that has no members."""
    return settings.members if isinstance(settings, (EnsembleSettings, BlendSettings)) else ()


def _not_installed(settings: NetworkSettings, missing: str | None) -> NetworksNotInstalledError:
    return NetworksNotInstalledError(f"{settings.kind} needs {missing}: run `make networks`")


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
    if not isinstance(settings, NetworkSettings):
        return Trees(cast(TreeSettings, settings), threads=threads)
    try:
        from cryptoai_assets.lib.models.networks.gradients import GradientSolver
    except ModuleNotFoundError as error:
        raise _not_installed(settings, error.name) from error
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
