"""A week of a device in minutes: the power is cut, the network goes, the disk is full, others lie to it."""

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from fakes.binance_server import BinanceServer, Fault, binance_server, minute_candles
from fakes.installed_device import MODEL, SYMBOLS, installed_device, settings_file
from fakes.mortal_device import SHARE, turn
from fakes.project_root import PROJECT
from fakes.release_platform import ReleasePlatform, platform_service
from fakes.releases import name_champion
from polars.testing import assert_frame_equal

from cryptoai_assets.lib.release_signing import ReleaseSigner
from edge_bundle.candles import read_candles_csv
from edge_bundle.device.database import DeviceDatabase, milliseconds
from edge_bundle.device.export import csv_name
from edge_bundle.device.models import installed_model
from edge_bundle.device.settings import DeviceSettings
from edge_bundle.forecaster import STALE_INTERVALS
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.releases import ReleasedVersion, read_channel, release_folder

PROGRAM = PROJECT / "tests" / "fakes" / "mortal_device.py"
BEGUN = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
WEEK_LIVES = 100
LIFE = timedelta(hours=1, minutes=41)
MOST_TURNS, LONGEST_PAUSE_S = 3, 0.05
# Of lives: without a network, banned, lied to, with a clock that is a day wrong, with a disk that is full,
# and with another release of the platform at their begin.
SHARES = {"network": 0.15, "ban": 0.1, "lies": 0.15, "clock": 0.1, "disk": 0.1, "release": 0.3}
# Bytes beyond which no file of the device grows on a disk that is full.
FULL = (8 * 2**10, 64 * 2**10, 512 * 2**10)
GONE, BANNED = Fault(hangs_up=True), (Fault(status=403), Fault(status=451))
LIES = (
    Fault(body=b'{"code": -1'),
    Fault(body=b"[[1, 2]]"),
    Fault(status=500),
    Fault(lost=30),
    Fault(reshapes=lambda rows: [*rows[:1], *rows]),
    Fault(reshapes=lambda rows: rows[::-1] if len(rows) > 1 else [[0, *row[1:]] for row in rows]),
    Fault(reshapes=lambda rows: [[row[0], "0", *row[2:]] for row in rows]),
)
# Runs after the end, in calm weather: a gap is asked for so often, in pages.
SETTLING = 12


@dataclass(frozen=True, slots=True)
class Outlived:
    """What a device has gone through.

    Parameters
    ----------
    bars, forecasts
        That it holds in the end.
    never_had
        Bars that the venue does not have, each written down by the device.
    models
        That made the forecasts.
    """

    bars: int
    never_had: int
    forecasts: int
    models: int


class Releases:
    """What the platform offers: newer models, and what must never run."""

    def __init__(self, platform: ReleasePlatform, folder: Path, first: str) -> None:
        self.platform, self.good = platform, {first}
        self._stranger = ReleaseSigner(folder / "stranger.pem")
        self._version, self._oldest = 1, ReleasedVersion(1, first)

    def offer(self, chance: random.Random, at: datetime) -> None:
        """Release something: half of it may run."""
        self._version += 1
        what = chance.choice(("newer", "newer", "newer", "corrupt", "strange", "older"))
        if what == "older" and self._oldest.version > 1:
            name_champion(self.platform.root, MODEL, self._oldest)
            return
        released = self.platform.release(self._version, seed=self._version, at=at, signed=what != "strange")
        if what == "strange":
            name_champion(
                self.platform.root, MODEL, self._stranger.signed(MODEL, released, after=None, at=at)
            )
        elif what == "corrupt":
            graph = release_folder(self.platform.root, MODEL, self._version) / GRAPH_NAME
            content = bytearray(graph.read_bytes())
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            graph.write_bytes(content)
        else:
            self.good.add(released.sha256)
            self._oldest = released if self._oldest.version == 1 else self._oldest


def outlived(folder: Path, *, seed: int, kills: int) -> Outlived:
    """Let a device live and die, and hold what it has in the end against the venue.

    Raises
    ------
    AssertionError
        When a bar is lost, doubled or made up, a gap is not written down, the file is damaged, a forecast was
        made from old bars, or by a model that nobody trusted has signed.
    """
    chance = random.Random(seed)
    with binance_server(BEGUN + 3 * LIFE) as venue, platform_service(folder / "platform") as url:
        platform = ReleasePlatform(folder / "platform", url)
        keys = platform.give_key(folder / "keys")
        settings = installed_device(folder, venue_url=venue.url, platform_url=url, trusted_keys=f"{keys}")
        releases = Releases(platform, folder, installed_model(settings).forecaster.digest)
        clock = folder / "clock"
        for _ in range(kills):
            venue.absent.update(milliseconds(_minute(venue, chance)) for _ in range(chance.randint(0, 2)))
            if chance.random() < SHARES["release"]:
                releases.offer(chance, venue.now)
            _life(settings, venue, clock, chance)
        return _settled(settings, venue, releases)


def _minute(venue: BinanceServer, chance: random.Random) -> datetime:
    """A minute of the next life, which the venue will not have."""
    return venue.now.replace(second=0, microsecond=0) + chance.randint(1, LIFE // MINUTE) * MINUTE


def _life(settings: DeviceSettings, venue: BinanceServer, clock: Path, chance: random.Random) -> None:
    """Start the device, let some turns pass under what befalls it, and cut its power."""
    venue.faults.clear()
    if chance.random() < SHARES["network"]:
        for path in ("time", "klines"):
            venue.will(path, *[GONE] * 200)
    elif chance.random() < SHARES["ban"]:
        venue.will(chance.choice(("time", "klines")), *[chance.choice(BANNED)] * 200)
    elif chance.random() < SHARES["lies"]:
        venue.will("klines", *[chance.choice(LIES) for _ in range(3)])
    wrong = chance.choice((-DAY, DAY)) if chance.random() < SHARES["clock"] else timedelta()
    most_bytes = chance.choice(FULL) if chance.random() < SHARES["disk"] else 0
    turns = chance.randint(1, MOST_TURNS)
    _tell(clock, venue.now + wrong)
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT / 'tests'}{os.pathsep}{PROJECT}"}
    with subprocess.Popen(
        [sys.executable, PROGRAM, settings_file(settings.home.parent), clock, f"{most_bytes}"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as device:
        assert device.stdout is not None
        for _ in range(turns):
            venue.now += LIFE / turns
            _tell(clock, venue.now + wrong)
            assert device.stdout.readline() == "turned\n", "the device ended by itself"
        with suppress(subprocess.TimeoutExpired):
            device.wait(timeout=chance.random() * LONGEST_PAUSE_S)
        device.send_signal(signal.SIGKILL)


def _tell(clock: Path, now: datetime) -> None:
    draft = clock.with_suffix(".tmp")
    draft.write_text(now.isoformat())
    draft.replace(clock)


def _settled(settings: DeviceSettings, venue: BinanceServer, releases: Releases) -> Outlived:
    venue.faults.clear()
    database = DeviceDatabase(settings.database)
    for _ in range(SETTLING):
        venue.now += MINUTE
        turn(settings, venue.now)
    assert database.integrity() == "ok"
    channel = read_channel(settings.releases, MODEL)
    assert channel is not None
    assert channel.champion is not None
    assert installed_model(settings).forecaster.digest == channel.champion.sha256
    models = {channel.champion.sha256}
    first, end = BEGUN + LIFE, venue.now.replace(second=0, microsecond=0)
    bars = never_had = forecasts = 0
    for symbol in SYMBOLS:
        offered = minute_candles(first, (end - first) // MINUTE, symbol)
        absent = pl.Series(sorted(venue.absent)).cast(pl.Datetime("ms")).dt.cast_time_unit("us")
        had = offered.filter(~pl.col("open_time").is_in(absent.dt.replace_time_zone("UTC").implode()))
        assert_frame_equal(database.candles_between(symbol, first, end), had)
        assert database.open_gaps(symbol) == []
        [gaps] = database.gaps([symbol])
        extent = database.extent(symbol)
        assert extent is not None
        known = [slot for slot in venue.absent if milliseconds(extent[0]) < slot < milliseconds(extent[1])]
        assert gaps.not_to_be_had == len(known), (gaps, len(known))
        bars, never_had = bars + had.height, never_had + len(known)
        made = _forecasts_held(database, symbol)
        forecasts += made.height
        models |= set(made["bundle"])
    assert models <= releases.good
    _hold_exports(settings, database)
    return Outlived(bars=bars, never_had=never_had, forecasts=forecasts, models=len(models))


def _forecasts_held(database: DeviceDatabase, symbol: str) -> pl.DataFrame:
    """No forecast was made from old bars, nor from those of the future, whatever the clock said."""
    made = database.forecasts(symbol, newest=100_000).filter(pl.col("abstention").is_null())
    age = made["made_at"] - made["known_at"]
    assert age.is_between(-MINUTE, STALE_INTERVALS * MINUTE).all()
    return made


def _hold_exports(settings: DeviceSettings, database: DeviceDatabase) -> None:
    """Each day that was sent holds the bars of the database."""
    for folder in (settings.home / SHARE).glob("????-??-??"):
        day = datetime.fromisoformat(f"{folder.name}T00:00:00+00:00")
        bars = pl.concat(database.candles_between(symbol, day, day + DAY) for symbol in SYMBOLS)
        assert_frame_equal(read_candles_csv(folder / csv_name(day.date())), bars)
