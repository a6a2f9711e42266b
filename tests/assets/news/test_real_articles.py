"""Two sets of real articles go the whole way: plain, tied to coins, scored, told as facts, joined."""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fakes.archives import embedded_candles

from edge_bundle.facts import as_of_join, validated_facts
from edge_bundle.news.articles import Found, sifted
from edge_bundle.news.mood import WEIGHING, mood_facts, slots_between
from edge_bundle.news.scored_news import SCORED_SCHEMA, with_scores
from edge_bundle.sentiment.keywords import KeywordSentiment

SETS = {"coindesk_2018-05_2019-05": 330, "cryptonews_2018-01_2019-04": 545}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def items(file: Path) -> Iterator[Found]:
    """Articles of a day are known when it has ended."""
    with file.open(encoding="utf-8") as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            day = datetime.fromisoformat(row["date"][:10]).replace(tzinfo=UTC)
            yield Found(None, str(number), file.stem, "news", None, "", row["text"], "en", day + DAY)


@pytest.mark.parametrize("name", SETS)
def test_real_articles_become_moods_beside_the_candles(shared_data: Callable[[str], Path], name: str) -> None:
    found = sifted(items(shared_data(f"news/{name}.csv")), now=NOW, history_until=NOW)
    assert found.articles.height + found.quarantine.height >= 0.97 * SETS[name]
    assert found.quarantine.height <= 0.01 * SETS[name]
    scored = with_scores(found.articles, KeywordSentiment(), pl.DataFrame(schema=SCORED_SCHEMA))
    spoken = scored.explode("coins")["coins"].value_counts(sort=True)
    assert spoken["coins"][0] == "BTC"
    assert scored["score"].std() > 0.1

    start = scored["known_at"].min()
    slots = slots_between(start, start + 60 * DAY, every=timedelta(hours=6))
    facts = validated_facts(mood_facts(scored, {"BTCUSD": "BTC"}, slots, weighing=WEIGHING))
    bars = embedded_candles().filter(
        (pl.col("symbol") == "BTCUSD") & pl.col("open_time").is_between(start - DAY, start + 60 * DAY)
    )
    joined = as_of_join(
        bars, facts, name="sentiment_24h", interval=timedelta(minutes=30), greatest_age=timedelta(hours=12)
    )
    before = joined.filter(pl.col("open_time") + timedelta(minutes=30) < start)
    assert before["sentiment_24h"].null_count() == before.height > 0
    assert joined["sentiment_24h"].is_between(-1, 1).sum() > 0.2 * joined.height
