"""`make reproduce VERSION=n`: train a registered version again from its record, and compare."""

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence

from cryptoai_assets.defs.resources import configured_resource
from cryptoai_assets.lib.reproduction import ReproductionError, reproduce, table
from cryptoai_assets.lib.store import StoreError
from cryptoai_assets.lib.tracking import TrackingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, build, hand over, translate errors: 0 when all is equal, 1 when not, 2 when it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m cryptoai_assets.reproduce", description=__doc__)
    parser.add_argument("version", type=int, help="number of the version in MLflow")
    version = parser.parse_args(arguments).version
    logging.getLogger("alembic").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    home = configured_resource().home
    sys.stdout.write(f"Training version {version} again from its record …\n")
    sys.stdout.flush()
    try:
        found = reproduce(home, version)
    except (ReproductionError, StoreError, TrackingError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(table(found))
    return 0 if found.equal else 1


if __name__ == "__main__":
    sys.exit(main())
