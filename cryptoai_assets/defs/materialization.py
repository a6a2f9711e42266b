"""How assets are materialized: fingerprints recorded with the result, and what is up to date read back."""

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import dagster as dg
import polars as pl
from matplotlib.figure import Figure

from cryptoai_assets.lib.figures import png_bytes
from cryptoai_assets.lib.fingerprints import settings_fingerprint
from cryptoai_assets.lib.planner import Recipe

INPUT_FINGERPRINT = "cryptoai/input_fingerprint"
CONTENT = "cryptoai/content_sha256"
UNPARTITIONED = ""


def materialized(recipe: Recipe, make: Callable[[], Mapping[str, Any]]) -> dg.MaterializeResult[None]:
    """Make an asset without partitions, and return its result with its fingerprints.

    Parameters
    ----------
    make
        Writes the files of the recipe and returns metadata.
    """
    metadata = _made(recipe, make)
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(metadata[CONTENT]))


def materialized_partitions(
    context: dg.AssetExecutionContext,
    recipe: Callable[[str], Recipe],
    make: Callable[[str], Mapping[str, Any]],
) -> dg.MaterializeResult[None]:
    """Make every partition of the run, and record the fingerprints of each.

    Dagster has one data version a run: that of the partition, or of all partitions of a run over many.

    Parameters
    ----------
    recipe, make
        Take a partition key.
    """
    contents = {}
    for key in context.partition_keys:
        metadata = _made(recipe(key), partial(make, key))
        context.add_asset_metadata(metadata, partition_key=key)
        contents[key] = metadata[CONTENT]
    [version] = contents.values() if len(contents) == 1 else [settings_fingerprint(contents)]
    return dg.MaterializeResult(data_version=dg.DataVersion(version))


def _made(recipe: Recipe, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    # The inputs are taken down before they are read: what changes meanwhile is seen as a change.
    fingerprint = recipe.fingerprint()
    return {**make(), INPUT_FINGERPRINT: fingerprint, CONTENT: recipe.content()}


def recorded_fingerprints(instance: dg.DagsterInstance, asset: str) -> dict[str, str]:
    """Input fingerprint of the last materialization by partition key, `UNPARTITIONED` without partitions.

    What a run made that failed, was killed, or stopped at a check does not count: it is made again.
    """
    latest: dict[str, dg.EventLogRecord] = {}
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(dg.AssetKey(asset), limit=1000, cursor=cursor)
        for record in page.records:
            latest.setdefault(record.partition_key or UNPARTITIONED, record)
        if not page.has_more:
            break
        cursor = page.cursor
    runs = {record.run_id for record in latest.values()}
    succeeded = {run for run in runs if _succeeded(instance, run)}
    return {
        key: str(mark.value)
        for key, record in latest.items()
        if record.run_id in succeeded
        and record.asset_materialization is not None
        and (mark := record.asset_materialization.metadata.get(INPUT_FINGERPRINT)) is not None
    }


def _succeeded(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.is_success


def table(frame: pl.DataFrame, rows: int = 10) -> dg.TableMetadataValue:
    """Return the first rows of a frame as they are shown in Dagster: times to the minute, six digits."""
    head = frame.head(rows)
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({name: _shown(value) for name, value in row.items()}) for row in head.to_dicts()
        ],
        schema=dg.TableSchema([dg.TableColumn(name) for name in head.columns]),
    )


def _shown(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)


def picture(figure: Figure) -> dg.MarkdownMetadataValue:
    """Return a figure as it is shown in Dagster."""
    return dg.MetadataValue.md(f"![](data:image/png;base64,{base64.b64encode(png_bytes(figure)).decode()})")
