"""How our transformer is made: sets without near-duplicates, pretraining, one tuning, INT8, and votes."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from safetensors.numpy import load_file, save
from tokenizers import Tokenizer

from cryptoai_assets.lib.fingerprints import code_fingerprint, settings_fingerprint
from cryptoai_assets.lib.quantization import with_integer_products
from cryptoai_assets.lib.sentiment_methods.encoder import EncoderWeights, pretrained_weights, words_file
from cryptoai_assets.lib.sentiment_methods.encoder_gradients import meanings, tuned_weights
from cryptoai_assets.lib.sentiment_methods.encoder_graph import encoder_graph
from cryptoai_assets.lib.sentiment_methods.evened import evened
from cryptoai_assets.lib.sentiment_methods.label_quality import quality
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
    unread_texts,
)
from cryptoai_assets.lib.sentiment_methods.masked_gradients import pretrained_further
from cryptoai_assets.lib.sentiment_methods.masked_problem import PretrainingProblem, PretrainingSettings
from cryptoai_assets.lib.sentiment_methods.shipment import ShipmentError, write_weights
from cryptoai_assets.lib.sentiment_methods.tuning_problem import AfterEpoch, TuningProblem, TuningSettings
from cryptoai_assets.lib.sentiment_methods.votes import (
    VoteSettings,
    encoder_alone,
    learnt_votes,
    with_votes,
    word_count,
)
from edge_bundle.sentiment.transformer import (
    GRAPH_NAME,
    RECORD_NAME,
    TransformerSentiment,
    piece_ids,
    word_table,
)
from edge_bundle.whole_file import replace_file
from edge_bundle.windows import Float32Array

TEST_SHARE, SPLIT_SEED = 0.2, 7
# Of what an encoder was tuned on, to see how large its values are.
EVENING_TEXTS = 1000
MASK = "[MASK]"
TUNING_CODE = (
    "cryptoai_assets.lib.sentiment_methods.encoder_gradients",
    "cryptoai_assets.lib.sentiment_methods.masked_gradients",
    "cryptoai_assets.lib.sentiment_methods.masked_problem",
    "cryptoai_assets.lib.sentiment_methods.tuning_problem",
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is done to the published encoder on some texts."""

    pretraining: PretrainingSettings
    tuning: TuningSettings


# Chosen, as the votes below, on a quarter of the tweets that the first fold trains on.
_PRETRAINING = PretrainingSettings(
    epochs=8,
    batch=32,
    rate=1e-4,
    head_rate=1e-3,
    decay=0.01,
    dropout=0.1,
    guessed=0.15,
)
_TUNING = TuningSettings(
    epochs=4,
    batch=32,
    rate=8e-5,
    head_rate=1e-3,
    decay=0.01,
    dropout=0.1,
    smoothing=0.05,
    agreement=1.0,
    self_distilled=0.6,
    averaged=0.8,
)
RECIPE = Recipe(_PRETRAINING, _TUNING)
VOTES = VoteSettings(slots=2**16, least_texts=2, strength=0.3, share=0.25)


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

    @property
    def read(self) -> list[LabelledText]:
        """All that the encoder is tuned on."""
        return [*self.training, *(one for texts in self.besides.values() for one in texts)]


def labelled_sets(folder: Path, encoder: Path, *, seed: int) -> LabelledSets:
    """Sets of the folder; near-duplicates, by words or by meaning, are left out before the split."""
    single, besides = _sets_of(folder)
    every = [one.text for texts in (single, *besides.values()) for one in texts]
    kept = iter(unlike_earlier(every, meanings_of(every, encoder=encoder)))
    single = [one for one in single if next(kept)]
    unlike = {name: tuple(one for one in texts if next(kept)) for name, texts in besides.items()}
    training, testing = split_by_text(len(single), share=TEST_SHARE, seed=seed)
    return LabelledSets(tuple(single[row] for row in training), tuple(single[row] for row in testing), unlike)


def sets_of_tuned(folder: Path, encoder: Path, trained: Collection[str]) -> LabelledSets:
    """Sets of an encoder that was tuned before, by the hashes of its training texts.

    Tested are the headlines that it has not read, without near-duplicates.

    Raises
    ------
    ShipmentError
        When the folder does not hold all that it was tuned on.
    """
    single, besides = _sets_of(folder)
    every = [one for texts in (single, *besides.values()) for one in texts]
    if absent := {*trained} - {text_hash(one.text) for one in every}:
        raise ShipmentError(f"{len(absent)} texts that the encoder was tuned on are not in {folder.name}")

    def read(texts: Sequence[LabelledText]) -> tuple[LabelledText, ...]:
        return tuple(one for one in texts if text_hash(one.text) in trained)

    apart = [*single, *(one for texts in besides.values() for one in read(texts))]
    unread = unread_texts(apart, trained, meanings_of=partial(meanings_of, encoder=encoder))
    return LabelledSets(read(single), unread, {name: read(texts) for name, texts in besides.items()})


def _sets_of(folder: Path) -> tuple[Sequence[LabelledText], Mapping[str, Sequence[LabelledText]]]:
    """Headlines of one entity, and the sets that are read besides."""
    found = headlines(folder / HEADLINES)
    besides = {"agreeing": found.agreeing, "opposed": found.opposed, "tweets": tweets(folder / TWEETS)}
    return found.single, besides


def meanings_of(texts: Sequence[str], *, encoder: Path) -> Float32Array:
    """(texts, width) of length 1, by the published encoder."""
    return meanings(pretrained_weights(encoder), piece_ids(word_table(words_file(encoder)), texts))


def tuned(
    texts: Sequence[LabelledText],
    recipe: Recipe,
    *,
    encoder: Path,
    seed: int,
    kept: Path,
    after_epoch: AfterEpoch,
) -> EncoderWeights:
    """Weights of the published encoder after a recipe on some texts, of which nothing is done twice.

    Parameters
    ----------
    kept
        Folder of what is done; what is done on other texts, by another recipe, seed or code has its own file.
    """

    def from_published() -> EncoderWeights:
        words = word_table(words_file(encoder))
        pieces = piece_ids(words, [one.text for one in texts])
        start, mask, unsaid = pretrained_weights(encoder), words.get_vocab()[MASK], _unsaid(words)
        problem = PretrainingProblem(recipe.pretraining, start, pieces, mask, unsaid, seed)
        return pretrained_further(problem, after_epoch=after_epoch)

    def from_pretrained() -> EncoderWeights:
        start = _once(from_published, kept, "pretrained", (read, asdict(recipe.pretraining), seed))
        problem = TuningProblem(recipe.tuning, start, *as_read(texts, encoder), seed)
        return tuned_weights(problem, after_epoch=after_epoch)

    read = [text_hash(one.text) for one in texts]
    return _once(from_pretrained, kept, "tuned", (read, [one.label for one in texts], asdict(recipe), seed))


def _once(made: Callable[[], EncoderWeights], kept: Path, stage: str, known: object) -> EncoderWeights:
    """Weights of a stage, by all that decides what they become beside the code."""
    fingerprint = settings_fingerprint({"made_of": known, "code": code_fingerprint(*TUNING_CODE)})
    file = kept / f"{stage}_{fingerprint[:12]}.safetensors"
    if not file.is_file():
        replace_file(file, save(dict(made())))
    return load_file(file)


def _unsaid(words: Tokenizer) -> Collection[int]:
    """Pieces that stand for none of a text's words, such as where it ends."""
    return words.get_added_tokens_decoder().keys()


def as_read(texts: Sequence[LabelledText], encoder: Path) -> tuple[list[list[int]], npt.NDArray[np.int64]]:
    """Pieces of labelled texts, and (texts,) their labels."""
    pieces = piece_ids(word_table(words_file(encoder)), [one.text for one in texts])
    return pieces, np.array([one.label for one in texts])


def integer_graph(graph: onnx.ModelProto, texts: Sequence[LabelledText], *, encoder: Path) -> onnx.ModelProto:
    """Graph of a tuned encoder in INT8, made even on some of what it was tuned on."""
    some = np.random.default_rng(SPLIT_SEED).permutation(len(texts))[:EVENING_TEXTS]
    pieces, _ = as_read([texts[row] for row in some], encoder)
    return with_integer_products(evened(graph, pieces))


def voting_graph(
    graph: onnx.ModelProto,
    posts: Sequence[LabelledText],
    others: Sequence[LabelledText],
    *,
    settings: VoteSettings,
    encoder: Path,
) -> onnx.ModelProto:
    """Graph of a tuned encoder, in any precision, with the votes that posts and headlines teach."""
    pieces, labels = as_read([*posts, *others], encoder)
    are_posts = np.arange(len(labels)) < len(posts)
    return with_votes(graph, learnt_votes(pieces, labels, are_posts, settings, words=word_count(graph)))


def shipped(
    sets: LabelledSets,
    weights: EncoderWeights,
    recipe: Recipe,
    *,
    encoder: Path,
    folder: Path,
    command: str,
) -> Mapping[str, Any]:
    """Write tuned weights as INT8, with the votes beside them, and their record.

    ``fp32`` and ``int8`` are scores of the encoder alone, ``with_votes`` those of the very files.

    Raises
    ------
    ShipmentError
        When they are heavier than is allowed.
    """
    plain = encoder_graph(weights)
    integer = integer_graph(plain, sets.read, encoder=encoder)
    hashes = sorted({text_hash(one.text) for one in sets.read})
    record = {
        "command": command,
        "split": {"seed": SPLIT_SEED, "test_share": TEST_SHARE, "near_duplicate_cosine": NEAR_DUPLICATE},
        **asdict(recipe),
        "training_texts": len(hashes),
        "testing_texts": len(sets.testing),
        "fp32": _told(plain, sets, encoder),
        "int8": _told(integer, sets, encoder),
        "training_text_hashes": hashes,
    }
    return _shipped_with_votes(integer, record, sets, encoder, folder)


def shipped_anew(texts: Path, *, encoder: Path, folder: Path) -> Mapping[str, Any]:
    """Learn the votes again beside the tuned encoder that a folder holds, and write both with their record.

    Only ``fp32`` is still what the tuning found.

    Parameters
    ----------
    texts
        Folder of what the encoder was tuned on, and of headlines that it was not.

    Raises
    ------
    ShipmentError
        When texts that the encoder was tuned on are not there, or both are heavier than is allowed.
    """
    record = json.loads((folder / RECORD_NAME).read_text())
    sets = sets_of_tuned(texts, encoder, {*record["training_text_hashes"]})
    graph = encoder_alone(onnx.load(folder / GRAPH_NAME))
    anew = {"testing_texts": len(sets.testing), "int8": _told(graph, sets, encoder)}
    return _shipped_with_votes(graph, {**record, **anew}, sets, encoder, folder)


def _voting_headlines(sets: LabelledSets) -> list[LabelledText]:
    """What the votes learn from beside the tweets: not what says two things, for they do not know of whom."""
    return [*sets.training, *sets.besides["agreeing"]]


def _shipped_with_votes(
    graph: onnx.ModelProto, record: Mapping[str, Any], sets: LabelledSets, encoder: Path, folder: Path
) -> Mapping[str, Any]:
    joined = voting_graph(
        graph, sets.besides["tweets"], _voting_headlines(sets), settings=VOTES, encoder=encoder
    )
    told = {**record, "votes": asdict(VOTES), "with_votes": _told(joined, sets, encoder)}
    write_weights(folder, joined, words_file(encoder), record=told)
    return told


def _told(graph: onnx.ModelProto, sets: LabelledSets, encoder: Path) -> Mapping[str, Any]:
    with TemporaryDirectory() as folder:
        write_weights(Path(folder), graph, words_file(encoder), record={}, bounded=False)
        found = quality(TransformerSentiment.load(Path(folder)), sets.testing)
    return {
        "accuracy": round(found.accuracy, 4),
        "macro_f1": round(found.macro_f1, 4),
        "f1": {label: round(score, 4) for label, score in found.f1.items()},
        "calibration_error": round(found.calibration_error, 4),
    }
