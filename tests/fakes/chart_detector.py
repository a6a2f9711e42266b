"""The bundle of a small chart network, untrained: what it says is what such a network says."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import onnx
import torch
from fakes.chart_problem import SETTINGS, walk_set

from cryptoai_assets.lib.charts.bundle import GOLDEN_ROWS, write_detector
from cryptoai_assets.lib.charts.gradients import ChartModule, chart_graph
from cryptoai_assets.lib.charts.labels import RULE
from cryptoai_assets.lib.quantization import FP32, ChosenPrecision
from edge_bundle.chart import CHART_60
from edge_bundle.detector import BY_NETWORK

PICTURES = GOLDEN_ROWS


@cache
def untrained_graph() -> onnx.ModelProto:
    """Graph of a network as it begins."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return chart_graph(ChartModule(SETTINGS["vit"], CHART_60), CHART_60)


def written_detector(folder: Path, *, decision: str = BY_NETWORK) -> Path:
    """Folder of a bundle."""
    write_detector(
        folder,
        ChosenPrecision(untrained_graph(), FP32, "not measured"),
        walk_set(),
        model="cryptoai-chart-patterns",
        kind="vit",
        chart=CHART_60,
        rule=RULE,
        decision=decision,
        as_of=datetime(2026, 1, 1, tzinfo=UTC),
        git_commit="abc",
    )
    return folder
