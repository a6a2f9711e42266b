"""The kinds of forecaster that can be searched, trained, exported and released, by name."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from cryptoai_assets.lib.models.ensemble import EnsembleSettings
from cryptoai_assets.lib.models.tree_heads import (
    ForestSettings,
    LightgbmSettings,
    TreeSettings,
    XgboostSettings,
)

KINDS: Mapping[str, type[TreeSettings]] = MappingProxyType(
    {kind.kind: kind for kind in (XgboostSettings, LightgbmSettings, ForestSettings, EnsembleSettings)}
)


class UnknownKindError(Exception):
    """No kind of forecaster has the name that was asked for."""


def kind_settings(name: str) -> type[TreeSettings]:
    """Settings of a kind.

    Raises
    ------
    UnknownKindError
        When there is no such kind; the known ones are listed.
    """
    if name not in KINDS:
        raise UnknownKindError(f"model kind {name!r} is not known; choose among {', '.join(KINDS)}")
    return KINDS[name]


def model_record(settings: TreeSettings) -> dict[str, Any]:
    """Settings with the name of their kind, as JSON keeps them."""
    fields: dict[str, Any] = asdict(settings)  # type: ignore[call-overload] # all are dataclasses
    if isinstance(settings, EnsembleSettings):
        fields["members"] = [model_record(member) for member in settings.members]
    return {"kind": settings.kind, **fields}


def model_from(record: Mapping[str, Any]) -> TreeSettings:
    """Settings that `model_record` wrote."""
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record.items()
        if name != "kind"
    }
    kind = kind_settings(record["kind"])
    if kind is EnsembleSettings:
        fields["members"] = tuple(model_from(member) for member in fields["members"])
    return kind(**fields)
