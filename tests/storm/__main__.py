"""`make storm`: ingestion killed 50 times, cut off in 50 writes, and held against calm weather."""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from storm.ingestion import SOURCE_FAILED
from storm.test_storm import hold_against_calm

KILLS = 50


def main(arguments: Sequence[str]) -> int:
    """Weather one storm, of a given seed or of a new one, which is printed."""
    seed = int(arguments[0]) if arguments else secrets.randbits(32)
    sys.stdout.write(f"{KILLS} kills and {KILLS} broken writes; to repeat them: make storm SEED={seed}\n")
    sys.stdout.flush()
    with TemporaryDirectory() as folder:
        weather = hold_against_calm(Path(folder), seed, KILLS)
    sys.stdout.write(
        f"{weather.killed} runs were killed, {weather.cut_off} ended inside a write, "
        f"{weather.ends[SOURCE_FAILED]} gave up on the venue, "
        f"{weather.ends[0]} came to their end; every table is that of calm weather.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
