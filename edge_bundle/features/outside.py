"""Outside features: a fact's newest event against the events before it, as they were known at the time.

A fact of any pace is read event by event, so that a month of daily values costs no warm-up in bars.
"""

import polars as pl

from edge_bundle.features.feature import Feature

PREFIX = "outside/"
EVENTS = 30
CHANGES = (1, 7)


def features(fact: str) -> list[Feature]:
    """Members that read one fact."""
    null = f"null until {EVENTS} events were known before it, and when it is older than it may be"
    return [
        *(
            _feature(
                f"{PREFIX}{fact}/change_{n}",
                f"Change of {fact} over {n} events, in standard deviations of {EVENTS} before it; {null}.",
            )
            for n in CHANGES
        ),
        _feature(
            f"{PREFIX}{fact}/score",
            f"{fact} above its mean of the {EVENTS} events before it, in their standard deviations; {null}.",
        ),
    ]


def _feature(name: str, meaning: str) -> Feature:
    return Feature(name, pl.col(name), 0, "deviations", meaning, 1.0)


def fact_read(column: str) -> str:
    """Name of the fact that a column of this family is made from."""
    return column.removeprefix(PREFIX).rpartition("/")[0]


def changes(facts: pl.DataFrame, fact: str) -> pl.DataFrame:
    """Facts made of a fact: its changes and its score, each known when the event that it ends with was.

    An event counts in its last version that was known before a newer event; where the deviation of the 30
    events before vanishes, a change is 0.
    See `edge_bundle.facts.as_of_join` for which version is read when.
    """
    own = facts.filter((pl.col("name") == fact) & pl.col("value").is_not_null())
    own = own.sort("known_at", "event_time", maintain_order=True)
    newest = own.filter(pl.col("event_time") >= pl.col("event_time").cum_max().over("symbol"))
    last = newest.group_by("symbol", "event_time", maintain_order=True).agg(pl.col("value").last())
    before = pl.col("value").shift(1)
    history = last.select(
        "symbol",
        "event_time",
        mean=before.rolling_mean(EVENTS).over("symbol"),
        deviation=before.rolling_std(EVENTS).over("symbol"),
        **{f"change_{n}": pl.col("value").shift(n).over("symbol") for n in CHANGES},
    )
    versions = newest.join(
        history, on=["symbol", "event_time"], how="left", nulls_equal=True, maintain_order="left"
    )
    moving = pl.col("deviation") > 1e-9 * pl.col("mean").abs()
    bases = {**{f"change_{n}": pl.col(f"change_{n}") for n in CHANGES}, "score": pl.col("mean")}
    return pl.concat(
        versions.filter(pl.col("deviation").is_not_null()).select(
            *("symbol", "event_time", "known_at", "source"),
            name=pl.lit(f"{PREFIX}{fact}/{kind}"),
            value=pl.when(moving).then((pl.col("value") - base) / pl.col("deviation")).otherwise(0.0),
        )
        for kind, base in bases.items()
    )
