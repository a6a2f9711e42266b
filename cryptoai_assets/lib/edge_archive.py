"""The archive that a device is installed from: wheels, the signed model, keys, units, and their checksums.

The same inputs give the same bytes: names are sorted, and every time is that of the model.
"""

import base64
import gzip
import hashlib
import importlib.metadata
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.parser import BytesParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import edge_bundle
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.release_signing import ReleaseSigner
from cryptoai_assets.lib.releases import champion_forecaster
from edge_bundle.manifest import Manifest
from edge_bundle.releases import (
    CHANNEL_NAME,
    Channel,
    Signature,
    public_key_id,
    read_channel,
    release_folder,
)
from edge_bundle.whole_file import replace_file

TOP = "cryptoai-edge"
DISTRIBUTION = "cryptoai-edge"
# What comes without its own requirements: those of tokenizers are a client of Hugging Face, 32 MB, which
# nothing here asks.
ALONE = ("tokenizers",)
CONTENTS, CHECKSUMS = "CONTENTS.json", "SHA256SUMS"
SYSTEM = Path(edge_bundle.__file__).parent / "device" / "system"
AARCH64 = tuple(
    f"{tag}_aarch64"
    for tag in ("manylinux2014", *(f"manylinux_2_{minor}" for minor in (17, 24, 26, 27, 28, 31, 34)))
)
_PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "{name}"
version = "{version}"
description = "CryptoAI on a device: harvests, forecasts and shows, by itself."
license = "Apache-2.0"
requires-python = ">=3.11,<3.12"
dependencies = {dependencies}
[project.scripts]
cryptoai-edge = "edge_bundle.device.__main__:main"
[tool.setuptools.packages.find]
include = ["edge_bundle*"]
[tool.setuptools.package-data]
"edge_bundle" = ["page/*.css", "page/*.js", "device/page/*", "sentiment/weights/*"]
"""


class EdgeArchiveError(Exception):
    """An archive cannot be made; the message says what is needed."""


@dataclass(frozen=True, slots=True)
class MadeArchive:
    """An archive and what is in it.

    Parameters
    ----------
    contents
        By path inside: ``sha256``, ``size`` in bytes, and for a wheel its ``licence``.
    """

    path: Path
    sha256: str
    contents: Mapping[str, Mapping[str, Any]]


def device_requirements() -> list[str]:
    """What a device needs besides this project: the base requirements and those of the extra ``device``."""
    return [line for line in _requirements() if not line.startswith(ALONE)]


def _requirements() -> list[str]:
    required = importlib.metadata.requires("cryptoai") or []
    own = [line for line in required if "extra ==" not in line or re.search(r'extra == "device"', line)]
    return sorted(line.partition(";")[0].strip() for line in own)


def fetch_wheels(folder: Path, *, constraints: Path, platforms: Sequence[str] = AARCH64) -> None:
    """Bring the wheels of a device's requirements into a folder, in the versions of the constraints.

    Parameters
    ----------
    platforms
        Tags; none is this machine's own.

    Raises
    ------
    EdgeArchiveError
        When one of them is not to be had as a wheel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--only-binary=:all:", f"--dest={folder}", f"--constraint={constraints}"),
        *(_of_machine(platforms) if platforms else []),
    ]
    _run([*command, *device_requirements()], "the wheels are not to be had")
    alone = [line for line in _requirements() if line.startswith(ALONE)]
    _run([*command, "--no-deps", *alone], "the wheels are not to be had")


def install_wheels(wheels: Path, site: Path, *, platforms: Sequence[str]) -> None:
    """Install the device's wheel and what it needs for another machine, from a folder of wheels alone.

    Raises
    ------
    EdgeArchiveError
        When a wheel is absent, or none is of that machine.
    """
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-index", "--no-compile", "--only-binary=:all:", f"--find-links={wheels}", f"--target={site}"),
        *_of_machine(platforms),
    ]
    _run([*command, DISTRIBUTION], "the wheels cannot be installed")
    _run([*command, "--no-deps", *ALONE], "the wheels cannot be installed")


def _of_machine(platforms: Sequence[str]) -> list[str]:
    abis = [f"--abi={abi}" for abi in ("cp311", "abi3", "none")]
    tags = [f"--platform={tag}" for tag in platforms]
    return [*tags, "--python-version=3.11", "--implementation=cp", *abis]


def own_wheel(folder: Path, *, version: str, at: datetime) -> Path:
    """Build the wheel of `edge_bundle` alone.

    Parameters
    ----------
    at
        Time that every file in it bears.

    Raises
    ------
    EdgeArchiveError
        When it cannot be built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as draft:
        project = Path(draft)
        shutil.copytree(
            Path(edge_bundle.__file__).parent,
            project / "edge_bundle",
            ignore=shutil.ignore_patterns("__pycache__", "system"),
        )
        (project / "pyproject.toml").write_text(
            _PROJECT.format(
                name=DISTRIBUTION, version=version, dependencies=json.dumps(device_requirements())
            )
        )
        command = [
            *("env", f"SOURCE_DATE_EPOCH={int(at.timestamp())}"),
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", f"{project}"),
        ]
        _run(command, "the device's own wheel cannot be built")
    return folder / f"{DISTRIBUTION.replace('-', '_')}-{version}-py3-none-any.whl"


def make_archive(
    target: Path, *, releases: Path, model: str, wheels: Path, signer: ReleaseSigner, platform: str
) -> MadeArchive:
    """Write the archive of a model's champion.

    Parameters
    ----------
    target
        Folder of archives.
    wheels
        Folder with every wheel, the device's own among them.
    platform
        Machine that the wheels are for, such as ``aarch64``; part of the name.

    Raises
    ------
    EdgeArchiveError
        When there is no signed champion, or the key is not the one that signed it.
    """
    channel = read_channel(releases, model)
    if channel is None or channel.champion is None:
        raise EdgeArchiveError(f"{model} has no champion yet: run make demo, or promote a version")
    champion = channel.champion
    key = None if champion.signature is None else Signature.of(champion.signature).key
    if key != public_key_id(base64.b64decode(signer.public_key())):
        raise EdgeArchiveError(
            f"version {champion.version} of {model} is not signed with {signer.path}: promote it again"
        )
    folder = release_folder(releases, model, champion.version)
    at = datetime.fromisoformat(Manifest.read(folder).as_of)
    place = f"releases/{model}"
    files = {
        f"{place}/{CHANNEL_NAME}": _json(Channel(model, champion=champion).to_dict()),
        f"keys/{model}.pub": f"{signer.public_key()}\n".encode(),
        "settings.toml": (SYSTEM / "settings.toml").read_bytes().replace(b"@MODEL@", model.encode()),
        "install.sh": (SYSTEM / "install.sh").read_bytes(),
        **{
            f"{place}/versions/{champion.version}/{path.name}": path.read_bytes() for path in folder.iterdir()
        },
        **{
            f"system/{path.name}": path.read_bytes()
            for path in SYSTEM.iterdir()
            if path.name not in ("install.sh", "settings.toml")
        },
        **{f"wheels/{path.name}": path.read_bytes() for path in wheels.glob("*.whl")},
    }
    contents = {name: _described(name, body) for name, body in sorted(files.items())}
    files[CONTENTS] = _json(contents)
    sums = [f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in sorted(files.items())]
    files[CHECKSUMS] = "".join(sums).encode()
    path = target / f"{TOP}-{model}-{champion.version}-{platform}.tar.gz"
    body = _packed(files, int(at.timestamp()))
    replace_file(path, body)
    return MadeArchive(path, hashlib.sha256(body).hexdigest(), contents)


def champions_archive(
    home: Home, target: Path, *, workshop: Path, constraints: Path, here: bool
) -> MadeArchive:
    """Archive of a market's champion, with its wheels fetched anew.

    Parameters
    ----------
    workshop
        Folder for the wheels.
    here
        For this machine's processor instead of a 64-bit Raspberry Pi's.

    Raises
    ------
    EdgeArchiveError
        When there is no champion, or its wheels are not to be had.
    """
    champion = champion_forecaster(home.releases, home.market.model)
    if champion is None:
        raise EdgeArchiveError(
            f"{home.market.model} has no champion yet: run make demo, or promote a version"
        )
    platform = "here" if here else "aarch64"
    wheels = workshop / platform
    shutil.rmtree(wheels, ignore_errors=True)
    fetch_wheels(wheels, constraints=constraints, platforms=() if here else AARCH64)
    at = datetime.fromisoformat(champion.manifest.as_of)
    own_wheel(wheels, version=importlib.metadata.version("cryptoai"), at=at)
    return make_archive(
        target,
        releases=home.releases,
        model=home.market.model,
        wheels=wheels,
        signer=ReleaseSigner(home.signing_key),
        platform=platform,
    )


def _packed(files: Mapping[str, bytes], seconds: int) -> bytes:
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, compresslevel=6) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, body in sorted(files.items()):
            entry = tarfile.TarInfo(f"{TOP}/{name}")
            entry.size, entry.mtime = len(body), seconds
            entry.mode = 0o755 if name == "install.sh" else 0o644
            archive.addfile(entry, io.BytesIO(body))
    return packed.getvalue()


def _described(name: str, body: bytes) -> dict[str, Any]:
    described: dict[str, Any] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
    return described | ({"licence": _licence(body)} if name.endswith(".whl") else {})


def _licence(wheel: bytes) -> str:
    """Licence that a wheel states of itself, else how its licence files begin; ``?`` where it has none."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        told = BytesParser().parsebytes(archive.read(metadata))
        texts = [archive.read(name) for name in archive.namelist() if ".dist-info/licenses/" in name]
    stated = told["License-Expression"] or told["License"]
    if stated and "\n" not in stated:
        return str(stated)
    classified = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier", []) if "License" in line]
    begun = [text.decode(errors="replace").strip().partition("\n")[0] for text in texts]
    return "; ".join(classified or begun) or "?"


def _json(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, indent=1, sort_keys=True).encode()


def _run(command: Sequence[str], failure: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 — pip alone
    if done.returncode:
        raise EdgeArchiveError(f"{failure}: {done.stderr.strip()[-600:]}")
