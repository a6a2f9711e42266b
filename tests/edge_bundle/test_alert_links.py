"""Links to alerts: each opens its alert until its time, and none that was not signed opens any."""

import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.alert_links import VALID_FOR, AlertLinks
from edge_bundle.alerts import Alert

NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)
ALERT = Alert("outage:1", "warning", "No candles", "since noon", (), (), NOW)
SECOND = timedelta(seconds=1)


@pytest.fixture
def links(tmp_path: Path) -> AlertLinks:
    return AlertLinks.beside(tmp_path / "data" / "alerts.db")


def test_link_opens_its_alert_for_its_time_and_no_other(links: AlertLinks) -> None:
    page, _, token = links.page("http://service/", ALERT, NOW).partition("?token=")
    assert page == f"http://service/alerts/{ALERT.id}"
    assert links.opens(token, ALERT.id, NOW)
    assert links.opens(token, ALERT.id, NOW + VALID_FOR)
    assert not links.opens(token, ALERT.id, NOW + VALID_FOR + SECOND)
    assert not links.opens(token, replace(ALERT, cause="outage:2").id, NOW)


def test_link_cannot_be_made_to_last_longer(links: AlertLinks) -> None:
    seconds, _, signature = links.token(ALERT.id, NOW).partition(".")
    assert not links.opens(f"{int(seconds) + 10}.{signature}", ALERT.id, NOW)


def test_secret_is_the_owner_s_alone_and_without_it_older_links_end(links: AlertLinks) -> None:
    token = links.token(ALERT.id, NOW)
    assert stat.S_IMODE(links.secret_file.stat().st_mode) == 0o600
    assert [path.name for path in links.secret_file.parent.iterdir()] == [links.secret_file.name]
    links.secret_file.unlink()
    assert not links.opens(token, ALERT.id, NOW)


def test_programs_that_make_the_secret_at_once_have_the_same_one(links: AlertLinks) -> None:
    start, tokens = threading.Barrier(4), []

    def sign() -> None:
        start.wait()
        tokens.append(links.token(ALERT.id, NOW))

    threads = [threading.Thread(target=sign) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 4
    assert len(set(tokens)) == 1


@given(token=st.text(max_size=60) | st.from_regex(r"[0-9]{0,30}\.[0-9a-f]{0,40}", fullmatch=True))
def test_no_other_text_opens_anything(token: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    links = AlertLinks(tmp_path_factory.getbasetemp() / "links.key")
    assert not links.opens(token, ALERT.id, datetime(1970, 1, 1, tzinfo=UTC))
