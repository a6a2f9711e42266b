"""Finished days leave the device whole, once and in order, whatever fails on the way."""

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.installed_device import MODEL, START, SYMBOLS, walked_bars
from fakes.s3_server import s3_bucket
from fakes.scripted_server import reply, scripted_server
from polars.testing import assert_frame_equal

from edge_bundle.candles import read_candles_csv
from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.export import (
    CHECKSUMS,
    DAY,
    DayRefusedError,
    Export,
    FolderDestination,
    NotSentError,
    PlatformDestination,
    S3Destination,
    ScpDestination,
    csv_name,
    destination,
    parquet_name,
)
from edge_bundle.device.s3_signature import S3Key
from edge_bundle.device.settings import DeviceSettings

DAYS = 3
BARS = walked_bars(DAYS * 1440 + 100)
NOW = START + DAYS * DAY + timedelta(minutes=100)
FINISHED = [(START + place * DAY).date() for place in range(DAYS)]


def clock() -> datetime:
    return NOW


@dataclass(slots=True)
class Received:
    """A destination that takes days, or fails at one."""

    fails_at: date | None = None
    days: list[date] = field(default_factory=list)

    def send(self, day: date, files: Mapping[str, Path]) -> None:
        if day == self.fails_at:
            raise NotSentError("planted")
        assert all(path.is_file() for path in files.values())
        self.days.append(day)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    database = DeviceDatabase(tmp_path / "device.db")
    database.add_candles(BARS, source="test", now=NOW)
    return Export(database, tmp_path / "exports", SYMBOLS)


def test_files_of_a_day_hold_its_bars_and_their_checksums(export: Export) -> None:
    export.run(None, now=NOW)
    assert sorted(path.name for path in export.folder.iterdir()) == [f"{day}" for day in FINISHED]
    folder, day = export.folder / f"{FINISHED[1]}", FINISHED[1]
    bars = BARS.filter(pl.col("open_time").dt.date() == day)
    assert_frame_equal(read_candles_csv(folder / csv_name(day)), bars)
    assert_frame_equal(pl.read_parquet(folder / parquet_name(day)), bars)
    for line in (folder / CHECKSUMS).read_text().splitlines():
        sha256, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256


def test_each_day_is_sent_once_and_those_after_a_failure_wait(export: Export) -> None:
    to = Received(fails_at=FINISHED[1])
    with pytest.raises(NotSentError):
        export.run(to, now=NOW)
    assert to.days == FINISHED[:1]
    to.fails_at = None
    assert export.run(to, now=NOW) == 2
    assert export.run(to, now=NOW) == 0
    assert to.days == FINISHED
    next_day = walked_bars((DAYS + 1) * 1440 + 100).filter(pl.col("open_time") > BARS["open_time"].max())
    export.database.add_candles(next_day, source="test", now=NOW + DAY)
    assert export.run(to, now=NOW + DAY) == 1


def test_day_whose_bars_may_still_come_is_waited_for_and_not_for_ever(export: Export) -> None:
    missing = START + DAY + timedelta(hours=3)
    export.database.note_gaps(SYMBOLS[0], [missing], now=missing + timedelta(hours=1))
    to = Received()
    export.run(to, now=START + 2 * DAY + timedelta(hours=1))
    assert to.days == FINISHED[:1]
    export.run(to, now=START + 3 * DAY + timedelta(hours=1))
    assert to.days == FINISHED


def test_days_that_a_long_outage_left_empty_are_waited_for_when_it_is_over(export: Export) -> None:
    """However old the days are, their bars were missed only now; and a clock a day ahead changes nothing."""
    missing = START + timedelta(hours=3)
    export.database.note_gaps(SYMBOLS[0], [missing], now=NOW - timedelta(minutes=5))
    to = Received()
    assert export.run(to, now=NOW) == DAYS - 1
    assert export.run(to, now=NOW + DAY) == 0
    export.database.add_candles(
        BARS.filter(open_time=missing).with_columns(close=1.0), source="test", now=NOW
    )
    assert export.run(to, now=NOW) == 1


def test_day_on_which_the_bars_begin_is_sent_when_nothing_comes_before_it(tmp_path: Path) -> None:
    database, listed = DeviceDatabase(tmp_path / "device.db"), START + timedelta(hours=10)
    export = Export(database, tmp_path / "exports", SYMBOLS)
    late = (pl.col("symbol") == SYMBOLS[1]) & (pl.col("open_time") < listed)
    database.add_candles(BARS.filter(~late), source="test", now=NOW)
    to = Received()
    assert export.run(to, now=NOW) == DAYS - 1  # of one symbol the history is still on its way
    assert to.days == FINISHED[1:]
    database.mark(f"no bars before: {SYMBOLS[1]}", listed.isoformat(), now=NOW)
    assert export.run(to, now=NOW) == 1


def test_day_that_was_written_stays_as_it_is_when_a_bar_comes_late(tmp_path: Path) -> None:
    late = (pl.col("open_time") == START + timedelta(hours=3)) & (pl.col("symbol") == SYMBOLS[0])
    export = Export(DeviceDatabase(tmp_path / "device.db"), tmp_path / "exports", SYMBOLS)
    export.database.add_candles(BARS.filter(~late), source="test", now=NOW)
    export.run(None, now=NOW)
    path = export.folder / f"{FINISHED[0]}" / csv_name(FINISHED[0])
    before = path.read_bytes()
    assert export.database.add_candles(BARS.filter(late), source="test", now=NOW) == 1
    export.run(None, now=NOW)
    assert path.read_bytes() == before


def test_write_that_was_cut_off_is_done_again(export: Export) -> None:
    draft = export.folder / f".{FINISHED[0]}.new"
    draft.mkdir(parents=True)
    (draft / csv_name(FINISHED[0])).write_text("half a li")
    export.run(None, now=NOW)
    assert not draft.exists()
    assert read_candles_csv(export.folder / f"{FINISHED[0]}" / csv_name(FINISHED[0])).height == 2 * 1440


def test_folder_takes_a_day_and_the_checksums_last(export: Export, tmp_path: Path) -> None:
    export.run(FolderDestination(tmp_path / "share"), now=NOW)
    for day in FINISHED:
        theirs, ours = (folder / f"{day}" for folder in (tmp_path / "share", export.folder))
        assert {path.name for path in theirs.iterdir()} == {path.name for path in ours.iterdir()}
        assert all((theirs / path.name).read_bytes() == path.read_bytes() for path in ours.iterdir())
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NotSentError, match="was not copied"):
        FolderDestination(tmp_path / "file").send(FINISHED[0], {})


def test_platform_is_posted_the_csv_with_its_checksum(export: Export) -> None:
    with scripted_server() as platform:
        platform.will_answer(reply("{}", status=201), reply("{}", status=200), reply("busy", status=503))
        to = PlatformDestination(platform.url, "secret")
        with pytest.raises(NotSentError, match="status 503: busy"):
            export.run(to, now=NOW)
    assert platform.asked == [f"/ingest/candles?day={day}" for day in FINISHED]
    with pytest.raises(NotSentError, match="ConnectError"):
        export.run(to, now=NOW)


def test_day_that_is_refused_holds_up_no_other_and_is_told_once(export: Export) -> None:
    with scripted_server() as platform:
        platform.will_answer(
            reply("{}", status=201), reply("no bar closed", status=422), reply("{}", status=201)
        )
        to = PlatformDestination(platform.url, "")
        with pytest.raises(DayRefusedError, match="no bar closed"):
            export.run(to, now=NOW)
        assert export.run(to, now=NOW) == 0
    assert len(platform.asked) == DAYS


def test_scp_copies_the_files_and_says_what_it_said(export: Export, tmp_path: Path) -> None:
    program, log = tmp_path / "scp", tmp_path / "log"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n[ ! -e {tmp_path}/down ] || {{ echo "no route" >&2; exit 1; }}\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    to = ScpDestination("pi@nas:candles", program=f"{program}")
    assert export.run(to, now=NOW) == DAYS
    lines = log.read_text().splitlines()
    assert [line.split()[-1] for line in lines[:3]] == [
        f"pi@nas:candles/{FINISHED[0]}-{name}"
        for name in (csv_name(FINISHED[0]), parquet_name(FINISHED[0]), CHECKSUMS)
    ]
    (tmp_path / "down").touch()
    with pytest.raises(NotSentError, match="no route"):
        to.send(FINISHED[0], {"a file": program})


def test_bucket_takes_a_day_under_its_prefix_and_a_failure_is_told(export: Export) -> None:
    with s3_bucket() as bucket:
        endpoint, key = f"{bucket.settings.endpoint}", S3Key("key", "secret")
        to = S3Destination(f"{bucket.key}/pi 4", endpoint, "us-east-1", key, clock)
        assert export.run(to, now=NOW) == DAYS
        for day in FINISHED:
            for path in (export.folder / f"{day}").iterdir():
                stored = bucket / "pi 4" / f"{day}" / path.name
                assert stored.open().read() == path.read_bytes()
        absent = replace(to, address="no-such-bucket")
        with pytest.raises(NotSentError, match="status 404"):
            absent.send(FINISHED[0], {CHECKSUMS: export.folder / f"{FINISHED[0]}" / CHECKSUMS})
    with pytest.raises(NotSentError, match="ConnectError"):
        to.send(FINISHED[0], {CHECKSUMS: export.folder / f"{FINISHED[0]}" / CHECKSUMS})


@pytest.mark.parametrize(
    ("named", "made"),
    [
        ("", None),
        ("s3://candles/pi/", S3Destination("candles/pi", "", "eu-west-1", S3Key("a", "s"), clock)),
        ("/mnt/share", FolderDestination(Path("/mnt/share"))),
        ("platform", PlatformDestination("http://platform.test", "key")),
        ("scp:pi@nas:candles/", ScpDestination("pi@nas:candles")),
    ],
)
def test_settings_name_where_days_go(named: str, made: object) -> None:
    settings = DeviceSettings(
        home=Path("/nowhere"),
        model=MODEL,
        export_to=named,
        platform_url="http://platform.test",
        platform_key="key",
        s3_region="eu-west-1",
        s3_access_key="a",
        s3_secret_key="s",  # noqa: S106 — of nobody
    )
    assert destination(settings, clock=clock) == made


def test_unknown_destination_is_refused() -> None:
    for named in ("ftp://somewhere", "platform", "s3://bucket"):
        settings = DeviceSettings(home=Path("/nowhere"), model=MODEL, export_to=named)
        with pytest.raises(NotSentError, match="export_to"):
            destination(settings, clock=clock)


@pytest.mark.parametrize("ahead", [timedelta(), timedelta(days=100)])
def test_old_days_are_dropped_by_the_newest_bar_however_far_ahead_the_clock_is(
    ahead: timedelta, export: Export
) -> None:
    export.run(None, now=NOW)
    export.forget(older_than=DAY, now=NOW + ahead)
    assert [path.name for path in export.folder.iterdir()] == [f"{FINISHED[2]}"]


def test_without_a_bar_no_day_is_dropped(export: Export) -> None:
    export.run(None, now=NOW)
    export.database.forget(before=NOW)
    export.forget(older_than=DAY, now=NOW)
    assert len(list(export.folder.iterdir())) == DAYS


def test_clock_that_is_a_day_ahead_finishes_no_day(export: Export) -> None:
    assert export.run(Received(), now=NOW + DAY) == DAYS


def test_day_begins_at_midnight_in_utc(export: Export) -> None:
    export.run(None, now=datetime.fromisoformat("2026-03-02T00:00:00+00:00"))
    assert [path.name for path in export.folder.iterdir()] == ["2026-03-01"]
