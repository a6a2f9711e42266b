"""Then from now: a classifier that is asked which rows are new, judged on rows that it was not fitted on.

It is Fisher's linear discriminant, whose closed form makes hundreds of fits a matter of a second, so that its
threshold can be drawn as those of all other statistics are. It is asked twice. Of the *state* it reads each
feature's level and size; of the *relation* what each feature says of the direction of what came. Volatility,
which clusters, tells many weeks from others by their state, and none by their relation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from scipy.special import ndtri

from cryptoai_monitoring.thresholds import (
    BooleanArray,
    Calibration,
    Float64Array,
    Int64Array,
    drawn_windows,
    prediction_limit,
)

STATE, RELATION = "state", "relation"
# In time; each is judged by what the others say.
FOLDS = 4
# Longer windows are thinned, and a reference is cut to so many of them; of shorter ones nothing can be told.
MOST_WINDOW_ROWS, MOST_WINDOWS = 2_000, 26
LEAST_WINDOW_ROWS, LEAST_WINDOWS = 100, 8
# Share of each term's own variance that is added: what two features say in common decides nothing alone.
SHRINKAGE = 0.1
# Weight of how much whole windows of the reference differ anyway: what is restless tells nothing.
RESTLESS = 100.0
# Of the reference's rows every so manieth is scored.
SCORED = 4
# Area of a coin, and how little beyond it is nothing, however still the reference is.
CHANCE, SMALLEST_BEYOND = 0.5, 0.01
# Variance of what never moved.
TINY = 1e-6
# Of the reference's ranks: the furthest that a value can be.
_EDGE = 0.5


@dataclass(frozen=True, slots=True)
class ToldApart:
    """How well the newest window is told from the reference.

    Parameters
    ----------
    table
        ``question`` (`STATE`, `RELATION`), ``area`` (under the receiver operating characteristic, out of
        fold; 0.5 is chance), ``threshold`` (of it), ``excess`` (of both beyond chance), ``told`` (excess
        above 1).
    shares
        ``question``, ``feature``, ``share`` of what tells, the largest first; they sum to 1 a question, and
        those below zero speak against.
    """

    table: pl.DataFrame
    shares: pl.DataFrame

    @property
    def excess(self) -> float:
        """Largest of both questions."""
        return float(self.table["excess"].to_numpy().max())

    def named(self, shown: int) -> tuple[str, ...]:
        """What tells, question by question: the features with the largest shares; empty when nothing is."""
        told = self.table.filter("told")["question"].to_list()
        return tuple(
            f"{question}: {', '.join(self.shares.filter(question=question)['feature'].head(shown))}"
            for question in told
        )


def told_apart(
    reference: pl.DataFrame,
    window: pl.DataFrame,
    features: Sequence[str],
    *,
    outcome: str,
    calibration: Calibration,
) -> ToldApart | None:
    """Ask a classifier for the window's rows among those of the reference.

    Parameters
    ----------
    reference, window
        ``open_time``, `features` and `outcome` (what came after the row; its sign is read), rows in time
        order; rows with a null are left out.

    Returns
    -------
    ToldApart or None
        None when the window is too short, or the reference less than `LEAST_WINDOWS` times as long.
    """
    columns = ["open_time", *features, outcome]
    known, newest = (frame.select(columns).drop_nulls() for frame in (reference, window))
    if newest.height < LEAST_WINDOW_ROWS:
        return None
    stride = -(-newest.height // MOST_WINDOW_ROWS)
    known, newest = _thinned(known, stride), _thinned(newest, stride)
    if known.height < LEAST_WINDOWS * newest.height:
        return None
    watch = ThenFromNow.of(
        known, features, outcome=outcome, window_rows=newest.height, calibration=calibration
    )
    return watch.answer(newest)


@dataclass(frozen=True, slots=True)
class ThenFromNow:
    """A reference from which windows of one length are told.

    Parameters
    ----------
    thresholds
        Of the area under the curve, (questions,).
    """

    features: tuple[str, ...]
    outcome: str
    ranks: "_Ranks"
    asked: Mapping[str, "_Then"]
    thresholds: Float64Array

    @classmethod
    def of(
        cls,
        reference: pl.DataFrame,
        features: Sequence[str],
        *,
        outcome: str,
        window_rows: int,
        calibration: Calibration,
    ) -> Self:
        """Learn from a reference without nulls, at least `LEAST_WINDOWS` windows long.

        Both questions share the stated false-alarm rate. Windows of the reference's own are each told from
        the rest of it by the same procedure; the threshold is the `prediction_limit` for one window more.
        """
        windows = min(reference.height // window_rows, MOST_WINDOWS)
        known = reference.tail(windows * window_rows)
        ranks = _Ranks.of(_matrix(known, features))
        terms = _terms(ranks, known, features, outcome)
        asked = {question: _Then.of(rows, window_rows) for question, rows in terms.items()}
        parts = drawn_windows(known.height, window_rows, calibration)
        areas = np.array([[then.area_of_part(part) for then in asked.values()] for part in parts])
        limit = prediction_limit(calibration.false_alarm_rate / len(asked), seen=windows)
        thresholds = areas.mean(axis=0) + limit * areas.std(axis=0)
        return cls(tuple(features), outcome, ranks, asked, np.maximum(thresholds, CHANCE + SMALLEST_BEYOND))

    def answer(self, window: pl.DataFrame) -> ToldApart:
        """Tell a window without nulls, as long as those that the thresholds are of."""
        areas, shares = [], []
        for question, rows in _terms(self.ranks, window, self.features, self.outcome).items():
            area, told = self.asked[question].told(rows)
            areas.append(area)
            share = told.reshape(-1, len(self.features)).sum(axis=0)
            share = share / max(np.abs(share).sum(), TINY)
            shares.append(pl.DataFrame({"question": question, "feature": self.features, "share": share}))
        excess = (np.array(areas) - CHANCE) / (self.thresholds - CHANCE)
        table = {"question": list(self.asked), "area": areas, "threshold": self.thresholds, "excess": excess}
        return ToldApart(
            pl.DataFrame(table).with_columns(told=pl.col("excess") > 1),
            pl.concat(shares).sort("question", "share", descending=[False, True]),
        )


def _thinned(frame: pl.DataFrame, stride: int) -> pl.DataFrame:
    """Keep all rows of every so manieth time: neighbours say nearly the same."""
    return frame.filter((pl.col("open_time").rank("dense") - 1) % stride == 0)


@dataclass(frozen=True, slots=True)
class _Ranks:
    """Sorted values of a reference (rows, features): with them every unit and every outlier is the same."""

    ordered: Float64Array

    @classmethod
    def of(cls, values: Float64Array) -> Self:
        return cls(np.sort(values, axis=0))

    def scores(self, values: Float64Array) -> Float64Array:
        """Normal scores of values (rows, features) among the reference; ties have the middle one."""
        count = len(self.ordered)
        ranks = np.empty(values.shape)
        for place in range(values.shape[1]):
            below, upto = (
                np.searchsorted(self.ordered[:, place], values[:, place], side=side)
                for side in ("left", "right")
            )
            ranks[:, place] = (below + upto) / 2
        return np.asarray(ndtri(np.clip(ranks, _EDGE, count - _EDGE) / count), dtype=np.float64)


def _terms(
    ranks: _Ranks, frame: pl.DataFrame, features: Sequence[str], outcome: str
) -> dict[str, Float64Array]:
    """What each question reads of each row, (rows, terms): kind by kind, feature by feature."""
    scores = ranks.scores(_matrix(frame, features))
    return {
        STATE: np.hstack([scores, scores**2]),
        RELATION: np.asarray(scores * np.sign(_matrix(frame, [outcome]))),
    }


def _matrix(frame: pl.DataFrame, columns: Sequence[str]) -> Float64Array:
    return np.asarray(frame.select(columns).to_numpy(), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Then:
    """What one question reads of the reference, and what of it is reckoned once.

    Parameters
    ----------
    rows
        (rows, terms), a whole number of windows.
    folds
        (rows,) fold of each.
    moments, sums, means
        (terms, terms) sums of products, (folds, terms) sums, and (windows, terms) means of each window.
    """

    rows: Float64Array
    folds: Int64Array
    moments: Float64Array
    sums: Float64Array
    means: Float64Array

    @classmethod
    def of(cls, rows: Float64Array, window_rows: int) -> Self:
        folds: Int64Array = np.arange(len(rows)) // max(1, window_rows // FOLDS) % FOLDS
        means = rows.reshape(-1, window_rows, rows.shape[1]).mean(axis=1)
        return cls(rows, folds, rows.T @ rows, _sums(rows, folds), means)

    def told(self, now: Float64Array) -> tuple[float, Float64Array]:
        """Area under the curve, and what each term adds to the distance between then and now."""
        every = np.ones(len(self.rows), dtype=np.bool_)
        return self._told(now, every, moments=self.moments, sums=self.sums)

    def area_of_part(self, rows: Int64Array) -> float:
        """Area of a part of the reference, told from the rest of it."""
        part = self.rows[rows]
        rest = np.ones(len(self.rows), dtype=np.bool_)
        rest[rows] = False
        sums = self.sums - _sums(part, self.folds[rows])
        return self._told(part, rest, moments=self.moments - part.T @ part, sums=sums)[0]

    def _told(
        self, now: Float64Array, rest: BooleanArray, *, moments: Float64Array, sums: Float64Array
    ) -> tuple[float, Float64Array]:
        """Mean area over the folds, each asked by weights from the others."""
        folds: Int64Array = np.minimum(np.arange(len(now)) // max(1, len(now) // FOLDS), FOLDS - 1)
        precision = self._precision(rest, moments, sums.sum(axis=0) / rest.sum())
        counts = np.bincount(self.folds[rest], minlength=FOLDS)
        areas, told = [], np.zeros(now.shape[1])
        for fold in range(FOLDS):
            unseen, seen = now[folds == fold], now[folds != fold]
            before = (sums.sum(axis=0) - sums[fold]) / (counts.sum() - counts[fold])
            weights = precision @ (seen.mean(axis=0) - before)
            old = np.flatnonzero((self.folds == fold) & rest)[::SCORED]
            areas.append(area_under_curve(self.rows[old] @ weights, unseen @ weights))
            told += weights * (unseen.mean(axis=0) - sums[fold] / counts[fold]) / FOLDS
        return float(np.mean(areas)), told

    def _precision(self, rest: BooleanArray, moments: Float64Array, mean: Float64Array) -> Float64Array:
        """Inverse of the terms' covariance and of that of whole windows' means."""
        covariance = moments / rest.sum() - np.outer(mean, mean)
        variances = np.diag(np.maximum(np.diag(covariance), TINY))
        means = self.means[rest.reshape(len(self.means), -1).all(axis=1)]
        restless = np.atleast_2d(np.cov(means, rowvar=False, bias=True))
        shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * variances
        return np.asarray(np.linalg.inv(shrunk + RESTLESS * restless))


def _sums(rows: Float64Array, folds: Int64Array) -> Float64Array:
    return np.stack([rows[folds == fold].sum(axis=0) for fold in range(FOLDS)])


def area_under_curve(then: Float64Array, now: Float64Array) -> float:
    """Chance that a new row scores above an old one; ties count half."""
    ordered = np.sort(now)
    upto, below = (np.searchsorted(ordered, then, side=side).mean() for side in ("right", "left"))
    return float(1 - (upto + below) / 2 / len(now))
