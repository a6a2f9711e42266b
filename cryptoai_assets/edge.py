"""`make edge`: the archive that a Raspberry Pi is installed from, with the champion and its wheels inside."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptoai_assets.defs.resources import configured_resource
from cryptoai_assets.lib.edge_archive import EdgeArchiveError, champions_archive
from cryptoai_assets.lib.release_signing import SigningKeyError
from edge_bundle.errors import EdgeBundleError

CONSTRAINTS = Path("constraints.txt")
MEBIBYTE = 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, fetch, build, translate errors."""
    parser = argparse.ArgumentParser(prog="make edge", description=__doc__)
    parser.add_argument(
        "--here", action="store_true", help="for this machine's processor instead of a 64-bit Raspberry Pi"
    )
    options = parser.parse_args(arguments)
    try:
        _say("Fetching the wheels …")
        home = configured_resource().home
        made = champions_archive(
            home, home.edge, workshop=home.edge_wheels, constraints=CONSTRAINTS, here=options.here
        )
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


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
