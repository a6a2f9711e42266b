"""Leaves of the trees in a forecaster's graph, as the device and the service explain forecasts by them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from cryptoai_assets.lib.models.blend import FittedBlend
from cryptoai_assets.lib.models.fitted import FittedForecaster
from cryptoai_assets.lib.models.trees import FittedTrees
from edge_bundle.explanation import TreeHeads
from edge_bundle.forecast import MEMBER_SEPARATOR

# A condition on one feature: low <= value < high.
Box = dict[int, tuple[np.float32, np.float32]]
_EVERYTHING = (np.float32(-np.inf), np.float32(np.inf))


class LeavesError(Exception):
    """A node of trees that says something which leaves alone do not tell."""


@dataclass(frozen=True, slots=True)
class _Head:
    part: str
    horizon: int
    node: str
    selected: Sequence[int]


def direction_heads(graph: onnx.ModelProto, fitted: FittedForecaster) -> TreeHeads | None:
    """Leaves of all trees that say a direction; None for a forecaster without trees.

    Raises
    ------
    LeavesError
        When a node of trees is of a kind that is not known here.
    """
    nodes = {node.name: node for node in graph.graph.node if node.op_type.startswith("TreeEnsemble")}
    heads = list(_heads(fitted))
    if not heads:
        return None
    leaves = [list(_leaves(_attributes(nodes[head.node]))) for head in heads]
    flat = [leaf for own in leaves for leaf in own]
    conditions = [
        (head.selected[place], *bounds)
        for head, own in zip(heads, leaves, strict=True)
        for box, _ in own
        for place, bounds in box.items()
    ]
    return TreeHeads(
        parts=np.array([head.part for head in heads]),
        horizons=np.array([head.horizon for head in heads]),
        log_odds=np.array([_is_log_odds(nodes[head.node]) for head in heads]),
        bases=np.array([_base(nodes[head.node]) for head in heads]),
        leaves=np.array([len(own) for own in leaves]),
        weights=np.array([weight for _, weight in flat], np.float32),
        conditions=np.array([len(box) for box, _ in flat], np.uint16),
        features=np.array([feature for feature, _, _ in conditions], np.uint16),
        lows=np.array([low for _, low, _ in conditions], np.float32),
        highs=np.array([high for _, _, high in conditions], np.float32),
    )


def _heads(fitted: FittedForecaster, prefix: str = "") -> Iterator[_Head]:
    """Heads by the names that `cryptoai_assets.lib.export` gives their nodes."""
    if isinstance(fitted, FittedBlend):
        for kind, member in fitted.members.items():
            # What a member's own members say is no output of the graph.
            if isinstance(member, FittedTrees) and not member.members:
                yield from _heads(member, f"{kind}{MEMBER_SEPARATOR}")
    elif isinstance(fitted, FittedTrees):
        for horizon in fitted.horizons:
            if not fitted.members:
                part = prefix.removesuffix(MEMBER_SEPARATOR)
                yield _Head(part, horizon, f"{prefix}up_{horizon}_trees", fitted.selected)
            for place, kind in enumerate(fitted.members):
                yield _Head(kind, horizon, f"{prefix}up_{horizon}_{place}_trees", fitted.selected)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    found = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if found.get("aggregate_function", b"SUM") != b"SUM":
        raise LeavesError(f"{node.name} is no sum of its trees")
    return found


def _is_log_odds(node: onnx.NodeProto) -> bool:
    transform = _attributes(node).get("post_transform", b"NONE")
    if transform not in (b"NONE", b"LOGISTIC"):
        raise LeavesError(f"{node.name} says {transform.decode()} of its sum")
    return bool(transform == b"LOGISTIC")


def _base(node: onnx.NodeProto) -> float:
    return float(sum(_attributes(node).get("base_values", [])))


def _leaves(told: dict[str, Any]) -> Iterator[tuple[Box, float]]:
    """Box and weight of every leaf, tree after tree."""
    kind = "class" if "class_weights" in told else "target"
    owners = zip(told[f"{kind}_treeids"], told[f"{kind}_nodeids"], strict=True)
    weights = dict(zip(owners, told[f"{kind}_weights"], strict=True))
    places = {
        place: number
        for number, place in enumerate(zip(told["nodes_treeids"], told["nodes_nodeids"], strict=True))
    }
    children = {
        (tree, child)
        for tree, mode, *both in zip(
            told["nodes_treeids"],
            told["nodes_modes"],
            told["nodes_truenodeids"],
            told["nodes_falsenodeids"],
            strict=True,
        )
        if mode != b"LEAF"
        for child in both
    }
    for root in sorted(places.keys() - children):
        yield from _below(root, {}, told, places, weights)


def _below(
    node: tuple[int, int],
    box: Box,
    told: dict[str, Any],
    places: dict[tuple[int, int], int],
    weights: dict[tuple[int, int], float],
) -> Iterator[tuple[Box, float]]:
    number, (tree, _) = places[node], node
    mode = told["nodes_modes"][number]
    if mode == b"LEAF":
        yield box, weights[node]
        return
    threshold = np.float32(told["nodes_values"][number])
    if mode == b"BRANCH_LEQ":
        threshold = np.nextafter(threshold, np.float32(np.inf))  # at most this is under the next number
    elif mode != b"BRANCH_LT":
        raise LeavesError(f"a branch by {mode.decode()}")
    feature = told["nodes_featureids"][number]
    low, high = box.get(feature, _EVERYTHING)
    for child, bounds in (
        (told["nodes_truenodeids"][number], (low, min(high, threshold))),
        (told["nodes_falsenodeids"][number], (max(low, threshold), high)),
    ):
        yield from _below((tree, child), {**box, feature: bounds}, told, places, weights)
