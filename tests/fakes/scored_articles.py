"""Columns of scored articles that a mood is told from, for tests that write such articles by hand."""

from edge_bundle.news.scored_news import SCORED_SCHEMA

MOOD_SCHEMA = {
    name: SCORED_SCHEMA[name] for name in ("known_at", "address", "channel", "coins", "score", "copies")
}
