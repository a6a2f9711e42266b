"""Channels: the ways by which an alert reaches a person or a program; the one door to every notifier."""

import hashlib
import smtplib
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit

from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import WebClient
from slack_sdk.webhook import WebhookClient

from edge_bundle.alerts import SIGNS, Alert, DeliveryError

# Slack refuses a message beyond these: https://docs.slack.dev/reference/block-kit/blocks
SLACK_BLOCKS = 50
SLACK_TEXT = 3_000
SLACK_HEADER = 150
SLACK_FIELD = 2_000
SLACK_FIELDS_A_SECTION = 10
# Header, summary, facts left out, links, time.
OTHER_BLOCKS = 5
SLACK_API = "https://slack.com/api/"
# Of the channel's newest messages, which are looked through for one whose answer got lost.
LOOKED_THROUGH = 200
EVENT = "cryptoai_alert"
SEND_TIMEOUT_SECONDS = 5
LONGEST_ASKED_WAIT = timedelta(days=1)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class LoggedChannel:
    """Shows messages where no other channel is set, and says so."""

    show: Callable[[str], None]
    name: str = "log"

    def send(self, alert: Alert) -> None:
        """Show the alert as text."""
        self.show(f"No Slack webhook is set, so this message is shown here only:\n{alert.text()}")


@dataclass(frozen=True, slots=True)
class SlackChannel:
    """Slack's incoming webhook, which takes no picture and remembers no message."""

    webhook_url: str
    name: str = "slack"
    timeout_seconds: int = SEND_TIMEOUT_SECONDS

    def send(self, alert: Alert) -> None:
        """Post the alert as blocks.

        Raises
        ------
        DeliveryError
            When Slack cannot be reached or answers anything but 200.
        """
        notification = _escaped(f"{alert.title}: {alert.summary}", SLACK_TEXT)
        message = {"text": notification, "blocks": slack_blocks(alert)}
        _post(self.webhook_url, message, {}, who="Slack", timeout_seconds=self.timeout_seconds)


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Any address that takes an alert as JSON over POST.

    The header ``Idempotency-Key`` is the same for every try of one message.
    """

    address: str
    name: str = "webhook"
    timeout_seconds: int = SEND_TIMEOUT_SECONDS

    def send(self, alert: Alert) -> None:
        """Post the alert.

        Raises
        ------
        DeliveryError
            When the address cannot be reached or answers no success.
        """
        message = {
            "cause": alert.cause,
            "severity": alert.severity,
            "title": alert.title,
            "summary": alert.summary,
            "facts": [{"label": label, "value": value} for label, value in alert.facts],
            "links": [{"label": label, "address": address} for label, address in alert.links],
            "raised_at": alert.raised_at.isoformat(),
        }
        headers = {"Idempotency-Key": _key(alert)}
        _post(self.address, message, headers, who="The webhook", timeout_seconds=self.timeout_seconds)


def _post(
    address: str, message: Mapping[str, Any], headers: dict[str, str], *, who: str, timeout_seconds: int
) -> None:
    """Post JSON once: the outbox alone retries, since what a client retried by itself could arrive twice."""
    client = WebhookClient(address, timeout=timeout_seconds, retry_handlers=[], default_headers=headers)
    try:
        answer = client.send_dict(dict(message))
    except (OSError, HTTPException, SlackClientError, ValueError) as error:
        # A mistyped address is a ValueError. The address is a secret, and some of these quote it.
        told = str(error).replace(address, "the webhook")
        raise DeliveryError(f"{who} cannot be reached: {type(error).__name__}: {told}") from error
    if not 200 <= answer.status_code < 300:
        wait = _asked_wait(answer.headers)
        raise DeliveryError(f"{who} answered {answer.status_code}: {answer.body[:200]}", wait)


def _asked_wait(headers: Mapping[str, Any]) -> timedelta | None:
    told = {name.lower(): str(value) for name, value in headers.items()}
    asked = told.get("retry-after", "")
    return min(timedelta(seconds=int(asked[:9])), LONGEST_ASKED_WAIT) if asked.isdecimal() else None


@dataclass(frozen=True, slots=True)
class SlackBotChannel:
    """Slack by an app's token: pictures come along, and a message whose answer got lost is not sent again.

    The app needs the scopes ``chat:write`` and ``files:write``, and ``channels:history`` (of a private
    channel ``groups:history``) to look whether a message is there.
    Source: https://docs.slack.dev/reference/methods/chat.postMessage

    Parameters
    ----------
    channel
        Its id, such as ``C0123456789``, as Slack shows it below the channel's details.
    """

    token: str
    channel: str
    name: str = "slack-bot"
    address: str = SLACK_API
    timeout_seconds: int = SEND_TIMEOUT_SECONDS

    def send(self, alert: Alert) -> str | None:
        """Post the alert as blocks, then its picture into the message's thread.

        Raises
        ------
        DeliveryError
            When Slack cannot be reached or refuses the message; a picture that it refuses is left out.
        """
        client = self._client()
        payload = {"causes": alert.cause.split("\n")}
        try:
            posted = client.chat_postMessage(
                channel=self.channel,
                text=_escaped(f"{alert.title}: {alert.summary}", SLACK_TEXT),
                blocks=slack_blocks(alert),
                metadata={"event_type": EVENT, "event_payload": payload},
                unfurl_links=False,
            )
        except SlackApiError as error:
            raise _refusal(error) from error
        except (OSError, HTTPException, SlackClientError, ValueError) as error:
            raise DeliveryError(f"Slack cannot be reached: {type(error).__name__}: {error}") from error
        if alert.picture is None:
            return None
        try:
            client.files_upload_v2(
                content=alert.picture,
                filename="picture.png",
                title=alert.title,
                channel=posted["channel"],
                thread_ts=posted["ts"],
            )
        except (OSError, HTTPException, SlackClientError, ValueError) as error:
            told = _refusal(error) if isinstance(error, SlackApiError) else f"{type(error).__name__}: {error}"
            return f"the picture: {told}"
        return None

    def took(self, cause: str) -> bool:
        """Whether one of the channel's newest messages tells this cause; False when Slack does not say."""
        try:
            told = self._client().conversations_history(
                channel=self.channel, include_all_metadata=True, limit=LOOKED_THROUGH
            )
        except (OSError, HTTPException, SlackClientError, ValueError):
            return False
        messages: Sequence[Mapping[str, Any]] = told.get("messages") or ()
        return any(
            cause in message.get("metadata", {}).get("event_payload", {}).get("causes", ())
            for message in messages
        )

    def _client(self) -> WebClient:
        return WebClient(self.token, base_url=self.address, timeout=self.timeout_seconds, retry_handlers=[])


def _refusal(error: SlackApiError) -> DeliveryError:
    answer = error.response
    headers = answer.headers if hasattr(answer, "headers") else {}
    return DeliveryError(f"Slack refused it: {answer['error']}", _asked_wait(headers or {}))


@dataclass(frozen=True, slots=True)
class MailChannel:
    """E-mail by SMTP, to all recipients in one message.

    Tries of one message have the same ``Message-ID``, by which mailboxes know a second one.

    Parameters
    ----------
    server
        ``smtp://host:25``, ``smtp://user:password@host:587`` or ``smtps://user:password@host:465``; over
        ``smtp`` the connection is encrypted where the server offers it. ``%40`` is an @ in a name.
    """

    server: str
    sender: str
    recipients: tuple[str, ...]
    name: str = "mail"
    timeout_seconds: int = SEND_TIMEOUT_SECONDS

    def send(self, alert: Alert) -> str | None:
        """Send the alert as text with its picture attached.

        Raises
        ------
        DeliveryError
            When the server cannot be reached or takes it for nobody, and when a password would travel
            unencrypted.
        """
        try:
            refused = self._refused(self._message(alert))
        except (OSError, ValueError) as error:
            raise DeliveryError(
                f"the mail server did not take it: {type(error).__name__}: {error}"
            ) from error
        return f"the recipients {', '.join(sorted(refused))}" if refused else None

    def _refused(self, message: EmailMessage) -> Collection[str]:
        """Recipients for whom the server does not take a message; the others have it."""
        server = self._connected()
        try:
            return server.send_message(message, self.sender, self.recipients)
        finally:
            # What becomes of the farewell changes nothing of the message.
            with suppress(OSError):
                server.quit()

    def _connected(self) -> smtplib.SMTP:
        place = urlsplit(self.server)
        host, port = place.hostname or "", place.port or 0
        if place.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, port, timeout=self.timeout_seconds, context=ssl.create_default_context()
            )
        else:
            server = smtplib.SMTP(host, port, timeout=self.timeout_seconds)
        try:
            encrypted = place.scheme == "smtps"
            server.ehlo_or_helo_if_needed()
            if not encrypted and server.has_extn("starttls"):
                server.starttls(context=ssl.create_default_context())
                encrypted = True
            if place.username:
                if not encrypted and host not in LOOPBACK:
                    raise DeliveryError(f"{host} offers no encryption, so it gets no password: use smtps://")
                server.login(unquote(place.username), unquote(place.password or ""))
        except BaseException:
            server.close()
            raise
        return server

    def _message(self, alert: Alert) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = " ".join(f"{SIGNS[alert.severity]} {alert.title}".split())
        message["From"] = self.sender
        message["To"] = ", ".join(self.recipients)
        message["Date"] = format_datetime(alert.raised_at)
        message["Message-ID"] = f"<{_key(alert)}@cryptoai.invalid>"
        message.set_content(f"{alert.text()}\n\nCryptoAI · not investment advice\n")
        if alert.picture is not None:
            message.add_attachment(alert.picture, maintype="image", subtype="png", filename="picture.png")
        return message


def _key(alert: Alert) -> str:
    return hashlib.sha256(alert.cause.encode()).hexdigest()[:32]


def slack_blocks(alert: Alert) -> list[dict[str, Any]]:
    """Alert as Slack's Block Kit: a header, the summary, facts in pairs, links, the time.

    What passes Slack's limits is cut with an ellipsis; facts that do not fit are counted.
    """
    sections = SLACK_BLOCKS - OTHER_BLOCKS
    room = sections * SLACK_FIELDS_A_SECTION
    fields = [_field(label, value) for label, value in alert.facts[:room]]
    chunks = [fields[i : i + SLACK_FIELDS_A_SECTION] for i in range(0, len(fields), SLACK_FIELDS_A_SECTION)]
    left_out = len(alert.facts) - len(fields)
    header = _cut(f"{SIGNS[alert.severity]} {alert.title}", SLACK_HEADER)
    when = f"{alert.raised_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    texts = [
        {"type": "header", "text": {"type": "plain_text", "text": header, "emoji": True}},
        *_section(_escaped(alert.summary, SLACK_TEXT)),
        *({"type": "section", "fields": chunk} for chunk in chunks),
        *_section(f"and {left_out} more" if left_out else ""),
        *_section(_links(alert.links)),
    ]
    footer = f"{alert.severity} · {when} · CryptoAI · not investment advice"
    return [*texts, {"type": "context", "elements": [{"type": "mrkdwn", "text": footer}]}]


def _section(text: str) -> list[dict[str, Any]]:
    """One section, or none: Slack refuses an empty text."""
    return [{"type": "section", "text": {"type": "mrkdwn", "text": text}}] if text.strip() else []


def _field(label: str, value: str) -> dict[str, str]:
    half = SLACK_FIELD // 2 - len("**\n")
    return {"type": "mrkdwn", "text": f"*{_escaped(label, half)}*\n{_escaped(value, half)}"}


def _links(links: Sequence[tuple[str, str]]) -> str:
    """Links side by side, as many whole ones as there is room for."""
    line = ""
    for label, address in links:
        link = f"<{_escaped(address, SLACK_TEXT)}|{_escaped(label, SLACK_HEADER)}>"
        longer = f"{line}  ·  {link}" if line else link
        line = longer if len(longer) <= SLACK_TEXT else line
    return line


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _escaped(text: str, limit: int) -> str:
    """Text with Slack's control characters as entities, so that no value can name a channel or a person."""
    entities = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    pieces = [entities.get(character, character) for character in text]
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    kept: list[str] = []
    room = limit - 1
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return f"{''.join(kept)}…"
