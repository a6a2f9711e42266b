"""Releases for readers: miniature bundles put where a promotion puts them, with a channel that names them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from fakes.tiny_bundle import write_tiny_bundle

from edge_bundle.manifest import Manifest, bundle_digest
from edge_bundle.releases import Channel, ReleasedVersion, channel_path, release_folder


def release_tiny_bundle(
    root: Path,
    *,
    version: int,
    seed: int,
    market: str = "sample",
    live: bool = False,
    interval: str = "30m",
    symbols: tuple[str, ...] = ("BTCUSD", "ETHUSD"),
    features: tuple[str, ...] | None = None,
    facts: Mapping[str, int] = MappingProxyType({}),
    members: tuple[str, ...] = (),
) -> Path:
    """Write a bundle as `version` and make it the champion; the folder of the bundle."""
    model = f"cryptoai-forecaster-{market}"
    folder = release_folder(root, model, version)
    write_tiny_bundle(
        folder,
        market=market,
        symbols=symbols,
        live=live,
        interval=interval,
        features=features,
        members=members,
        seed=seed,
    )
    replace(Manifest.read(folder), facts=dict(facts)).write(folder)
    name_champion(root, model, ReleasedVersion(version, bundle_digest(folder)))
    return folder


def name_champion(root: Path, model: str, champion: ReleasedVersion | None) -> None:
    """Replace the channel, as a reader may see it: the old one or the new one, whole."""
    path = channel_path(root, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(Channel(model, champion=champion).to_dict()))
    draft.replace(path)
