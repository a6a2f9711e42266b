"""An emulated 64-bit Raspberry Pi: Debian's arm64 user space under QEMU, to try an archive without a device.

It proves that the wheels load and give the right numbers on the device's kind of processor. Its speed and its
memory say nothing of a real one, and a program in it cannot start another one of it.
"""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from cryptoai_assets.lib.edge_archive import AARCH64, TOP, EdgeArchiveError, install_wheels

# Programs by the Debian package that brings them.
PROGRAMS: Mapping[str, str] = {"qemu-aarch64-static": "qemu-user-static", "mmdebstrap": "mmdebstrap"}
# The release that Raspberry Pi OS of Python 3.11 is made of.
RELEASE = "bookworm"
PACKAGES = "python3-minimal,libpython3.11-stdlib,libstdc++6,libgomp1,libsqlite3-0,tzdata"
# Of a Raspberry Pi 4; a Pi 5 has a Cortex-A76.
PROCESSOR = "cortex-a72"
# QEMU answers /proc/cpuinfo from here: that of another machine makes onnxruntime crash.
CPU_INFO = (
    "processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
    "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\n"
    "CPU revision\t: 3\n\n"
)
MOST_SECONDS = 900


def missing_packages() -> tuple[str, ...]:
    """Debian packages that this machine lacks for it; none where it can be had."""
    return tuple(package for program, package in PROGRAMS.items() if shutil.which(program) is None)


@dataclass(frozen=True, slots=True)
class EmulatedPi:
    """A device with an archive installed; make it with `of`.

    Parameters
    ----------
    root
        Debian's files.
    site
        What is installed besides.
    device
        The unpacked archive.
    """

    root: Path
    site: Path
    device: Path

    @classmethod
    def of(cls, archive: Path, folder: Path, *, root: Path) -> Self:
        """Unpack an archive and install it from nothing but itself.

        Parameters
        ----------
        root
            Kept from one time to the next; made where it is not there.

        Raises
        ------
        EdgeArchiveError
            When Debian's files cannot be had, or a wheel is absent or of another machine.
        """
        if not root.is_dir():
            _make_root(root)
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        device, site = (folder / TOP).resolve(), (folder / "site").resolve()
        install_wheels(device / "wheels", site, platforms=AARCH64)
        settings = device / "settings.toml"
        settings.write_text(settings.read_text().replace("/var/lib/cryptoai-edge", f"{device}"))
        return cls(root.resolve(), site, device)

    def python(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run Python there, with what is installed and nothing of this folder."""
        command = [
            *("qemu-aarch64-static", "-cpu", PROCESSOR, "-L", f"{self.root}"),
            *("-E", f"PYTHONHOME={self.root}/usr", "-E", f"PYTHONPATH={self.site}"),
            *("-E", "OMP_NUM_THREADS=1", "-E", "POLARS_MAX_THREADS=1"),
            f"{self.root}/usr/bin/python3.11",
            *(f"{argument}" for argument in arguments),
        ]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=MOST_SECONDS, cwd=self.site
        )

    def selftest(self) -> dict[str, Any]:
        """What the archive's own self-test says there; see `read_selftest`."""
        done = self.python(
            "-m", "edge_bundle.device", "--settings", self.device / "settings.toml", "selftest"
        )
        return read_selftest(done.stdout, done.stderr)


def read_selftest(said: str, complained: str) -> dict[str, Any]:
    """What a self-test said on its output.

    Raises
    ------
    EdgeArchiveError
        When it did not come so far, or did not pass.
    """
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError as error:
        raise EdgeArchiveError(
            f"the archive does not run on its processor: {complained.strip()[-600:]}"
        ) from error
    if not found["passed"]:
        raise EdgeArchiveError(f"the model answers otherwise on the device's processor: {said.strip()}")
    return found


def emulated_selftest(archive: Path, *, root: Path) -> dict[str, Any]:
    """What the self-test of an archive says on an emulated device; see `EmulatedPi`."""
    with TemporaryDirectory() as folder:
        return EmulatedPi.of(archive, Path(folder), root=root).selftest()


def _make_root(root: Path) -> None:
    """Unpack Debian's files for the processor; nothing of them is run."""
    draft = root.with_name(f".{root.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    command = [
        *("mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract"),
        *(f"--include={PACKAGES}", RELEASE, f"{draft}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EdgeArchiveError(f"Debian's files for the device are not to be had: {done.stderr[-600:]}")
    (draft / "proc").mkdir(exist_ok=True)
    (draft / "proc" / "cpuinfo").write_text("".join(CPU_INFO.format(core=core) for core in range(4)))
    draft.replace(root)
