"""A device in a process that is killed from outside: its programs in turn, by a clock that a file drives.

Run as ``python tests/fakes/mortal_device.py SETTINGS CLOCK``; CLOCK holds the time of the device in ISO 8601.
Each turn is a line on standard output.
"""

import sys
from datetime import datetime, timedelta
from pathlib import Path

from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.export import Export, FolderDestination, NotSentError
from edge_bundle.device.harvest import Harvest
from edge_bundle.device.infer import infer
from edge_bundle.device.models import installed_model
from edge_bundle.device.settings import DeviceSettings
from edge_bundle.device.venue import Venue
from edge_bundle.device.web import Web
from edge_bundle.errors import WindowRefusedError
from edge_bundle.forecaster import Forecaster

REACH = timedelta(hours=2)
SHARE = "share"


def turn(settings: DeviceSettings, forecaster: Forecaster, now: datetime) -> None:
    """Run harvest, infer and etl once."""
    database, manifest = DeviceDatabase(settings.database), forecaster.manifest
    venue = Venue(Web("venue", settings.venue_url, timeout_seconds=5), manifest.interval)
    for failure in Harvest(database, venue, None, manifest.symbols, REACH).run(now).failures:
        database.note_trouble("harvest", failure, now=now)
    try:
        infer(database, forecaster, now=now)
    except WindowRefusedError as refused:
        database.note_trouble("infer", f"{refused}", now=now)
    try:
        days = Export(database, settings.exports, manifest.symbols)
        days.run(FolderDestination(settings.home / SHARE), now=now)
    except NotSentError as failure:
        database.note_trouble("etl", f"{failure}", now=now)


def live(settings: DeviceSettings, clock: Path) -> None:
    """Run the programs until the process is killed."""
    forecaster = installed_model(settings).forecaster
    while True:
        turn(settings, forecaster, datetime.fromisoformat(clock.read_text()))
        sys.stdout.write("turned\n")
        sys.stdout.flush()


if __name__ == "__main__":
    live(DeviceSettings.read(Path(sys.argv[1])), Path(sys.argv[2]))
