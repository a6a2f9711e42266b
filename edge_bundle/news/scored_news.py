"""News with their sentiment and their copies, scored once per version of an article and of the method."""

from datetime import timedelta

import polars as pl

from edge_bundle.news.articles import ARTICLE_SCHEMA, with_copies
from edge_bundle.sentiment.method import SentimentMethod

# Agencies' copies appear within hours; a text that is a week old is news again.
COPIES_WITHIN, LIKENESS = timedelta(days=3), 0.9
SCORE_SCHEMA: dict[str, pl.DataType] = {
    "negative": pl.Float64(),
    "neutral": pl.Float64(),
    "positive": pl.Float64(),
    "score": pl.Float64(),
    "method": pl.String(),
    "method_version": pl.String(),
}
SCORED_SCHEMA: dict[str, pl.DataType] = {**ARTICLE_SCHEMA, "copies": pl.UInt32(), **SCORE_SCHEMA}


def with_scores(articles: pl.DataFrame, method: SentimentMethod, held: pl.DataFrame) -> pl.DataFrame:
    """Articles with copies and scores, in `SCORED_SCHEMA`, first known first.

    Parameters
    ----------
    held
        Of the last time; a version that this method's version has scored is not scored again.
    """
    known = held.filter(pl.col("method_version") == method.version).select("version", *SCORE_SCHEMA)
    new = articles.join(known, on="version", how="anti", maintain_order="left")
    fresh = _scores(new, method)
    scores = pl.concat([known, fresh]).unique("version", keep="first", maintain_order=True)
    whole = with_copies(articles, within=COPIES_WITHIN, likeness=LIKENESS)
    return whole.join(scores, on="version", how="left", maintain_order="left").select(list(SCORED_SCHEMA))


def _scores(articles: pl.DataFrame, method: SentimentMethod) -> pl.DataFrame:
    """Scores of articles by what they say first: their title, and where there is none their text."""
    texts = [title or text for title, text in articles.select("title", "text").iter_rows()]
    said = method.scores(texts)
    rows = [
        (version, one.negative, one.neutral, one.positive, one.score, one.method, method.version)
        for version, one in zip(articles["version"], said, strict=True)
    ]
    return pl.DataFrame(rows, schema={"version": pl.String(), **SCORE_SCHEMA}, orient="row")
