"""The bundle of a small chart network, untrained: what it says is what such a network says."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import onnx
import torch
from fakes.chart_problem import SETTINGS, walk_set
from fakes.releases import name_champion

from cryptoai_assets.lib.charts.bundle import GOLDEN_ROWS, write_detector
from cryptoai_assets.lib.charts.gradients import ChartModule, chart_graph
from cryptoai_assets.lib.charts.plan import PATTERN_MODEL
from cryptoai_assets.lib.quantization import FP32, ChosenPrecision
from edge_bundle.chart import CHART_60
from edge_bundle.chart_rule import RULE
from edge_bundle.detector import BY_NETWORK
from edge_bundle.manifest import bundle_digest
from edge_bundle.releases import ReleasedVersion, release_folder

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
        data=walk_set(),
        model=PATTERN_MODEL,
        kind="vit",
        chart=CHART_60,
        rule=RULE,
        decision=decision,
        as_of=datetime(2026, 1, 1, tzinfo=UTC),
        git_commit="abc",
    )
    return folder


def release_detector(root: Path, *, version: int) -> Path:
    """Write a bundle as `version` and make it the champion; the folder of the bundle."""
    folder = written_detector(release_folder(root, PATTERN_MODEL, version))
    name_champion(root, PATTERN_MODEL, ReleasedVersion(version, bundle_digest(folder)))
    return folder
