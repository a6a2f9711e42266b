"""A device in a process that is killed from outside: its programs in turn, by a clock that a file drives.

Run as ``python tests/fakes/mortal_device.py SETTINGS CLOCK MOST_BYTES``; CLOCK holds the time of the device
in ISO 8601, and no file grows beyond MOST_BYTES, as on a disk that is full; 0 is no limit. Each turn is a
line on standard output.
"""

import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from edge_bundle.device.database import DatabaseRefusedError, DeviceDatabase
from edge_bundle.device.export import Export, FolderDestination
from edge_bundle.device.harvest import Harvest
from edge_bundle.device.infer import infer
from edge_bundle.device.models import installed_manifest, installed_model
from edge_bundle.device.settings import DeviceSettings
from edge_bundle.device.update import Updater, trusted_keys
from edge_bundle.device.venue import Venue
from edge_bundle.device.web import Web
from edge_bundle.errors import EdgeBundleError

REACH = timedelta(hours=2)
SHARE = "share"
Run = Callable[[DeviceSettings, DeviceDatabase, datetime], None]


def turn(settings: DeviceSettings, now: datetime) -> None:
    """Run update, harvest, infer and etl once; what fails is noted, where it can be, and comes again."""
    database = DeviceDatabase(settings.database)
    for program, run in PROGRAMS.items():
        try:
            run(settings, database, now)
        except (EdgeBundleError, OSError) as failure:
            with suppress(DatabaseRefusedError):
                database.note_trouble(program, f"{failure}", now=now)


def _update(settings: DeviceSettings, database: DeviceDatabase, now: datetime) -> None:
    platform = Web("platform", settings.platform_url, timeout_seconds=5)
    trusted = trusted_keys(Path(settings.trusted_keys))
    updater = Updater(database, platform, settings.releases, settings.model, trusted)
    if not updater.watch(now):
        updater.run(now)


def _harvest(settings: DeviceSettings, database: DeviceDatabase, now: datetime) -> None:
    manifest = installed_manifest(settings)
    venue = Venue(Web("venue", settings.venue_url, timeout_seconds=5), manifest.interval)
    for failure in Harvest(database, venue, None, manifest.symbols, REACH).run(now).failures:
        database.note_trouble("harvest", failure, now=now)


def _infer(settings: DeviceSettings, database: DeviceDatabase, now: datetime) -> None:
    infer(database, installed_model(settings).forecaster, now=now)


def _etl(settings: DeviceSettings, database: DeviceDatabase, now: datetime) -> None:
    days = Export(database, settings.exports, installed_manifest(settings).symbols)
    days.run(FolderDestination(settings.home / SHARE), now=now)


PROGRAMS: Mapping[str, Run] = MappingProxyType(
    {"update": _update, "harvest": _harvest, "infer": _infer, "etl": _etl}
)


def live(settings: DeviceSettings, clock: Path) -> None:
    """Run the programs until the process is killed."""
    while True:
        turn(settings, datetime.fromisoformat(clock.read_text()))
        sys.stdout.write("turned\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if most_bytes := int(sys.argv[3]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    live(DeviceSettings.read(Path(sys.argv[1])), Path(sys.argv[2]))
