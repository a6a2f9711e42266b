"""What a bundle says of itself, checked before it may be released: precision, what it reads, its size."""

from collections import Counter
from pathlib import Path

import onnx

from cryptoai_assets.lib.gate import CanaryResult
from cryptoai_assets.lib.quantization import integer_operators
from edge_bundle.features.sources import facts_read, reads_market
from edge_bundle.forecaster import Forecaster
from edge_bundle.manifest import GRAPH_NAME

LARGEST_BUNDLE_BYTES = 15_000_000


def bundle_checks(forecaster: Forecaster, *, for_devices: bool) -> tuple[CanaryResult, ...]:
    """Run all checks of a loaded bundle.

    Parameters
    ----------
    for_devices
        Whether it must make do with what a device has.
    """
    return (
        precision_is_named_truly(forecaster),
        *((candles_suffice(forecaster),) if for_devices else ()),
        bundle_is_small(forecaster),
    )


def graph_operators(graph: Path) -> dict[str, int]:
    """How often a graph has each operator, by name."""
    found = Counter(node.op_type for node in onnx.load(graph).graph.node)
    return dict(sorted(found.items()))


def precision_is_named_truly(forecaster: Forecaster) -> CanaryResult:
    """A graph that is called INT8 holds integer operators, and one that is called FP32 holds none."""
    model = onnx.load(forecaster.folder / GRAPH_NAME)
    found = sorted(integer_operators(model))
    named = str(forecaster.manifest.quantization["precision"])
    truly = bool(found) == (named == "int8")
    detail = f"called {named}; integer operators: {', '.join(found) or 'none'}"
    return CanaryResult("precision_is_named_truly", truly, detail)


def candles_suffice(forecaster: Forecaster) -> CanaryResult:
    """A champion for the device requires the candles of one symbol only."""
    manifest = forecaster.manifest
    more = sorted({*manifest.facts, *facts_read(manifest.features)})
    if reads_market(manifest.features):
        more.append(f"candles of {', '.join(manifest.symbols)} together")
    detail = f"requires {'; '.join(more)}" if more else "requires candles only"
    return CanaryResult("candles_suffice", not more, detail)


def bundle_is_small(forecaster: Forecaster) -> CanaryResult:
    """The files fit the device."""
    size = sum((forecaster.folder / name).stat().st_size for name in forecaster.manifest.files)
    detail = f"{size / 1e6:.2f} MB, at most {LARGEST_BUNDLE_BYTES / 1e6:.0f} MB allowed"
    return CanaryResult("bundle_is_small", size <= LARGEST_BUNDLE_BYTES, detail)
