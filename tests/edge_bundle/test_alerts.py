"""Alerts: no message is lost, none is sent twice for one cause, and Slack takes every one."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from fakes.slack_server import HANG_UP, SILENCE, Answer, SlackServer, refused_part, slack_server
from hypothesis import given
from hypothesis import strategies as st

from edge_bundle.alerts import (
    LONGEST_WAIT,
    Alert,
    DeliveryError,
    LoggedChannel,
    Outbox,
    SlackChannel,
    slack_blocks,
    wait_after,
)

PROJECT = Path(__file__).parents[2]
NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)
DRIFT = Alert(
    cause="retrain:cryptoai-forecaster-sample:2019-09-30T00:00",
    severity="critical",
    title="Drift in sample: retrain",
    summary="2 of 40 features drifted, for 3 windows in a row",
    facts=(("return_1", "PSI 0.42, threshold 0.12"), ("volume_ratio_60", "PSI 0.31, threshold 0.20")),
    links=(("Dagster run", "http://127.0.0.1:3000/runs/7"),),
    raised_at=NOW,
)
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
    for _ in range(100):
        outbox.deliver([channel], now)
        (delivery,) = outbox.deliveries()
        assert delivery.next_try_at is not None
        waits.append(delivery.next_try_at - now)
        now = delivery.next_try_at
    assert waits[:4] == [timedelta(seconds=30) * factor for factor in (1, 2, 4, 8)]
    assert set(waits[7:]) == {LONGEST_WAIT}
    assert wait_after(10**6) == LONGEST_WAIT
    assert len(channel.tried) == 100


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


def test_slack_shows_what_drifted_how_much_and_a_link(outbox: Outbox, slack: SlackServer) -> None:
    outbox.add(DRIFT)
    assert outbox.deliver([SlackChannel(slack.url)], NOW) == []
    (message,) = slack.posted
    header, summary, facts, links, context = message["blocks"]
    assert header["text"]["text"] == "🚨 Drift in sample: retrain"
    assert summary["text"]["text"] == DRIFT.summary
    assert [field["text"] for field in facts["fields"]] == [
        "*return_1*\nPSI 0.42, threshold 0.12",
        "*volume_ratio_60*\nPSI 0.31, threshold 0.20",
    ]
    assert links["text"]["text"] == "<http://127.0.0.1:3000/runs/7|Dagster run>"
    assert context["elements"][0]["text"].startswith("critical · 2019-10-01 12:00 UTC")
    assert message["text"] == f"{DRIFT.title}: {DRIFT.summary}"


@pytest.mark.parametrize(
    ("answer", "told", "wait_seconds"),
    [
        (Answer(429, {"Retry-After": "77"}), "Slack answered 429", 77),
        (Answer(429, {"retry-after": "77"}), "Slack answered 429", 77),
        (Answer(429, {"Retry-After": "soon"}), "Slack answered 429", 30),
        (Answer(429, {"Retry-After": "9" * 30}), "Slack answered 429", 86_400),
        (Answer(500), "Slack answered 500", 30),
        (Answer(404), "Slack answered 404", 30),
        (Answer(SILENCE), "cannot be reached: TimeoutError", 30),
        (Answer(HANG_UP), "cannot be reached: RemoteDisconnected", 30),
    ],
)
def test_message_that_slack_does_not_take_is_sent_later_and_once(
    outbox: Outbox, slack: SlackServer, answer: Answer, told: str, wait_seconds: int
) -> None:
    channel = SlackChannel(slack.url, timeout_seconds=1)
    slack.will_answer(answer)
    outbox.add(DRIFT)
    (failure,) = outbox.deliver([channel], NOW)
    assert told in failure
    assert slack.requests == 1  # the client does not try again by itself
    outbox.deliver([channel], NOW + timedelta(seconds=wait_seconds - 1))
    assert slack.posted == []
    outbox.deliver([channel], NOW + timedelta(seconds=wait_seconds))
    outbox.deliver([channel], NOW + timedelta(days=7))
    assert not outbox.add(DRIFT)
    assert len(slack.posted) == 1


def test_answer_that_got_lost_leads_to_a_second_message_rather_than_none(
    outbox: Outbox, slack: SlackServer
) -> None:
    channel = SlackChannel(slack.url, timeout_seconds=1)
    slack.will_answer(Answer(SILENCE, posts=True))
    outbox.add(DRIFT)
    outbox.deliver([channel], NOW)
    outbox.deliver([channel], NOW + timedelta(minutes=1))
    assert len(slack.posted) == 2
    assert [delivery.tries for delivery in outbox.deliveries()] == [2]


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/services/T/B/secret", "no address at all secret"])
def test_slack_that_cannot_be_reached_is_a_failure_that_keeps_the_address_secret(
    outbox: Outbox, address: str
) -> None:
    outbox.add(DRIFT)
    (failure,) = outbox.deliver([SlackChannel(address)], NOW)
    assert "cannot be reached" in failure
    assert "secret" not in failure
    assert outbox.undelivered("slack") == [DRIFT]


def test_without_a_webhook_the_message_is_shown_and_says_so(outbox: Outbox) -> None:
    shown: list[str] = []
    outbox.add(DRIFT)
    for _ in range(2):
        outbox.deliver([LoggedChannel(shown.append)], NOW)
    (text,) = shown
    assert text.startswith("No Slack webhook is set")
    assert all(
        part in text for part in (DRIFT.title, DRIFT.summary, "PSI 0.42", "http://127.0.0.1:3000/runs/7")
    )


words = st.text(max_size=200) | st.sampled_from(["", " ", "&" * 4_000, "<!channel>" * 500, "x" * 9_000])
pairs = st.lists(st.tuples(words, words), max_size=12) | st.lists(
    st.tuples(words, words), min_size=1, max_size=2
).map(lambda some: some * 300)


@given(
    alert=st.builds(
        Alert,
        cause=words,
        severity=st.sampled_from(["info", "warning", "critical"]),
        title=words,
        summary=words,
        facts=pairs.map(tuple),
        links=pairs.map(tuple),
        raised_at=st.just(NOW),
    )
)
def test_blocks_of_any_alert_are_ones_that_slack_takes(alert: Alert) -> None:
    assert refused_part({"text": "x", "blocks": slack_blocks(alert)}) == ""
    assert Alert.from_json(alert.to_json()) == alert


def test_facts_that_do_not_fit_are_counted() -> None:
    blocks = slack_blocks(replace(DRIFT, facts=tuple((f"feature {i}", "PSI 1") for i in range(500))))
    shown = sum(len(block.get("fields", [])) for block in blocks)
    assert f"and {500 - shown} more" in [block["text"]["text"] for block in blocks if "text" in block]


def test_no_value_can_call_a_channel() -> None:
    alert = replace(DRIFT, summary="p < 0.05 & <!channel>", facts=(("<@U1>", "<!here>"),))
    texts = str(slack_blocks(alert))
    assert "p &lt; 0.05 &amp; &lt;!channel&gt;" in texts
    assert not any(call in texts for call in ("<!channel>", "<!here>", "<@U1>"))


@pytest.mark.parametrize(
    "blocks",
    [
        [],
        [{"type": "section", "text": {"type": "mrkdwn", "text": ""}}],
        [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3_001}}],
        [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}],
        [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}],
        [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}],
        [{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}]}] * 51,
        [{"type": "table"}],
    ],
)
def test_loopback_slack_refuses_what_slack_refuses(blocks: list[dict[str, object]]) -> None:
    assert refused_part({"text": "x", "blocks": blocks}).startswith("invalid_blocks")
