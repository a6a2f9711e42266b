"""Votes of pieces of words, and of pairs of neighbours: a line beside the encoder, which knows set phrases.

An encoder reads what a text means, and forgets how posts word it ("beats by", "price target raised"); a line
over what occurs remembers just that, errs elsewhere, and costs a look into a table. On headlines the encoder
alone is better: a second line tells how much a text reads like a post, and so far the votes count.
Source: Cheng et al., Wide & Deep Learning for Recommender Systems, 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from scipy.sparse import csr_matrix, diags
from sklearn.linear_model import LogisticRegression

from cryptoai_assets.lib.graph_builder import GraphParts
from cryptoai_assets.lib.sentiment_methods.encoder_graph import PIECES
from cryptoai_assets.lib.sentiment_methods.labelled import LabelledTextError
from edge_bundle.sentiment.method import LABELS
from edge_bundle.sentiment.transformer import MOST_PIECES, PADDING, PROBABILITIES
from edge_bundle.windows import Float32Array

# A pair's slot is that of its first number times this, plus its second.
FACTOR = 31_337
PREFIX = "votes."
# Names in the encoder's graph: its logits, (texts, 1) pieces that are there, the table of words.
_LOGITS, _NUMBER, _WORDS = "head", "number", "words.table"
_LARGEST = 127
_MOST_STEPS = 1_000


@dataclass(frozen=True, slots=True)
class VoteSettings:
    """Settings of the votes.

    Parameters
    ----------
    slots
        Places for pairs; two pairs may share one.
    least_texts
        Training texts that a piece or a pair is in; of fewer nothing is learnt.
    strength
        Inverse of the penalty on the lines' weights; their loss is weighted so that each label counts alike.
    share
        Of the votes in the logits of what is surely a post; the rest is the encoder's.
    """

    slots: int
    least_texts: int
    strength: float
    share: float


@dataclass(frozen=True, slots=True)
class Votes:
    """Learnt votes.

    Parameters
    ----------
    table
        (words + slots, 4) what a piece or a pair adds to the logits of the labels and of being a post, times
        the root of the pieces.
    start
        (4,) logits of a text that says nothing.
    settings
        What they were learnt with.
    """

    table: Float32Array
    start: Float32Array
    settings: VoteSettings


def learnt_votes(
    pieces: Sequence[Sequence[int]],
    labels: npt.NDArray[np.int64],
    posts: npt.NDArray[np.bool_],
    settings: VoteSettings,
    *,
    words: int,
) -> Votes:
    """Votes by logistic regressions on what occurs, the rarer the heavier.

    Parameters
    ----------
    labels, posts
        (texts,) places in `edge_bundle.sentiment.method.LABELS`, and whether each is a post.

    Raises
    ------
    LabelledTextError
        When no text has one of the labels, or all are posts, or none.
    """
    if absent := set(range(len(LABELS))) - set(labels.tolist()):
        raise LabelledTextError(f"no text is {LABELS[min(absent)]}: votes need texts of every label")
    if posts.all() or not posts.any():
        raise LabelledTextError(f"{posts.sum()} of {len(posts)} texts are posts: votes need headlines too")
    counts = _counts(pieces, settings, words)
    texts = np.asarray((counts > 0).sum(axis=0)).ravel()
    rarity = np.where(texts >= settings.least_texts, 1 + np.log((1 + len(pieces)) / (1 + texts)), 0.0)
    known = np.flatnonzero(rarity)
    heavy = (counts @ diags(rarity)).tocsc()[:, known].tocsr()
    lines = [
        LogisticRegression(C=settings.strength, class_weight="balanced", max_iter=_MOST_STEPS).fit(heavy, one)
        for one in (labels, posts)
    ]
    table = np.zeros((counts.shape[1], len(LABELS) + 1), dtype=np.float32)
    table[known] = np.concatenate([line.coef_ for line in lines]).T * rarity[known, None]
    start = np.concatenate([line.intercept_ for line in lines]).astype(np.float32)
    return Votes(table, start, settings)


def _counts(pieces: Sequence[Sequence[int]], settings: VoteSettings, words: int) -> csr_matrix:
    """(texts, words + slots) how often each occurs, over the root of the pieces of a text."""
    read = [np.concatenate([row, words + _slots(np.asarray(row), settings.slots)]) for row in pieces]
    rows = np.repeat(np.arange(len(read)), [len(one) for one in read])
    weights = np.repeat([len(row) ** -0.5 for row in pieces], [len(one) for one in read])
    return csr_matrix((weights, (rows, np.concatenate(read))), shape=(len(read), words + settings.slots))


def _slots(row: npt.NDArray[np.int64], slots: int) -> npt.NDArray[np.int64]:
    return (row[:-1] * FACTOR + row[1:]) % slots


def word_count(graph: onnx.ModelProto) -> int:
    """Rows of the table of words of an encoder's graph."""
    return next(int(held.dims[0]) for held in graph.graph.initializer if held.name == _WORDS)


def encoder_alone(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Graph of an encoder without votes, whether or not it had some."""
    alone = onnx.ModelProto()
    alone.CopyFrom(graph)
    nodes = [node for node in graph.graph.node if not node.name.startswith(PREFIX)]
    constants = [held for held in graph.graph.initializer if not held.name.startswith(PREFIX)]
    del alone.graph.node[:], alone.graph.initializer[:]
    alone.graph.node.extend(nodes)
    alone.graph.initializer.extend(constants)
    _last(alone).input[0] = _LOGITS
    return alone


def with_votes(graph: onnx.ModelProto, votes: Votes) -> onnx.ModelProto:
    """Graph of an encoder, in any precision, whose logits the votes share; its table holds INT8."""
    joined = encoder_alone(graph)
    last = _last(joined)
    joined.graph.node.remove(last)
    parts = GraphParts()
    parts.prefix = PREFIX
    last.input[0] = _shared(parts, votes, word_count(graph))
    joined.graph.node.extend([*parts.nodes, last])
    joined.graph.initializer.extend(parts.constants)
    onnx.checker.check_model(joined)
    return joined


def _last(graph: onnx.ModelProto) -> onnx.NodeProto:
    last: onnx.NodeProto = next(node for node in graph.graph.node if PROBABILITIES in node.output)
    return last


def _shared(parts: GraphParts, votes: Votes, words: int) -> str:
    """(texts, 3) logits of both."""
    scale = np.maximum(np.abs(votes.table).max(axis=0), 1e-12) / _LARGEST
    table = parts.constant("table", np.rint(votes.table / scale), np.int8)
    along = parts.constant("along", [1], np.int64)
    rows = parts.node("Gather", [table, _read(parts, votes.settings, words, along)], "rows")
    exact = parts.node("Cast", [rows], "exact", to=onnx.TensorProto.FLOAT)
    total = parts.node("ReduceSum", [exact, along], "total", keepdims=0)
    scaled = parts.node("Mul", [total, parts.constant("scale", scale)], "scaled")
    voted = parts.node("Div", [scaled, parts.node("Sqrt", [_NUMBER], "root")], "voted")
    begun = parts.node("Add", [voted, parts.constant("start", votes.start)], "begun")  # (texts, 4)
    sizes = parts.constant("sizes", [len(LABELS), 1], np.int64)
    labels, post = parts.node_of_many("Split", [begun, sizes], ["labels", "post"], axis=1)
    alike = parts.node("Sigmoid", [post], "alike")
    share = parts.node("Mul", [alike, parts.constant("most", votes.settings.share)], "share")
    beyond = parts.node("Sub", [labels, _LOGITS], "beyond")
    return parts.node("Add", [_LOGITS, parts.node("Mul", [beyond, share], "counted")], "logits")


def _read(parts: GraphParts, settings: VoteSettings, words: int, along: str) -> str:
    """(texts, pieces and pairs) rows of the table; of pads the pad's own, which holds nothing."""

    def number(name: str, value: int) -> str:
        return parts.constant(name, value, np.int64)

    def neighbours(name: str, start: int, end: int) -> str:
        bounds = [
            parts.constant(f"{name}.{at}", [value], np.int64) for at, value in (("from", start), ("to", end))
        ]
        return parts.node("Slice", [PIECES, *bounds, along], name)

    first, second = neighbours("first", 0, -1), neighbours("second", 1, MOST_PIECES)
    spread = parts.node("Mul", [first, number("factor", FACTOR)], "spread")
    both = parts.node("Add", [spread, second], "both")
    slot = parts.node("Mod", [both, number("slots", settings.slots)], "slot")
    place = parts.node("Add", [slot, number("words", words)], "place")
    padding = number("padding", PADDING)
    ends = parts.node("Equal", [second, padding], "ends")
    pairs = parts.node("Where", [ends, padding, place], "pairs")
    return parts.node("Concat", [PIECES, pairs], "read", axis=1)
