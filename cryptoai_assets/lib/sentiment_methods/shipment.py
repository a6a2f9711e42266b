"""Tuned weights as files that a device can load: graph, table of words, and the record of what they are."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from edge_bundle.manifest import file_sha256
from edge_bundle.sentiment.transformer import GRAPH_NAME, RECORD_NAME, WORDS_NAME

# What the largest release may weigh, in bytes.
MOST_BYTES = 24_000_000


class ShipmentError(Exception):
    """Weights cannot be shipped."""


def write_weights(
    folder: Path, graph: onnx.ModelProto, words: Path, *, record: Mapping[str, Any], bounded: bool = True
) -> Mapping[str, str]:
    """Write the graph, the table of words and the record, which gets their hashes.

    Raises
    ------
    ShipmentError
        When they are heavier than `MOST_BYTES` together, unless they are not `bounded`, being for measuring.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, folder / GRAPH_NAME)
    shutil.copyfile(words, folder / WORDS_NAME)
    files = [folder / GRAPH_NAME, folder / WORDS_NAME]
    if bounded and (weight := sum(file.stat().st_size for file in files)) > MOST_BYTES:
        raise ShipmentError(f"the weights are {weight:,} bytes, {MOST_BYTES:,} allowed")
    promised = {file.name: file_sha256(file) for file in files}
    text = json.dumps({**record, "files": promised}, indent=1, sort_keys=True)
    (folder / RECORD_NAME).write_text(text + "\n")
    return promised
