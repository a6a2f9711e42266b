"""The news in the device's database: versions of articles with their scores, and their mood by the hour."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from edge_bundle.device.database import DeviceDatabase, milliseconds, moment
from edge_bundle.news.articles import ARTICLE_SCHEMA
from edge_bundle.news.scored_news import SCORE_SCHEMA

# Of a text: what is compared with copies, and what a method reads where there is no title.
KEPT_CHARACTERS = 1_000
HELD_SCHEMA: dict[str, pl.DataType] = {**ARTICLE_SCHEMA, **SCORE_SCHEMA}
_TIMES = ("published_at", "known_at")
_ADD = (
    "INSERT OR IGNORE INTO articles (version, known_at, address, source, channel, author, title, text, "
    "language, published_at, coins) VALUES (:version, :known_at, :address, :source, :channel, :author, "
    ":title, :text, :language, :published_at, :coins)"
)
_ARTICLES = "SELECT * FROM articles WHERE known_at >= ? ORDER BY known_at, version"
_SCORE = (
    "UPDATE articles SET negative = :negative, neutral = :neutral, positive = :positive, score = :score, "
    "method = :method, method_version = :method_version WHERE version = :version"
)
# Of the facts without a symbol.
WHOLE_MARKET = ""


@dataclass(frozen=True, slots=True)
class NewsShelf:
    """Articles and moods of a device; each call is one transaction."""

    database: DeviceDatabase

    def add(self, articles: pl.DataFrame) -> int:
        """Keep versions, in `edge_bundle.news.articles.ARTICLE_SCHEMA`; return how many were new."""
        with self.database.connection() as connection:
            before = connection.total_changes
            connection.executemany(_ADD, [_stored(row) for row in articles.iter_rows(named=True)])
            return connection.total_changes - before

    def articles(self, since: datetime) -> pl.DataFrame:
        """Versions known since a time, first known first, in `HELD_SCHEMA`; scores are null until given."""
        with self.database.connection() as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute(_ARTICLES, (milliseconds(since),))]
        return pl.DataFrame([_read(row) for row in rows], schema=HELD_SCHEMA)

    def score(self, scored: pl.DataFrame) -> None:
        """Keep the scores of versions.

        Parameters
        ----------
        scored
            ``version`` and the columns of `edge_bundle.news.scored_news.SCORE_SCHEMA`.
        """
        with self.database.connection() as connection:
            connection.executemany(_SCORE, scored.select("version", *SCORE_SCHEMA).to_dicts())

    def add_moods(self, facts: pl.DataFrame) -> None:
        """Keep what the news said at each hour, in `edge_bundle.facts.FACT_SCHEMA`; what is there stays."""
        rows = [
            (symbol or WHOLE_MARKET, milliseconds(at), name, value)
            for symbol, at, name, value in facts.select("symbol", "event_time", "name", "value").iter_rows()
        ]
        with self.database.connection() as connection:
            connection.executemany("INSERT OR IGNORE INTO moods VALUES (?, ?, ?, ?)", rows)

    def newest_slot(self, *, until: datetime) -> datetime | None:
        """Hour of the newest mood up to a time; None while there is none."""
        query = "SELECT max(at) FROM moods WHERE at <= ?"
        with self.database.connection() as connection:
            [newest] = connection.execute(query, (milliseconds(until),)).fetchone()
        return None if newest is None else moment(newest)

    def moods(self, symbol: str, names: Sequence[str], *, since: datetime) -> dict[str, list[Any]]:
        """Values by name in order of ``at``, itself among them in milliseconds; a mean of nothing is None."""
        query = "SELECT at, name, value FROM moods WHERE symbol = ? AND at >= ? ORDER BY at"
        with self.database.connection() as connection:
            rows = connection.execute(query, (symbol, milliseconds(since))).fetchall()
        by_hour: dict[int, dict[str, float | None]] = {}
        for at, name, value in rows:
            by_hour.setdefault(at, {})[name] = value
        return {"at": [*by_hour]} | {name: [hour.get(name) for hour in by_hour.values()] for name in names}


def _stored(row: Mapping[str, Any]) -> dict[str, Any]:
    times = {name: row[name] and milliseconds(row[name]) for name in _TIMES}
    kept = {"text": row["text"][:KEPT_CHARACTERS], "coins": json.dumps(row["coins"])}
    return {**row, **times, **kept}


def _read(row: Mapping[str, Any]) -> dict[str, Any]:
    times = {name: None if row[name] is None else moment(row[name]) for name in _TIMES}
    return {**row, **times, "coins": json.loads(row["coins"])}
