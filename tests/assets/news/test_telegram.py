"""Telegram's channels: Telethon's own messages become items, and what is missing or away is told."""

import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from telethon.crypto import AuthKey
from telethon.sessions import StringSession
from telethon.tl.custom import Message
from telethon.tl.patched import Message as TextMessage
from telethon.tl.patched import MessageService
from telethon.tl.types import MessageActionPinMessage, PeerChannel

from cryptoai_assets.lib.news.news_store import NewsStore
from cryptoai_assets.lib.news.telegram import TelegramKey, TelegramSource, TelethonChannels
from cryptoai_assets.lib.sources.candle_source import SourceError
from cryptoai_assets.lib.sources.fact_source import NotConfiguredError
from edge_bundle.news.articles import CHANNELS, sifted
from edge_bundle.news.mood import WEIGHING

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SINCE = NOW - timedelta(days=1)


def post(number: int, text: str, *, hours: float = 1) -> Message:
    return TextMessage(
        id=number, peer_id=PeerChannel(5), date=NOW - timedelta(hours=hours), message=text, out=False
    )


class Held:
    """Channels in memory."""

    def __init__(self, **posts: Sequence[Message] | SourceError) -> None:
        self.posts = posts
        self.asked: list[tuple[str, datetime]] = []

    def messages(self, channel: str, since: datetime) -> Sequence[Message]:
        self.asked.append((channel, since))
        found = self.posts[channel]
        if isinstance(found, SourceError):
            raise found
        return [post for post in found if post.date >= since]


def test_message_becomes_an_item_with_its_public_address() -> None:
    pinned = MessageService(
        id=9, peer_id=PeerChannel(5), date=NOW, action=MessageActionPinMessage(), out=False
    )
    held = Held(coins=[post(7, "<b>Bitcoin</b> rises"), post(8, ""), pinned])
    brought = TelegramSource(held, ["coins"]).fetch(SINCE)
    assert held.asked == [("coins", SINCE)]
    [row] = sifted(brought.found, now=NOW, history_until=None).articles.to_dicts()
    assert (row["address"], row["channel"], row["source"]) == (
        "https://t.me/coins/7",
        "telegram",
        "Telegram coins",
    )
    assert (row["text"], row["coins"], row["author"]) == ("Bitcoin rises", ["BTC"], None)
    assert row["published_at"] == NOW - timedelta(hours=1)


def test_channel_that_does_not_answer_is_told_and_the_others_are_read() -> None:
    held = Held(one=SourceError("one is silent"), two=[post(1, "Ether falls")])
    brought = TelegramSource(held, ["one", "two"]).fetch(SINCE)
    assert len(brought.found) == 1
    assert brought.complaint == "one is silent"
    with pytest.raises(SourceError, match="one is silent"):
        TelegramSource(held, ["one"]).fetch(SINCE)


def test_channel_that_was_silent_is_read_from_where_it_was_read_last(tmp_path: Path) -> None:
    store = NewsStore(tmp_path / "news", tmp_path / "memories")
    posts = [post(hour, f"Ether {hour}", hours=-hour) for hour in range(7)]

    def begun(hour: int, *silent: str) -> dict[str, int]:
        """Visit the channels with all that is posted by then; the hour from which each was asked, about."""
        said = {name: SourceError(name) if name in silent else posts[: hour + 1] for name in ("a", "b")}
        held, now = Held(**said), NOW + timedelta(hours=hour)
        store.visit(TelegramSource(held, ["a", "b"]), start=SINCE, clock=lambda: now)
        return {name: round((since - NOW) / timedelta(hours=1)) for name, since in held.asked}

    assert begun(0) == {"a": -24, "b": -24}
    assert begun(1, "b") == {"a": 0, "b": 0}
    assert begun(2, "b") == {"a": 1, "b": 0}
    assert begun(3, "a", "b") == {"a": 2, "b": 0}
    assert begun(4, "a") == {"a": 2, "b": 0}
    assert begun(5) == {"a": 2, "b": 4}
    assert begun(6) == {"a": 5, "b": 5}
    assert store.read()["address"].n_unique() == store.read().height == 2 * len(posts)


@pytest.mark.parametrize(("channels", "names", "told"), [(None, ["a"], "API id"), (Held(), [], "no channel")])
def test_telegram_without_a_setting_is_not_configured(
    channels: Held | None, names: list[str], told: str
) -> None:
    source = TelegramSource(channels, names)
    assert told in str(source.missing)
    with pytest.raises(NotConfiguredError, match=told):
        source.fetch(SINCE)


def test_every_channel_has_a_weight() -> None:
    assert set(WEIGHING.channels) == set(CHANNELS)
    assert sum(WEIGHING.channels.values()) == pytest.approx(1)
    assert WEIGHING.channels["telegram"] == 0.1


def test_server_that_is_away_and_a_session_that_is_none_are_told_without_the_session() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        session = StringSession()
        session.set_dc(2, "127.0.0.1", taken.getsockname()[1])
        session.auth_key = AuthKey(bytes(256))
        saved = session.save()
        for key in (TelegramKey(1, "hash", saved), TelegramKey(1, "hash", "no session")):
            with pytest.raises(SourceError, match="did not answer about coins") as told:
                TelethonChannels(key, timeout_seconds=30).messages("coins", SINCE)
            assert key.session not in str(told.value)
