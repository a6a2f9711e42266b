"""The page of the device: what it says is what is stored, and nothing comes from anywhere else."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
from fakes.installed_device import (
    BARS,
    CLOSED,
    MODEL,
    SYMBOLS,
    installed_device,
    walked_bars,
    with_bars,
    with_news,
)
from fakes.loopback_app import serving

from edge_bundle.device.dashboard import FILES, dashboard_app
from edge_bundle.device.dashboard_state import dashboard_state
from edge_bundle.device.database import milliseconds, wilson_interval
from edge_bundle.device.infer import infer
from edge_bundle.device.models import installed_model
from edge_bundle.device.settings import DeviceSettings

MINUTE, PASSWORD = timedelta(minutes=1), "päss"


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> DeviceSettings:
    """A device after some hours: bars, forecasts, outcomes, a trouble."""
    settings = installed_device(tmp_path_factory.mktemp("device"))
    bars, forecaster = walked_bars(BARS + 60), installed_model(settings).forecaster
    database = with_bars(settings, bars.filter(bars["open_time"] < CLOSED))
    for minute in range(0, 60, 5):
        now = CLOSED + minute * MINUTE
        database.add_candles(bars.filter(bars["open_time"] < now), source="test", now=now)
        infer(database, forecaster, now=now)
    database.note_trouble("harvest", "binanceus did not answer <b>", now=CLOSED)
    with_news(database)
    return settings


@pytest.fixture(scope="module")
def page(device: DeviceSettings) -> Iterator[httpx.Client]:
    app = dashboard_app(device, clock=lambda: CLOSED + 55 * MINUTE)
    with serving(app) as loopback, httpx.Client(base_url=loopback.http) as client:
        yield client


def test_state_is_what_the_database_holds(device: DeviceSettings, page: httpx.Client) -> None:
    state = page.get("/api/state").json()
    assert state["model"] == f"version 1 of {MODEL}"
    assert [symbol["name"] for symbol in state["symbols"]] == list(SYMBOLS)
    bars = walked_bars(BARS + 60).filter(symbol=SYMBOLS[0])
    shown = state["symbols"][0]
    newest = bars.row(BARS + 54, named=True)
    assert shown["bars"][-1] == {
        "t": milliseconds(newest["open_time"]),
        **{name[0]: newest[name] for name in ("open", "high", "low", "close")},
    }
    forecaster = installed_model(device).forecaster
    assert [one["bars"] for one in shown["forecast"]] == list(forecaster.manifest.horizons)
    assert all(one["lower"] < one["expected"] < one["upper"] for one in shown["forecast"])
    assert shown["abstention"] == ""
    assert "<b>" in state["troubles"][0]  # escaped by the page, which writes text and no markup


def test_news_are_shown_with_their_mood_by_symbol_and_as_text(page: httpx.Client) -> None:
    state = page.get("/api/state").json()
    moods = {symbol["name"]: symbol["mood"] for symbol in state["symbols"]}
    assert [mood["news_count_24h"] for mood in moods.values()] == [[2.0], [0.0]]
    assert moods[SYMBOLS[0]]["at"] == [milliseconds(CLOSED)]
    assert moods[SYMBOLS[0]]["sentiment_24h"] == state["news"]["mood"]["sentiment_24h"]
    assert moods[SYMBOLS[1]]["sentiment_24h"] == [None]
    titles = {headline["title"]: headline["score"] for headline in state["news"]["headlines"]}
    assert set(titles) == {"Bitcoin adoption booms", "Bitcoin falls"}
    assert titles["Bitcoin adoption booms"] > 0 > titles["Bitcoin falls"]


def test_record_counts_what_came(page: httpx.Client, device: DeviceSettings) -> None:
    records = page.get("/api/state").json()["symbols"][0]["record"]
    bars = dict(walked_bars(BARS + 60).filter(symbol=SYMBOLS[0]).select("open_time", "close").iter_rows())
    kept = with_bars(device, walked_bars(1)).forecasts(SYMBOLS[0], newest=1000)
    for record in records:
        own = kept.filter(horizon=record["bars"]).drop_nulls("return_bps")
        right = [
            (row["probability_up"] > 0.5)
            == (bars[row["open_time"] + row["horizon"] * MINUTE] > bars[row["open_time"]])
            for row in own.iter_rows(named=True)
        ]
        assert record["count"] == 12
        assert record["right"] == pytest.approx(sum(right) / len(right))
        inside = own.select(pl.col("return_bps").is_between("lower_bps", "upper_bps").mean()).item()
        assert record["inside"] == pytest.approx(inside)
        low, high = record["right_interval"]
        assert low < record["right"] < high


def test_interval_of_a_share_is_wilsons() -> None:
    low, high = wilson_interval(
        8, 10
    )  # 0.4902 to 0.9433, Newcombe, Statistics in Medicine 17 (1998), method 3
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)


def test_abstention_is_told_with_its_reason(device: DeviceSettings) -> None:
    settings = replace(device, home=device.home.parent / "idle")
    (device.home.parent / "idle").mkdir(exist_ok=True)
    if not settings.releases.exists():
        settings.releases.symlink_to(device.releases)
    database = with_bars(settings, walked_bars())
    infer(database, installed_model(settings).forecaster, now=CLOSED + 9 * MINUTE)
    shown = dashboard_state(settings, now=CLOSED + 9 * MINUTE)["symbols"][0]
    assert "the newest bar closed 0:09:00 before now" in shown["abstention"]
    assert [one["expected"] for one in shown["forecast"]] == [None] * 3


def test_device_without_a_model_shows_why(tmp_path: Path) -> None:
    settings = DeviceSettings(home=tmp_path, model=MODEL)
    state = dashboard_state(settings, now=CLOSED)
    assert state["symbols"] == []
    assert "run cryptoai-edge update" in state["notice"]


@pytest.mark.parametrize("installed", [True, False])
def test_damaged_database_is_told_with_what_to_do_and_the_rest_is_there(
    installed: bool, tmp_path: Path
) -> None:
    settings = installed_device(tmp_path) if installed else DeviceSettings(home=tmp_path, model=MODEL)
    settings.database.write_bytes(b"no database at all" * 100)
    with serving(dashboard_app(settings, clock=lambda: CLOSED)) as loopback:
        state = httpx.get(loopback.http + "/api/state").raise_for_status().json()
    [trouble] = state["troubles"]
    assert trouble.startswith(f"{settings.database}: ")
    assert "move the file away" in trouble
    model = f"version 1 of {MODEL}" if installed else "no model yet"
    assert (state["model"], state["notice"] == trouble) == (model, installed)
    assert (state["symbols"], "disk" in state["device"]) == ([], True)


def test_page_and_its_files_come_with_headers_that_shut_others_out(page: httpx.Client) -> None:
    for address, path in FILES.items():
        answer = page.get(address)
        assert answer.content == path.read_bytes()
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert page.post("/api/state").status_code == 405
    assert page.get("/../settings.toml").status_code == 404


def test_nothing_is_loaded_from_elsewhere() -> None:
    for path in FILES.values():
        addresses = re.findall(r"https?://[^\s\"']+", path.read_text())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}  # a name, which nobody asks for


@pytest.mark.parametrize(
    ("sent", "status"), [(None, 401), (("anyone", "wrong"), 401), (("anyone", PASSWORD), 200)]
)
def test_password_is_asked_for_where_one_is_set(
    sent: tuple[str, str] | None, status: int, device: DeviceSettings
) -> None:
    guarded = replace(device, **{"dashboard_password": PASSWORD})
    app = dashboard_app(guarded, clock=lambda: CLOSED)
    auth = httpx.BasicAuth(*(text.encode() for text in sent)) if sent else None
    with serving(app) as loopback:
        for path in ("/", "/api/state"):
            assert httpx.get(loopback.http + path, auth=auth).status_code == status
        assert httpx.get(loopback.http, headers={"Authorization": "Basic !"}).status_code == 401


def test_page_reads_while_the_programs_write(device: DeviceSettings, page: httpx.Client) -> None:
    database, stop = with_bars(device, walked_bars(1)), threading.Event()

    def write() -> None:
        while not stop.is_set():
            database.note_trouble("infer", "written", now=CLOSED)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert {page.get("/api/state").status_code for _ in range(10)} == {200}
    finally:
        stop.set()
        writer.join()
