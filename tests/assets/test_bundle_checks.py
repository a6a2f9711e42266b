"""What a bundle says of itself is checked, and a false word is found."""

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.tiny_bundle import write_tiny_bundle

from cryptoai_assets.lib import bundle_checks
from edge_bundle.forecaster import Forecaster


@pytest.fixture
def forecaster(tmp_path: Path) -> Forecaster:
    return Forecaster.load(write_tiny_bundle(tmp_path / "bundle", seed=1))


def test_honest_bundle_passes_every_check(forecaster: Forecaster) -> None:
    assert [
        check.name for check in bundle_checks.bundle_checks(forecaster, for_devices=True) if not check.passed
    ] == []


def test_float_graph_that_is_called_int8_is_found(forecaster: Forecaster) -> None:
    told = replace(forecaster, manifest=replace(forecaster.manifest, quantization={"precision": "int8"}))
    result = bundle_checks.precision_is_named_truly(told)
    assert not result.passed
    assert result.detail == "called int8; integer operators: none"


def test_bundle_that_needs_facts_is_no_champion_for_the_device(forecaster: Forecaster) -> None:
    told = replace(forecaster, manifest=replace(forecaster.manifest, facts={"hash_rate": 86_400}))
    result = bundle_checks.candles_suffice(told)
    assert not result.passed
    assert "hash_rate" in result.detail


def test_bundle_larger_than_the_device_takes_is_found(forecaster: Forecaster) -> None:
    large = forecaster.folder / "model.onnx"
    with large.open("ab") as file:
        file.truncate(bundle_checks.LARGEST_BUNDLE_BYTES + 1)
    assert not bundle_checks.bundle_is_small(forecaster).passed
