"""The online store's back end in Redis: a symbol's bars are one string, whose end is read at once."""

import io
import secrets
import threading
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cryptoai_serving.bar_shelf import (
    BAR,
    KEPT_BARS,
    SLOT,
    BarShelf,
    Packed,
    RedisPlace,
    merged,
    replaced,
    unpacked,
)
from cryptoai_serving.errors import StoreUnavailableError
from edge_bundle.facts import empty_facts

# A server that hangs is one that is gone: whoever waits for it holds up a thread of the service.
TIMEOUT_SECONDS = 1.0
# Between two looks at the revision: an answer that is kept may be older than the store by this.
LOOK_SECONDS = 0.05
REVISION_BYTES = 8


class RedisShelf(BarShelf):
    """Bars in a Redis server; nothing is asked before the first call.

    What is put is put together with a new name of the revision, at once: who knows a revision reads what it
    stands for or something newer, and a server that goes on with an older copy names that copy.
    """

    def __init__(self, place: RedisPlace) -> None:
        self._place = place
        self._prefix = f"cryptoai:bars:1:{place.market}:"
        self._revision_key = f"{self._prefix}revision"
        self._facts_key = f"{self._prefix}facts"
        self._client = redis.Redis.from_url(
            place.address,
            socket_connect_timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 1),  # a connection of before the server went away is opened again
        )
        self._lookout: _Lookout | None = None
        self._lookout_lock = threading.Lock()

    def put_bars(self, bars: Mapping[str, Packed]) -> None:
        """Add bars or replace them, and keep the newest."""
        self._keep(bars, merged)

    def replace_bars(self, bars: Mapping[str, Packed]) -> None:
        """Put bars in the place of all up to the newest of them; newer ones stay."""
        self._keep(bars, replaced)

    def _keep(self, bars: Mapping[str, Packed], joined: Callable[[Packed, Packed], Packed]) -> None:
        def put(pipe: Any) -> None:
            kept = {}
            for symbol, own in bars.items():
                bars_key, slots_key = self._keys(symbol)
                newest = joined(unpacked(pipe.get(bars_key), BAR), own)[-KEPT_BARS:]
                kept[bars_key] = newest.tobytes()
                if len(newest) == KEPT_BARS:
                    slots = unpacked(pipe.get(slots_key), SLOT)
                    kept[slots_key] = slots[slots["open_time"] >= newest["open_time"][0]].tobytes()
            self._put(pipe, kept)

        self._transact(put, *(key for symbol in bars for key in self._keys(symbol)))

    def put_slots(self, slots: Mapping[str, Packed]) -> None:
        """Add slots without a trade or replace them."""
        keys = {symbol: self._keys(symbol)[1] for symbol in slots}

        def put(pipe: Any) -> None:
            self._put(
                pipe,
                {
                    keys[symbol]: merged(unpacked(pipe.get(keys[symbol]), SLOT), own).tobytes()
                    for symbol, own in slots.items()
                },
            )

        self._transact(put, *keys.values())

    def replace_facts(self, facts: pl.DataFrame) -> None:
        """Keep these facts and no others."""
        named = {
            str(name): own.write_ipc(None).getvalue()
            for (name,), own in facts.group_by("name", maintain_order=True)
        }

        def put(pipe: Any) -> None:
            pipe.multi()
            pipe.delete(self._facts_key)
            if named:
                pipe.hset(self._facts_key, mapping=named)
            pipe.set(self._revision_key, secrets.token_bytes(REVISION_BYTES))

        self._transact(put)

    def facts(self, names: Collection[str]) -> pl.DataFrame:
        """Facts of these names, in the order in which they were put."""
        wanted = sorted(names)
        if not wanted:
            return empty_facts()
        with self._answering():
            found: Any = self._client.hmget(self._facts_key, wanted)
            frames = [pl.read_ipc(io.BytesIO(own)) for own in found if own is not None]
        return pl.concat([empty_facts(), *frames])

    def latest(self, symbols: Sequence[str], bars: int) -> dict[str, Packed]:
        """At most the newest `bars` bars of each symbol."""
        return self.window(symbols, bars)[0]

    def window(self, symbols: Sequence[str], bars: int) -> tuple[dict[str, Packed], dict[str, Packed]]:
        """The same, and the slots after the oldest of them, in one transaction."""
        wanted = sorted(set(symbols))
        if not wanted:
            return {}, {}
        with self._answering():
            pipe = self._client.pipeline(transaction=True)
            for symbol in wanted:
                bars_key, slots_key = self._keys(symbol)
                pipe.getrange(bars_key, -bars * BAR.itemsize, -1)
                pipe.get(slots_key)
            answers: list[Any] = pipe.execute()
            found = {symbol: unpacked(own, BAR) for symbol, own in zip(wanted, answers[::2], strict=True)}
            slots = {symbol: unpacked(own, SLOT) for symbol, own in zip(wanted, answers[1::2], strict=True)}
        return found, {
            symbol: slots[symbol][slots[symbol]["open_time"] > own["open_time"][0]]
            for symbol, own in found.items()
            if len(own)
        }

    def revision(self) -> Hashable | None:
        """Name of the last change as it was `LOOK_SECONDS` ago; the first call begins to look."""
        if self._lookout is None:
            with self._lookout_lock:
                if self._lookout is None:
                    self._lookout = _Lookout(self._seen)
        return self._lookout.seen

    def close(self) -> None:
        """End the connections."""
        with self._lookout_lock:
            if self._lookout is not None:
                self._lookout.end()
                self._lookout = None
        self._client.close()

    def _keys(self, symbol: str) -> tuple[str, str]:
        return f"{self._prefix}bars:{symbol}", f"{self._prefix}slots:{symbol}"

    def _seen(self) -> Hashable | None:
        try:
            revision: Any = self._client.get(self._revision_key)
        except (redis.RedisError, OSError):
            return None
        return bytes(revision) if revision else None

    def _put(self, pipe: Any, values: Mapping[str, bytes]) -> None:
        pipe.multi()
        for key, value in values.items():
            pipe.set(key, value)
        pipe.set(self._revision_key, secrets.token_bytes(REVISION_BYTES))

    def _transact(self, put: Callable[[Any], None], *keys: str) -> None:
        """Run it until nobody else wrote to the keys between its reads and its writes."""
        with self._answering():
            self._client.transaction(put, *keys)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise StoreUnavailableError(
                f"{self._place.name} cannot be used: {type(error).__name__}", cure="try again in a moment"
            ) from error


class _Lookout:
    """A thread that asks again and again, so that who must not wait finds what it saw last."""

    def __init__(self, ask: Callable[[], Hashable | None]) -> None:
        self._ask = ask
        self._ended = threading.Event()
        self.seen: Hashable | None = None
        self._thread = threading.Thread(target=self._look, name="redis-revision", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.seen = self._ask()
        self.seen = None
