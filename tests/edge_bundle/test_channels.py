"""Channels: Slack takes every message, mail and webhooks too, and what is not taken is sent later, once."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.alerts import DRIFT, NOW
from fakes.loopback_app import serving
from fakes.mail_server import MailServer, mail_server
from fakes.slack_api import CHANNEL, TOKEN, SlackApi, slack_api
from fakes.slack_server import HANG_UP, SILENCE, Answer, SlackServer, refused_part, slack_server
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_bundle.alerts import Alert, DeliveryError, Outbox
from edge_bundle.channels import (
    LoggedChannel,
    MailChannel,
    SlackBotChannel,
    SlackChannel,
    WebhookChannel,
    slack_blocks,
)

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PICTURED = replace(DRIFT, picture=PICTURE)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "data" / "alerts.db")


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with slack_server() as server:
        yield server


@pytest.fixture
def api() -> Iterator[SlackApi]:
    with slack_api() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


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


short = st.text(max_size=30) | st.sampled_from(["", " ", "<!channel>"])
words = short | st.sampled_from(["&" * 4_000, "<!channel>" * 500, "x" * 9_000])
pairs = st.lists(st.tuples(words, words), max_size=12) | st.lists(
    st.tuples(short, short), min_size=1, max_size=2
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
        kind=words,
        about=st.lists(words, max_size=3).map(tuple),
        picture=st.none() | st.binary(min_size=1, max_size=50),
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


def bot(api: SlackApi, **other: str) -> SlackBotChannel:
    return SlackBotChannel(**{"token": TOKEN, "channel": CHANNEL, "address": api.url, **other})


def test_bot_posts_the_blocks_and_the_picture_into_the_message_s_thread(
    outbox: Outbox, api: SlackApi
) -> None:
    outbox.add(PICTURED)
    assert outbox.deliver([bot(api)], NOW) == []
    [message] = api.posted
    assert message["channel"] == CHANNEL
    assert message["blocks"] == slack_blocks(DRIFT)
    assert api.pictures == {"1.000": PICTURE}


def test_picture_that_slack_refuses_is_told_and_the_message_is_not_sent_again(
    outbox: Outbox, api: SlackApi
) -> None:
    api.refuses["files.getUploadURLExternal"] = "missing_scope"
    outbox.add(PICTURED)
    told = "slack-bot left out of {}: the picture: Slack refused it: missing_scope"
    assert outbox.deliver([bot(api)], NOW) == [told.format(DRIFT.cause)]
    assert outbox.deliver([bot(api)], NOW + timedelta(days=1)) == []
    assert len(api.posted) == 1
    assert [one.last_error for one in outbox.deliveries()] == ["the picture: Slack refused it: missing_scope"]


def test_bot_whose_answer_got_lost_finds_its_message_and_posts_no_second_one(
    outbox: Outbox, api: SlackApi
) -> None:
    api.loses_answers = True
    outbox.add(DRIFT)
    [failure] = outbox.deliver([bot(api)], NOW)
    assert "cannot be reached" in failure
    api.loses_answers = False
    assert outbox.deliver([bot(api)], NOW + timedelta(minutes=1)) == []
    assert len(api.posted) == 1
    assert outbox.undelivered("slack-bot") == []


def test_bot_that_may_not_look_posts_again_rather_than_never(outbox: Outbox, api: SlackApi) -> None:
    api.loses_answers, api.refuses["conversations.history"] = True, "missing_scope"
    outbox.add(DRIFT)
    outbox.deliver([bot(api)], NOW)
    api.loses_answers = False
    outbox.deliver([bot(api)], NOW + timedelta(minutes=1))
    assert len(api.posted) == 2


def test_bot_that_is_refused_waits_as_long_as_slack_asks_and_keeps_its_token_secret(
    outbox: Outbox, api: SlackApi
) -> None:
    outbox.add(DRIFT)
    api.refuses["chat.postMessage"], api.retry_after = "ratelimited", "77"
    [failure] = outbox.deliver([bot(api)], NOW)
    assert failure.endswith("Slack refused it: ratelimited")
    assert [one.next_try_at for one in outbox.deliveries()] == [NOW + timedelta(seconds=77)]
    [failure] = outbox.deliver([bot(api, **{"name": "other", "token": "xoxb-wrong"})], NOW)
    assert failure.endswith("Slack refused it: invalid_auth")
    [failure] = outbox.deliver([bot(api, name="away", address="http://127.0.0.1:1/api/")], NOW)
    assert "cannot be reached" in failure
    assert TOKEN not in failure


def test_mail_has_the_text_the_picture_and_one_id_whenever_it_is_sent(
    outbox: Outbox, mail: MailServer
) -> None:
    channel = MailChannel(mail.url, "platform@example.org", ("ada@example.org", "bob@example.org"))
    outbox.add(replace(PICTURED, title="Drift in\nsample"))
    assert outbox.deliver([channel], NOW) == []
    channel.send(PICTURED)
    first, second = mail.taken
    assert first["Subject"] == "🚨 Drift in sample"
    assert first["Message-ID"] == second["Message-ID"]
    assert mail.envelopes[0] == ("ada@example.org", "bob@example.org")
    text, picture = first.iter_parts()
    assert "PSI 0.42, threshold 0.12" in text.get_content()
    assert picture.get_content() == PICTURE


def test_mail_that_is_not_taken_is_sent_later_and_a_recipient_that_is_unknown_is_named(
    outbox: Outbox, mail: MailServer
) -> None:
    channel = MailChannel(mail.url, "platform@example.org", ("ada@example.org", "nobody@example.org"))
    outbox.add(DRIFT)
    mail.mail_answer = "451 later"
    [failure] = outbox.deliver([channel], NOW)
    assert "451" in failure
    mail.mail_answer, mail.unknown = "250 go on", ("nobody@example.org",)
    later = NOW + timedelta(minutes=1)
    assert outbox.deliver([channel], later) == [
        f"mail left out of {DRIFT.cause}: the recipients nobody@example.org"
    ]
    assert len(mail.taken) == 1


@pytest.mark.parametrize("answer", ["421 closing", "500 what?", ""])
def test_mail_that_was_taken_is_not_sent_again_whatever_the_server_says_to_the_farewell(
    outbox: Outbox, mail: MailServer, answer: str
) -> None:
    channel = MailChannel(mail.url, "platform@example.org", ("ada@example.org",))
    mail.quit_answer = answer
    outbox.add(DRIFT)
    assert outbox.deliver([channel], NOW) == []
    outbox.deliver([channel], NOW + timedelta(days=1))
    assert len(mail.taken) == 1


def test_password_travels_to_this_machine_and_never_unencrypted_to_another(mail: MailServer) -> None:
    def sent(server: MailServer) -> None:
        address = server.url.replace("//", "//ada:s%40crypt@")
        MailChannel(address, "platform@example.org", ("ada@example.org",)).send(DRIFT)

    sent(mail)
    assert [base64.b64decode(login) for login in mail.logins] == [b"\0ada\0s@crypt"]
    # Nobody says of this address that it is the machine's own.
    with mail_server("127.0.0.2") as other:
        with pytest.raises(DeliveryError, match="offers no encryption, so it gets no password"):
            sent(other)
        assert other.logins == other.taken == []


def test_webhook_gets_the_alert_as_json_with_one_key_for_all_tries(outbox: Outbox) -> None:
    arrived: list[tuple[str, dict[str, Any]]] = []
    answers = [503, 204]

    async def take(request: Request) -> Response:
        arrived.append((request.headers["idempotency-key"], await request.json()))
        return Response(status_code=answers.pop(0))

    outbox.add(PICTURED)
    with serving(Starlette(routes=[Route("/in", take, methods=["POST"])])) as server:
        channel = WebhookChannel(f"{server.http}/in")
        [failure] = outbox.deliver([channel], NOW)
        assert failure.endswith("The webhook answered 503: ")
        assert outbox.deliver([channel], NOW + timedelta(minutes=1)) == []
    (first_key, first), (second_key, second) = arrived
    assert (first_key, first) == (second_key, second)
    assert first["facts"][0] == {"label": "return_1", "value": "PSI 0.42, threshold 0.12"}
    assert first["severity"] == "critical"
