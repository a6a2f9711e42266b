"""The shipped weights are those that their record scores, and the making of such weights on a few texts."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from fakes.published_encoder import write_published_encoder
from fakes.tiny_encoder import INNER, tiny_weights, write_words
from safetensors.numpy import load_file

from cryptoai_assets.lib.sentiment_methods.encoder import pretrained_weights
from cryptoai_assets.lib.sentiment_methods.encoder_graph import encoder_graph
from cryptoai_assets.lib.sentiment_methods.labelled import HEADLINES as HEADLINES_FILE
from cryptoai_assets.lib.sentiment_methods.labelled import TWEETS, LabelledText, text_hash
from cryptoai_assets.lib.sentiment_methods.shipment import (
    MOST_BYTES,
    RECORD_NAME,
    ShipmentError,
    write_weights,
)
from cryptoai_assets.lib.sentiment_methods.tuning import (
    RECIPE,
    VOTES,
    LabelledSets,
    Recipe,
    shipped,
    shipped_anew,
    tuned,
)
from cryptoai_assets.lib.sentiment_methods.tuning_problem import Progress
from cryptoai_assets.lib.sentiment_methods.votes import encoder_alone
from edge_bundle.sentiment.method import LABELS
from edge_bundle.sentiment.transformer import GRAPH_NAME, WEIGHTS, WORDS_NAME, TransformerSentiment

HEADLINES = (
    ("Bitcoin surges to a record high after strong earnings", "positive"),
    ("Profit jumps 40% and the outlook is raised", "positive"),
    ("Shares crash as the exchange files for bankruptcy", "negative"),
    ("Net loss widens, margins under pressure", "negative"),
    ("The board meets on Friday to consider the accounts", "neutral"),
    ("Company to hold its annual general meeting in May", "neutral"),
)


def test_shipped_transformer_reads_plain_headlines_rightly() -> None:
    said = TransformerSentiment.load().scores([text for text, _ in HEADLINES])
    assert [one.label for one in said] == [label for _, label in HEADLINES]


def test_shipped_weights_are_light_and_their_record_holds_no_text() -> None:
    assert sum((WEIGHTS / name).stat().st_size for name in (GRAPH_NAME, WORDS_NAME)) <= MOST_BYTES
    record = json.loads((WEIGHTS / RECORD_NAME).read_text())
    hashes = record["training_text_hashes"]
    assert len(hashes) == record["training_texts"] == len(set(hashes))
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in hashes)
    for scored in ("int8", "with_votes"):
        assert record[scored]["accuracy"] >= record["fp32"]["accuracy"] - 0.005
        assert record[scored]["macro_f1"] >= record["fp32"]["macro_f1"] - 0.005
    assert record["votes"] == asdict(VOTES)
    assert {name: record[name] for name in asdict(RECIPE)} == asdict(RECIPE)


@pytest.fixture
def sets() -> LabelledSets:
    training = tuple(
        LabelledText(f"bitcoin {word}", label) for label, word in enumerate(("falls", "stays", "rises"))
    )
    besides = {"tweets": (LabelledText("$X up", 2),), "agreeing": ()}
    return LabelledSets(training, (LabelledText("price rises", 2),), besides)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A tiny encoder as the published package holds one."""
    return write_published_encoder(tmp_path / "encoder", seed=2)


def test_shipment_scores_its_own_files_and_keeps_the_hashes_of_what_was_trained_on(
    tmp_path: Path, sets: LabelledSets, encoder: Path
) -> None:
    made = {"encoder": encoder, "folder": tmp_path / "out"}
    record = shipped(sets, tiny_weights(seed=1), RECIPE, **made, command="c")
    assert record["training_text_hashes"] == sorted(text_hash(one.text) for one in sets.read)
    assert len(record["training_text_hashes"]) == 4
    graph = onnx.load(tmp_path / "out" / GRAPH_NAME)
    sizes = {held.name: held.dims for held in graph.graph.initializer}
    assert sizes["layers.0.half"] == [INNER]  # it was made even before INT8
    right = TransformerSentiment.load(tmp_path / "out").scores(["price rises"])[0].label == "positive"
    assert record["with_votes"]["accuracy"] == float(right)


@pytest.fixture
def texts(tmp_path: Path, sets: LabelledSets) -> Path:
    """The folder that the sets could be of: with a near-duplicate of a headline that is tested."""
    folder = tmp_path / "texts"
    folder.mkdir()
    single = [*sets.training, *sets.testing, LabelledText("rises price", 0)]
    labelled = [f"{one.text},{{'X': '{LABELS[one.label]}'}}" for one in single]
    (folder / HEADLINES_FILE).write_text("\n".join(["Title,Decisions", *labelled]))
    posts = [f"{one.text},1" for one in sets.besides["tweets"]]
    (folder / TWEETS).write_text("\n".join(["text,label", *posts]))
    return folder


def test_votes_alone_are_learnt_again_beside_the_same_encoder(
    tmp_path: Path, sets: LabelledSets, texts: Path, encoder: Path
) -> None:
    made = {"encoder": encoder, "folder": tmp_path / "out"}
    before = shipped(sets, tiny_weights(seed=1), RECIPE, **made, command="c")
    graph = onnx.load(tmp_path / "out" / GRAPH_NAME)
    again = dict(shipped_anew(texts, **made))
    again.pop("files")
    assert again == json.loads(json.dumps(before))
    assert onnx.load(tmp_path / "out" / GRAPH_NAME) == graph
    onnx.save(encoder_alone(graph), tmp_path / "out" / GRAPH_NAME)
    shipped_anew(texts, **made)
    assert onnx.load(tmp_path / "out" / GRAPH_NAME) == graph


def test_votes_are_not_learnt_again_where_a_text_of_the_tuning_is_absent(
    tmp_path: Path, sets: LabelledSets, texts: Path, encoder: Path
) -> None:
    more = replace(sets, training=(*sets.training, LabelledText("gone since", 0)))
    made = {"encoder": encoder, "folder": tmp_path / "out"}
    shipped(more, tiny_weights(seed=1), RECIPE, **made, command="c")
    with pytest.raises(ShipmentError, match="1 texts that the encoder was tuned on are not in texts"):
        shipped_anew(texts, **made)


def test_what_is_done_is_read_back_and_what_decides_another_stage_is_done_anew(
    tmp_path: Path, sets: LabelledSets, encoder: Path
) -> None:
    begun = Recipe(replace(RECIPE.pretraining, epochs=1, batch=1), replace(RECIPE.tuning, epochs=1, batch=1))
    told = list[Progress]()

    def made(recipe: Recipe, *, seed: int = 1, texts: Sequence[LabelledText] = sets.read) -> bytes:
        weights = tuned(texts, recipe, encoder=encoder, seed=seed, kept=tmp_path, after_epoch=told.append)
        return weights["layers.0.up.weight"].tobytes()

    def stages() -> list[str]:
        heard = [one.stage for one in told]
        told.clear()
        return heard

    first = made(begun)
    assert stages() == ["guessing", "tuning"]
    assert made(begun) == first
    assert stages() == []
    for name, value in (("agreement", 0.0), ("epochs", 2)):
        assert made(replace(begun, tuning=replace(begun.tuning, **{name: value}))) != first
        assert "guessing" not in stages()
    relabelled = [replace(one, label=2 - one.label) for one in sets.read]
    assert made(begun, texts=relabelled) != first
    assert stages() == ["tuning"]
    assert made(replace(begun, pretraining=replace(begun.pretraining, guessed=0.5))) != first
    assert stages() == ["guessing", "tuning"]
    assert made(begun, seed=2) != first
    assert stages() == ["guessing", "tuning"]
    assert made(begun, texts=sets.read[1:]) != first
    assert stages() == ["guessing", "tuning"]


def test_tuning_begins_with_what_the_pretraining_made(
    tmp_path: Path, sets: LabelledSets, encoder: Path
) -> None:
    still = replace(RECIPE.tuning, epochs=1, rate=0.0, head_rate=0.0)
    recipe = Recipe(replace(RECIPE.pretraining, epochs=1, batch=1), still)
    found = tuned(sets.read, recipe, encoder=encoder, seed=1, kept=tmp_path, after_epoch=lambda _: None)
    (file,) = tmp_path.glob("pretrained_*.safetensors")
    pretrained, published = load_file(file), pretrained_weights(encoder)
    assert pretrained.keys() == published.keys()
    assert not np.array_equal(pretrained["layers.0.up.weight"], published["layers.0.up.weight"])
    for name, values in pretrained.items():
        np.testing.assert_array_equal(found[name], values)


def test_weights_that_are_too_heavy_are_refused(tmp_path: Path) -> None:
    weights = tiny_weights(seed=1) | {"words.weight": np.zeros((800_000, 32), dtype=np.float32)}
    with pytest.raises(ShipmentError, match="24,000,000 allowed"):
        write_weights(tmp_path / "out", encoder_graph(weights), write_words(tmp_path), record={})
