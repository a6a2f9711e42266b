"""`make edge`: the archive that a Raspberry Pi is installed from, with the champion and its wheels inside."""

import argparse
import importlib.metadata
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptoai_assets.defs.resources import configured_resource
from cryptoai_assets.lib.edge_archive import (
    AARCH64,
    EdgeArchiveError,
    MadeArchive,
    device_requirements,
    fetch_wheels,
    make_archive,
    own_wheel,
)
from cryptoai_assets.lib.release_signing import ReleaseSigner, SigningKeyError
from cryptoai_assets.lib.releases import champion_forecaster
from edge_bundle.errors import EdgeBundleError

CONSTRAINTS, TARGET, WHEELS = Path("constraints.txt"), Path("edge"), Path("build/edge-wheels")
MEBIBYTE = 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, fetch, build, translate errors."""
    parser = argparse.ArgumentParser(prog="make edge", description=__doc__)
    parser.add_argument(
        "--here", action="store_true", help="for this machine's processor instead of a 64-bit Raspberry Pi"
    )
    options = parser.parse_args(arguments)
    try:
        made = edge_archive(here=options.here)
    except (EdgeArchiveError, EdgeBundleError, SigningKeyError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    wheels = [entry for name, entry in made.contents.items() if name.startswith("wheels/")]
    size = made.path.stat().st_size / MEBIBYTE
    of_wheels = sum(int(entry["size"]) for entry in wheels) / MEBIBYTE
    _say(f"{made.path}: {size:.0f} MiB, of them {len(wheels)} wheels with {of_wheels:.0f} MiB")
    _say(f"SHA-256 {made.sha256}\n\nCopy it to the device, and there:")
    _say(f"  tar xf {made.path.name} && sudo ./cryptoai-edge/install.sh")
    return 0


def edge_archive(*, here: bool) -> MadeArchive:
    """Archive of the market's champion.

    Raises
    ------
    EdgeArchiveError
        When there is no champion, or its wheels are not to be had.
    """
    home = configured_resource().home
    champion = champion_forecaster(home.releases, home.market.model)
    if champion is None:
        raise EdgeArchiveError(
            f"{home.market.model} has no champion yet: run make demo, or promote a version"
        )
    wheels = WHEELS / ("here" if here else "aarch64")
    shutil.rmtree(wheels, ignore_errors=True)
    _say("Fetching the wheels …")
    platforms = () if here else AARCH64
    fetch_wheels(wheels, constraints=CONSTRAINTS, requirements=device_requirements(), platforms=platforms)
    at = datetime.fromisoformat(champion.manifest.as_of)
    own_wheel(wheels, version=importlib.metadata.version("cryptoai"), at=at)
    return make_archive(
        TARGET,
        releases=home.releases,
        model=home.market.model,
        wheels=wheels,
        signer=ReleaseSigner(home.signing_key),
        platform="here" if here else "aarch64",
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
