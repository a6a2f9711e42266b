"""One word on a mood with its reasons, and the topics that are written about more than before."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl

from edge_bundle.news.articles import as_known
from edge_bundle.news.mood import COUNT, DISPERSION, MARKET, MOMENTUM, OF_A_COIN, SENTIMENT
from edge_bundle.sentiment.outlook import Outlook, Outlooks, Topic

DAY, WEEK = timedelta(days=1), timedelta(days=7)
MOST_TOPICS = 10
LEAST_ARTICLES = 3
# From here on a count is more than a Poisson of its expectation gives by chance, in deviations.
LEAST_DEVIATIONS = 3.0
_WORD = re.compile(r"[a-z][a-z0-9'’-]{2,}")
_COMMON_WORDS = """
    about above across after again against all also amid among and another any are around back because been
    before being below best between both but can cent could crypto cryptocurrency day days did does down each
    even ever every first five for four from get gets give goes going had has have here high how into its
    just know last latest less like low made make makes many market markets may million billion month months
    more most much near need new news next not now off one only other our out over own per percent price
    prices say says see sees set she should since some still such take takes than that the their them then
    there these they this those three through time today too top two under until update use very want was way
    week weeks well were what when where which while who why will with without would year years yet you your
    simulated
"""
_COMMON = frozenset(_COMMON_WORDS.split())


@dataclass(frozen=True, slots=True)
class Caution:
    """What must hold before a mood speaks for a side.

    Parameters
    ----------
    least_articles
        Within a day.
    least_score
        Distance of the day's mean from neutral.
    greatest_dispersion
        Deviation of the scores about their mean.
    greatest_turn
        By which the last six hours may go against the day.
    """

    least_articles: int
    least_score: float
    greatest_dispersion: float
    greatest_turn: float


CAUTION = Caution(least_articles=5, least_score=0.15, greatest_dispersion=0.7, greatest_turn=0.3)


def outlooks(
    facts: pl.DataFrame,
    scored: pl.DataFrame,
    moment: datetime,
    *,
    live: bool,
    caution: Caution,
    method: tuple[str, str],
) -> Outlooks:
    """Everything that readers are told of a moment.

    Parameters
    ----------
    facts
        Of the moment, from `edge_bundle.news.mood.mood_facts`.
    scored
        Articles; those that became known later are not read.
    method
        Name and version of what scores.
    """
    by_symbol: dict[str | None, dict[str, float | None]] = {}
    for symbol, name, value in facts.select("symbol", "name", "value").iter_rows():
        by_symbol.setdefault(symbol, {})[name] = value
    whole = by_symbol.pop(None, {})
    market = {name: whole.get(MARKET + name) for name in OF_A_COIN}
    return Outlooks(
        known_at=moment.isoformat(),
        live=live,
        method=method[0],
        method_version=method[1],
        symbols={str(symbol): outlook(values, caution) for symbol, values in by_symbol.items()},
        market=outlook(market, caution),
        trending=trending(scored, moment),
    )


def outlook(values: Mapping[str, float | None], caution: Caution) -> Outlook:
    """Word on the values of `edge_bundle.news.mood.OF_A_COIN`: a side, or HOLD with every doubt."""
    count, score = values.get(f"{COUNT}_24h") or 0.0, values.get(f"{SENTIMENT}_24h")
    if score is None or count < caution.least_articles:
        return Outlook(values, "HOLD", (f"{count:.0f} articles in a day, {caution.least_articles} needed",))
    told = f"the mean sentiment of {count:.0f} articles in a day is {score:+.2f}"
    doubts = tuple(_doubts(values, score, caution))
    if doubts:
        return Outlook(values, "HOLD", (told, *doubts))
    momentum = values.get(MOMENTUM)
    turn = () if momentum is None else (f"the last six hours differ from the day by {momentum:+.2f}",)
    return Outlook(values, "BUY" if score > 0 else "SELL", (told, *turn))


def _doubts(values: Mapping[str, float | None], score: float, caution: Caution) -> Iterable[str]:
    if abs(score) < caution.least_score:
        yield f"under {caution.least_score:g} on either side is neutral"
    dispersion = values.get(f"{DISPERSION}_24h")
    if dispersion is not None and dispersion > caution.greatest_dispersion:
        yield f"the scores differ by {dispersion:.2f}, at most {caution.greatest_dispersion:g} is one voice"
    momentum = values.get(MOMENTUM)
    if momentum is not None and momentum * math.copysign(1.0, score) < -caution.greatest_turn:
        yield f"the last six hours go against the day by {momentum:+.2f}"


def trending(scored: pl.DataFrame, moment: datetime) -> tuple[Topic, ...]:
    """Words, and pairs of words, in more titles of the last day than the week before lets expect.

    An article counts once, in the version that was known; of a pair's words none is named beside it.
    """
    known = as_known(scored, moment).filter(pl.col("known_at") > moment - DAY - WEEK)
    recent, before = Counter[str](), Counter[str]()
    for title, text, known_at in known.select("title", "text", "known_at").iter_rows():
        terms = topic_words(title or text[:200])
        (recent if known_at > moment - DAY else before).update(terms)
    found = []
    for words, articles in recent.items():
        expected = before[words] * (DAY / WEEK)
        deviations = (articles - expected) / math.sqrt(expected + 1 / 7)
        if articles >= LEAST_ARTICLES and deviations >= LEAST_DEVIATIONS:
            found.append((deviations, Topic(words, articles, expected)))
    chosen: list[Topic] = []
    for _, topic in sorted(found, key=lambda one: (-one[0], -len(one[1].words), one[1].words)):
        named = {word for other in chosen for word in other.words.split()}
        if named.isdisjoint(topic.words.split()):
            chosen.append(topic)
    return tuple(chosen[:MOST_TOPICS])


def topic_words(title: str) -> frozenset[str]:
    """Words of a title that may be a topic, and the pairs of those that stand side by side."""
    every = [word.replace("’", "'").removesuffix("'s").strip("'-") for word in _WORD.findall(title.lower())]
    telling = {word for word in every if word not in _COMMON and len(word) > 2}
    pairs = {f"{one} {other}" for one, other in pairwise(every) if one in telling and other in telling}
    return frozenset(telling | pairs)
