"""Repair of gaps: the venue is asked again, then another one, and at last the gap is not to be had.

Of a bar that a fallback gave the venue alone is asked.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from cryptoai_assets.lib.gaps import (
    FROM_ANOTHER_VENUE,
    NO_TRADE,
    NOT_TO_BE_HAD,
    OPEN,
    REFILLED,
    GapTable,
    runs_of,
    slots_of,
)
from cryptoai_assets.lib.market_data import MarketStores, good_candles, stand_ins, take_in
from cryptoai_assets.lib.quality import Plausibility
from cryptoai_assets.lib.source_changes import bars_by_source
from cryptoai_assets.lib.sources.candle_source import (
    CandleSource,
    Fetched,
    SourceError,
    SourceRefusedError,
)
from edge_bundle.candles import UTC_MICROSECONDS, interval_duration
from edge_bundle.facts import empty_facts, no_trade_slots

_SLOT = ["symbol", "open_time"]


@dataclass(frozen=True, slots=True)
class RepairPolicy:
    """How long a gap is worked on.

    Parameters
    ----------
    own_tries
        Tries at the venue itself from which on another venue is asked too.
    max_tries
        Tries after which a bar is not to be had.
    bars_a_request
        Longest span that is asked for at once; gaps that lie nearer together share a request.
    """

    own_tries: int
    max_tries: int
    bars_a_request: int


@dataclass(frozen=True, slots=True)
class Repaired:
    """What came of a repair.

    Parameters
    ----------
    rows
        Added to the table of gaps.
    failures
        What the sources said that did not answer.
    """

    rows: pl.DataFrame
    failures: tuple[str, ...]


def repair(
    gaps: GapTable,
    stores: MarketStores,
    *,
    symbols: Collection[str],
    interval: str,
    source: CandleSource,
    second_source: CandleSource | None,
    policy: RepairPolicy,
    plausibility: Plausibility | None,
    month: str | None,
    now: datetime,
) -> Repaired:
    """Work off the open gaps of these symbols; afterwards their months are to be cleaned again.

    A bar that the venue gives now becomes a raw row and a fact ``refilled``; a slot of which the venue says
    that nobody traded becomes a no-trade fact; a bar of another venue is marked by the source of its fact.
    A bar of a fallback that the venue gives now is revised, and its own from now on. Nothing is filled
    forward. A venue that is down costs no try, one that refuses to answer does.

    Parameters
    ----------
    plausibility
        As the months are cleaned with: a bar that is not believed is asked for too.
    month
        None is every month.
    """
    current = gaps.current(symbols, interval=interval, month=month).filter(pl.col("state") == OPEN)
    months = current.group_by(
        "symbol", pl.col("from").dt.strftime("%Y-%m").alias("month"), maintain_order=True
    )
    rows, failures = [current.clear()], list[str]()
    for (symbol, month_of_gaps), own in months:
        place = _Place(stores, str(symbol), str(month_of_gaps), interval, plausibility, now)
        slots = slots_of(own, interval=interval)
        tried = _second_look(place, slots, source, second_source, policy, failures)
        outcome = _outcome(place, tried, source.name, policy)
        told = [name for name in outcome.columns if name != "known_at"]
        changed = outcome.join(slots, on=told, how="anti")
        rows.append(runs_of(changed, interval=interval))
        gaps.append(rows[-1])
    return Repaired(pl.concat(rows), tuple(failures))


@dataclass(frozen=True, slots=True)
class _Place:
    """One symbol and month of the store, at a time."""

    stores: MarketStores
    symbol: str
    month: str
    interval: str
    plausibility: Plausibility | None
    now: datetime

    @property
    def facts(self) -> pl.DataFrame:
        return self.stores.raw_facts.month_or_empty(self.symbol, self.month)

    def good(self, slots: pl.DataFrame) -> pl.DataFrame:
        raw = self.stores.raw_candles.month_or_empty(self.symbol, self.month)
        good = good_candles(raw, self.facts, interval=self.interval, plausibility=self.plausibility)
        return good.join(slots, on=_SLOT, how="semi", maintain_order="left")

    def awaited(self, slots: pl.DataFrame) -> pl.DataFrame:
        """Slots about which the venue has said nothing: without a bar, or with one that a fallback gave."""
        facts = self.facts
        own = self.good(slots).select(_SLOT).join(stand_ins(facts), on=_SLOT, how="anti")
        known = pl.concat([own, no_trade_slots(facts)])
        return slots.join(known, on=_SLOT, how="anti", maintain_order="left")

    def unexplained(self, slots: pl.DataFrame) -> pl.DataFrame:
        """Those of them without a bar."""
        return self.awaited(slots).join(self.good(slots), on=_SLOT, how="anti", maintain_order="left")

    def ask(self, source: CandleSource, slots: pl.DataFrame, bars_a_request: int) -> Fetched:
        """What a source answers about these slots, and nothing else that it says."""
        step = interval_duration(self.interval)
        answers = [
            source.fetch(self.symbol, first, last + step)
            for first, last in _spans(slots["open_time"].to_list(), longest=bars_a_request * step)
        ]
        candles, facts = (
            pl.concat(frames) for frames in zip(*((a.candles, a.facts) for a in answers), strict=True)
        )
        about = slots.select("symbol", event_time="open_time")
        return Fetched(
            candles.join(slots, on=_SLOT, how="semi", maintain_order="left"),
            facts.join(about, on=about.columns, how="semi", maintain_order="left"),
        )

    def take_in(self, answer: Fetched, source: str) -> None:
        take_in(
            answer,
            self.stores,
            symbol=self.symbol,
            month=self.month,
            interval=self.interval,
            source=source,
            now=self.now,
            plausibility=self.plausibility,
            asked_again=True,
        )


def _spans(times: list[datetime], *, longest: timedelta) -> list[tuple[datetime, datetime]]:
    """First and last of the times, which are in order, that fit into one request."""
    spans: list[tuple[datetime, datetime]] = []
    for moment in times:
        if spans and moment - spans[-1][0] < longest:
            spans[-1] = (spans[-1][0], moment)
        else:
            spans.append((moment, moment))
    return spans


def _second_look(
    place: _Place,
    slots: pl.DataFrame,
    source: CandleSource,
    second_source: CandleSource | None,
    policy: RepairPolicy,
    failures: list[str],
) -> pl.DataFrame:
    """Ask for what is still awaited, keep what comes, and return the slots with their tries."""
    pending = place.awaited(slots)
    if pending.is_empty():
        return slots
    try:
        place.take_in(place.ask(source, pending, policy.bars_a_request), source.name)
    except SourceRefusedError as error:
        failures.append(str(error))
    except SourceError as error:
        failures.append(str(error))
        return slots
    asked = pending.select(_SLOT).with_columns(more=pl.lit(1, pl.UInt32))
    tried = slots.join(asked, on=_SLOT, how="left", maintain_order="left")
    tried = tried.with_columns(tries=pl.col("tries") + pl.col("more").fill_null(0)).drop("more")
    elsewhere = place.unexplained(tried.filter(pl.col("tries") >= policy.own_tries))
    if second_source is not None and not elsewhere.is_empty():
        try:
            # That nobody traded there says nothing about here.
            candles = place.ask(second_source, elsewhere, policy.bars_a_request).candles
            place.take_in(Fetched(candles, empty_facts()), second_source.name)
        except SourceError as error:
            failures.append(str(error))
    return tried


def _outcome(place: _Place, slots: pl.DataFrame, venue_source: str, policy: RepairPolicy) -> pl.DataFrame:
    """The slots in their state, as the store explains them now."""
    facts = place.facts
    given = bars_by_source(place.good(slots), facts, source=venue_source).rename({"source": "giver"})
    quiet = no_trade_slots(facts).unique().with_columns(quiet=True)
    awaited = place.awaited(slots).select(*_SLOT, awaited=True)
    for more in (given, quiet, awaited):
        slots = slots.join(more, on=_SLOT, how="left", maintain_order="left")
    absent = pl.col("giver").is_null()
    return slots.with_columns(
        state=pl.when(pl.col("awaited") & (pl.col("tries") < policy.max_tries))
        .then("state")
        .when(absent & pl.col("awaited"))
        .then(pl.lit(NOT_TO_BE_HAD))
        .when(pl.col("giver") != venue_source)
        .then(pl.lit(FROM_ANOTHER_VENUE))
        .otherwise(pl.lit(REFILLED)),
        cause=pl.when(absent & pl.col("quiet")).then(pl.lit(NO_TRADE)).otherwise("cause"),
        known_at=pl.lit(place.now, UTC_MICROSECONDS),
    ).drop("giver", "quiet", "awaited")
