"""The whole chain on pure random walks finds nothing, and on a planted signal what was planted."""

from math import sqrt

import numpy as np
import polars as pl
from fakes.walk_rows import BAR, walk_rows
from scipy.stats import binom, spearmanr

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.forecaster_model import Predictions
from cryptoai_assets.lib.models.tree_heads import XgboostSettings
from cryptoai_assets.lib.models.trees import Trees
from cryptoai_assets.lib.scoring import BootstrapSettings, Score, direction_scores, return_scores
from cryptoai_assets.lib.splits import walk_forward
from cryptoai_assets.lib.training import stacked_dataset
from cryptoai_assets.lib.walk_forward import out_of_sample

SEEDS = range(20)
HORIZON = 2
MODEL = Trees(
    XgboostSettings(
        trees=30,
        learning_rate=0.1,
        max_depth=4,
        min_child_weight=20.0,
        subsample=0.7,
        column_share=0.6,
        l2=1.0,
    ),
    threads=1,
)


def bootstrap(seed: int) -> BootstrapSettings:
    return BootstrapSettings(block_bars=48, resamples=400, seed=seed, confidence=0.95)


def predicted(data: Dataset, *, seed: int) -> tuple[Dataset, Predictions]:
    folds = walk_forward(data.times, bar=BAR, folds=2, test_share=0.5, horizon_bars=HORIZON, embargo_bars=6)
    results = out_of_sample(data, MODEL, folds, horizons=(HORIZON,), seed=seed)
    return (
        stacked_dataset([result.test for result in results]),
        Predictions.stacked([result.predictions for result in results]),
    )


def accuracy_on_a_walk(seed: int) -> Score:
    test, said = predicted(walk_rows(bars=4000, seed=seed, horizons=(HORIZON,)), seed=seed)
    scores = direction_scores(
        said.probability_up[:, 0], test.target("up", HORIZON), test.keys["open_time"], bootstrap(seed)
    )
    return next(score for score in scores if score.name == "accuracy")


def test_random_walks_are_guessed_as_often_as_chance_allows() -> None:
    scores = [accuracy_on_a_walk(seed) for seed in SEEDS]
    values = np.array([score.value for score in scores])
    standard_error = values.std(ddof=1) / sqrt(len(values))
    assert abs(values.mean() - 0.5) <= 3 * standard_error
    # The same bound by theory: were the spread inflated by a leak, the first would be blind. Labels overlap.
    rows = sum(score.rows for score in scores)
    assert abs(values.mean() - 0.5) <= 3 * 0.5 * sqrt(HORIZON / rows)
    rejections = sum(not score.lower <= 0.5 <= score.upper for score in scores)
    assert rejections <= binom.ppf(0.999, len(scores), 0.05)


def planted(data: Dataset, *, rank_ic: float, seed: int) -> Dataset:
    """Let the first feature be a noisy view of the outcome, whose rank IC is known."""
    outcome = data.target("return", HORIZON)
    known = np.isfinite(outcome)
    standard = np.nan_to_num(outcome / outcome[known].std())
    pearson = 2 * np.sin(np.pi * rank_ic / 6)  # of two normal variables with this rank correlation
    noise = np.random.default_rng(seed).normal(size=len(data))
    values = data.values.copy()
    values[:, -1, 0] = pearson * standard + sqrt(1 - pearson**2) * noise
    return Dataset(data.keys, values, data.names, data.targets)


def test_interval_holds_a_planted_rank_ic() -> None:
    data = planted(walk_rows(bars=12_000, seed=3, horizons=(HORIZON,)), rank_ic=0.05, seed=4)
    score = return_scores(
        data.column(data.names[0]), data.target("return", HORIZON), data.keys["open_time"], bootstrap(1)
    )[0]
    assert score.name == "rank_ic"
    assert score.lower <= 0.05 <= score.upper
    assert score.lower > 0
    known = np.isfinite(data.target("return", HORIZON))
    right = float(
        spearmanr(data.column(data.names[0])[known], data.target("return", HORIZON)[known]).statistic
    )
    assert abs(score.value - right) < 1e-6


def test_interval_around_a_planted_rank_ic_covers_as_often_as_it_says() -> None:
    held = 0
    for seed in range(60):
        data = planted(walk_rows(bars=3000, seed=100 + seed, horizons=(HORIZON,)), rank_ic=0.05, seed=seed)
        score = return_scores(
            data.column(data.names[0]),
            data.target("return", HORIZON),
            data.keys["open_time"],
            bootstrap(seed),
        )[0]
        held += score.lower <= 0.05 <= score.upper
    # Percentile intervals of few blocks are a little short; a mistaken one would hold half as often.
    assert binom.ppf(0.001, 60, 0.92) <= held


def test_chain_finds_a_planted_signal_and_its_interval_leaves_chance_out() -> None:
    data = planted(walk_rows(bars=8000, seed=6, horizons=(HORIZON,)), rank_ic=0.3, seed=7)
    test, said = predicted(data, seed=1)
    score = return_scores(
        said.expected_return[:, 0], test.target("return", HORIZON), test.keys["open_time"], bootstrap(1)
    )[0]
    assert score.lower > 0.1
    assert score.value < 0.3 + 0.05


def test_outcomes_turned_round_in_time_are_not_guessed() -> None:
    """A chain that mixes up rows would find the planted signal even where it was moved away."""
    data = planted(walk_rows(bars=4000, seed=6, horizons=(HORIZON,)), rank_ic=0.3, seed=7)
    moved = Dataset(data.keys, data.values, data.names, pl.concat([data.targets[500:], data.targets[:500]]))
    test, said = predicted(moved, seed=1)
    score = return_scores(
        said.expected_return[:, 0], test.target("return", HORIZON), test.keys["open_time"], bootstrap(1)
    )[0]
    assert score.lower <= 0 <= score.upper
