"""How our transformer is made: labelled sets without near-duplicates, tuned members, their mean in INT8.

Source of the mean: Wortsman et al., Model soups, ICML 2022.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import onnx

from cryptoai_assets.lib.quantization import with_integer_products
from cryptoai_assets.lib.sentiment_methods.encoder import EncoderWeights, pretrained_weights, words_file
from cryptoai_assets.lib.sentiment_methods.encoder_gradients import meanings, tuned_weights
from cryptoai_assets.lib.sentiment_methods.encoder_graph import encoder_graph
from cryptoai_assets.lib.sentiment_methods.label_quality import Quality, quality
from cryptoai_assets.lib.sentiment_methods.labelled import (
    HEADLINES,
    NEAR_DUPLICATE,
    TWEETS,
    LabelledText,
    headlines,
    split_by_text,
    text_hash,
    tweets,
    unlike_earlier,
)
from cryptoai_assets.lib.sentiment_methods.shipment import write_weights
from cryptoai_assets.lib.sentiment_methods.tuning_problem import Progress, TuningProblem, TuningSettings
from edge_bundle.sentiment.transformer import TransformerSentiment, piece_ids, word_table
from edge_bundle.windows import Float32Array

TEST_SHARE, SPLIT_SEED = 0.2, 7
# What a member reads besides the headlines of one entity.
Besides = Literal["agreeing", "opposed", "tweets"]


@dataclass(frozen=True, slots=True)
class Member:
    """One tuning of those whose weights are averaged."""

    settings: TuningSettings
    besides: tuple[Besides, ...]
    seed: int


_FIRST = TuningSettings(
    epochs=4,
    batch=32,
    rate=8e-5,
    head_rate=1e-3,
    decay=0.01,
    dropout=0.1,
    smoothing=0.05,
    averaged=0.8,
)


MEMBERS = (
    Member(_FIRST, ("agreeing", "opposed", "tweets"), seed=0),
    Member(replace(_FIRST, rate=1e-4), ("agreeing", "opposed"), seed=0),
    Member(replace(_FIRST, epochs=3, rate=1.2e-4, smoothing=0.1), ("agreeing", "tweets"), seed=1),
)


@dataclass(frozen=True, slots=True)
class LabelledSets:
    """Labelled texts of which no two are near-duplicates, in any set.

    Parameters
    ----------
    training, testing
        Headlines of one entity, split at random.
    besides
        Other sets, for training alone.
    """

    training: tuple[LabelledText, ...]
    testing: tuple[LabelledText, ...]
    besides: Mapping[str, tuple[LabelledText, ...]]


def labelled_sets(folder: Path, encoder: Path, *, seed: int) -> LabelledSets:
    """Sets of the folder; near-duplicates, by words or by meaning, are left out before the split."""
    found = headlines(folder / HEADLINES)
    sets = {
        "single": found.single,
        "agreeing": found.agreeing,
        "opposed": found.opposed,
        "tweets": tweets(folder / TWEETS),
    }
    every = [one.text for texts in sets.values() for one in texts]
    pieces = piece_ids(word_table(words_file(encoder)), every)
    kept = iter(unlike_earlier(every, meanings(pretrained_weights(encoder), pieces)))
    unlike = {name: tuple(one for one in texts if next(kept)) for name, texts in sets.items()}
    single = unlike.pop("single")
    training, testing = split_by_text(len(single), share=TEST_SHARE, seed=seed)
    return LabelledSets(tuple(single[row] for row in training), tuple(single[row] for row in testing), unlike)


def texts_of(sets: LabelledSets, member: Member) -> list[LabelledText]:
    """What a member is tuned on."""
    return [*sets.training, *(one for name in member.besides for one in sets.besides[name])]


def tuned_member(
    sets: LabelledSets, member: Member, encoder: Path, *, after_epoch: Callable[[Progress], None]
) -> EncoderWeights:
    """Weights of one member."""
    return tuned_on(texts_of(sets, member), member.settings, member.seed, encoder, after_epoch=after_epoch)


def tuned_on(
    texts: Sequence[LabelledText],
    settings: TuningSettings,
    seed: int,
    encoder: Path,
    *,
    after_epoch: Callable[[Progress], None],
) -> EncoderWeights:
    """Weights of the encoder, tuned on labelled texts."""
    pieces = piece_ids(word_table(words_file(encoder)), [one.text for one in texts])
    labels = np.array([one.label for one in texts])
    start = pretrained_weights(encoder)
    return tuned_weights(TuningProblem(settings, start, pieces, labels, seed), after_epoch=after_epoch)


def mean_weights(members: Sequence[EncoderWeights]) -> dict[str, Float32Array]:
    """Mean of the weights of members that began alike."""
    return {
        name: np.asarray(np.mean([member[name] for member in members], axis=0, dtype=np.float64), np.float32)
        for name in members[0]
    }


def shipped(
    sets: LabelledSets,
    members: Sequence[Member],
    weights: Sequence[EncoderWeights],
    *,
    encoder: Path,
    folder: Path,
    command: str,
) -> Mapping[str, Any]:
    """Write the mean of the members as INT8 with its record; scores are those of the very files.

    Raises
    ------
    ShipmentError
        When they are heavier than is allowed.
    """
    plain = encoder_graph(mean_weights(weights))
    hashes = sorted({text_hash(one.text) for member in members for one in texts_of(sets, member)})
    record: dict[str, Any] = {
        "command": command,
        "split": {"seed": SPLIT_SEED, "test_share": TEST_SHARE, "near_duplicate_cosine": NEAR_DUPLICATE},
        "members": [asdict(member) for member in members],
        "training_texts": len(hashes),
        "testing_texts": len(sets.testing),
    }
    words = words_file(encoder)
    with TemporaryDirectory() as drafts:
        record["fp32"] = _told(_written(Path(drafts) / "fp32", plain, words, {}, sets))
        integer = with_integer_products(plain)
        record["int8"] = _told(_written(Path(drafts) / "int8", integer, words, {}, sets))
    record["training_text_hashes"] = hashes
    write_weights(folder, integer, words, record=record)
    return record


def _written(
    folder: Path, graph: onnx.ModelProto, words: Path, record: Mapping[str, Any], sets: LabelledSets
) -> Quality:
    write_weights(folder, graph, words, record=record, bounded=False)
    return quality(TransformerSentiment.load(folder), sets.testing)


def _told(found: Quality) -> Mapping[str, Any]:
    return {
        "accuracy": round(found.accuracy, 4),
        "macro_f1": round(found.macro_f1, 4),
        "f1": {label: round(score, 4) for label, score in found.f1.items()},
        "calibration_error": round(found.calibration_error, 4),
    }
