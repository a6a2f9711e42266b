"""An encoder of texts small enough for a test: two layers of width 32, a few words, random weights."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

from cryptoai_assets.lib.sentiment_methods.encoder import EncoderWeights
from cryptoai_assets.lib.sentiment_methods.encoder_graph import encoder_graph
from cryptoai_assets.lib.sentiment_methods.shipment import write_weights
from edge_bundle.sentiment.transformer import MOST_PIECES
from edge_bundle.windows import Float32Array

_NO_WORD, MASK = "[UNK]", "[MASK]"
_SAID = "bitcoin price rises falls sharply stays flat after the report today"
WORDS = ["[PAD]", _NO_WORD, *_SAID.split(), MASK]
WIDTH, INNER, LAYERS = 32, 48, 2


def tiny_weights(*, seed: int, head: bool = True) -> dict[str, Float32Array]:
    """Random weights by our names; without the last layer they are as before a tuning."""
    random = np.random.default_rng(seed)

    def drawn(*shape: int) -> Float32Array:
        return random.normal(0, 0.3, shape).astype(np.float32)

    weights = {"words.weight": drawn(len(WORDS), WIDTH), "places.weight": drawn(MOST_PIECES + 8, WIDTH)}
    weights |= {"kinds.weight": drawn(2, WIDTH), "norm.weight": 1 + drawn(WIDTH), "norm.bias": drawn(WIDTH)}
    for layer in range(LAYERS):
        sizes = {**dict.fromkeys(("asked", "known", "told", "mixed"), (WIDTH, WIDTH))}
        sizes |= {"up": (INNER, WIDTH), "down": (WIDTH, INNER)}
        for part, shape in sizes.items():
            weights[f"layers.{layer}.{part}.weight"] = drawn(*shape)
            weights[f"layers.{layer}.{part}.bias"] = drawn(shape[0])
        for part in ("after_attention", "after_dense"):
            weights[f"layers.{layer}.{part}.weight"] = 1 + drawn(WIDTH)
            weights[f"layers.{layer}.{part}.bias"] = drawn(WIDTH)
    if head:
        weights |= {"head.weight": drawn(3, WIDTH), "head.bias": drawn(3)}
    return weights


def write_words(folder: Path) -> Path:
    """Table of words of a tiny encoder."""
    words = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token=_NO_WORD))
    words.normalizer, words.pre_tokenizer = Lowercase(), Whitespace()
    words.add_special_tokens(["[PAD]", _NO_WORD, MASK])
    folder.mkdir(parents=True, exist_ok=True)
    words.save(str(folder / "words.json"))
    return folder / "words.json"


def write_tiny_encoder(folder: Path, weights: EncoderWeights) -> Path:
    """Folder as weights are shipped in."""
    write_weights(folder, encoder_graph(weights), write_words(folder.parent / "words"), record={})
    return folder
