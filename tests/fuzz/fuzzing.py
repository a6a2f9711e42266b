"""Fuzzing of one parser in a process of its own, and what it found."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fakes.project_root import PROJECT
from fuzz.parsers import PARSERS, Parser
from fuzz.planted import PLANTED

ALL: dict[str, Parser] = {**PARSERS, **PLANTED}
# Of one input; a parser that takes longer for it hangs.
LONGEST_SECONDS = 25
MOST_BYTES = 16_384
_SHOWN_CHARACTERS = 3_000


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """How the fuzzing of a parser ended.

    Parameters
    ----------
    findings
        Files with the inputs that a parser does not survive; none when it ended well.
    told
        What the process said last.
    """

    findings: tuple[Path, ...]
    told: str

    @property
    def ended_well(self) -> bool:
        """Whether all runs were made and nothing was found."""
        return not self.findings and "\nDone " in self.told


def fuzzed(name: str, folder: Path, *, seed: int, runs: int = -1, seconds: int = 0) -> Fuzzed:
    """Fuzz one parser, from its seeds on.

    Parameters
    ----------
    folder
        Where findings are kept.
    seed
        Of the chance; the same one makes the same runs.
    runs, seconds
        After which it ends; -1 runs and 0 seconds are without an end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    with TemporaryDirectory() as corpus:
        for number, text in enumerate(ALL[name].seeds):
            (Path(corpus) / f"{number}").write_bytes(text)
        flags = {
            "seed": seed,
            "runs": runs,
            "max_total_time": seconds,
            "timeout": LONGEST_SECONDS,
            "max_len": MOST_BYTES,
            # A shorter input that reaches the same lines must not replace a valid answer.
            "reduce_inputs": 0,
            # A child inherits the most that its parent ever held: the engine has a limit of its own.
            "rss_limit_mb": 0,
            "artifact_prefix": f"{folder}/{name}-",
        }
        command = [sys.executable, "-m", "fuzz.engine", name, *(f"-{flag}={n}" for flag, n in flags.items())]
        ended = subprocess.run([*command, corpus], env=_environment(), capture_output=True, check=False)
    told = (ended.stderr + ended.stdout).decode(errors="replace")
    return Fuzzed(tuple(sorted(set(folder.iterdir()) - before)), told[-_SHOWN_CHARACTERS:])


def _environment() -> dict[str, str]:
    # Without a hash seed the order of a set is chance, and with it what is reached by the same inputs.
    return {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join((f"{PROJECT / 'tests'}", str(PROJECT))),
    }


def repeating(name: str, finding: Path) -> str:
    """Command that shows a finding again."""
    return f"PYTHONPATH=tests {sys.executable} -m fuzz {name} --again {finding}"
