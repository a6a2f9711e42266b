"""Candles from devices: kept whole or refused by name, the same again changes nothing, and bounds hold."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
from fakes.daily_files import csv, parquet
from fakes.forecast_service import service_in
from fakes.loopback_app import serving
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles

from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.device_files import DeviceFilesSource
from cryptoai_serving.app import create_app
from cryptoai_serving.daily_candles import MOST_ROWS
from cryptoai_serving.keys import add_key, new_key
from cryptoai_serving.messages import ErrorAnswer
from cryptoai_serving.settings import ServingSettings
from edge_bundle.device.export import PlatformDestination, csv_name

DAY = datetime(2019, 9, 2, tzinfo=UTC)
NOW = DAY + timedelta(days=3, hours=7)
CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=48, interval="30m", seed=1, start=DAY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    release_tiny_bundle(folder / "releases", version=1, seed=1)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with service_in(folder, now=NOW) as (client, _):
        yield client


def send(
    client: httpx.Client, content: bytes, *, kind: str = "text/csv", day: str = "2019-09-02", **headers: str
) -> httpx.Response:
    digest = hashlib.sha256(content).hexdigest()
    return client.post(
        f"/ingest/candles?day={day}",
        content=content,
        headers={"content-type": kind, "x-content-sha256": digest} | headers,
    )


def problem(response: httpx.Response, status: int = 422) -> str:
    assert response.status_code == status, response.text
    return ErrorAnswer.model_validate(response.json()).problem


def test_day_that_is_sent_is_what_the_platform_reads(client: httpx.Client, folder: Path) -> None:
    quiet = CANDLES.filter(~((pl.col("symbol") == "ETHUSD") & (pl.col("open_time").dt.hour() == 5)))
    first = send(client, csv(quiet))
    assert (first.status_code, first.json()["rows"], first.json()["new"]) == (201, 94, True)
    assert first.json()["symbols"] == ["BTCUSD", "ETHUSD"]
    source = DeviceFilesSource(ServingSettings.inside(folder).device_candles, "30m")
    fetched = source.fetch("ETHUSD", DAY + timedelta(hours=4), DAY + timedelta(days=2))
    own = quiet.filter(pl.col("symbol") == "ETHUSD", pl.col("open_time") >= DAY + timedelta(hours=4))
    assert fetched.candles.equals(own)
    assert fetched.facts["event_time"].to_list() == [DAY + timedelta(hours=5, minutes=m) for m in (0, 30)]
    with pytest.raises(SourceError, match="no device has sent"):
        source.fetch("ETHUSD", DAY - timedelta(days=2), DAY)


def test_same_file_again_changes_nothing_and_another_takes_its_place(
    client: httpx.Client, folder: Path
) -> None:
    content = parquet(CANDLES.head(20))
    kind = "application/vnd.apache.parquet"
    assert send(client, content, kind=kind).status_code == 201
    (kept,) = ServingSettings.inside(folder).device_candles.glob("*/2019-09-02.parquet")
    before = kept.stat().st_mtime_ns, kept.read_bytes()
    again = send(client, content, kind=kind)
    assert (again.status_code, again.json()["new"], again.json()["rows"]) == (200, False, 20)
    assert before == (kept.stat().st_mtime_ns, kept.read_bytes())
    assert send(client, csv(CANDLES)).status_code == 201
    assert pl.read_parquet(kept).equals(CANDLES)
    assert [path.name for path in kept.parent.iterdir()] == ["2019-09-02.parquet"]


def test_file_that_was_changed_on_its_way_is_not_kept(client: httpx.Client) -> None:
    content = csv(CANDLES.head(3))
    other = hashlib.sha256(b"other").hexdigest()
    assert "was promised" in problem(send(client, content, **{"x-content-sha256": other}))


def test_what_is_no_day_of_candles_is_refused_by_name(client: httpx.Client) -> None:
    assert "symbols beside BTCUSD" in problem(
        send(client, csv(CANDLES.with_columns(symbol=pl.lit("DOGEUSD"))))
    )


def test_bars_that_have_not_closed_and_days_that_have_not_begun_are_refused(client: httpx.Client) -> None:
    today = CANDLES.with_columns(pl.col("open_time") + timedelta(days=3))
    assert "have not closed" in problem(send(client, csv(today), day="2019-09-05"))
    assert "is not a day from" in problem(send(client, csv(today), day="2019-09-06"))
    assert "is not a day from" in problem(send(client, csv(today), day="1999-09-06"))


@pytest.mark.parametrize(
    ("kind", "content"),
    [("text/csv", b"\x80\x04."), ("application/vnd.apache.parquet", b"PAR1" + bytes(50) + b"PAR1")],
)
def test_bytes_that_are_no_file_are_refused(client: httpx.Client, content: bytes, kind: str) -> None:
    problem(send(client, content, kind=kind))
    assert client.get("/livez").status_code == 200


def test_file_that_swells_is_read_no_further_than_a_day_is_long(client: httpx.Client) -> None:
    row = CANDLES.head(1)
    many = pl.concat([row]).select(pl.all().repeat_by(10 * MOST_ROWS).explode())
    content = parquet(many)
    assert len(content) < 100_000
    told = problem(send(client, content, kind="application/vnd.apache.parquet"))
    assert f"more than {MOST_ROWS} rows" in told


def test_other_kinds_and_encodings_are_refused_unread(client: httpx.Client) -> None:
    problem(send(client, b"\x80\x04.", kind="application/x-pickle"), 415)
    problem(send(client, b"\x1f\x8b", **{"content-encoding": "gzip"}), 415)
    problem(send(client, b"a" * (9 * 1024 * 1024)), 413)


def test_only_a_key_for_devices_may_send_and_each_has_its_own_folder(tmp_path: Path) -> None:
    settings = ServingSettings.inside(tmp_path)
    release_tiny_bundle(settings.releases, version=1, seed=1)
    tokens = {}
    for scope in ("read", "device"):
        tokens[scope], key = new_key(label=scope, scopes=(scope,), created_at=NOW, requests_a_minute=None)
        add_key(settings.keys, key)
    with service_in(tmp_path, now=NOW) as (client, _):
        asked = {scope: {"authorization": f"Bearer {token}"} for scope, token in tokens.items()}
        problem(send(client, csv(CANDLES)), 401)
        problem(send(client, csv(CANDLES), **asked["read"]), 403)
        assert send(client, csv(CANDLES), **asked["device"]).status_code == 201
    (kept,) = settings.device_candles.glob("*/*")
    assert kept.parent.name == tokens["device"].split("_")[1]


def test_our_own_device_is_understood_also_on_a_day_without_a_bar(tmp_path: Path) -> None:
    settings = ServingSettings.inside(tmp_path)
    release_tiny_bundle(settings.releases, version=1, seed=1)
    token, key = new_key(label="pi", scopes=("device",), created_at=NOW, requests_a_minute=None)
    add_key(settings.keys, key)
    app = create_app(settings, clock=lambda: NOW)
    with serving(app, lifespan="on") as service:
        device = PlatformDestination(service.http, token)
        for number, candles in enumerate((CANDLES, CANDLES.clear())):
            day = DAY.date() + timedelta(days=number)
            (tmp_path / csv_name(day)).write_bytes(csv(candles))
            device.send(day, {csv_name(day): tmp_path / csv_name(day)})
    kept = [pl.read_parquet(path) for path in sorted(settings.device_candles.glob("*/*"))]
    assert [one.height for one in kept] == [96, 0]
    assert kept[0].equals(CANDLES)


def test_nothing_is_kept_without_a_model_that_says_what_is_traded(tmp_path: Path) -> None:
    with service_in(tmp_path, now=NOW) as (client, _):
        problem(send(client, csv(CANDLES)), 503)
