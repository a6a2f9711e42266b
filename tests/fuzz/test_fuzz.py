"""Nothing fed to a parser crashes it or becomes a row that breaks a rule, and planted bugs are found."""

from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris is made for Linux on x86_64 alone")

from fuzz.fuzzing import ALL, fuzzed
from fuzz.parsers import PARSERS
from fuzz.planted import PLANTED

# The same inputs in every run of the suite, so that it fails for what was changed; `make fuzz` goes on with
# new ones. A planted bug has more runs, and needs few.
SEED, RUNS, RUNS_UNTIL_FOUND = 1, 200, 20_000


@pytest.mark.parametrize("name", ALL)
def test_every_seed_becomes_rows(name: str) -> None:
    assert all(ALL[name].read(seed) > 0 for seed in ALL[name].seeds)


@pytest.mark.parametrize("name", PARSERS)
def test_whatever_is_fed_becomes_rows_that_keep_their_rules_or_an_error_of_ours(
    name: str, tmp_path: Path
) -> None:
    found = fuzzed(name, tmp_path, seed=SEED, runs=RUNS)
    assert found.ended_well, found.told


@pytest.mark.parametrize(
    ("name", "error"), [("planted-nan", "AssertionError"), ("planted-absent-field", "KeyError")]
)
def test_planted_bug_is_found_within_the_same_runs_and_found_again_in_its_file(
    name: str, error: str, tmp_path: Path
) -> None:
    found = fuzzed(name, tmp_path, seed=SEED, runs=RUNS_UNTIL_FOUND)
    assert not found.ended_well
    assert error in found.told
    [finding] = found.findings
    with pytest.raises((AssertionError, KeyError)) as broken:
        PLANTED[name].read(finding.read_bytes())
    assert broken.typename == error
