"""Status and doctor: how the device is, and what to do where it is not well."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from edge_bundle.alerts import Outbox, OutboxRefusedError
from edge_bundle.candles import interval_duration
from edge_bundle.device.database import DatabaseRefusedError, DeviceDatabase, ran_well
from edge_bundle.device.harvest import PROGRAM as HARVEST
from edge_bundle.device.infer import PROGRAM as INFER
from edge_bundle.device.models import installed_model
from edge_bundle.device.settings import CLOCK_TOLERANCE, DeviceSettings
from edge_bundle.device.venue import Venue
from edge_bundle.device.web import NoAnswerError, Web
from edge_bundle.errors import EdgeBundleError
from edge_bundle.forecaster import STALE_INTERVALS

THERMAL_ZONE = Path("/sys/class/thermal/thermal_zone0/temp")
# A Raspberry Pi slows itself down from 80 °C on:
# https://www.raspberrypi.com/documentation/computers/raspberry-pi.html#frequency-management-and-thermal-control
HOT_CELSIUS = 80.0
LEAST_FREE_BYTES = 200 * 2**20
PROGRAMS = {HARVEST: timedelta(minutes=5), INFER: timedelta(minutes=15)}
NEWS, NEWS_AT_LEAST_EVERY = "news", timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the machine itself is; None where it does not tell.

    Parameters
    ----------
    load
        Processes that want a core, over the last minute, per core.
    free_bytes
        Of the disk with the database.
    """

    temperature_celsius: float | None
    load: float
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    cure
        What to do; None where all is well.
    """

    subject: str
    told: str
    cure: str | None

    @property
    def well(self) -> bool:
        """Whether there is nothing to do."""
        return self.cure is None


def reading(home: Path, *, thermal_zone: Path = THERMAL_ZONE) -> Reading:
    """Look at temperature, load and disk."""
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    return Reading(
        celsius(thermal_zone), os.getloadavg()[0] / (os.cpu_count() or 1), shutil.disk_usage(existing).free
    )


def celsius(thermal_zone: Path) -> float | None:
    """Temperature of the processor; None where the machine does not tell."""
    try:
        return int(thermal_zone.read_text()) / 1000
    except (OSError, ValueError):
        return None


def examined(settings: DeviceSettings, *, now: datetime) -> Iterator[Finding]:
    """Look at everything that the device needs, one thing after the other; nothing is changed."""
    database = DeviceDatabase(settings.database)
    read = reading(settings.home)
    yield room_enough(read)
    yield cool_enough(read)
    yield _permissions(settings)
    yield _venue(settings, now)
    yield _database(database)
    yield _outbox(Outbox(settings.outbox))
    yield from _model(settings, database, now)
    for program, longest in _programs(settings).items():
        yield _program(database, program, longest, now)


def standing(settings: DeviceSettings, database: DeviceDatabase, now: datetime) -> Iterator[Finding]:
    """Look at what can be seen without asking anybody and without loading the model."""
    read = reading(settings.home)
    yield room_enough(read)
    yield cool_enough(read)
    for program, longest in _programs(settings).items():
        if database.marked(ran_well(program)) is not None:  # before its first run it is not late
            yield _program(database, program, longest, now)


def _programs(settings: DeviceSettings) -> Mapping[str, timedelta]:
    """Programs that run on this device, by the longest time between two runs that went well."""
    read = settings.news_feeds or settings.newsapi_key
    return PROGRAMS | ({NEWS: NEWS_AT_LEAST_EVERY} if read else {})


def room_enough(read: Reading) -> Finding:
    """Whether the disk has room."""
    told = f"{read.free_bytes / 2**20:,.0f} MiB free"
    enough = read.free_bytes >= LEAST_FREE_BYTES
    return Finding("disk", told, None if enough else "free space, or lower retention_days in the settings")


def cool_enough(read: Reading) -> Finding:
    """Whether the processor is below the heat at which it slows itself down."""
    found = read.temperature_celsius
    if found is None:
        return Finding("temperature", "this machine does not tell", None)
    cool = found < HOT_CELSIUS
    return Finding("temperature", f"{found:.1f} °C", None if cool else "cool it: it slows itself down")


def _permissions(settings: DeviceSettings) -> Finding:
    folder = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    if os.access(folder, os.W_OK | os.X_OK):
        return Finding("permissions", f"{settings.home} can be written", None)
    return Finding("permissions", f"{folder} cannot be written by this user", f"sudo chown cryptoai {folder}")


def _venue(settings: DeviceSettings, now: datetime) -> Finding:
    venue = Venue(Web("the venue", settings.venue_url), "1m")
    try:
        ahead = now - venue.now()
    except NoAnswerError as error:
        cure = (
            "another venue_url: this one does not serve your address" if error.banned else "check the network"
        )
        return Finding("network", f"{error}", cure)
    told = f"the venue answers; the clock is {abs(ahead)} {'before' if ahead > timedelta() else 'behind'} its"
    return Finding(
        "network and clock", told, None if abs(ahead) <= CLOCK_TOLERANCE else "timedatectl set-ntp true"
    )


def _database(database: DeviceDatabase) -> Finding:
    try:
        found = database.integrity()
    except DatabaseRefusedError as error:
        return Finding("database", f"{error}", "see the message")
    return Finding("database", found, None if found == "ok" else f"move {database.path} away; it begins anew")


def _outbox(outbox: Outbox) -> Finding:
    try:
        kept = len(outbox.kept())
    except OutboxRefusedError as error:
        return Finding("outbox", f"{error}", "see the message: nobody is told of anything until then")
    return Finding("outbox", f"{kept} alerts are kept", None)


def _model(settings: DeviceSettings, database: DeviceDatabase, now: datetime) -> Iterator[Finding]:
    try:
        model = installed_model(settings)
        test = model.forecaster.selftest()
    except EdgeBundleError as error:
        yield Finding("model", f"{error}", "cryptoai-edge update")
        return
    told = f"version {model.released.version}, golden rows within {test.largest_difference:.2g} deviations"
    yield Finding("model", told, None if test.passed else "cryptoai-edge update: it answers otherwise here")
    step = interval_duration(model.forecaster.manifest.interval)
    for symbol in model.forecaster.manifest.symbols:
        yield _bars(database, symbol, step, now)


def _bars(database: DeviceDatabase, symbol: str, step: timedelta, now: datetime) -> Finding:
    try:
        extent = database.extent(symbol)
    except DatabaseRefusedError:
        return _not_known(f"bars of {symbol}")
    if extent is None:
        return Finding(f"bars of {symbol}", "none yet", "wait a minute; then look at harvest")
    age = now - extent[1] - step
    fresh = age <= (STALE_INTERVALS + 1) * step
    return Finding(f"bars of {symbol}", f"the newest closed {age} ago", None if fresh else "look at harvest")


def _program(database: DeviceDatabase, program: str, longest: timedelta, now: datetime) -> Finding:
    try:
        marked = database.marked(ran_well(program))
    except DatabaseRefusedError:
        return _not_known(program)
    if marked is None:
        return Finding(program, "has not ended well yet", f"systemctl status cryptoai-edge@{program}.timer")
    age = now - marked[1]
    late = None if age <= longest else f"systemctl status cryptoai-edge@{program}.timer"
    return Finding(program, f"ended well {age} ago: {marked[0]}", late)


def _not_known(subject: str) -> Finding:
    return Finding(subject, "not known, for the database cannot be read", "mend the database first")
