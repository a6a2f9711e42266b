"""The online store: the latest closed bars of each symbol, and facts, written for the service to read."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from cryptoai_serving.bar_shelf import BAR, NUMBERS, SLOT, BarsPlace, Packed
from cryptoai_serving.redis_shelf import RedisShelf
from cryptoai_serving.sqlite_shelf import SqliteShelf
from edge_bundle.candles import CANDLE_SCHEMA, UTC_MICROSECONDS, candle_frame, interval_duration
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, empty_facts, validated_facts
from edge_bundle.windows import MarketWindow


class BarStore:
    """Bars, no-trade slots and facts in SQLite or in Redis; nothing is opened before the first call."""

    def __init__(self, place: BarsPlace) -> None:
        self._shelf = SqliteShelf(place) if isinstance(place, Path) else RedisShelf(place)

    def write_bars(self, candles: pl.DataFrame) -> None:
        """Add closed bars or replace them; only the newest `KEPT_BARS` of a symbol are kept.

        Raises
        ------
        CandlesRefusedError
            When a column is absent or cannot be read.
        StoreUnavailableError
            When the store cannot be written.
        """
        self._shelf.put_bars(_packed(candles))

    def replace_bars(self, candles: pl.DataFrame) -> None:
        """Put closed bars in the place of all of their symbol up to the newest of them; newer ones stay.

        As many are kept, and the same is refused, as by `write_bars`.
        """
        self._shelf.replace_bars(_packed(candles))

    def write_no_trade(self, facts: pl.DataFrame) -> None:
        """Add the ``no_trade`` facts of a fact frame; facts of other names are left out.

        Raises
        ------
        FactsRefusedError
            When the frame breaks the fact contract.
        StoreUnavailableError
            When the store cannot be written.
        """
        quiet = validated_facts(facts).filter(pl.col("name") == NO_TRADE, pl.col("symbol").is_not_null())
        times = quiet.select(pl.col("event_time", "known_at").dt.epoch("us"))
        values = np.empty(quiet.height, SLOT)
        for name, column in zip(SLOT.names or (), times.iter_columns(), strict=True):
            values[name] = column.to_numpy()
        self._shelf.put_slots(_by_symbol(quiet["symbol"], values))

    def write_facts(self, facts: pl.DataFrame) -> None:
        """Replace the facts that are no ``no_trade`` facts; what is handed over is all that is kept.

        Raises
        ------
        FactsRefusedError
            When the frame breaks the fact contract.
        StoreUnavailableError
            When the store cannot be written.
        """
        self._shelf.replace_facts(validated_facts(facts).filter(pl.col("name") != NO_TRADE))

    def facts(self, names: Collection[str]) -> pl.DataFrame:
        """Facts of these names, in the order in which they were written.

        Raises
        ------
        StoreUnavailableError
            When the store cannot be read.
        """
        return self._shelf.facts(names)

    def latest(self, symbols: Sequence[str], bars: int) -> pl.DataFrame:
        """Candle frame with at most the newest `bars` closed bars of each symbol.

        Raises
        ------
        StoreUnavailableError
            When the store cannot be read.
        """
        return _candle_frame(self._shelf.latest(symbols, bars))

    def window(self, symbols: Sequence[str], bars: int) -> MarketWindow:
        """Latest bars, and the no-trade slots after the oldest of them.

        Raises
        ------
        StoreUnavailableError
            When the store cannot be read.
        """
        found, slots = self._shelf.window(symbols, bars)
        quiet = [(symbol, *slot) for symbol, own in slots.items() for slot in own.tolist()]
        facts = _no_trade_facts(quiet, source="online_store") if quiet else empty_facts()
        return MarketWindow(_candle_frame(found), facts)

    def revision(self) -> Hashable | None:
        """Something that every write changes, whoever makes it; None when it cannot be told at once."""
        return self._shelf.revision()

    def close(self) -> None:
        """End what is open."""
        self._shelf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def no_trade_facts(slots: pl.DataFrame, *, interval: str, source: str) -> pl.DataFrame:
    """Fact frame from ``symbol`` and ``open_time`` of slots without a trade, known when they close."""
    close = pl.col("open_time") + interval_duration(interval)
    rows = slots.select("symbol", pl.col("open_time").dt.epoch("us"), close.dt.epoch("us").alias("known_at"))
    return _no_trade_facts(rows.rows(), source=source)


def _no_trade_facts(rows: Sequence[tuple[str, int, int]], *, source: str) -> pl.DataFrame:
    columns = {"symbol": pl.String, "event_time": pl.Int64, "known_at": pl.Int64}
    return (
        pl.DataFrame(rows, schema=columns, orient="row")
        .with_columns(
            pl.col("event_time", "known_at").cast(UTC_MICROSECONDS),
            source=pl.lit(source),
            name=pl.lit(NO_TRADE),
            value=pl.lit(1.0),
        )
        .select(*FACT_SCHEMA)
    )


def _packed(candles: pl.DataFrame) -> dict[str, Packed]:
    candles = candle_frame(candles)
    values = np.empty(candles.height, BAR)
    values["open_time"] = candles["open_time"].dt.epoch("us").to_numpy()
    for name in NUMBERS:
        values[name] = candles[name].to_numpy()
    return _by_symbol(candles["symbol"], values)


def _by_symbol(symbols: pl.Series, values: Packed) -> dict[str, Packed]:
    owners = symbols.to_numpy()
    return {symbol: values[owners == symbol] for symbol in symbols.unique(maintain_order=True)}


def _candle_frame(found: Mapping[str, Packed]) -> pl.DataFrame:
    if not found:
        return pl.DataFrame(schema=CANDLE_SCHEMA)
    values = np.concatenate(list(found.values()))
    times = pl.Series(np.ascontiguousarray(values["open_time"])).cast(UTC_MICROSECONDS)
    owners = np.repeat(np.arange(len(found)), [len(own) for own in found.values()])
    numbers = {name: np.ascontiguousarray(values[name]) for name in NUMBERS}
    return pl.DataFrame({"open_time": times, "symbol": pl.Series(list(found)).gather(owners), **numbers})
