"""`make fuzz`: every parser of foreign bytes fed with what nobody sends, until one breaks or time is over."""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from fuzz.fuzzing import ALL, fuzzed, repeating
from fuzz.parsers import PARSERS

SECONDS = 60
FINDINGS = Path("build/fuzz")


def main(arguments: Sequence[str]) -> int:
    """Fuzz some parsers or all, one after the other, or show a finding again; 1 when one breaks."""
    asked = _asked(arguments)
    if asked.again is not None:
        ALL[asked.names[0]].read(asked.again.read_bytes())
        _tell(f"{asked.names[0]} reads {asked.again} as it should.")
        return 0
    seed = asked.seed or secrets.randbits(31)
    found = 0
    for name in asked.names or PARSERS:
        limit = {"runs": asked.runs} if asked.runs else {"seconds": asked.seconds}
        _tell(f"{name} with seed {seed} …")
        fuzzing = fuzzed(name, FINDINGS, seed=seed, **limit)
        if not fuzzing.ended_well:
            found += 1
            _tell(fuzzing.told)
        for finding in fuzzing.findings:
            _tell(f"To repeat it: {repeating(name, finding)}")
    _tell(f"{found} of {len(asked.names or PARSERS)} parsers broke.")
    return min(found, 1)


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    reader = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    reader.add_argument("names", nargs="*", choices=[[], *ALL], metavar="NAME", help="parsers; all when none")
    reader.add_argument("--runs", type=int, default=0, help="of each parser, in place of seconds")
    reader.add_argument("--seconds", type=int, default=SECONDS, help="of each parser")
    reader.add_argument(
        "--seed", type=int, default=0, help="repeats the chance; a new one when none is given"
    )
    reader.add_argument("--again", type=Path, help="a finding to show again, of the one parser named")
    return reader.parse_args(arguments)


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
