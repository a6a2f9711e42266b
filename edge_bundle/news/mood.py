"""What the news said of each coin as known at a time: means of scores by source, age and window, as facts.

A fact of a slot reads the articles that were known by then, each in the version known by then, and nothing
else: a slot that is computed a month later is equal. What it says is known when it was made.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from edge_bundle.candles import UTC_MICROSECONDS
from edge_bundle.facts import FACT_SCHEMA

SOURCE = "news"
HOUR = timedelta(hours=1)
WINDOWS = (1, 6, 24)
_LONGEST = max(WINDOWS)
SENTIMENT, DISPERSION = "sentiment", "sentiment_dispersion"
COUNT, NOVELTY, MOMENTUM = "news_count", "news_novelty", "sentiment_momentum"
MARKET = "market_"
OF_A_COIN = (
    *(f"{kind}_{hours}h" for hours in WINDOWS for kind in (SENTIMENT, COUNT)),
    f"{DISPERSION}_{_LONGEST}h",
    f"{NOVELTY}_{_LONGEST}h",
    MOMENTUM,
)
OF_THE_MARKET = tuple(MARKET + name for name in OF_A_COIN)


@dataclass(frozen=True, slots=True)
class Weighing:
    """How much an article counts.

    Parameters
    ----------
    channels
        Weight of each channel; those without an article in a window leave theirs to the others.
    half_life
        Age, since it was known, at which an article counts half.
    """

    channels: Mapping[str, float]
    half_life: timedelta


WEIGHING = Weighing({"news": 0.4, "x": 0.3, "reddit": 0.2, "telegram": 0.1}, timedelta(hours=6))


class Scored(NamedTuple):
    """What is read of a scored article."""

    known_at: datetime
    address: str
    channel: str
    coins: frozenset[str]
    score: float
    copies: int


def mood_facts(
    scored: pl.DataFrame, coins: Mapping[str, str], slots: Sequence[datetime], *, weighing: Weighing
) -> pl.DataFrame:
    """Facts of every symbol and of the whole market at each slot, in `edge_bundle.facts.FACT_SCHEMA`.

    Parameters
    ----------
    scored
        ``known_at``, ``address``, ``channel``, ``coins``, ``score`` in -1..1, ``copies``.
    coins
        Coin by symbol.
    slots
        Moments in order; a fact happens, and can be known, at its slot.

    Returns
    -------
    DataFrame
        Names of `OF_A_COIN` by symbol, of `OF_THE_MARKET` without one. A mean of nothing is null, a count 0.
    """
    articles = _articles(scored)
    rows = [
        (symbol, slot, slot, SOURCE, name, value)
        for slot, known in zip(slots, _known(articles, slots), strict=True)
        for symbol, own, prefix in _parts(known, coins)
        for name, value in _mood(own, slot, weighing, prefix)
    ]
    return pl.DataFrame(rows, schema=FACT_SCHEMA, orient="row")


def known_when_made(facts: pl.DataFrame, *, made_at: datetime, live_since: datetime) -> pl.DataFrame:
    """Facts of slots since `live_since` as known when they were made, never before their slot.

    Those of older slots are history, made later by one who was not there: they stay known at their slot.
    """
    live = pl.col("event_time") >= live_since
    made = pl.max_horizontal("known_at", pl.lit(made_at, UTC_MICROSECONDS))
    return facts.with_columns(known_at=pl.when(live).then(made).otherwise("known_at"))


def slots_between(start: datetime, end: datetime, *, every: timedelta) -> list[datetime]:
    """Moments after `start` up to `end`, on the grid that midnight is on."""
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight + every * (math.floor((start - midnight) / every) + 1)
    return [first + every * place for place in range(max(0, math.floor((end - first) / every) + 1))]


def _articles(scored: pl.DataFrame) -> list[Scored]:
    columns = scored.select("known_at", "address", "channel", "coins", "score", "copies").sort(
        "known_at", maintain_order=True
    )
    return [
        Scored(known, address, channel, frozenset(coins), score, copies)
        for known, address, channel, coins, score, copies in columns.iter_rows()
    ]


def _known(articles: Sequence[Scored], slots: Sequence[datetime]) -> Iterator[list[Scored]]:
    """Articles of the longest window before each slot, each in its last version known by then."""
    first = last = 0
    for slot in slots:
        while last < len(articles) and articles[last].known_at <= slot:
            last += 1
        while first < last and articles[first].known_at <= slot - _LONGEST * HOUR:
            first += 1
        yield list({article.address: article for article in articles[first:last]}.values())


def _parts(
    known: Sequence[Scored], coins: Mapping[str, str]
) -> Iterator[tuple[str | None, Sequence[Scored], str]]:
    for symbol, coin in coins.items():
        yield symbol, [article for article in known if coin in article.coins], ""
    yield None, known, MARKET


def _mood(
    articles: Sequence[Scored], slot: datetime, weighing: Weighing, prefix: str
) -> Iterator[tuple[str, float | None]]:
    means: dict[int, float | None] = {}
    for hours in WINDOWS:
        within = [article for article in articles if article.known_at > slot - hours * HOUR]
        weights = _weights(within, slot, weighing)
        means[hours] = _mean(within, weights)
        yield f"{prefix}{SENTIMENT}_{hours}h", means[hours]
        yield f"{prefix}{COUNT}_{hours}h", float(len(within))
        if hours == _LONGEST:
            yield f"{prefix}{DISPERSION}_{hours}h", _deviation(within, weights, means[hours])
            new = sum(article.copies == 0 for article in within)
            yield f"{prefix}{NOVELTY}_{hours}h", new / len(within) if within else None
    recent, day = means[WINDOWS[1]], means[_LONGEST]
    yield f"{prefix}{MOMENTUM}", None if recent is None or day is None else recent - day


def _weights(articles: Sequence[Scored], slot: datetime, weighing: Weighing) -> list[float]:
    """Weights that sum to 1: each channel that is there has its share, split by age among its articles."""
    ages = [0.5 ** ((slot - article.known_at) / weighing.half_life) for article in articles]
    there: dict[str, float] = {}
    for article, age in zip(articles, ages, strict=True):
        there[article.channel] = there.get(article.channel, 0.0) + age
    whole = sum(weighing.channels[channel] for channel in there)
    return [
        weighing.channels[article.channel] / whole * age / there[article.channel]
        for article, age in zip(articles, ages, strict=True)
    ]


def _mean(articles: Sequence[Scored], weights: Sequence[float]) -> float | None:
    if not articles:
        return None
    return math.fsum(weight * article.score for weight, article in zip(weights, articles, strict=True))


def _deviation(articles: Sequence[Scored], weights: Sequence[float], mean: float | None) -> float | None:
    if mean is None:
        return None
    squares = (weight * (one.score - mean) ** 2 for weight, one in zip(weights, articles, strict=True))
    return math.sqrt(math.fsum(squares))
