"""Context features: what the market's other symbols do at the same time, and bitcoin before all.

They read columns that `edge_bundle.features.sources.with_sources` adds from the bars of every symbol.
"""

import polars as pl

from edge_bundle.features.feature import Feature
from edge_bundle.features.steps import NEGLIGIBLE_VOLATILITY, step

LEADER = "BTC"
LEADER_RETURN = "_leader_return"
RETURN_RANK, VOLUME_RANK, BREADTH = "_return_rank", "_volume_rank", "_breadth"
COLUMNS = frozenset({LEADER_RETURN, RETURN_RANK, VOLUME_RANK, BREADTH})
RANK_SPAN = 60


def features() -> list[Feature]:
    """Members of the family."""
    return [*_leader(), *_cross_section()]


def _leader() -> list[Feature]:
    leader = pl.col(LEADER_RETURN)
    null = "null where bitcoin has no bar"
    return [
        *(
            Feature(
                f"bitcoin_return_lag_{lag}",
                leader.shift(lag),
                lag + 1,
                "log return",
                f"Bitcoin's one-bar return of {lag} bars ago; {null} then or the bar before.",
                1e-3,
            )
            for lag in (0, 1, 2, 3)
        ),
        *(
            feature
            for n in (60, 240)
            for feature in (
                Feature(
                    f"bitcoin_beta_{n}",
                    _in_leader(step("leader_product").rolling_mean(n), step(f"leader_mean_square_{n}")),
                    n,
                    "ratio",
                    f"Return for each return of bitcoin, by the mean products of {n} bars; {null} in them.",
                    1.0,
                ),
                Feature(
                    f"bitcoin_correlation_{n}",
                    _in_leader(
                        step("leader_product").rolling_mean(n) * step(f"per_deviation_{n}"),
                        step(f"leader_mean_square_{n}").sqrt(),
                    ),
                    n,
                    "-1 to 1",
                    f"Correlation with bitcoin's return, about zero, {n} bars; {null} in them.",
                    1.0,
                ),
            )
        ),
    ]


def _in_leader(product: pl.Expr, size: pl.Expr) -> pl.Expr:
    """Product over bitcoin's size; 0 where bitcoin stood still, and null where it has no bar."""
    moved = step("leader_mean_square_60") > NEGLIGIBLE_VOLATILITY**2
    return pl.when(moved).then(product / size).when(size.is_not_null()).then(0.0)


def _cross_section() -> list[Feature]:
    alone = "null while fewer than two symbols have one"
    return [
        Feature(
            f"return_rank_{RANK_SPAN}",
            pl.col(RETURN_RANK),
            RANK_SPAN,
            "0 to 1",
            f"Rank of the return over {RANK_SPAN} bars among the market's symbols, 1 the highest; {alone}.",
            1.0,
        ),
        Feature(
            f"volume_rank_{RANK_SPAN}",
            pl.col(VOLUME_RANK),
            RANK_SPAN,
            "0 to 1",
            f"Rank of the volume over its mean of {RANK_SPAN} bars among the market's symbols; {alone}.",
            1.0,
        ),
        Feature(
            f"breadth_{RANK_SPAN}",
            pl.col(BREADTH),
            RANK_SPAN,
            "0 to 1",
            f"Share of the market's symbols that rose over {RANK_SPAN} bars; {alone}.",
            1.0,
        ),
    ]
