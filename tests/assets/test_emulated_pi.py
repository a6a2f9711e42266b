"""What an emulated device says is believed only when it says that all is well."""

import json

import pytest

from cryptoai_assets.lib.edge_archive import EdgeArchiveError
from cryptoai_assets.lib.emulated_pi import read_selftest


def test_selftest_that_passed_is_told() -> None:
    said = {"passed": True, "rows": 64}
    assert read_selftest(json.dumps(said), "") == said


@pytest.mark.parametrize(
    ("said", "complained", "told"),
    [
        ("", "qemu: uncaught signal", "does not run on its processor: qemu: uncaught signal"),
        ('{"passed": fal', "killed", "does not run on its processor: killed"),
        ('{"passed": false, "largest_difference": 0.3}', "", "answers otherwise.*0.3"),
    ],
)
def test_selftest_that_did_not_pass_makes_no_archive(said: str, complained: str, told: str) -> None:
    with pytest.raises(EdgeArchiveError, match=told):
        read_selftest(said, complained)
