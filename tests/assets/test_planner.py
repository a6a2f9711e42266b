"""The planner: what differs in data, settings or code is out of date, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest

from cryptoai_assets.lib.fingerprints import code_fingerprint, file_fingerprint, settings_fingerprint
from cryptoai_assets.lib.planner import Recipe, out_of_date, stale_keys, together


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    data, result = tmp_path / "data.txt", tmp_path / "result.txt"
    data.write_text("one")
    result.write_text("made of one")
    return Recipe(
        reads={"data": data},
        writes=(result,),
        settings={"symbol": "BTCUSD", "horizons": (1, 2)},
        code=("cryptoai_assets.lib.quality",),
    )


def test_keys_without_a_record_or_with_another_one_are_stale_in_order() -> None:
    wanted = {"c": "1", "a": "1", "b": "1"}
    assert stale_keys(wanted, {"a": "1", "b": "0", "gone": "1"}) == ["c", "b"]


def test_result_that_is_there_and_made_of_the_same_is_up_to_date(recipe: Recipe) -> None:
    assert out_of_date({"key": recipe}, {"key": recipe.fingerprint()}) == []


def test_changed_data_settings_or_code_and_an_absent_result_are_out_of_date(recipe: Recipe) -> None:
    recorded = {"key": recipe.fingerprint()}
    assert out_of_date({"key": replace(recipe, settings={"symbol": "ETHUSD"})}, recorded) == ["key"]
    assert out_of_date({"key": replace(recipe, code=("cryptoai_assets.lib.store",))}, recorded) == ["key"]
    recipe.reads["data"].write_text("two")
    assert out_of_date({"key": recipe}, recorded) == ["key"]
    recipe.reads["data"].write_text("one")
    assert out_of_date({"key": recipe}, recorded) == []
    recipe.writes[0].unlink()
    assert out_of_date({"key": recipe}, recorded) == ["key"]


def test_input_that_appears_changes_the_fingerprint(recipe: Recipe, tmp_path: Path) -> None:
    later = replace(recipe, reads={**recipe.reads, "later": tmp_path / "later.txt"})
    before = later.fingerprint()
    (tmp_path / "later.txt").write_text("")
    assert later.fingerprint() != before


def test_place_on_the_disk_is_no_part_of_the_fingerprint(recipe: Recipe, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.txt"
    moved.write_text("one")
    assert replace(recipe, reads={"data": moved}).fingerprint() == recipe.fingerprint()


def test_all_keys_are_made_together_and_few_alone() -> None:
    every = ["a", "b", "c"]
    assert together(["c", "b", "a"], every) == [("a", "c")]
    assert together(["a", "c"], every) == [("a", "a"), ("c", "c")]
    assert together([], every) == []
    assert together([""], [""]) == [("", "")]


def test_settings_are_equal_whatever_their_order() -> None:
    assert settings_fingerprint({"a": 1, "b": [1, 2]}) == settings_fingerprint({"b": (1, 2), "a": 1})
    assert settings_fingerprint({"a": 1}) != settings_fingerprint({"a": 2})


def test_package_counts_with_all_modules_below_it() -> None:
    package = code_fingerprint("cryptoai_assets.lib.sources")
    assert package != code_fingerprint("cryptoai_assets.lib.sources.sample")
    with pytest.raises(ModuleNotFoundError):
        code_fingerprint("cryptoai_assets.lib.absent")


def test_file_fingerprint_is_sha_256(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert file_fingerprint(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
