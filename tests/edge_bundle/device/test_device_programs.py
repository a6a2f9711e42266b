"""The programs of the device as a timer runs them: real processes against a venue on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.binance_server import BinanceServer, Fault, binance_server, minute_candles
from fakes.installed_device import CLOSED, MODEL, SYMBOLS, installed_device, settings_file
from fakes.news_site import news_site, rss
from fakes.project_root import PROJECT
from fakes.slack_server import slack_server
from polars.testing import assert_frame_equal

from edge_bundle.device.database import DeviceDatabase
from edge_bundle.device.news_shelf import NewsShelf
from edge_bundle.forecast import Forecast
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.releases import release_folder

DAMAGED = b"no database at all, but long enough to be looked at" * 40


@pytest.fixture
def server() -> Iterator[BinanceServer]:
    with binance_server(datetime.now(UTC)) as running:
        yield running


def edge(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_bundle.device", "--settings", settings_file(folder), program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=PROJECT,
        env={**os.environ, "TZ": "Asia/Kathmandu"},
        check=False,
    )


def test_device_harvests_forecasts_and_says_how_it_is(server: BinanceServer, tmp_path: Path) -> None:
    installed_device(tmp_path, venue_url=server.url)
    server.now = datetime.now(UTC)  # of the question before, its clock would lie behind
    harvested = edge(tmp_path, "harvest")
    assert (harvested.returncode, harvested.stdout) == (0, ""), harvested.stderr
    inferred = edge(tmp_path, "infer")
    assert inferred.returncode == 0, inferred.stderr
    forecasts = [Forecast.from_dict(json.loads(line)) for line in inferred.stdout.splitlines()]
    assert [forecast.symbol for forecast in forecasts] == list(SYMBOLS)
    assert all(forecast.abstention is None for forecast in forecasts)

    told = json.loads(edge(tmp_path, "status").stdout)
    assert told["model"]["version"] == 1
    assert set(told["newest_bar"]) == set(SYMBOLS)
    assert told["troubles"] == []
    server.now = datetime.now(UTC)
    examined = edge(tmp_path, "doctor")
    assert examined.returncode == 0, examined.stdout
    assert "SICK" not in examined.stdout


def test_doctor_names_each_sickness_and_its_cure(server: BinanceServer, tmp_path: Path) -> None:
    settings = installed_device(tmp_path, venue_url=server.url)
    server.now = datetime.now(UTC) - timedelta(days=1)
    (release_folder(settings.releases, MODEL, 1) / GRAPH_NAME).write_bytes(b"other bytes")
    examined = edge(tmp_path, "doctor")
    assert examined.returncode == 1
    sick = [line for line in examined.stdout.splitlines() if line.startswith("SICK")]
    assert [line.split(":")[0].removeprefix("SICK").strip() for line in sick] == [
        "network and clock",
        "model",
        "harvest",
        "infer",
    ]
    assert "timedatectl" in examined.stdout
    assert GRAPH_NAME in examined.stdout


def test_venue_that_bans_is_a_trouble_and_no_crash(server: BinanceServer, tmp_path: Path) -> None:
    settings = installed_device(tmp_path, venue_url=server.url)
    server.will("time", Fault(status=451))
    harvested = edge(tmp_path, "harvest")
    assert harvested.returncode == 1
    assert "status 451" in harvested.stderr
    [trouble] = DeviceDatabase(settings.database).troubles(since=datetime.now(UTC) - timedelta(minutes=5))
    assert (trouble.program, "status 451" in trouble.what) == ("harvest", True)


def test_old_bars_are_dropped_only_by_a_clock_that_the_venue_confirms(
    server: BinanceServer, tmp_path: Path
) -> None:
    settings = installed_device(tmp_path, venue_url=server.url)
    with settings_file(tmp_path).open("a") as entries:
        entries.write("history_days = 1\nretention_days = 2\n")
    old = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=3)
    bars = minute_candles(old, 3)
    database = DeviceDatabase(settings.database)
    database.add_candles(bars, source="test", now=old)

    server.now = old + timedelta(hours=1)
    ahead = edge(tmp_path, "harvest")
    assert (ahead.returncode, "set it" in ahead.stderr) == (1, True), ahead.stderr
    server.will("time", Fault(hangs_up=True))
    assert edge(tmp_path, "harvest").returncode == 1
    assert_frame_equal(database.candles_between(SYMBOLS[0], old, old + timedelta(minutes=3)), bars)

    server.now = datetime.now(UTC)
    right = edge(tmp_path, "harvest")
    assert right.returncode == 0, right.stderr
    extent = database.extent(SYMBOLS[0])
    assert extent is not None
    assert extent[0] >= old + timedelta(days=1)


def test_news_are_read_by_their_program_and_a_person_is_told_of_what_fails(tmp_path: Path) -> None:
    settings = installed_device(tmp_path)
    path = settings_file(tmp_path)
    entries = path.read_text().replace("news_feeds = []\n", "")
    with news_site() as site, slack_server() as slack:
        site.pages["/rss"] = rss("<title>Bitcoin adoption booms</title><link>https://n.test/1</link>")
        feeds = f'news_feeds = ["{site.url}/rss", "{site.url}/absent"]\nnews_method = "vader"\n'
        path.write_text(f'{entries}{feeds}slack_url = "{slack.url}"\n')
        read = edge(tmp_path, "news")
        assert read.returncode == 1
        assert "status 404" in read.stderr
        assert "news: 1 articles" in read.stderr  # one source of two is enough to be well
        DeviceDatabase(settings.database).note_trouble("update", "wrong key", now=datetime.now(UTC))
        told = edge(tmp_path, "alerts")
        assert told.returncode == 0, told.stderr
    assert ["wrong key" in message["text"] for message in slack.posted] == [True]
    [article] = NewsShelf(DeviceDatabase(settings.database)).articles(CLOSED).to_dicts()
    assert (article["method"], article["coins"]) == ("vader", ["BTC"])


def test_programs_that_nothing_is_set_for_end_well(tmp_path: Path) -> None:
    installed_device(tmp_path)
    for program, told in (("news", "0 articles"), ("alerts", "no channel is set")):
        done = edge(tmp_path, program)
        assert (done.returncode, told in done.stderr) == (0, True), done.stderr


def test_forecast_before_the_first_bar_says_what_to_do(tmp_path: Path) -> None:
    installed_device(tmp_path)
    inferred = edge(tmp_path, "infer")
    assert inferred.returncode == 2
    assert "let harvest run first" in inferred.stderr


def test_damaged_database_is_told_by_every_program_and_to_a_person(tmp_path: Path) -> None:
    settings = installed_device(tmp_path)
    settings.database.write_bytes(DAMAGED)
    with slack_server() as slack:
        with settings_file(tmp_path).open("a") as entries:
            entries.write(f'slack_url = "{slack.url}"\n')
        done = {program: edge(tmp_path, program) for program in ("harvest", "status", "alerts")}
    for program, refused in done.items():
        assert (program, refused.returncode) == (program, 2), refused.stderr
        assert "move the file away" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert ["The device is not well: database" in message["text"] for message in slack.posted] == [True]
    assert settings.database.read_bytes() == DAMAGED


def test_damaged_outbox_is_told_by_name_and_what_it_did_not_keep_once_it_is_away(tmp_path: Path) -> None:
    settings = installed_device(tmp_path)
    DeviceDatabase(settings.database).note_trouble("update", "wrong key", now=datetime.now(UTC))
    outbox = settings.outbox
    outbox.write_bytes(DAMAGED)
    with slack_server() as slack:
        with settings_file(tmp_path).open("a") as entries:
            entries.write(f'slack_url = "{slack.url}"\n')
        refused = edge(tmp_path, "alerts")
        assert (refused.returncode, slack.posted) == (2, []), refused.stderr
        assert refused.stderr.startswith(f"alerts: {outbox}: file is not a database")
        assert "move the file away" in refused.stderr
        assert "Traceback" not in refused.stderr
        examined = edge(tmp_path, "doctor")
        assert f"SICK  outbox: {outbox}: file is not a database" in examined.stdout
        assert outbox.read_bytes() == DAMAGED
        outbox.rename(settings.home / "damaged.db")
        assert edge(tmp_path, "alerts").returncode == 0
    assert ["wrong key" in message["text"] for message in slack.posted] == [True]


def test_doctor_looks_at_everything_though_the_database_is_damaged(tmp_path: Path) -> None:
    settings = installed_device(tmp_path)
    settings.database.write_bytes(DAMAGED)
    examined = edge(tmp_path, "doctor")
    assert (examined.returncode, examined.stderr) == (1, "")
    subjects = [line[4:].split(":")[0].strip() for line in examined.stdout.splitlines() if line[:4].strip()]
    bars = [f"bars of {symbol}" for symbol in SYMBOLS]
    assert subjects[-7:] == ["database", "outbox", "model", *bars, "harvest", "infer"]
    assert "ok    model" in examined.stdout


def test_settings_that_mean_nothing_are_told(tmp_path: Path) -> None:
    settings_file(tmp_path).write_text("home = 3")
    refused = edge(tmp_path, "status")
    assert refused.returncode == 2
    assert "lacks model" in refused.stderr
