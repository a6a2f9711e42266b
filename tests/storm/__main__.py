"""`make storm`: ingestion, a week of a device, and the watch, each killed and cut off again and again."""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from storm import sensors
from storm.device import WEEK_LIVES, outlived
from storm.ingestion import SOURCE_FAILED
from storm.sensors import DEATHS
from storm.test_storm import hold_against_calm

KILLS = 50


def main(arguments: Sequence[str]) -> int:
    """Weather one storm, of a given seed or of a new one, which is printed."""
    seed = int(arguments[0]) if arguments else secrets.randbits(32)
    _say(f"{KILLS} kills and {KILLS} broken writes; to repeat them: make storm SEED={seed}")
    with TemporaryDirectory() as folder:
        weather = hold_against_calm(Path(folder), seed, KILLS)
    _say(
        f"{weather.killed} runs were killed, {weather.cut_off} ended inside a write, "
        f"{weather.ends[SOURCE_FAILED]} gave up on the venue, "
        f"{weather.ends[0]} came to their end; every table is that of calm weather.\n"
        f"A week of a device, whose power is cut {WEEK_LIVES} times …"
    )
    with TemporaryDirectory() as folder:
        device = outlived(Path(folder), seed=seed, kills=WEEK_LIVES)
    _say(
        f"It holds {device.bars:,} bars, each once and as the venue has it, has noted {device.never_had} "
        f"that the venue never had, and made {device.forecasts:,} forecasts, none from old bars."
    )
    _say(f"A verdict that asks for a training, and Dagster's daemon, which dies at {DEATHS} of its steps …")
    with TemporaryDirectory() as folder:
        steps = sensors.outlived(Path(folder), seed=seed, deaths=DEATHS)
    _say(f"Of {steps} steps: each time it was one training, one line of the ledger, and one message.")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
