"""The mood of the news, told slot by slot into the store of facts, as somebody knew it who was there."""

from collections.abc import Callable, Mapping
from datetime import datetime

import polars as pl

from cryptoai_assets.lib.fact_store import FactStore
from edge_bundle.news.mood import (
    HOUR,
    OF_THE_MARKET,
    SOURCE,
    WEIGHING,
    known_when_made,
    mood_facts,
    slots_between,
)


def new_moods(
    scored: pl.DataFrame, coins: Mapping[str, str], facts: FactStore, *, clock: Callable[[], datetime]
) -> pl.DataFrame:
    """Store the mood of every slot that has passed since the last one, and return it.

    Slots that are stored stay as they were: what came later was not known then. The first time the slots go
    back to the oldest article and are history; every later one is known when it was made.

    Parameters
    ----------
    scored, coins
        As for `edge_bundle.news.mood.mood_facts`, first known first.
    clock
        Our time, read before the facts are made and after.
    """
    now = clock()
    stored = facts.read([OF_THE_MARKET[0]], source=SOURCE)["event_time"]
    start = stored[-1] if stored.len() else scored["known_at"][0] if scored.height else now
    # Noted before anything is told: what a killed run leaves over is history for the next one too.
    live_since = facts.went_live(SOURCE, stored[-1] if stored.len() else now)
    found = mood_facts(scored, coins, slots_between(start, now, every=HOUR), weighing=WEIGHING)
    made_at = clock()
    told = known_when_made(found, made_at=made_at, live_since=live_since)
    return facts.append(told, fetched_at=made_at)
