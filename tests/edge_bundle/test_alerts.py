"""Alerts: no message is lost, none is sent twice for one cause, and what is open is told again."""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta, timezone
from pathlib import Path

import pytest
from fakes.alerts import DRIFT, NOW
from fakes.slack_server import SlackServer, slack_server

from edge_bundle.alerts import (
    LONGEST_WAIT,
    Alert,
    AlertNotFoundError,
    DeliveryError,
    Outbox,
    OutboxRefusedError,
    Severity,
    wait_after,
)
from edge_bundle.channels import SlackChannel

DAMAGED = b"no database at all, but long enough to be looked at" * 40
PROJECT = Path(__file__).parents[2]
OUTAGE = replace(DRIFT, cause="outage:2019-10-01", title="No candles", raised_at=NOW + timedelta(seconds=1))


@dataclass
class Recorder:
    """A channel that remembers what it took, and can be told to take nothing."""

    name: str = "recorder"
    taken: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    error: DeliveryError | None = None

    def send(self, alert: Alert) -> None:
        self.tried.append(alert.cause)
        if self.error:
            raise self.error
        self.taken.append(alert.cause)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "data" / "alerts.db")


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as server:
        yield server


def test_alert_survives_the_outbox_unchanged(outbox: Outbox) -> None:
    outbox.add(DRIFT)
    assert outbox.alerts() == [DRIFT]


def test_second_alert_of_a_cause_is_not_kept(outbox: Outbox) -> None:
    assert outbox.add(DRIFT)
    assert not outbox.add(replace(DRIFT, title="told otherwise", raised_at=NOW + timedelta(days=1)))
    assert outbox.alerts() == [DRIFT]


def test_cause_that_was_delivered_is_never_sent_again(outbox: Outbox) -> None:
    channel = Recorder()
    for later in range(5):
        outbox.add(DRIFT)
        assert outbox.deliver([channel], NOW + timedelta(days=later)) == []
    assert channel.taken == [DRIFT.cause]


def test_alerts_arrive_in_the_order_of_their_time_whatever_its_zone(outbox: Outbox) -> None:
    east = timezone(timedelta(hours=9))
    outbox.add(OUTAGE)
    outbox.add(replace(DRIFT, raised_at=NOW.astimezone(east)))
    channel = Recorder()
    outbox.deliver([channel], NOW)
    assert channel.taken == [DRIFT.cause, OUTAGE.cause]


def test_each_channel_gets_every_alert_and_one_that_fails_holds_up_no_other(outbox: Outbox) -> None:
    broken, sound = Recorder("broken", error=DeliveryError("down")), Recorder("sound")
    outbox.add(DRIFT)
    assert outbox.deliver([broken, sound], NOW) == [f"broken did not take {DRIFT.cause}: down"]
    assert sound.taken == [DRIFT.cause]
    assert outbox.undelivered("broken") == [DRIFT]
    assert outbox.undelivered("sound") == []


def test_wait_doubles_up_to_an_hour_however_long_the_outage_lasts(outbox: Outbox) -> None:
    channel = Recorder(error=DeliveryError("down"))
    outbox.add(DRIFT)
    now, waits = NOW, []
    for _ in range(12):
        outbox.deliver([channel], now)
        (delivery,) = outbox.deliveries()
        assert delivery.next_try_at is not None
        waits.append(delivery.next_try_at - now)
        now = delivery.next_try_at
    assert waits[:4] == [timedelta(seconds=30) * factor for factor in (1, 2, 4, 8)]
    assert set(waits[7:]) == {LONGEST_WAIT}
    assert wait_after(10**6) == LONGEST_WAIT
    assert len(channel.tried) == 12


def test_channel_is_left_alone_until_the_wait_is_over(outbox: Outbox) -> None:
    channel = Recorder(error=DeliveryError("busy", timedelta(seconds=90)))
    outbox.add(DRIFT)
    for seconds in (0, 1, 89):
        outbox.deliver([channel], NOW + timedelta(seconds=seconds))
    assert len(channel.tried) == 1
    outbox.deliver([channel], NOW + timedelta(seconds=90))
    assert len(channel.tried) == 2


def test_channel_that_refuses_one_message_is_not_burdened_with_the_others(outbox: Outbox) -> None:
    channel = Recorder(error=DeliveryError("busy"))
    outbox.add(DRIFT)
    outbox.add(OUTAGE)
    outbox.deliver([channel], NOW)
    assert channel.tried == [DRIFT.cause]


def test_message_that_is_always_refused_does_not_hold_up_the_others_for_long(outbox: Outbox) -> None:
    @dataclass
    class Picky(Recorder):
        def send(self, alert: Alert) -> None:
            if alert.cause == DRIFT.cause:
                raise DeliveryError("invalid_blocks")
            super().send(alert)

    channel = Picky()
    outbox.add(DRIFT)
    outbox.add(OUTAGE)
    for seconds in (0, 30, 60):
        outbox.deliver([channel], NOW + timedelta(seconds=seconds))
    assert channel.taken == [OUTAGE.cause]


def test_history_tells_tries_the_last_error_and_the_delivery(outbox: Outbox) -> None:
    channel = Recorder(error=DeliveryError("Slack answered 500"))
    outbox.add(DRIFT)
    outbox.deliver([channel], NOW)
    channel.error = None
    later = NOW + timedelta(minutes=1)
    outbox.deliver([channel], later)
    (delivery,) = outbox.deliveries()
    assert (delivery.cause, delivery.channel, delivery.tries) == (DRIFT.cause, "recorder", 2)
    assert (delivery.delivered_at, delivery.next_try_at) == (later, None)
    assert delivery.last_error == "Slack answered 500"


def test_two_programs_that_deliver_at_once_send_one_message(outbox: Outbox) -> None:
    inside, released = threading.Event(), threading.Event()

    @dataclass
    class Slow(Recorder):
        def send(self, alert: Alert) -> None:
            inside.set()
            assert released.wait(10)
            super().send(alert)

    slow, fast = Slow("slack"), Recorder("slack")
    outbox.add(DRIFT)
    first = threading.Thread(target=outbox.deliver, args=([slow], NOW))
    first.start()
    assert inside.wait(10)
    outbox.deliver([fast], NOW + timedelta(seconds=1))
    released.set()
    first.join()
    assert (slow.taken, fast.taken) == ([DRIFT.cause], [])
    assert outbox.undelivered("slack") == []


def test_alert_that_another_program_sent_meanwhile_is_not_sent_again(outbox: Outbox) -> None:
    other = Recorder("slack")

    @dataclass
    class Overtaken(Recorder):
        def send(self, alert: Alert) -> None:
            outbox.deliver([other], NOW)
            super().send(alert)

    overtaken = Overtaken("slack")
    outbox.add(DRIFT)
    outbox.add(OUTAGE)
    outbox.deliver([overtaken], NOW)
    assert (overtaken.taken, other.taken) == ([DRIFT.cause], [OUTAGE.cause])


@pytest.mark.parametrize(("moment", "posted_by_the_killed"), [("before", 0), ("after", 1)])
def test_message_of_a_killed_sender_is_sent_after_the_wait(
    outbox: Outbox, slack: SlackServer, moment: str, posted_by_the_killed: int
) -> None:
    outbox.add(DRIFT)
    done = subprocess.run(
        [sys.executable, str(PROJECT / "tests/fakes/mortal_sender.py"), str(outbox.path), slack.url, moment],
        env={"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(slack.posted) == posted_by_the_killed
    assert not outbox.add(DRIFT)
    channel = SlackChannel(slack.url)
    outbox.deliver([channel], NOW + timedelta(seconds=29))
    assert len(slack.posted) == posted_by_the_killed
    outbox.deliver([channel], NOW + timedelta(seconds=31))
    outbox.deliver([channel], NOW + timedelta(days=1))
    assert len(slack.posted) == posted_by_the_killed + 1
    assert outbox.undelivered("slack") == []


RUN = "failed run in sample"
FAILED = replace(DRIFT, cause="failed:1", kind=RUN, about=("raw_candles", "features"), links=())
HOURLY: dict[Severity, timedelta] = {"critical": timedelta(hours=1), "warning": timedelta(days=1)}


def told(outbox: Outbox, channel: Recorder, minutes: float) -> list[str]:
    """What a channel takes at a time, reminders included."""
    before = len(channel.taken)
    outbox.remind(HOURLY, NOW + timedelta(minutes=minutes))
    outbox.deliver([channel], NOW + timedelta(minutes=minutes))
    return channel.taken[before:]


def test_what_is_open_is_told_again_every_hour_and_what_is_acknowledged_no_more(outbox: Outbox) -> None:
    channel = Recorder()
    outbox.add(DRIFT)
    assert told(outbox, channel, 0) == [DRIFT.cause]
    assert told(outbox, channel, 59) == []
    assert told(outbox, channel, 60) == [f"{DRIFT.cause}#1"]
    assert told(outbox, channel, 60) == told(outbox, channel, 119) == []
    assert told(outbox, channel, 120) == [f"{DRIFT.cause}#2"]
    kept = outbox.change(DRIFT.id, "acknowledged", actor="Ada", note="on it", now=NOW + timedelta(hours=2))
    assert (kept.state, kept.reminders) == ("acknowledged", 2)
    assert [(one.actor, one.state, one.note) for one in kept.changes] == [("Ada", "acknowledged", "on it")]
    assert told(outbox, channel, 100_000) == []
    assert outbox.one(DRIFT.id).reminders == 2


def test_warnings_are_told_again_less_often_and_news_never(outbox: Outbox) -> None:
    channel = Recorder()
    outbox.add(replace(DRIFT, cause="warning", severity="warning"))
    outbox.add(replace(DRIFT, cause="news", severity="info"))
    assert told(outbox, channel, 0) == ["news", "warning"]
    assert told(outbox, channel, 60 * 23) == []
    assert told(outbox, channel, 60 * 24) == ["warning#1"]
    assert [kept.state for kept in outbox.kept()] == ["resolved", "open"]


def test_snoozed_alert_is_quiet_until_its_time_and_then_open_again(outbox: Outbox) -> None:
    channel = Recorder()
    outbox.add(DRIFT)
    told(outbox, channel, 0)
    end = NOW + timedelta(hours=8)
    kept = outbox.change(DRIFT.id, "snoozed", actor="Ada", note="", now=NOW, snoozed_until=end)
    assert kept.state_at(end - timedelta(seconds=1)) == "snoozed"
    assert kept.state_at(end) == "open"
    assert told(outbox, channel, 8 * 60 - 1) == []
    assert told(outbox, channel, 8 * 60) == [f"{DRIFT.cause}#1"]
    assert told(outbox, channel, 9 * 60 - 1) == []
    assert told(outbox, channel, 9 * 60) == [f"{DRIFT.cause}#2"]
    # Also when it ends before the hour.
    soon = NOW + timedelta(hours=9, minutes=10)
    outbox.change(DRIFT.id, "snoozed", actor="Ada", note="", now=NOW, snoozed_until=soon)
    assert told(outbox, channel, 9 * 60 + 10) == [f"{DRIFT.cause}#3"]


def test_reminder_that_waits_is_dropped_when_somebody_answers_and_the_alert_itself_never(
    outbox: Outbox,
) -> None:
    channel = Recorder()
    outbox.add(DRIFT)
    told(outbox, channel, 0)
    channel.error = DeliveryError("down")
    outbox.add(OUTAGE)
    told(outbox, channel, 60)
    for alert in (DRIFT, OUTAGE):
        outbox.change(alert.id, "acknowledged", actor="Ada", note="", now=NOW)
    channel.error = None
    assert told(outbox, channel, 200) == [OUTAGE.cause]


def test_outage_of_a_channel_does_not_pile_up_reminders(outbox: Outbox) -> None:
    down, up = Recorder("down", error=DeliveryError("down")), Recorder("up")
    outbox.add(DRIFT)
    for hour in range(4):
        outbox.remind(HOURLY, NOW + timedelta(hours=hour))
        outbox.deliver([down, up], NOW + timedelta(hours=hour))
    assert len(up.taken) == 4
    down.error = None
    assert told(outbox, down, 10_000)[0].startswith(DRIFT.cause)
    assert len(down.taken) == 1


def test_alerts_of_a_kind_that_wait_together_are_one_message(outbox: Outbox) -> None:
    messages: list[Alert] = []

    @dataclass
    class Shown(Recorder):
        def send(self, alert: Alert) -> None:
            super().send(alert)
            messages.append(alert)

    channel = Shown()
    others = [replace(FAILED, cause=f"failed:{i}", about=(f"step {i}",), title=f"step {i}") for i in (2, 3)]
    for alert in (FAILED, *others, DRIFT):
        outbox.add(alert)
    outbox.deliver([channel], NOW, page=lambda alert: f"http://service/alerts/{alert.id}")
    message = next(one for one in messages if one.kind == RUN)
    assert len(messages) == 2
    assert message.title == f"3 alerts: {RUN}"
    assert message.cause.split("\n") == ["failed:1", "failed:2", "failed:3"]
    assert [address for _, address in message.links] == [
        f"http://service/alerts/{alert.id}" for alert in (FAILED, *others)
    ]
    assert outbox.undelivered("recorder") == []


def test_what_is_told_already_is_kept_once_until_it_is_well(outbox: Outbox) -> None:
    assert outbox.add(FAILED)
    assert not outbox.add(replace(FAILED, cause="failed:2", about=("features",)))
    assert outbox.add(replace(FAILED, cause="failed:3", about=("features", "charts")))
    assert outbox.well(RUN, ["features"], NOW) == []
    # It was well in between, so that it fails anew.
    assert not outbox.add(replace(FAILED, cause="failed:4", about=("charts",)))
    assert outbox.add(replace(FAILED, cause="failed:5", about=("features",)))
    assert outbox.well("failed check in sample", ["raw_candles"], NOW) == []
    assert outbox.well(RUN, ["raw_candles"], NOW) == ["failed:1"]
    assert outbox.unwell(RUN, ["features"], NOW) == ["failed:3"]
    states = {kept.alert.cause: (kept.state, kept.unwell) for kept in outbox.kept()}
    assert states["failed:1"] == ("resolved", ())
    assert states["failed:5"] == ("open", ("features",))


def test_graver_alert_is_kept_beside_a_lesser_one(outbox: Outbox) -> None:
    assert outbox.add(replace(FAILED, severity="warning"))
    assert outbox.add(replace(FAILED, cause="failed:2", severity="critical"))


def test_resolved_alert_stays_so_and_what_is_said_twice_is_said_once(outbox: Outbox) -> None:
    outbox.add(DRIFT)
    for _ in range(2):
        outbox.change(DRIFT.id, "resolved", actor="Ada", note="", now=NOW)
    kept = outbox.change(DRIFT.id, "acknowledged", actor="Bob", note="", now=NOW)
    assert (kept.state, len(kept.changes)) == ("resolved", 1)
    with pytest.raises(AlertNotFoundError):
        outbox.change("0" * 16, "resolved", actor="Ada", note="", now=NOW)
    with pytest.raises(ValueError, match="a snooze, and nothing else, has an end"):
        outbox.change(DRIFT.id, "snoozed", actor="Ada", note="", now=NOW)


def test_reading_an_outbox_that_is_not_there_makes_none(outbox: Outbox) -> None:
    assert outbox.kept() == outbox.well(RUN, [], NOW) == outbox.remind(HOURLY, NOW) == []
    with pytest.raises(AlertNotFoundError):
        outbox.one(DRIFT.id)
    assert not outbox.path.exists()


@dataclass
class Remembering(Recorder):
    """A channel that can be asked what it took, and whose answers may get lost."""

    loses_answers: bool = False

    def send(self, alert: Alert) -> None:
        super().send(alert)
        if self.loses_answers:
            raise DeliveryError("no answer")

    def took(self, cause: str) -> bool:
        return any(cause in taken.split("\n") for taken in self.taken)


def test_channel_that_remembers_gets_no_message_twice_even_when_answers_get_lost(outbox: Outbox) -> None:
    channel = Remembering(loses_answers=True)
    for alert in (FAILED, replace(FAILED, cause="failed:2", about=("charts",))):
        outbox.add(alert)
    assert len(outbox.deliver([channel], NOW)) == 1
    channel.loses_answers = False
    outbox.add(replace(FAILED, cause="failed:3", about=("news",)))
    outbox.deliver([channel], NOW + timedelta(hours=1))
    outbox.deliver([channel], NOW + timedelta(hours=2))
    assert channel.taken == ["failed:1\nfailed:2", "failed:3"]
    assert outbox.undelivered("recorder") == []


NEWS = replace(DRIFT, cause="promotion:1", severity="info", title="Promoted")


def test_new_channel_gets_what_is_open_and_nothing_that_was_told_and_is_over(outbox: Outbox) -> None:
    old, new, later = Recorder("old"), Recorder("new"), NOW + timedelta(days=60)
    snoozed, seen = replace(DRIFT, cause="snoozed"), replace(DRIFT, cause="seen")
    for alert in (DRIFT, NEWS, FAILED, snoozed, seen, OUTAGE):
        outbox.add(alert)
    outbox.deliver([old], NOW)
    outbox.well(RUN, FAILED.about, NOW)
    outbox.change(DRIFT.id, "resolved", actor="Ada", note="", now=NOW)
    outbox.change(seen.id, "acknowledged", actor="Ada", note="", now=NOW)
    end = later + timedelta(hours=8)
    outbox.change(snoozed.id, "snoozed", actor="Ada", note="", now=NOW, snoozed_until=end)
    outbox.deliver([new], later)
    assert new.taken == [OUTAGE.cause]
    # From then on it is known, and gets what others took before.
    outbox.add(replace(NEWS, cause="promotion:2"))
    outbox.deliver([old], later)
    outbox.deliver([new], later)
    outbox.remind(HOURLY, end)
    outbox.deliver([new], end)
    assert new.taken == [OUTAGE.cause, "promotion:2", "snoozed#1", f"{OUTAGE.cause}#1"]


def test_what_no_channel_took_reaches_a_new_one_though_it_is_over(outbox: Outbox) -> None:
    down, new = Recorder("down", error=DeliveryError("down")), Recorder("new")
    for alert in (NEWS, FAILED):
        outbox.add(alert)
    outbox.deliver([down], NOW)
    outbox.well(RUN, FAILED.about, NOW)
    outbox.deliver([new], NOW)
    assert sorted(new.taken) == [FAILED.cause, NEWS.cause]


def test_channel_whose_turn_never_came_is_not_taken_for_a_new_one(outbox: Outbox) -> None:
    @dataclass
    class Mortal(Recorder):
        def send(self, alert: Alert) -> None:
            if self.taken:
                raise ZeroDivisionError
            super().send(alert)

    second = Recorder("second")
    outbox.add(NEWS)
    outbox.add(replace(NEWS, cause="promotion:2"))
    with pytest.raises(ZeroDivisionError):
        outbox.deliver([Mortal("first"), second], NOW)
    outbox.deliver([second], NOW)
    assert second.taken == ["promotion:1", "promotion:2"]


# As the outbox was made before alerts had states.
OLD_SCHEMA = """
CREATE TABLE alerts (cause TEXT PRIMARY KEY, alert TEXT NOT NULL, raised_at TEXT NOT NULL);
CREATE TABLE deliveries (
    cause TEXT NOT NULL REFERENCES alerts (cause), channel TEXT NOT NULL,
    delivered_at TEXT, tries INTEGER NOT NULL, next_try_at TEXT, last_error TEXT,
    PRIMARY KEY (cause, channel)
);
"""


def test_outbox_of_the_time_before_states_loses_nothing_and_tells_nothing_again(outbox: Outbox) -> None:
    outbox.path.parent.mkdir()
    waiting = replace(OUTAGE, cause="never tried")
    with closing(sqlite3.connect(outbox.path)) as old, old:
        old.executescript(OLD_SCHEMA)
        for alert in (DRIFT, OUTAGE, waiting):
            record = json.loads(alert.to_json())
            for later in ("kind", "about", "picture"):
                del record[later]
            row = (alert.cause, json.dumps(record), alert.raised_at.isoformat(timespec="microseconds"))
            old.execute("INSERT INTO alerts VALUES (?, ?, ?)", row)
        stamp = NOW.isoformat(timespec="microseconds")
        old.execute("INSERT INTO deliveries VALUES (?, 'recorder', ?, 2, NULL, 'down')", (DRIFT.cause, stamp))
        old.execute(
            "INSERT INTO deliveries VALUES (?, 'recorder', NULL, 1, ?, 'down')", (OUTAGE.cause, stamp)
        )
    assert outbox.alerts() == [DRIFT, waiting, OUTAGE]
    assert {kept.alert.cause: kept.state for kept in outbox.kept()} == {
        DRIFT.cause: "resolved",
        OUTAGE.cause: "open",
        "never tried": "open",
    }
    delivered, tried = outbox.deliveries()
    assert (delivered.cause, delivered.delivered_at, delivered.tries) == (OUTAGE.cause, None, 1)
    assert (tried.cause, tried.delivered_at, tried.last_error) == (DRIFT.cause, NOW, "down")
    channel = Recorder()
    assert told(outbox, channel, 10_000) == ["never tried", OUTAGE.cause]


def test_outbox_of_newer_code_is_refused_by_its_number(outbox: Outbox) -> None:
    outbox.add(DRIFT)
    with closing(sqlite3.connect(outbox.path)) as newer:
        newer.execute("PRAGMA user_version = 9")
    with pytest.raises(OutboxRefusedError, match="schema version 9, this code reads 2"):
        outbox.add(OUTAGE)


def test_damaged_outbox_is_refused_by_its_name_with_what_to_do_and_left_as_it_is(outbox: Outbox) -> None:
    outbox.path.parent.mkdir()
    outbox.path.write_bytes(DAMAGED)
    for refused in (outbox.kept, lambda: outbox.add(DRIFT), lambda: outbox.deliver([Recorder()], NOW)):
        with pytest.raises(OutboxRefusedError, match=r"data/alerts\.db: file is not a database; .* move the"):
            refused()
    assert outbox.path.read_bytes() == DAMAGED
