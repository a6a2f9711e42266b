"""Any classifier of Hugging Face from a folder: its labels are understood, or it is refused by name."""

from pathlib import Path

import pytest
import torch
from fakes.tiny_encoder import WORDS
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from cryptoai_assets.lib.sentiment_methods.choice import MethodChoice
from cryptoai_assets.lib.sentiment_methods.hugging_face import HuggingFaceSentiment
from edge_bundle.sentiment.method import SentimentUnavailableError


def write_model(folder: Path, labels: tuple[str, ...]) -> str:
    """A tiny classifier with random weights."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join([*WORDS, "[CLS]", "[SEP]"]))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(WORDS) + 2,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def test_labels_count_by_their_names_in_whatever_order(tmp_path: Path) -> None:
    texts = ["bitcoin price rises", "", "bitcoin " * 900]
    usual = write_model(tmp_path / "finbert", ("positive", "negative", "neutral"))
    other = write_model(tmp_path / "other", ("Bullish", "Bearish", "Neutral"))
    one, same = (HuggingFaceSentiment.load(folder, offline=True).scores(texts) for folder in (usual, other))
    for said, like in zip(one, same, strict=True):
        assert (said.negative, said.positive) == pytest.approx((like.negative, like.positive))
        assert said.negative + said.neutral + said.positive == pytest.approx(1)
    assert one[1].neutral == 1
    assert (one[0].method, one[0].version) == ("hugging_face", "finbert")


def test_model_of_other_labels_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "emotions", ("joy", "anger"))
    with pytest.raises(SentimentUnavailableError, match="emotions has the label anger"):
        HuggingFaceSentiment.load(folder, offline=True)


def test_model_is_had_by_the_name_that_a_setting_gives(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "finbert", ("positive", "negative", "neutral"))
    method = MethodChoice(f"hugging_face:{folder}", tmp_path, "http://127.0.0.1:9").method()
    assert (method.name, method.version) == ("hugging_face", "finbert")


def test_model_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    with pytest.raises(SentimentUnavailableError, match="cannot be had"):
        HuggingFaceSentiment.load(str(tmp_path / "nothing"), offline=True)
