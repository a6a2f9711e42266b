"""Alerts over HTTP: listed, answered by an admin's key or by the message's link, and changed by no GET."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from fakes.forecast_service import service_in

from cryptoai_serving.keys import SCOPES, add_key, new_key
from cryptoai_serving.settings import ServingSettings
from edge_bundle.alert_links import AlertLinks
from edge_bundle.alerts import Alert, Outbox

NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)
BROWSER = {"accept": "text/html,application/xhtml+xml"}
FAILED = Alert(
    cause="failed:1",
    severity="critical",
    title="Run failed in <sample>",
    summary="failed: features & more",
    facts=(("features", "<script>alert(1)</script>"),),
    links=(("Dagster run", "http://127.0.0.1:3000/runs/7"), ("odd", "javascript:alert(1)")),
    raised_at=NOW - timedelta(hours=1),
    kind="failed run in sample",
    about=("features",),
    picture=b"\x89PNG",
)
NEWS = Alert("news", "info", "All is well", "for a week", (), (), NOW)


class Desk:
    """The service with its alerts, whoever asks."""

    def __init__(self, client: httpx.Client, place: ServingSettings, admin: dict[str, str]) -> None:
        self.client, self.outbox, self.admin = client, Outbox(place.alerts), admin
        self.links = AlertLinks.beside(place.alerts)

    def page(self, alert: Alert = FAILED, *, signed_at: datetime = NOW) -> str:
        return self.links.page("", alert, signed_at)

    def say(self, word: str, body: dict[str, object], alert: Alert = FAILED) -> httpx.Response:
        return self.client.post(f"/alerts/{alert.id}/{word}", json=body, headers=self.admin)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    place = ServingSettings.inside(tmp_path)
    token, kept = new_key(label="admin", scopes=SCOPES, created_at=NOW, requests_a_minute=None)
    add_key(place.keys, kept)
    with service_in(tmp_path, now=NOW) as (client, _):
        desk = Desk(client, place, {"authorization": f"Bearer {token}"})
        for alert in (FAILED, NEWS):
            desk.outbox.add(alert)
        yield desk


def test_alerts_are_listed_the_newest_first_and_by_state(desk: Desk) -> None:
    def listed(**asked: str) -> list[str]:
        answer = desk.client.get("/alerts", params=asked, headers=desk.admin)
        assert answer.status_code == 200
        return [alert["id"] for alert in answer.json()["alerts"]]

    assert listed() == [NEWS.id, FAILED.id]
    assert listed(limit="1") == [NEWS.id]
    assert listed(state="open") == [FAILED.id]
    assert listed(state="acknowledged") == []
    told = desk.client.get(f"/alerts/{FAILED.id}", headers=desk.admin).json()["alert"]
    assert (told["severity"], told["state"], told["unwell"]) == ("critical", "open", ["features"])


def test_admin_acknowledges_snoozes_and_resolves_and_stands_in_the_history(desk: Desk) -> None:
    answer = desk.say("snooze", {"hours": 2, "note": "after lunch"}).json()["alert"]
    assert (answer["state"], answer["snoozed_until"]) == ("snoozed", "2019-10-01T14:00:00Z")
    assert desk.say("acknowledge", {}).json()["alert"]["state"] == "acknowledged"
    last = desk.say("resolve", {"note": "memory added"}).json()["alert"]
    assert [(one["state"], one["note"]) for one in last["changes"]] == [
        ("snoozed", "after lunch"),
        ("acknowledged", ""),
        ("resolved", "memory added"),
    ]
    assert all(re.fullmatch(r"key [0-9a-f]{8}", one["actor"]) for one in last["changes"])


@pytest.mark.parametrize("hours", [0, -1, 337, "a day", None])
def test_snooze_of_no_sensible_length_is_refused(desk: Desk, hours: object) -> None:
    assert desk.say("snooze", {"hours": hours}).status_code == 422
    assert desk.outbox.one(FAILED.id).state == "open"


def test_alert_that_is_not_there_is_said_so_and_makes_no_outbox(tmp_path: Path, desk: Desk) -> None:
    other = replace(FAILED, cause="other")
    assert desk.say("resolve", {}, other).json()["code"] == "unknown_alert"
    with service_in(tmp_path / "empty", now=NOW) as (client, app):
        assert client.get("/alerts").json()["alerts"] == []
        assert client.get(f"/alerts/{FAILED.id}").status_code == 404
        assert not app.rooms.settings.alerts.exists()


def test_outbox_that_cannot_be_read_is_an_answer(desk: Desk) -> None:
    for path in desk.outbox.path.parent.glob("alerts.db*"):
        path.write_bytes(b"no database" * 200)
    answer = desk.client.get("/alerts", headers=desk.admin)
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.json()["problem"] == "the alerts cannot be used: file is not a database"


class Page(HTMLParser):
    """What a page shows, links to, loads, and lets one send."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.fields: dict[str, str] = {}
        self.buttons: list[str] = []
        self.action = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attributes}
        self.tags.append(tag)
        self.links += [told["href"]] if "href" in told else []
        self.action = told.get("action", self.action)
        if tag == "input":
            self.fields[told["name"]] = told.get("value", "")
        if tag == "button":
            self.buttons.append(told["value"])

    def handle_data(self, data: str) -> None:
        self.shown += [data.strip()] if data.strip() else []


def test_link_opens_a_page_that_tells_all_and_shows_what_is_no_text_as_text(desk: Desk) -> None:
    answer = desk.client.get(desk.page(), headers=BROWSER)
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = Page(answer.text)
    for text in (FAILED.title, FAILED.summary, "<script>alert(1)</script>", "javascript:alert(1)"):
        assert text in page.shown
    assert page.links == ["http://127.0.0.1:3000/runs/7"]
    assert "script" not in page.tags
    assert page.tags.count("img") == 1
    assert page.buttons == ["acknowledge", "snooze 1", "snooze 8", "snooze 24", "snooze 168", "resolve"]


def test_reading_the_page_changes_nothing_and_its_buttons_do(desk: Desk) -> None:
    page = Page(desk.client.get(desk.page(), headers=BROWSER).text)
    assert desk.outbox.one(FAILED.id).changes == ()
    for answer, state in (("snooze 8", "snoozed"), ("acknowledge", "acknowledged"), ("resolve", "resolved")):
        sent = desk.client.post(page.action, data={**page.fields, "name": "Ada", "answer": answer})
        assert sent.status_code == 303
        shown = Page(desk.client.get(sent.headers["location"]).text)
        assert any(text.startswith(state) for text in shown.shown)
    assert shown.buttons == []
    assert [(one.state, one.actor) for one in desk.outbox.one(FAILED.id).changes] == [
        ("snoozed", "Ada, by the message's link"),
        ("acknowledged", "Ada, by the message's link"),
        ("resolved", "Ada, by the message's link"),
    ]


NO_ANSWERS = (
    "",
    "delete",
    "snooze",
    "snooze 0",
    "snooze soon",
    "snooze 337",
    "snooze 9999",
    "snooze 00000000199999",
    "snooze 000000001" + "9" * 5_000,
)


@pytest.mark.parametrize("answer", NO_ANSWERS, ids=lambda answer: answer[:24])
def test_form_that_says_nothing_is_refused(desk: Desk, answer: str) -> None:
    page = Page(desk.client.get(desk.page(), headers=BROWSER).text)
    assert desk.client.post(page.action, data={**page.fields, "answer": answer}).status_code == 422
    assert desk.outbox.one(FAILED.id).changes == ()


def test_link_of_another_alert_or_of_last_month_opens_nothing(desk: Desk) -> None:
    token = desk.page(NEWS).partition("=")[2]
    old = desk.page(signed_at=NOW - timedelta(days=31))
    for address in (f"/alerts/{FAILED.id}?token={token}", old):
        answer = desk.client.get(address, headers=BROWSER)
        assert (answer.status_code, "no longer" in answer.text) == (403, True)
    sent = desk.client.post(f"/alerts/{FAILED.id}/answer", data={"token": token, "answer": "resolve"})
    assert sent.status_code == 403
    assert desk.client.post(f"/alerts/{FAILED.id}/answer", data={"answer": "resolve"}).status_code == 403
    assert desk.client.post(f"/alerts/{FAILED.id}/answer", content=b"&=" * 99).status_code == 403
    assert desk.outbox.one(FAILED.id).changes == ()


def test_without_a_link_a_reader_s_key_shows_the_page_and_no_buttons_and_nobody_else_sees_it(
    desk: Desk,
) -> None:
    address = f"/alerts/{FAILED.id}"
    assert desk.client.get(address, headers=BROWSER).status_code == 401
    page = Page(desk.client.get(address, headers=BROWSER | desk.admin).text)
    assert (page.buttons, FAILED.title in page.shown) == ([], True)
    assert desk.client.get("/alerts").status_code == 401
    assert desk.client.post(f"{address}/resolve", json={}).status_code == 401


def test_who_tries_links_is_slowed_down(desk: Desk) -> None:
    tried = [desk.client.get(f"/alerts/{FAILED.id}?token={i}").status_code for i in range(61)]
    assert (tried[-2], tried[-1]) == (403, 429)
