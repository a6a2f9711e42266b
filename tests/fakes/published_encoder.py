"""A tiny encoder as the package with the published weights holds one, random: one layer, a few words."""

from pathlib import Path

import torch
from fakes.tiny_encoder import INNER, WIDTH, WORDS, write_words
from transformers import BertConfig, BertModel

from edge_bundle.sentiment.transformer import MOST_PIECES, WORDS_NAME


def write_published_encoder(folder: Path, *, seed: int) -> Path:
    """Folder with the weights and the table of words."""
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=INNER,
        max_position_embeddings=MOST_PIECES,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    write_words(folder).rename(folder / WORDS_NAME)
    return folder
