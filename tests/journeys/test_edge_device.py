"""A device from its archive: installed without a network, it tests itself, harvests and forecasts."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import pytest
from fakes.binance_server import BinanceServer, binance_server
from fakes.installed_device import MODEL, SYMBOLS
from fakes.project_root import PROJECT
from fakes.releases import name_champion, release_tiny_bundle

import edge_bundle
from cryptoai_assets.defs.release.assets import EdgeArchiveConfig, edge_archive
from cryptoai_assets.defs.resources import MarketResource
from cryptoai_assets.lib.bundle_checks import LARGEST_BUNDLE_BYTES
from cryptoai_assets.lib.edge_archive import (
    CHECKSUMS,
    CONTENTS,
    SYSTEM,
    TOP,
    EdgeArchiveError,
    MadeArchive,
    make_archive,
    own_wheel,
)
from cryptoai_assets.lib.release_signing import ReleaseSigner
from edge_bundle.device.dashboard import FILES
from edge_bundle.forecast import Forecast
from edge_bundle.manifest import Manifest, bundle_digest
from edge_bundle.releases import ReleasedVersion, release_folder

AT = datetime(2026, 3, 1, tzinfo=UTC)
MOST_INSTALLED_BYTES = 450 * 10**6


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where an archive is made."""

    folder: Path
    wheels: Path
    signer: ReleaseSigner
    shown: dg.AssetMaterialization

    @property
    def archive(self) -> Path:
        """The archive."""
        return Path(str(self.shown.metadata["path"].value))

    def again(self, target: Path) -> MadeArchive:
        """Make it once more, by hand."""
        return make_archive(
            target,
            releases=self.folder / "releases",
            model=MODEL,
            wheels=self.wheels,
            signer=self.signer,
            platform="here",
        )


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    market = MarketResource(name="live", root=f"{folder}")
    signer = ReleaseSigner(market.home.signing_key)
    bundle = release_tiny_bundle(
        folder / "releases", version=1, seed=1, market="live", live=True, interval="1m", symbols=SYMBOLS
    )
    champion = ReleasedVersion(1, bundle_digest(bundle))
    name_champion(folder / "releases", MODEL, signer.signed(MODEL, champion, after=None, at=AT))
    config = EdgeArchiveConfig(here=True, constraints=f"{PROJECT / 'constraints.txt'}")
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize(
            [edge_archive],
            resources={"market": market},
            run_config=dg.RunConfig(ops={"edge_archive": config}),
            instance=instance,
        )
    [made] = run.asset_materializations_for_node("edge_archive")
    return Workshop(folder, market.home.edge_wheels / "here", signer, made)


@pytest.fixture(scope="module")
def installed(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, unpacked and installed into a folder by a user without rights and without an index."""
    folder = tmp_path_factory.mktemp("device")
    with tarfile.open(workshop.archive) as archive:
        archive.extractall(folder, filter="data")
    done = subprocess.run(
        [folder / TOP / "install.sh", "--into", folder / "root"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "PIP_INDEX_URL": "http://127.0.0.1:9", "HOME": f"{folder}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"passed": true' in done.stdout
    return folder / "root"


@pytest.fixture
def server() -> Iterator[BinanceServer]:
    with binance_server(datetime.now(UTC)) as running:
        yield running


def edge(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = root / "etc/cryptoai-edge/settings.toml"
    return subprocess.run(
        [root / "opt/cryptoai-edge/bin/cryptoai-edge", "--settings", settings, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=root,
        env={"PATH": os.environ["PATH"]},
    )


def test_same_inputs_make_the_same_bytes(workshop: Workshop, tmp_path: Path) -> None:
    assert workshop.again(tmp_path).sha256 == workshop.shown.metadata["sha256"].value
    first = next(workshop.wheels.glob("cryptoai_edge-*.whl"))
    at = datetime.fromisoformat(Manifest.read(release_folder(workshop.folder / "releases", MODEL, 1)).as_of)
    again = own_wheel(tmp_path / "own", version=version("cryptoai"), at=at)
    assert again.read_bytes() == first.read_bytes()


def rows_of(value: object) -> list[dict[str, object]]:
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_dagster_shows_what_the_archive_holds(workshop: Workshop) -> None:
    shown = {name: value.value for name, value in workshop.shown.metadata.items()}
    made = workshop.again(workshop.folder / "again")
    rows = {row["file"]: row for row in rows_of(workshop.shown.metadata["contents"])}
    assert set(rows) == set(made.contents)
    assert all(rows[name]["sha256"] == entry["sha256"] for name, entry in made.contents.items())
    assert "MIT" in " ".join(shown["licences"])
    assert shown["operators"]["MatMul"] == 2
    assert (shown["precision"], shown["quantization"]) == ("fp32", "nothing was measured")
    assert shown["emulated_selftest"].startswith("not tried")
    assert shown["megabytes"] == pytest.approx(workshop.archive.stat().st_size / 1e6, abs=0.06)
    assert 0 < shown["model_megabytes"] <= LARGEST_BUNDLE_BYTES / 1e6


def test_archive_lists_what_is_in_it_with_hashes_and_licences(workshop: Workshop) -> None:
    with tarfile.open(workshop.archive) as archive:
        bodies = {
            member.name.removeprefix(f"{TOP}/"): file.read()
            for member in archive
            if (file := archive.extractfile(member))
        }
    told = json.loads(bodies[CONTENTS])
    assert set(told) == set(bodies) - {CONTENTS, CHECKSUMS}
    for name, entry in told.items():
        assert entry["sha256"] == hashlib.sha256(bodies[name]).hexdigest()
        assert entry["size"] == len(bodies[name])
    licences = {name: entry["licence"] for name, entry in told.items() if name.startswith("wheels/")}
    assert "?" not in licences.values(), licences
    heavy = ("torch", "dagster", "mlflow", "pandas", "evidently", "bentoml", "scikit")
    assert not [name for name in licences if any(part in name.lower() for part in heavy)]
    assert not any("PRIVATE KEY" in body.decode(errors="ignore") for body in bodies.values())


def test_installed_device_is_small_and_its_programs_run(server: BinanceServer, installed: Path) -> None:
    size = sum(path.lstat().st_size for path in (installed / "opt").rglob("*"))
    assert size <= MOST_INSTALLED_BYTES
    settings = installed / "etc/cryptoai-edge/settings.toml"
    settings.write_text(settings.read_text() + f'venue_url = "{server.url}"\nfallback_url = ""\n')
    server.now = datetime.now(UTC)
    harvested = edge(installed, "harvest")
    assert harvested.returncode == 0, harvested.stderr
    inferred = edge(installed, "infer")
    assert inferred.returncode == 0, inferred.stderr
    forecasts = [Forecast.from_dict(json.loads(line)) for line in inferred.stdout.splitlines()]
    assert [forecast.symbol for forecast in forecasts] == list(SYMBOLS)


def test_installed_device_has_all_of_its_page(installed: Path) -> None:
    [package] = installed.glob("opt/cryptoai-edge/lib/python3.11/site-packages/edge_bundle")
    own = Path(edge_bundle.__file__).parent
    for path in FILES.values():
        assert (package / path.relative_to(own)).read_bytes() == path.read_bytes()


def test_installing_again_keeps_the_settings(installed: Path) -> None:
    settings = installed / "etc/cryptoai-edge/settings.toml"
    before = settings.read_text()
    unpacked = installed.parent / TOP
    done = subprocess.run(
        [unpacked / "install.sh", "--into", installed], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert settings.read_text() == before


def test_damaged_archive_installs_nothing(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(installed.parent / TOP, tmp_path / TOP)
    (tmp_path / TOP / "settings.toml").write_text("changed")
    done = subprocess.run(
        [tmp_path / TOP / "install.sh", "--into", tmp_path / "root"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "copy it again" in done.stdout
    assert not (tmp_path / "root" / "opt").exists()


def test_champion_that_another_key_signed_makes_no_archive(workshop: Workshop, tmp_path: Path) -> None:
    other = replace(workshop, signer=ReleaseSigner(tmp_path / "other.pem"))
    with pytest.raises(EdgeArchiveError, match="promote it again"):
        other.again(tmp_path)


def test_units_are_sound_and_shut_in(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs the apt package systemd")
    program = tmp_path / "cryptoai-edge"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in SYSTEM.iterdir():
        if path.suffix in (".service", ".timer"):
            text = path.read_text().replace("/opt/cryptoai-edge/bin/cryptoai-edge", f"{program}")
            (tmp_path / path.name).write_text(text)
    units = sorted(tmp_path.glob("*.service")) + sorted(tmp_path.glob("*.timer"))
    assert len(units) == 8
    named = [f"{unit}".replace("edge@.service", "edge@infer.service") for unit in units]
    shutil.copy(tmp_path / "cryptoai-edge@.service", tmp_path / "cryptoai-edge@infer.service")
    verified = subprocess.run(
        ["systemd-analyze", "verify", *named], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    for unit in tmp_path.glob("*.service"):
        judged = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", unit],
            capture_output=True,
            text=True,
            check=False,
        )
        assert " OK " in judged.stdout.splitlines()[-1], judged.stdout
