"""The archive on an emulated Raspberry Pi: its own wheels install, and it answers what the server answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from fakes import device_answers
from fakes.device_answers import answers
from fakes.project_root import PROJECT
from fakes.releases import name_champion
from fakes.untrained_network import untrained_network
from fakes.walk_rows import HORIZONS

from cryptoai_assets.defs.release.assets import EdgeArchiveConfig, edge_archive
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.datasets import Dataset, dataset
from cryptoai_assets.lib.emulated_pi import EmulatedPi, missing_packages
from cryptoai_assets.lib.export import exported, write_bundle
from cryptoai_assets.lib.market import market_preset
from cryptoai_assets.lib.models.networks.settings import LstmSettings
from cryptoai_assets.lib.models.tree_heads import LightgbmSettings
from cryptoai_assets.lib.models.trees import Trees
from cryptoai_assets.lib.release_signing import ReleaseSigner
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.candles import candle_frame
from edge_bundle.features.catalog import catalog, feature_frame
from edge_bundle.features.sources import facts_read, reads_market
from edge_bundle.forecaster import OUTSIDE_RANGE, TOLERANCE
from edge_bundle.manifest import Manifest, bundle_digest
from edge_bundle.releases import ReleasedVersion, release_folder
from edge_bundle.windows import MarketWindow, window_grid

MARKET = replace(market_preset("sample"), symbols=("BTCUSD",))
AT = datetime(2019, 10, 1, tzinfo=UTC)
WINDOWS = 500
# Of the catalog, from one symbol's candles: those that an emulated processor has warmed up in seconds.
NAMES = tuple(
    name
    for name, feature in catalog().items()
    if feature.warmup <= 120 and not reads_market([name]) and not facts_read([name])
)
KINDS = ("lstm", "lightgbm")


@dataclass(frozen=True, slots=True)
class Device:
    """The bundles of an archive, the emulated device that it is installed on, and what Dagster shows."""

    folder: Path
    pi: EmulatedPi
    candles: Path
    shown: Mapping[str, dg.MetadataValue]

    def bundle(self, kind: str) -> Path:
        """Folder of a bundle, which both machines read."""
        return release_folder(self.folder / "releases", MARKET.model, KINDS.index(kind) + 1)


@dataclass(frozen=True, slots=True)
class Answered:
    """Machine and code that answered, and what it said by bundle."""

    machine: str
    place: Path
    said: dict[str, dict[str, npt.NDArray[Any]]]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    """Two bundles of real candles, a network in INT8 and trees; the network is champion."""
    if missing := missing_packages():
        pytest.skip(f"needs the apt package {missing[0]}")
    folder = tmp_path_factory.mktemp("platform")
    candles = candle_frame(pl.read_parquet(sample_file())).filter(symbol="BTCUSD").tail(4_000)
    candles.write_parquet(folder / "candles.parquet")
    data = _rows(MarketWindow(candles))
    fitted = (
        untrained_network(LstmSettings.start(), data, horizons=HORIZONS, seed=1),
        Trees(replace(LightgbmSettings.start(), trees=40, learning_rate=0.1, rows_a_leaf=100), threads=1).fit(
            data, horizons=HORIZONS, seed=1
        ),
    )
    for version, (kind, model) in enumerate(zip(KINDS, fitted, strict=True), start=1):
        write_bundle(
            release_folder(folder / "releases", MARKET.model, version),
            model,
            chosen=exported(model, data),
            market=MARKET,
            kind=kind,
            golden=data,
            window=MarketWindow(candles),
            trained_until=AT,
            as_of=AT,
            git_commit="0" * 40,
        )
    home = MarketResource(name=MARKET.name, root=f"{folder}").home
    champion = ReleasedVersion(1, bundle_digest(release_folder(home.releases, MARKET.model, 1)))
    signed = ReleaseSigner(home.signing_key).signed(MARKET.model, champion, after=None, at=AT)
    name_champion(home.releases, MARKET.model, signed)
    shown = _archive(folder)
    pi = EmulatedPi.of(Path(str(shown["path"].value)), folder, root=home.emulated_pi)
    return Device(folder, pi, folder / "candles.parquet", shown)


def _rows(window: MarketWindow) -> Dataset:
    grid = window_grid(window, interval=MARKET.interval, max_missing_bars=MARKET.max_missing_bars)
    targets = target_frame(grid, horizons=HORIZONS)
    return dataset(feature_frame(grid, NAMES), targets, NAMES, lookback=60, bar=MARKET.bar)


def _archive(folder: Path) -> Mapping[str, dg.MetadataValue]:
    """Make the archive as Dagster does; what it shows."""
    config = EdgeArchiveConfig(constraints=f"{PROJECT / 'constraints.txt'}")
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize(
            [edge_archive],
            resources={"market": MarketResource(name=MARKET.name, root=f"{folder}")},
            run_config=dg.RunConfig(ops={"edge_archive": config}),
            instance=instance,
        )
    [made] = run.asset_materializations_for_node("edge_archive")
    return made.metadata


def test_dagster_shows_that_the_archive_tests_itself_on_the_processor_of_a_pi(device: Device) -> None:
    said = device.shown["emulated_selftest"].value
    assert isinstance(said, dict), said
    assert (said["passed"], said["tolerance"]) == (True, TOLERANCE["int8"])
    assert "_aarch64.whl" in json.dumps([row.data for row in table_of(device.shown["contents"]).records])
    precisions = [row.data["name"] for row in table_of(device.shown["quantization"]).records]
    assert "dynamic" in " ".join(map(str, precisions))
    assert set(device.shown["operators"].value) & {"DynamicQuantizeLSTM", "MatMulInteger"}


def table_of(value: dg.MetadataValue) -> dg.TableMetadataValue:
    assert isinstance(value, dg.TableMetadataValue)
    return value


@pytest.fixture(scope="module")
def answered(device: Device, tmp_path_factory: pytest.TempPathFactory) -> Answered:
    """What the device says of the windows, in one start of Python, which is dear there."""
    out = tmp_path_factory.mktemp("answers")
    bundles = (device.bundle(kind) for kind in KINDS)
    done = device.pi.python(device_answers.__file__, device.candles, f"{WINDOWS}", out, *bundles)
    assert done.returncode == 0, done.stderr
    machine, place = json.loads(done.stdout)
    said = {}
    for number, kind in enumerate(KINDS):
        with np.load(out / f"{number}.npz") as archive:
            said[kind] = dict(archive)
    return Answered(machine, Path(place), said)


def test_every_module_of_the_device_loads_there_from_the_archive(device: Device, answered: Answered) -> None:
    assert answered.machine == "aarch64"
    assert answered.place.is_relative_to(device.pi.site)


@pytest.mark.parametrize("kind", KINDS)
def test_device_answers_what_the_server_answers(kind: str, device: Device, answered: Answered) -> None:
    theirs, ours = answered.said[kind], answers(device.bundle(kind), device.candles, WINDOWS)
    assert set(theirs) == set(ours)
    inputs = np.abs(theirs["input"] - ours["input"]) / np.maximum(np.abs(ours["input"]), 1e-3)
    assert inputs.max() <= 1e-5
    precision = Manifest.read(device.bundle(kind)).quantization["precision"]
    assert precision == ("int8" if kind == "lstm" else "fp32")
    for name in set(ours) - {"input", "forecast", OUTSIDE_RANGE}:
        for column in range(len(HORIZONS)):
            _assert_agree(ours[name][:, column], theirs[name][:, column], precision, name)
    assert np.array_equal(theirs[OUTSIDE_RANGE], ours[OUTSIDE_RANGE])
    # The whole way from candles to a forecast gives what the graph gives of the same window.
    newest = slice(-device_answers.FORECASTS, None)
    assert np.allclose(theirs["forecast"], theirs["probability_up"][newest], rtol=0, atol=1e-6)


def _assert_agree(ours: npt.NDArray[Any], theirs: npt.NDArray[Any], precision: str, name: str) -> None:
    """Rule 6 of the design: INT8 0.02, mean 0.002, same order and side; trees 1e-5 on 99.9 % of rows."""
    difference = np.abs(theirs - ours) / max(float(ours.std()), 1e-6)
    if precision == "fp32":
        assert np.mean(difference <= TOLERANCE["fp32"]) >= 0.999 - 1 / WINDOWS, (name, difference.max())
        return
    assert difference.max() <= TOLERANCE["int8"], (name, difference.max())
    assert difference.mean() <= 0.002, (name, difference.mean())
    ranks = [pl.Series(values).rank().to_numpy() for values in (ours, theirs)]
    assert np.corrcoef(*ranks)[0, 1] >= 0.999, name
    if name == "probability_up":
        decided = np.abs(ours - 0.5) > 0.02
        assert np.array_equal(ours[decided] > 0.5, theirs[decided] > 0.5)
