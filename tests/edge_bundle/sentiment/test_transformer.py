"""The transformer on the device: what it loads and refuses, and that a text's company changes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from fakes.tiny_encoder import tiny_weights, write_tiny_encoder

from edge_bundle.errors import BundleRefusedError
from edge_bundle.sentiment.transformer import GRAPH_NAME, RECORD_NAME, WORDS_NAME, TransformerSentiment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "weights", tiny_weights(seed=4))


TEXTS = ["bitcoin price rises", "price falls sharply today after the report", "", "  ", "bitcoin " * 500]


def test_every_text_gets_shares_that_sum_to_one_in_its_order(folder: Path) -> None:
    method = TransformerSentiment.load(folder)
    said = method.scores(TEXTS)
    assert len(said) == len(TEXTS)
    for one in said:
        assert one.negative + one.neutral + one.positive == pytest.approx(1, abs=1e-6)
        assert (one.method, one.version) == ("transformer", method.version)
    assert [one.neutral for one in said[2:4]] == [1.0, 1.0]
    assert method.scores([]) == []


def test_text_is_scored_the_same_alone_and_in_any_company(folder: Path) -> None:
    method = TransformerSentiment.load(folder)
    alone = [method.probabilities([text])[0] for text in TEXTS]
    together = method.probabilities([*TEXTS, *reversed(TEXTS)])
    for text, one in enumerate(alone):
        assert together[text].tobytes() == one.tobytes()
        assert together[-1 - text].tobytes() == one.tobytes()


def test_what_a_long_text_says_after_its_first_pieces_is_not_read(folder: Path) -> None:
    method = TransformerSentiment.load(folder)
    start = "bitcoin price rises " * 30
    np.testing.assert_array_equal(
        method.probabilities([start])[0], method.probabilities([start + "falls sharply"])[0]
    )


@pytest.mark.parametrize("name", [GRAPH_NAME, WORDS_NAME])
def test_changed_or_absent_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = write_tiny_encoder(tmp_path / "weights", tiny_weights(seed=4))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content + b" ")
    with pytest.raises(BundleRefusedError, match=f"{name} is not the file"):
        TransformerSentiment.load(folder)
    (folder / name).unlink()
    with pytest.raises(BundleRefusedError, match=f"{name} is not the file"):
        TransformerSentiment.load(folder)


@pytest.mark.parametrize("record", ["", "{}", json.dumps([])])
def test_folder_without_a_record_is_refused(tmp_path: Path, record: str) -> None:
    (tmp_path / RECORD_NAME).write_text(record)
    with pytest.raises(BundleRefusedError, match="holds no record"):
        TransformerSentiment.load(tmp_path)
