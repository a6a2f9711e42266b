"""Public channels of Telegram, through Telethon: not configured without the credentials of an account."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from telethon import TelegramClient
from telethon.errors import FloodWaitError, RPCError
from telethon.sessions import StringSession
from telethon.tl.custom import Message

from cryptoai_assets.lib.news.news_source import NOTHING, Brought, Memory, each_read
from cryptoai_assets.lib.sources.candle_source import SourceError, SourceRefusedError
from cryptoai_assets.lib.sources.fact_source import NotConfiguredError, plausible
from edge_bundle.news.articles import Found

TELEGRAM = "Telegram"
# Of one channel at one visit; the newest are asked for first.
MOST_MESSAGES = 500
_TRIES = 1


class TelegramKey(NamedTuple):
    """Credentials of an account, as https://my.telegram.org gives them, and its login as Telethon's text.

    Source: https://docs.telethon.dev/en/stable/concepts/sessions.html#string-sessions
    """

    api_id: int
    api_hash: str
    session: str


class Channels(Protocol):
    """Where the messages of channels are read."""

    def messages(self, channel: str, since: datetime) -> Sequence[Message]:
        """Messages of a channel since a time, newest first, `MOST_MESSAGES` at most.

        Raises
        ------
        SourceError
            When there is no answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class TelethonChannels:
    """Channels as an account reads them; nothing is opened before the first call.

    Parameters
    ----------
    timeout_seconds
        For all messages of a channel.
    """

    key: TelegramKey
    timeout_seconds: float

    def messages(self, channel: str, since: datetime) -> Sequence[Message]:
        """See `Channels.messages`."""
        try:
            return asyncio.run(asyncio.wait_for(self._read(channel, since), self.timeout_seconds))
        except FloodWaitError as error:
            raise SourceError(f"{TELEGRAM} asks for a pause of {error.seconds} s") from error
        except (RPCError, OSError, ValueError, TimeoutError) as error:
            told = f"{TELEGRAM} did not answer about {channel} ({type(error).__name__})"
            raise SourceError(told) from error

    async def _read(self, channel: str, since: datetime) -> list[Message]:
        client = TelegramClient(
            StringSession(self.key.session),
            self.key.api_id,
            self.key.api_hash,
            connection_retries=_TRIES,
            request_retries=_TRIES,
            flood_sleep_threshold=0,
            receive_updates=False,
        )
        try:
            await client.connect()
            if not await client.is_user_authorized():
                raise SourceRefusedError(f"the session of {TELEGRAM} is logged out: make a new one")
            found = []
            async for message in client.iter_messages(channel, limit=MOST_MESSAGES):
                if message.date < since:
                    break
                found.append(message)
            return found
        finally:
            await client.disconnect()


@dataclass(frozen=True, slots=True)
class TelegramSource:
    """Posts of public channels; a `NewsSource`.

    Parameters
    ----------
    channels
        None while no credentials are set.
    names
        As in t.me/NAME.
    """

    channels: Channels | None
    names: Sequence[str]
    name: str = TELEGRAM

    @property
    def missing(self) -> str | None:
        """What must be set before it can be asked, as a sentence; None when nothing is missing."""
        if self.channels is None:
            return "no API id, API hash and session of Telegram are set"
        return None if self.names else "no channel of Telegram is named"

    def fetch(self, since: datetime, memory: Memory = NOTHING) -> Brought:
        """See `NewsSource.fetch`; each channel is read apart."""
        channels = self.channels
        if channels is None or not self.names:
            raise NotConfiguredError(f"{self.name} is not configured: {self.missing}")

        def read(channel: str, begin: datetime) -> list[Found]:
            posts = channels.messages(channel, begin)
            return [telegram_item(post, channel) for post in posts if post.message]

        return each_read(self.names, since, memory, read)


def telegram_item(post: Message, channel: str) -> Found:
    """Item of a message with text; its author is the channel, whoever wrote it.

    Source: https://docs.telethon.dev/en/stable/modules/custom.html#telethon.tl.custom.message.Message
    """
    published = post.date if post.date.tzinfo else post.date.replace(tzinfo=UTC)
    return Found(
        address=f"https://t.me/{channel}/{post.id}",
        identity=f"{channel}/{post.id}",
        source=f"{TELEGRAM} {channel}",
        channel="telegram",
        author=None,
        title="",
        text=post.message,
        language=None,
        published=plausible(published),
    )
