"""The pages in a real browser: drawn on a phone and on a desk, from nowhere else, and told aloud."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.browser import DESKTOP, PHONE, Watched, browser, opened_page
from fakes.chart_detector import release_detector
from fakes.installed_device import CLOSED, SYMBOLS, installed_device, walked_bars, with_bars, with_news
from fakes.loopback_app import Loopback, serving
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles
from playwright.sync_api import Browser

from cryptoai_serving.app import create_app
from cryptoai_serving.keys import add_key, new_key
from cryptoai_serving.settings import ServingSettings
from edge_bundle.alert_links import AlertLinks
from edge_bundle.alerts import Alert, Outbox
from edge_bundle.device.dashboard import dashboard_app
from edge_bundle.device.infer import infer
from edge_bundle.device.models import installed_model

CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=200, interval="30m", seed=3)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    release_tiny_bundle(root / "releases", version=3, members=("xgboost", "lightgbm"), seed=1)
    release_detector(root / "releases", version=1)
    return root


@pytest.fixture(scope="module")
def service(root: Path) -> Iterator[Loopback]:
    app = create_app(ServingSettings.inside(root, market="sample"))
    app.state.rooms.bars.write_bars(CANDLES)
    with serving(app, lifespan="on") as loopback:
        yield loopback


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    settings = installed_device(tmp_path_factory.mktemp("device"))
    database = with_bars(settings, walked_bars())
    infer(database, installed_model(settings).forecaster, now=CLOSED)
    with_news(database)
    with serving(dashboard_app(settings, clock=lambda: CLOSED + timedelta(seconds=20))) as loopback:
        yield loopback


def drawn(seen: Watched, address: str, symbols: tuple[str, ...]) -> list[str]:
    """Open a page, wait until each symbol is drawn, and return what its pictures tell a screen reader."""
    seen.page.goto(address)
    seen.page.locator("svg .expected").nth(len(symbols) - 1).wait_for(state="attached")
    assert seen.page.locator("h2").all_inner_texts()[: len(symbols)] == list(symbols)
    assert seen.complaints == []
    assert seen.hosts == {address.removeprefix("http://")}
    width = seen.page.viewport_size["width"]
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    return [picture.get_attribute("aria-label") for picture in seen.page.locator("svg[role=img]").all()]


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_service_draws_candles_and_what_moved_the_forecast(
    chromium: Browser, service: Loopback, size: tuple[int, int]
) -> None:
    with opened_page(chromium, size) as seen:
        labels = drawn(seen, service.http, ("BTCUSD", "ETHUSD"))
        assert all("96 bars, between" in label and "expected next" in label for label in labels)
        card = seen.page.locator("section.symbol").first
        assert card.locator(".forecast tbody tr").count() == 3
        assert card.locator(".forecast .members").first.is_visible() == (size == DESKTOP)
        card.locator("summary").click()
        card.locator(".moved tbody tr").first.wait_for()
        assert "Shapley values" in card.locator("details .told").inner_text()
        assert seen.complaints == []


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_device_draws_its_minutes(chromium: Browser, device: Loopback, size: tuple[int, int]) -> None:
    with opened_page(chromium, size) as seen:
        labels = drawn(seen, device.http, SYMBOLS)
        moods = seen.page.locator("section.symbol .mood").all_inner_texts()
        headlines = seen.page.locator("#headlines li").all_inner_texts()
    assert ["from 2 articles" in moods[0], moods[1]] == [True, "No news of the last day."]
    known = f"{CLOSED - timedelta(minutes=30):%H:%M} UTC T: "
    first, second = sorted(headlines)
    assert first.startswith(f"{known}Bitcoin adoption booms (positive +0.")
    assert second.startswith(f"{known}Bitcoin falls (negative −0.")
    assert all("bars, between" in label and "expected next" in label for label in labels)


def test_device_shows_no_minutes_any_more_once_its_database_is_damaged(
    chromium: Browser, tmp_path: Path
) -> None:
    settings = installed_device(tmp_path)
    database = with_bars(settings, walked_bars())
    with (
        serving(dashboard_app(settings, clock=lambda: CLOSED)) as device,
        opened_page(chromium, PHONE) as seen,
    ):
        seen.page.clock.install()
        seen.page.goto(device.http)
        seen.page.locator("section.symbol svg[aria-label]").nth(len(SYMBOLS) - 1).wait_for()
        database.path.write_bytes(b"no database at all" * 100)
        seen.page.clock.run_for(10_000)
        seen.page.locator("#notice", has_text="move the file away").wait_for()
        assert seen.page.locator("section.symbol").count() == 0
        assert seen.complaints == []


def test_page_asks_for_a_key_where_one_is_needed_and_keeps_it(
    chromium: Browser, root: Path, tmp_path: Path
) -> None:
    token, made = new_key(label="page", scopes=("read",), created_at=CLOSED, requests_a_minute=None)
    add_key(tmp_path / "keys.json", made)
    app = create_app(replace(ServingSettings.inside(root, market="sample"), keys=tmp_path / "keys.json"))
    app.state.rooms.bars.write_bars(CANDLES)
    with serving(app, lifespan="on") as loopback, opened_page(chromium, DESKTOP) as seen:
        seen.page.goto(loopback.http)
        seen.page.wait_for_selector("#key", state="visible")
        assert seen.page.locator("section.symbol").count() == 0
        seen.page.fill("#key input", token)
        seen.page.click("#key button")
        seen.page.locator("svg .expected").nth(1).wait_for(state="attached")
        assert seen.page.locator("#key").is_hidden()


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_alert_is_acknowledged_on_the_page_to_which_its_message_leads(
    chromium: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    place = ServingSettings.inside(tmp_path, market="sample")
    facts = (("features", "no such file: " + "a" * 300),)
    alert = Alert("failed:1", "critical", "Run failed in sample", "failed: features", facts, (), CLOSED)
    outbox = Outbox(place.alerts)
    outbox.add(alert)
    with serving(create_app(place), lifespan="on") as loopback, opened_page(chromium, size) as seen:
        seen.page.goto(AlertLinks.beside(place.alerts).page(loopback.http, alert, datetime.now(UTC)))
        assert seen.page.locator("#state").inner_text() == "open"
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert outbox.one(alert.id).changes == ()
        seen.page.get_by_label("Your name").fill("Ada")
        seen.page.get_by_role("button", name="Acknowledge").click()
        seen.page.get_by_text("acknowledged").first.wait_for()
        assert (seen.complaints, seen.hosts) == ([], {loopback.http.removeprefix("http://")})
    assert [(one.state, one.actor) for one in outbox.one(alert.id).changes] == [
        ("acknowledged", "Ada, by the message's link")
    ]
