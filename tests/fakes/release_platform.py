"""The platform as a device sees it: released bundles, signed, served by its own service."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from fakes.installed_device import MODEL, SYMBOLS
from fakes.loopback_app import serving
from fakes.releases import name_champion, release_tiny_bundle

from cryptoai_assets.lib.release_signing import ReleaseSigner
from cryptoai_serving.app import create_app
from cryptoai_serving.settings import ServingSettings
from edge_bundle.manifest import bundle_digest
from edge_bundle.releases import ReleasedVersion


class ReleasePlatform:
    """The platform's release folder, the address of its service, and its signing key."""

    def __init__(self, folder: Path, url: str) -> None:
        self.root, self.url = folder / "releases", url
        self.signer = ReleaseSigner(folder / "signing.pem")

    def release(self, version: int, *, seed: int, at: datetime, signed: bool = True) -> ReleasedVersion:
        """Make a bundle champion."""
        folder = release_tiny_bundle(
            self.root, version=version, seed=seed, market="live", live=True, interval="1m", symbols=SYMBOLS
        )
        return self.name(ReleasedVersion(version, bundle_digest(folder)), at=at, signed=signed)

    def name(self, released: ReleasedVersion, *, at: datetime, signed: bool = True) -> ReleasedVersion:
        """Name the champion, as whoever has this key does."""
        if signed:
            released = self.signer.signed(MODEL, released, after=None, at=at)
        name_champion(self.root, MODEL, released)
        return released

    def give_key(self, folder: Path) -> Path:
        """Put the public key where a device looks for those that it trusts; the folder."""
        folder.mkdir(exist_ok=True)
        (folder / "platform.pub").write_text(self.signer.public_key())
        return folder


@contextmanager
def platform_service(folder: Path) -> Iterator[str]:
    """Serve what is released in a folder; its address."""
    settings = replace(ServingSettings.inside(folder, market="live"), releases=folder / "releases")
    with serving(create_app(settings), lifespan="on") as loopback:
        yield loopback.http
