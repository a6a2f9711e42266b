"""The candle reader: a bundle of a real network, its refusals, and its golden windows."""

import json
from pathlib import Path

import numpy as np
import pytest
from fakes.candle_reader import walk_examples, written_reader

from edge_bundle.candle_reader import CandleReader, candle_pattern_names
from edge_bundle.errors import BundleRefusedError
from edge_bundle.manifest import GOLDEN_NAME, MANIFEST_NAME


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written_reader(tmp_path / "bundle")


def test_reader_says_a_probability_of_each_pattern_for_itself(folder: Path) -> None:
    said = CandleReader.load(folder).read(walk_examples().windows[:50])
    assert said.shape == (50, len(candle_pattern_names()))
    assert ((said > 0) & (said < 1)).all()
    assert not np.allclose(said.sum(axis=1), 1, atol=0.05)


def test_scale_of_the_prices_does_not_matter(folder: Path) -> None:
    reader, windows = CandleReader.load(folder), walk_examples().windows[:200].copy()
    scaled = windows.copy()
    scaled[:, :, :4] *= 8.0
    np.testing.assert_allclose(reader.read(scaled), reader.read(windows), atol=1e-5)


def test_windows_of_another_length_are_refused(folder: Path) -> None:
    with pytest.raises(BundleRefusedError, match=r"\(2, 19, 5\); this bundle reads \(batch, 20, 5\)"):
        CandleReader.load(folder).read(np.ones((2, 19, 5), dtype=np.float32))


def test_bundle_of_other_patterns_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
    manifest["patterns"][0] = "abandoned_baby"
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(BundleRefusedError, match="abandoned_baby"):
        CandleReader.load(folder)


def test_selftest_fails_where_the_golden_windows_are_answered_otherwise(folder: Path) -> None:
    reader = CandleReader.load(folder)
    assert reader.selftest()
    with np.load(folder / GOLDEN_NAME) as golden:
        windows, present = golden["windows"], golden["present"]
    np.savez_compressed(folder / GOLDEN_NAME, windows=windows, present=present + 0.1)
    assert not reader.selftest()
