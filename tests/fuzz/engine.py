"""One parser in the hands of atheris, which ends the process: `python -m fuzz.engine NAME FLAG …`."""

import resource
import sys
from collections.abc import Sequence

import atheris
from fuzz.mutation import mutated

with atheris.instrument_imports(include=["cryptoai_assets", "edge_bundle", "fuzz.planted"]):
    from fuzz.parsers import PARSERS
    from fuzz.planted import PLANTED

MOST_BYTES_OF_MEMORY = 8 * 2**30


def main(arguments: Sequence[str]) -> None:
    """Fuzz until libFuzzer's flags say that it is enough, or a finding ends it."""
    name, *flags = arguments
    # Of addresses, which libraries reserve generously; beyond it a MemoryError is a finding.
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES_OF_MEMORY, MOST_BYTES_OF_MEMORY))
    read = {**PARSERS, **PLANTED}[name].read

    def feed(data: bytes) -> None:
        read(data)

    def change(data: bytes, most: int, seed: int) -> bytes:
        return mutated(data, most, seed, atheris.Mutate)

    atheris.Setup([name, *flags], feed, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
