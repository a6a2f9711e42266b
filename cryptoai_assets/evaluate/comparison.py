"""Every model beside the reference on the same rows, as rows of an evaluation, goals among them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptoai_assets.evaluate.fold_files import BASELINES, CHOSEN, REFERENCE
from cryptoai_assets.evaluate.rows import EvaluationRow
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.scoring import (
    BootstrapSettings,
    Interval,
    Score,
    direction_scores,
    rank_ic_difference,
)
from cryptoai_assets.lib.slices import horizon_scores
from cryptoai_assets.lib.training import paired_accuracy

ROOM = "forecasting"
ALL_SYMBOLS = "all"
ACCURACY_GOAL = 0.01
VOLATILITY_GOAL = 0.03
# The most confident tenth, its threshold from the folds before.
CONFIDENT_SHARE = 0.1
CONFIDENT_GOAL = 0.65
CONFIDENT_PLACE = ("BTC", "1m", 5)
_UNITS = {"accuracy": "share right", "rank_ic": "rank IC", "volatility_rank_ic": "rank IC"}
_SHOWN = {"accuracy": "accuracy", "volatility_rank_ic": "volatility-rank-ic"}


@dataclass(frozen=True, slots=True)
class Place:
    """Rows that are compared: of one symbol or of all, at one horizon."""

    symbol: str
    horizon: int
    market: Market

    @property
    def name(self) -> str:
        """As it stands in the names of rows."""
        return f"{self.symbol}-{self.horizon}"

    @property
    def confident_goal(self) -> float | None:
        """Accuracy asked of the most confident tenth, where one is."""
        begins, interval, horizon = CONFIDENT_PLACE
        here = self.symbol.startswith(begins) and self.market.interval == interval
        return CONFIDENT_GOAL if here and self.horizon == horizon else None

    def of(self, predictions: pl.DataFrame) -> pl.DataFrame:
        """Its rows, one model after the other, sorted."""
        here = predictions.filter(pl.col("horizon") == self.horizon)
        own = here if self.symbol == ALL_SYMBOLS else here.filter(pl.col("symbol") == self.symbol)
        return own.sort("model", "open_time", "symbol")


def compared(
    predictions: pl.DataFrame, market: Market, bootstrap: BootstrapSettings
) -> Iterator[EvaluationRow]:
    """Rows of every symbol and horizon.

    Parameters
    ----------
    predictions
        Of all folds, told apart by ``model``, each on the same rows.
    """
    symbols = [ALL_SYMBOLS, *market.symbols] if len(market.symbols) > 1 else market.symbols
    for symbol in symbols:
        for horizon in market.horizons:
            place = Place(symbol, horizon, market)
            own = place.of(predictions)
            frames = {str(kind): rows for (kind,), rows in own.group_by("model", maintain_order=True)}
            yield from _at(place, frames, bootstrap)


def _at(
    place: Place, frames: Mapping[str, pl.DataFrame], bootstrap: BootstrapSettings
) -> Iterator[EvaluationRow]:
    reference, ours = frames[REFERENCE], frames[CHOSEN]
    known = {score.name: score for score in horizon_scores(reference, bootstrap)}
    for score in horizon_scores(ours, bootstrap):
        name = _SHOWN.get(score.name, score.name)
        against = known.get(score.name)
        yield _row(
            f"{name}-{place.name}",
            score,
            reference=f"{CHOSEN} by validation; {REFERENCE}, same rows",
            reference_value=None if against is None else against.value,
        )
    yield from _over_reference(place, ours, reference, bootstrap)
    yield from _confident(place, ours, reference, bootstrap)
    for kind, rows in frames.items():
        if kind in (CHOSEN, REFERENCE):
            continue
        role = "baseline" if kind in BASELINES else "model"
        for score in horizon_scores(rows, bootstrap):
            if score.name in _SHOWN:
                yield _row(f"{_SHOWN[score.name]}-{place.name}-{role}-{kind}", score)
        if role == "model":
            over = _accuracy_over(rows, reference, bootstrap)
            yield _difference(f"accuracy-over-reference-{place.name}-model-{kind}", over, goal=None)


def _accuracy_over(ours: pl.DataFrame, other: pl.DataFrame, bootstrap: BootstrapSettings) -> Interval:
    said, theirs = ours["probability_up"].to_numpy(), other["probability_up"].to_numpy()
    return paired_accuracy(said, theirs, ours["up"].to_numpy(), ours["open_time"], bootstrap)


def _over_reference(
    place: Place, ours: pl.DataFrame, reference: pl.DataFrame, bootstrap: BootstrapSettings
) -> Iterator[EvaluationRow]:
    over = _accuracy_over(ours, reference, bootstrap)
    yield _difference(f"accuracy-over-reference-{place.name}", over, goal=ACCURACY_GOAL)
    volatility = rank_ic_difference(
        ours["expected_volatility"].to_numpy(),
        reference["expected_volatility"].to_numpy(),
        ours["volatility"].to_numpy(),
        ours["open_time"],
        bootstrap,
    )
    yield EvaluationRow(
        f"{ROOM}/volatility-rank-ic-over-reference-{place.name}",
        volatility.value,
        "rank IC",
        volatility.lower,
        volatility.upper,
        goal=VOLATILITY_GOAL,
        met=volatility.lower > 0 and volatility.value >= VOLATILITY_GOAL,
        reference=f"{REFERENCE}, same rows",
    )


def _difference(name: str, over: Interval, *, goal: float | None) -> EvaluationRow:
    return EvaluationRow(
        f"{ROOM}/{name}",
        over.mean,
        "share right",
        over.lower,
        over.upper,
        goal=goal,
        met=None if goal is None else over.lower > 0 and over.mean >= goal,
        reference=f"{REFERENCE}, same rows; {over.least_detectable:.4f} was detectable",
    )


def _confident(
    place: Place, ours: pl.DataFrame, reference: pl.DataFrame, bootstrap: BootstrapSettings
) -> Iterator[EvaluationRow]:
    """Accuracy on the rows that are as confident as the most confident tenth of the folds before was."""
    scores, shares = [], []
    for rows in (ours, reference):
        mask = confident_rows(rows)
        if not mask.any():
            return
        up = rows["up"].to_numpy()[mask]
        said = rows["probability_up"].to_numpy()[mask]
        scores.append(_accuracy(direction_scores(said, up, rows["open_time"].filter(mask), bootstrap)))
        shares.append(float(mask.sum() / (rows["fold"] > rows["fold"].min()).sum()))
    goal = place.confident_goal
    row = _row(
        f"accuracy-most-confident-tenth-{place.name}",
        scores[0],
        reference=f"thresholds of the folds before, {shares[0]:.1%} answered; {REFERENCE}, its own "
        f"{shares[1]:.1%}",
        reference_value=scores[1].value,
    )
    yield EvaluationRow(
        row.name,
        row.value,
        row.unit,
        row.lower,
        row.upper,
        goal=goal,
        met=None if goal is None else row.value >= goal,
        reference=row.reference,
        reference_value=row.reference_value,
    )


def confident_rows(rows: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Mask of the rows whose lead is that of the most confident tenth of earlier folds, by symbol.

    Rows of the first fold, which has none before it, are not among them.
    """
    lead = np.abs(rows["probability_up"].to_numpy() - 0.5)
    fold, symbol = rows["fold"].to_numpy(), rows["symbol"].to_numpy()
    kept = np.zeros(rows.height, dtype=bool)
    for name in np.unique(symbol):
        own = symbol == name
        for number in np.unique(fold)[1:]:
            earlier = own & (fold < number)
            here = own & (fold == number)
            kept |= here & (lead >= np.quantile(lead[earlier], 1 - CONFIDENT_SHARE))
    return kept


def over_seeds(predictions: pl.DataFrame, market: Market) -> Iterator[EvaluationRow]:
    """Accuracy of each model in the last fold: the mean over the seeds, and a deviation to either side."""
    last = predictions.filter(pl.col("fold") == pl.col("fold").max(), pl.col("up").is_not_nan())
    right = ((pl.col("probability_up") > 0.5) == (pl.col("up") > 0.5)).mean()
    by_seed = last.group_by("model", "horizon", "seed", maintain_order=True).agg(right=right)
    spread = by_seed.group_by("model", "horizon", maintain_order=True).agg(
        mean=pl.col("right").mean(), deviation=pl.col("right").std(), seeds=pl.len()
    )
    for row in spread.filter(pl.col("seeds") > 1, pl.col("horizon").is_in(market.horizons)).to_dicts():
        yield EvaluationRow(
            f"{ROOM}/accuracy-last-fold-{ALL_SYMBOLS}-{row['horizon']}-model-{row['model']}",
            row["mean"],
            "share right",
            row["mean"] - row["deviation"],
            row["mean"] + row["deviation"],
            reference=f"mean of {row['seeds']} seeds, one deviation to either side",
        )


def _accuracy(scores: list[Score]) -> Score:
    return next(score for score in scores if score.name == "accuracy")


def _row(
    name: str, score: Score, *, reference: str | None = None, reference_value: float | None = None
) -> EvaluationRow:
    unit = _UNITS.get(score.name, score.name)
    return EvaluationRow(
        f"{ROOM}/{name}",
        score.value,
        unit,
        score.lower,
        score.upper,
        reference=reference,
        reference_value=reference_value,
    )
