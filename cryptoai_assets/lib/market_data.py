"""Market data on their way into the store: fetched, then screened, a month at a time.

A bar is known at its close, and so is, at the first look, that nobody traded in a slot. What comes later
than that is a row of its own, with the time at which it was known: a bar that the store had moved on without
(fact ``refilled``), or another version of a bar that it holds (facts ``revised_close`` and the like; the
first version stays). That the newest bars did not come when they were due is a fact too: ``not_delivered``,
the number of slots without one from ``event_time`` on. `known_candles` and `knowledge` read the past as it
was known.

A fallback gives bars where there is no good one, and revises none. What the market's own source says of such
a bar later is a revision like any other, and from then on the bar is its own (fact ``from_fallback`` of 0).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl

from cryptoai_assets.lib.fact_store import new_versions
from cryptoai_assets.lib.market import month_start
from cryptoai_assets.lib.quality import Plausibility, Screened, screened
from cryptoai_assets.lib.sources.candle_source import CandleSource, Fetched
from cryptoai_assets.lib.sources.fallback import FROM_FALLBACK
from cryptoai_assets.lib.store import MonthlyStore, Place
from edge_bundle.candles import CANDLE_SCHEMA, UTC_MICROSECONDS, interval_duration
from edge_bundle.facts import FACT_SCHEMA, NO_TRADE, empty_facts, no_trade_slots, validated_facts

REJECTED_SCHEMA: dict[str, pl.DataType] = {**CANDLE_SCHEMA, "reason": pl.String()}
REFILLED = "refilled"
REVISED = "revised_"
NOT_DELIVERED = "not_delivered"
_BAR = ["symbol", "open_time"]
_VALUES = [name for name in CANDLE_SCHEMA if name not in _BAR]


@dataclass(frozen=True, slots=True)
class MarketStores:
    """Where a market's candles and facts lie, under one folder."""

    folder: Place

    @property
    def raw_candles(self) -> MonthlyStore:
        """As the source gave them, first versions only, in the order in which they came."""
        return MonthlyStore(self.folder / "raw_candles", "open_time", CANDLE_SCHEMA)

    @property
    def raw_facts(self) -> MonthlyStore:
        """What was said about slots: no trade there, refilled, revised, of whom; rows are only ever added."""
        return MonthlyStore(self.folder / "raw_facts", "event_time", FACT_SCHEMA)

    @property
    def clean_candles(self) -> MonthlyStore:
        """Rows that passed every rule."""
        return MonthlyStore(self.folder / "clean_candles", "open_time", CANDLE_SCHEMA)

    @property
    def clean_facts(self) -> MonthlyStore:
        """Facts that no candle contradicts; `edge_bundle.facts.no_trade_slots` reads the no-trade slots."""
        return MonthlyStore(self.folder / "clean_facts", "event_time", FACT_SCHEMA)

    @property
    def quarantine(self) -> MonthlyStore:
        """Rejected rows as they came, with their reason."""
        return MonthlyStore(self.folder / "quarantine", "open_time", REJECTED_SCHEMA)

    @property
    def late_rejected(self) -> MonthlyStore:
        """Versions that came late and could not be used, with their reason; no file where none did."""
        return MonthlyStore(self.folder / "late_rejected", "open_time", REJECTED_SCHEMA)

    def of_month(self, symbol: str, month: str) -> list[Place]:
        """Files of one symbol and month, written or not."""
        tables = (
            self.raw_candles,
            self.raw_facts,
            self.clean_candles,
            self.clean_facts,
            self.quarantine,
            self.late_rejected,
        )
        return [table.path(symbol, month) for table in tables]


def ingested(
    source: CandleSource, stores: MarketStores, *, symbol: str, month: str, start: datetime, end: datetime
) -> Fetched:
    """Fetch one symbol's part of a month and replace what the store holds of it; candles are written last."""
    fetched = source.fetch(symbol, start, end)
    stores.raw_facts.write(symbol, month, validated_facts(fetched.facts))
    stores.raw_candles.write(symbol, month, fetched.candles)
    return fetched


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What an answer added to a month.

    Parameters
    ----------
    candles
        New raw rows.
    facts
        New facts: no-trade slots, refilled slots, revised values, and whose a bar is.
    rejected
        Late rows that could not be used, with ``reason``.
    """

    candles: pl.DataFrame
    facts: pl.DataFrame
    rejected: pl.DataFrame


def appended(
    source: CandleSource,
    stores: MarketStores,
    *,
    symbol: str,
    month: str,
    start: datetime,
    end: datetime,
    interval: str,
    overlap: timedelta,
    now: datetime,
    plausibility: Plausibility | None = None,
) -> TakenIn:
    """Fetch what came since the last stored bar of a month, and add it; only that month is read or written.

    Parameters
    ----------
    overlap
        How much before its end the stored part is fetched again, in search of revisions and late bars.
    now
        When a revision or a late bar becomes known.
    plausibility
        See `take_in`.
    """
    last = _last_bar(stores.raw_candles.month_or_empty(symbol, month))
    resumed = start if last is None else max(start, last + interval_duration(interval) - overlap)
    fetched = Fetched(pl.DataFrame(schema=CANDLE_SCHEMA), empty_facts())
    if resumed < end:
        fetched = source.fetch(symbol, resumed, end)
    newest = max(filter(None, (last, _last_bar(fetched.candles))), default=None)
    due = resumed if newest is None else newest + interval_duration(interval)
    awaited = max(0, (end - due) // interval_duration(interval))
    undelivered = pl.DataFrame(
        [(symbol, due, now, source.name, NOT_DELIVERED, float(awaited))] if awaited else [],
        schema=FACT_SCHEMA,
        orient="row",
    )
    return take_in(
        replace(fetched, facts=pl.concat([fetched.facts, undelivered])),
        stores,
        symbol=symbol,
        month=month,
        interval=interval,
        source=source.name,
        now=now,
        plausibility=plausibility,
    )


def take_in(
    fetched: Fetched,
    stores: MarketStores,
    *,
    symbol: str,
    month: str,
    interval: str,
    source: str,
    now: datetime,
    plausibility: Plausibility | None = None,
    asked_again: bool = False,
) -> TakenIn:
    """Add an answer about one month to the store; what is held stays, and a repeated answer adds nothing.

    Bars after the last stored one are kept as they came. Of the others, which come late, a good one is kept
    where the store has no good one; one that differs from the stored one is a revision; one that breaks a
    rule is set aside. A bar of a fallback is no revision, and is left out where the store has a good one.
    Candles are written last: a run that is killed is made good by the next one.

    Parameters
    ----------
    plausibility
        With it a stored bar that is not believed is as good as none: another version of it is a refill.
    asked_again
        Whether all of it is late, because it was due long ago.
    """
    held, said = (store.month_or_empty(symbol, month) for store in (stores.raw_candles, stores.raw_facts))
    refused = stores.late_rejected.month_or_empty(symbol, month)
    fetched = _where_needed(fetched, held, said, interval, plausibility)
    late = _is_late(fetched.candles, held, said, interval) | asked_again
    again = screened(fetched.candles.filter(late), interval=interval)
    good = _good_at(again.accepted, held, said, interval, plausibility)
    # A bar that is not believed is no other one when the same is said of it again.
    repeated = _good_at(again.accepted, held, said, interval, None)
    refills = again.accepted.join(good, on=_BAR, how="anti", maintain_order="left").join(
        repeated, on=list(CANDLE_SCHEMA), how="anti", maintain_order="left"
    )
    known = known_candles(good, said, interval=interval, known_by=None)
    heard = pl.max_horizontal(
        pl.lit(now, UTC_MICROSECONDS), pl.col("event_time") + interval_duration(interval)
    )
    judged = pl.concat(
        [
            _marked(refills, REFILLED, pl.lit(1.0)),
            *_revised_values(again.accepted, known),
            _taken_back(again.accepted, fetched.facts, said),
        ]
    )
    told = pl.concat(
        [
            _known_at_its_look(fetched.facts, held, said, interval, heard, asked_again=asked_again),
            _in_their_names(judged, fetched.facts, source).with_columns(known_at=heard).select(*FACT_SCHEMA),
        ]
    )
    taken = TakenIn(
        candles=pl.concat([fetched.candles.filter(~late), refills]),
        facts=new_versions(said, validated_facts(told)),
        rejected=again.rejected.join(held, on=list(CANDLE_SCHEMA), how="anti", nulls_equal=True).join(
            refused, on=list(REJECTED_SCHEMA), how="anti", nulls_equal=True
        ),
    )
    if taken.rejected.height:
        stores.late_rejected.write(symbol, month, pl.concat([refused, taken.rejected]))
    for store, before, more in (
        (stores.raw_facts, said, taken.facts),
        (stores.raw_candles, held, taken.candles),
    ):
        if more.height or not store.holds(symbol, month):
            store.write(symbol, month, pl.concat([before, more.select(before.columns)]))
    return taken


def awaited_bars(raw: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """Bars at the end of raw candles that were due at the last look and did not come.

    Returns
    -------
    DataFrame
        One row a symbol that lacks any: ``symbol``, ``since`` (open time of the first one), ``bars``.
    """
    told = facts.filter(pl.col("name") == NOT_DELIVERED).group_by("symbol", since="event_time")
    newest = raw.group_by("symbol").agg(newest=pl.col("open_time").max())
    awaited = (
        told.agg(bars=pl.col("value").max().cast(pl.UInt32))
        .sort("since")
        .unique("symbol", keep="last", maintain_order=True)
        .join(newest, on="symbol", how="left", maintain_order="left")
    )
    came = (pl.col("newest") >= pl.col("since")).fill_null(False)
    return awaited.filter(~came).select("symbol", "since", "bars")


def answered_until(raw: pl.DataFrame, facts: pl.DataFrame, *, interval: str) -> datetime | None:
    """End of the last slot of which a look told something: a bar, no trade, or that none was delivered."""
    step = interval_duration(interval)
    told = facts.filter(pl.col("name").is_in([NO_TRADE, NOT_DELIVERED]))
    slots = pl.when(pl.col("name") == NOT_DELIVERED).then("value").otherwise(1).cast(pl.Int64)
    ends = [raw["open_time"] + step, told.select(pl.col("event_time") + slots * step).to_series()]
    last: datetime | None = pl.concat(ends).to_frame().max().item()
    return last


def _last_bar(candles: pl.DataFrame) -> datetime | None:
    last: datetime | None = candles.select(pl.col("open_time").max()).item()
    return last


def _known_at_its_look(
    facts: pl.DataFrame,
    held: pl.DataFrame,
    said: pl.DataFrame,
    interval: str,
    heard: pl.Expr,
    *,
    asked_again: bool,
) -> pl.DataFrame:
    """Evidence is known like a bar of its slot: at its close, or when it is heard where it comes late."""
    late = _is_late(_slots(facts), held, said, interval) | asked_again
    quiet = pl.col("name") == NO_TRADE
    return facts.with_columns(
        known_at=pl.when(late & quiet)
        .then(pl.max_horizontal("known_at", heard))
        .when(quiet)
        .then(pl.col("event_time") + interval_duration(interval))
        .otherwise("known_at")
    )


def _is_late(slots: pl.DataFrame, held: pl.DataFrame, said: pl.DataFrame, interval: str) -> pl.Series:
    """Whether a slot is answered after a later one, or after it was said to be empty or found to be."""
    step_us = interval_duration(interval) // timedelta(microseconds=1)
    first = pl.col("event_time").dt.epoch("us")
    awaited = (
        said.filter(pl.col("name") == NOT_DELIVERED)
        .group_by("symbol", "event_time")
        .agg(pl.col("value").max().cast(pl.Int64))
        .select("symbol", open_time=pl.int_ranges(first, first + pl.col("value") * step_us, step_us))
        .explode("open_time")
        .with_columns(pl.col("open_time").cast(UTC_MICROSECONDS))
    )
    empty = pl.concat([no_trade_slots(said), awaited]).unique().with_columns(empty=True)
    late = (pl.col("open_time") <= pl.lit(_last_bar(held), UTC_MICROSECONDS)) | pl.col("empty")
    rows = slots.join(empty, on=_BAR, how="left", maintain_order="left")
    return rows.select(late=late.fill_null(False))["late"]


def _versions(raw: pl.DataFrame, facts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that stand for their bar, and those of the first look in whose place a refill stands."""
    refilled = _slots(facts.filter(pl.col("name") == REFILLED)).unique().with_columns(refilled=True)
    rows = raw.join(refilled, on=_BAR, how="left", maintain_order="left")
    newest = pl.int_range(pl.len()).over(_BAR) == pl.len().over(_BAR) - 1
    stands = pl.col("refilled").is_null() | newest
    return rows.filter(stands).drop("refilled"), rows.filter(~stands).drop("refilled")


def good_candles(
    raw: pl.DataFrame, facts: pl.DataFrame, *, interval: str, plausibility: Plausibility | None = None
) -> pl.DataFrame:
    """Rows that stand for their bar and break no rule, sorted by symbol and time."""
    return _judged(raw, facts, interval=interval, plausibility=plausibility)[0].accepted


def _judged(
    raw: pl.DataFrame,
    facts: pl.DataFrame,
    *,
    interval: str,
    plausibility: Plausibility | None,
    before: pl.DataFrame | None = None,
    second_venue: pl.DataFrame | None = None,
) -> tuple[Screened, pl.DataFrame]:
    """Rows that stand for their bar, screened, and those in whose place they stand.

    A price that two versions of a bar agree on, such as those of two venues, is believed however far it is.
    """
    current, superseded = _versions(raw, facts)
    seen_twice = superseded.select(CANDLE_SCHEMA.keys()).unique(_BAR, keep="last", maintain_order=True)
    if second_venue is not None:
        seen_twice = pl.concat([seen_twice.join(second_venue, on=_BAR, how="anti"), second_venue])
    told = screened(
        current, interval=interval, plausibility=plausibility, before=before, second_venue=seen_twice
    )
    return told, superseded


def _good_at(
    asked: pl.DataFrame,
    held: pl.DataFrame,
    said: pl.DataFrame,
    interval: str,
    plausibility: Plausibility | None,
) -> pl.DataFrame:
    """Good stored versions of the bars that came again."""
    if plausibility is None or asked.is_empty():
        near = held.join(asked, on=_BAR, how="semi", maintain_order="left")
    else:
        # Far enough back for the bars that they are compared with, a few absent ones among them.
        reach = 10 * plausibility.bars * interval_duration(interval)
        near = held.filter(pl.col("open_time") >= asked.select(pl.col("open_time").min() - reach).item())
    good = good_candles(near, said, interval=interval, plausibility=plausibility)
    return good.join(asked, on=_BAR, how="semi", maintain_order="left")


def givers(facts: pl.DataFrame) -> pl.DataFrame:
    """Who gave the bars that came late or from a fallback, by the newest mark that says so.

    Returns
    -------
    DataFrame
        ``symbol``, ``open_time``, ``source``.
    """
    return _newest(facts.filter(pl.col("name").is_in([FROM_FALLBACK, REFILLED])), "source")


def stand_ins(facts: pl.DataFrame) -> pl.DataFrame:
    """Slots (``symbol``, ``open_time``) whose bar a fallback gave, and the market's own source not since."""
    marks = _newest(facts.filter(pl.col("name") == FROM_FALLBACK), "value")
    return marks.filter(pl.col("value") > 0).select(_BAR)


def _newest(marks: pl.DataFrame, column: str) -> pl.DataFrame:
    known = marks.sort("known_at", maintain_order=True)
    return known.group_by("symbol", open_time="event_time").agg(pl.col(column).last())


def _where_needed(
    fetched: Fetched,
    held: pl.DataFrame,
    said: pl.DataFrame,
    interval: str,
    plausibility: Plausibility | None,
) -> Fetched:
    """An answer without a fallback's bars of which the store has a good version, and what is said of them."""
    standing_in = fetched.candles.join(stand_ins(fetched.facts), on=_BAR, how="semi")
    spared = _good_at(standing_in, held, said, interval, plausibility).select(_BAR)
    about = spared.rename({"open_time": "event_time"})
    return Fetched(
        fetched.candles.join(spared, on=_BAR, how="anti", maintain_order="left"),
        fetched.facts.join(about, on=about.columns, how="anti", maintain_order="left"),
    )


def _taken_back(bars: pl.DataFrame, facts: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    """Marks of a fallback's bars that its own source gives now: none stood before it."""
    own = bars.join(stand_ins(facts), on=_BAR, how="anti", maintain_order="left")
    back = own.join(stand_ins(said), on=_BAR, how="semi", maintain_order="left")
    return _marked(back, FROM_FALLBACK, pl.lit(0.0))


def _in_their_names(marks: pl.DataFrame, facts: pl.DataFrame, source: str) -> pl.DataFrame:
    """Marks with the source that gave their bar: the one that was asked, or the fallback that answered."""
    names = givers(facts).rename({"open_time": "event_time"})
    told = marks.join(names, on=["symbol", "event_time"], how="left", maintain_order="left")
    return told.with_columns(pl.col("source").fill_null(source))


def _slots(facts: pl.DataFrame) -> pl.DataFrame:
    return facts.select("symbol", open_time="event_time")


def _marked(bars: pl.DataFrame, name: str, value: pl.Expr) -> pl.DataFrame:
    return bars.select("symbol", event_time="open_time", name=pl.lit(name), value=value)


def _revised_values(bars: pl.DataFrame, known: pl.DataFrame) -> list[pl.DataFrame]:
    """Of bars that are known already, each value that is another one than the known one."""
    both = bars.join(known, on=_BAR, suffix="_known")
    return [
        _marked(both.filter(pl.col(name) != pl.col(f"{name}_known")), f"{REVISED}{name}", pl.col(name))
        for name in _VALUES
    ]


def known_candles(
    candles: pl.DataFrame, facts: pl.DataFrame, *, interval: str, known_by: datetime | None
) -> pl.DataFrame:
    """Candles as they were known at a time: no later bar, no late one before it came, no later revision.

    Parameters
    ----------
    candles, facts
        Of the raw or of the clean stores.
    known_by
        Included; None is the latest knowledge, which targets are made of.
    """
    if known_by is None:
        return _as_told(candles, facts, facts)
    seen = _as_told(candles, facts, facts.filter(pl.col("known_at") <= known_by))
    return seen.filter(pl.col("open_time") + interval_duration(interval) <= known_by)


def _as_told(candles: pl.DataFrame, facts: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Candles without those whose refill is not among the known facts, in the version that these tell."""
    refills = facts.filter(pl.col("name") == REFILLED)
    unknown = _slots(refills).join(_slots(known.filter(pl.col("name") == REFILLED)), on=_BAR, how="anti")
    seen = candles.join(unknown, on=_BAR, how="anti", maintain_order="left")
    for name in _VALUES:
        versions = known.filter(pl.col("name") == f"{REVISED}{name}").sort("known_at", maintain_order=True)
        if versions.height:
            newest = versions.group_by("symbol", open_time="event_time").agg(revised=pl.col("value").last())
            seen = (
                seen.join(newest, on=_BAR, how="left", maintain_order="left")
                .with_columns(pl.coalesce("revised", name).alias(name))
                .drop("revised")
            )
    return seen


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Candles and facts of a market as they were known over a while in which nothing came late.

    Parameters
    ----------
    since, until
        What a bar is computed from was known so when it closed in ``since <= close < until``; None is open.
    """

    candles: pl.DataFrame
    facts: pl.DataFrame
    since: datetime | None
    until: datetime | None


def knowledge(
    candles: pl.DataFrame, facts: pl.DataFrame, *, interval: str, until: datetime, reach: timedelta
) -> Iterator[Knowledge]:
    """What was known, in order of time: a new one from each moment on at which something came late.

    What was known at its time stays in all of them: who computes a bar reads no later one. Facts that say
    nothing about slots are handed on as they are.

    Parameters
    ----------
    until
        What came late after it is known in none.
    reach
        Bars, and what is said about slots, that open longer before a moment are left out behind it.
    """
    about_slot, late = _about_slot(), _came_late(interval)
    for since, end in pairwise((None, *late_moments(facts, interval=interval, until=until), None)):
        if since is None:
            bars, near, known = candles, facts, facts.filter(~late)
        else:
            bars = candles.filter(pl.col("open_time") >= since - reach)
            near = facts.filter(~about_slot | (pl.col("event_time") >= since - reach))
            known = near.filter(~(late & (pl.col("known_at") > since)))
        yield Knowledge(_as_told(bars, near, known), known, since, end)


def late_moments(facts: pl.DataFrame, *, interval: str, until: datetime) -> list[datetime]:
    """Times up to `until`, in order, at which something about a slot became known after its close.

    Of those between the closes of two bars the last one: no bar tells them apart.
    """
    step_us = interval_duration(interval) // timedelta(microseconds=1)
    next_close = -(-pl.col("known_at").dt.epoch("us") // step_us)
    late = facts.filter(_came_late(interval) & (pl.col("known_at") <= until))
    return late.group_by(next_close.alias("close")).agg(pl.col("known_at").max())["known_at"].sort().to_list()


def _about_slot() -> pl.Expr:
    return pl.col("name").is_in([REFILLED, NO_TRADE]) | pl.col("name").str.starts_with(REVISED)


def _came_late(interval: str) -> pl.Expr:
    return _about_slot() & (pl.col("known_at") > pl.col("event_time") + interval_duration(interval))


def cleaned(
    stores: MarketStores,
    *,
    symbol: str,
    month: str,
    interval: str,
    plausibility: Plausibility | None = None,
    second_venue: pl.DataFrame | None = None,
) -> Screened:
    """Screen one stored month; rejected rows go to the quarantine, accepted ones are written last.

    A no-trade fact about a slot for which the source gave a row at its first look, acceptable or not, is
    dropped. One about a slot that was refilled stays: it is what was known until then.

    Parameters
    ----------
    plausibility
        None judges no bar by the bars before it; with it the end of the raw month before is read as well.
    second_venue
        Candles of the symbol from elsewhere.
    """
    raw, facts = stores.raw_candles.month(symbol, month), stores.raw_facts.month(symbol, month)
    told, superseded = _judged(
        raw,
        facts,
        interval=interval,
        plausibility=plausibility,
        before=_bars_before(stores, symbol, month, interval, plausibility),
        second_venue=second_venue,
    )
    told = replace(
        told,
        rejected=pl.concat(
            [
                told.rejected,
                screened(superseded, interval=interval).rejected,
                stores.late_rejected.month_or_empty(symbol, month),
            ]
        ),
    )
    stores.quarantine.write(symbol, month, told.rejected)
    stores.clean_facts.write(symbol, month, _not_contradicted(facts, raw))
    stores.clean_candles.write(symbol, month, told.accepted)
    return told


def _not_contradicted(facts: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
    refilled = _slots(facts.filter(pl.col("name") == REFILLED))
    first_looks = raw.join(refilled, on=_BAR, how="anti")
    contradicted = first_looks.select("symbol", event_time="open_time", name=pl.lit(NO_TRADE))
    return facts.join(contradicted, on=contradicted.columns, how="anti", maintain_order="left")


def _bars_before(
    stores: MarketStores, symbol: str, month: str, interval: str, plausibility: Plausibility | None
) -> pl.DataFrame | None:
    if plausibility is None:
        return None
    start = month_start(month)
    reach = plausibility.bars * interval_duration(interval)
    return screened(stores.raw_candles.read([symbol], start - reach, start), interval=interval).accepted
