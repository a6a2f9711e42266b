"""Leaks: each is planted, lifts the score or changes the data, and is named; the honest chain passes."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from fakes.walk_rows import BAR, FEW_FEATURES, HORIZONS, INTERVAL, rows_of_grid, walk_grid
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from cryptoai_assets.lib.canaries import FeatureFunction
from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.leaks import (
    FactJoin,
    Finding,
    facts_are_joined_when_known,
    features_ignore_later_bars,
    inputs_do_not_contain_the_label,
    scaling_is_fitted_on_training_rows,
    splits_are_purged,
)
from cryptoai_assets.lib.models.baselines import Linear
from cryptoai_assets.lib.models.forecaster_model import rows_of
from cryptoai_assets.lib.splits import Fold, walk_forward
from edge_bundle.candles import CANDLE_SCHEMA
from edge_bundle.facts import FACT_SCHEMA, as_of_join
from edge_bundle.features.catalog import feature_frame
from edge_bundle.windows import MarketWindow, window_features

SYMBOLS = ("BTCUSD", "ETHUSD")
LONG = 48
CHANCE = 0.5


@pytest.fixture(scope="module")
def grid() -> pl.DataFrame:
    return walk_grid(SYMBOLS, bars=1500, seed=5)


@pytest.fixture(scope="module")
def window(grid: pl.DataFrame) -> MarketWindow:
    return MarketWindow(grid.select(list(CANDLE_SCHEMA)))


@pytest.fixture(scope="module")
def data(grid: pl.DataFrame) -> Dataset:
    return rows_of_grid(grid)


def fold_of(data: Dataset, *, horizon: int) -> Fold:
    [fold] = walk_forward(data.times, bar=BAR, folds=1, test_share=0.4, horizon_bars=horizon, embargo_bars=6)
    return fold


def halves(data: Dataset, *, horizon: int) -> tuple[Dataset, Dataset]:
    fold = fold_of(data, horizon=horizon)
    return data.between(None, fold.train_end), data.between(fold.test_start, fold.test_end)


def shuffled(data: Dataset, *, seed: int) -> tuple[Dataset, Dataset]:
    drawn = np.random.default_rng(seed).random(len(data)) < 0.6
    return data.rows(drawn), data.rows(~drawn)


def test_honest_split_is_purged(data: Dataset) -> None:
    train, test = halves(data, horizon=6)
    found = splits_are_purged(train.keys["open_time"], test.keys["open_time"], horizon_bars=6, bar=BAR)
    assert found.holds, found.sentence


def test_shuffled_split_lifts_the_score_on_a_random_walk_and_is_named(grid: pl.DataFrame) -> None:
    data = rows_of_grid(grid, horizons=[LONG])

    def accuracy(train: Dataset, test: Dataset) -> float:
        # A model that remembers its neighbours in time: their labels overlap nearly whole.
        train, test = train.of_symbols(["BTCUSD"]), test.of_symbols(["BTCUSD"])
        said = []
        for part in (train, test):
            known = np.isfinite(part.target("up", LONG))
            clock = part.keys["open_time"].dt.epoch("s").to_numpy().reshape(-1, 1)[known]
            said.append((clock, part.target("up", LONG)[known]))
        (seen, labels), (asked, outcomes) = said
        return float(KNeighborsClassifier(3).fit(seen, labels).score(asked, outcomes))

    honest, leaking = halves(data, horizon=LONG), shuffled(data, seed=1)
    assert accuracy(*leaking) > 0.85
    assert accuracy(*honest) < 0.75
    times = [part.keys["open_time"] for part in leaking]
    found = splits_are_purged(times[0], times[1], horizon_bars=LONG, bar=BAR)
    assert not found.holds
    assert found.check == "splits_are_purged"
    assert "training rows reach the test rows" in found.sentence


def test_split_that_is_short_of_its_purge_by_one_bar_is_named(data: Dataset) -> None:
    fold = fold_of(data, horizon=6)
    test = data.between(fold.test_start, None).keys["open_time"]
    enough = data.between(None, fold.test_start - 6 * BAR).keys["open_time"]
    short = data.between(None, fold.test_start - 5 * BAR).keys["open_time"]
    assert splits_are_purged(enough, test, horizon_bars=6, bar=BAR).holds
    found = splits_are_purged(short, test, horizon_bars=6, bar=BAR)
    assert not found.holds
    assert found.sentence.startswith("labels of 2 of ")


def later_bars(
    frame: pl.DataFrame, window: MarketWindow, features: FeatureFunction = feature_frame
) -> Finding:
    times = window.candles["open_time"].unique().sort()
    cuts = [times[k] + BAR for k in (600, 1000, len(times) - 2)]
    return features_ignore_later_bars(
        frame,
        window,
        FEW_FEATURES,
        interval=INTERVAL,
        max_missing_bars=3,
        greatest_age={},
        cuts=cuts,
        features=features,
    )


def test_honest_features_ignore_later_bars(grid: pl.DataFrame, window: MarketWindow) -> None:
    found = later_bars(feature_frame(grid, FEW_FEATURES), window)
    assert found.holds, found.sentence
    assert "equal in 120 complete rows" in found.sentence


def test_honest_features_of_a_series_with_holes_ignore_later_bars(grid: pl.DataFrame) -> None:
    numbered = grid.select(list(CANDLE_SCHEMA)).with_row_index("bar")
    holes = pl.col("bar").is_in([480, 598, 599, 990]) | pl.col("bar").is_between(700, 740)
    window = MarketWindow(numbered.filter(~holes).drop("bar"))
    frame = window_features(window, FEW_FEATURES, interval=INTERVAL, max_missing_bars=3)
    found = later_bars(frame, window)
    assert found.holds, found.sentence


def test_feature_shifted_by_one_bar_lifts_the_score_and_is_named(
    grid: pl.DataFrame, window: MarketWindow, data: Dataset
) -> None:
    frame = feature_frame(grid, FEW_FEATURES)
    leaking = frame.with_columns(pl.col("log_return_5").shift(-1).over("symbol"))

    def accuracy(rows: Dataset, column: str) -> float:
        train, test = halves(rows, horizon=1)
        known = np.isfinite(train.target("up", 1))
        model = LogisticRegression().fit(
            train.column(column)[known, None] * 100, train.target("up", 1)[known]
        )
        asked = np.isfinite(test.target("up", 1))
        return float(model.score(test.column(column)[asked, None] * 100, test.target("up", 1)[asked]))

    shifted = data.values.copy()
    place = FEW_FEATURES.index("log_return_5")
    joined = data.keys.join(leaking, on=["open_time", "symbol"], how="left")["log_return_5"]
    shifted[:, 0, place] = joined.fill_null(0.0).to_numpy()
    changed = Dataset(data.keys, shifted, data.names, data.targets)
    assert accuracy(changed, "log_return_5") > 0.6 > 0.56 > accuracy(data, "log_return_5")
    found = later_bars(leaking, window)
    assert not found.holds
    assert found.sentence.startswith("log_return_5 reads later bars")
    assert "so do" not in found.sentence


def test_feature_that_is_the_next_bar_s_wherever_it_is_computed_is_named(
    grid: pl.DataFrame, window: MarketWindow
) -> None:
    """Computed again from what was known, its newest row is null and all others are the same."""

    def next_bar(bars: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        frame = feature_frame(bars, names)
        return frame.with_columns(pl.col("log_return_5").shift(-1).over("symbol"))

    found = later_bars(next_bar(grid, FEW_FEATURES), window, next_bar)
    assert not found.holds
    assert found.sentence.startswith("log_return_5 reads later bars: ")
    assert "but None from the bars closed by" in found.sentence


def test_feature_scaled_over_all_bars_is_named(grid: pl.DataFrame, window: MarketWindow) -> None:
    column = pl.col("return_deviation_60")
    scaled = feature_frame(grid, FEW_FEATURES).with_columns(column / column.mean())
    found = later_bars(scaled, window)
    assert found.sentence.startswith("return_deviation_60 reads later bars")


def test_features_that_cannot_be_compared_do_not_pass(grid: pl.DataFrame, window: MarketWindow) -> None:
    frame = feature_frame(grid, FEW_FEATURES).head(0)
    assert not later_bars(frame, window).holds


@pytest.fixture(scope="module")
def facts(grid: pl.DataFrame) -> pl.DataFrame:
    """A rate every eight hours: what the market does in three hours, known when they are over."""
    own = grid.filter(pl.col("symbol") == "BTCUSD")
    ahead = (pl.col("close").shift(-6) / pl.col("close")).log()
    rates = own.select("symbol", event_time="open_time", value=ahead).drop_nulls().gather_every(16)
    return rates.select(
        "symbol",
        "event_time",
        known_at=pl.col("event_time") + timedelta(hours=3),
        source=pl.lit("venue"),
        name=pl.lit("rate"),
        value="value",
    ).select(list(FACT_SCHEMA))


def join_when_known(bars: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    return as_of_join(bars, facts, name="rate", interval=BAR, greatest_age=timedelta(days=1))


def join_by_event(bars: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    return join_when_known(bars, facts.with_columns(known_at="event_time"))


def test_fact_joined_by_its_event_lifts_the_score(grid: pl.DataFrame, facts: pl.DataFrame) -> None:
    bars = grid.filter(pl.col("symbol") == "BTCUSD")
    ahead = bars.select((pl.col("close").shift(-5) / pl.col("close")).log()).to_series()

    def correlation(joined: pl.DataFrame) -> float:
        # Bars at which a rate was just set.
        both = joined.with_columns(ahead=ahead, at=pl.int_range(pl.len())).filter(pl.col("at") % 16 == 1)
        return float(both.drop_nulls().select(pl.corr("rate", "ahead")).item())

    assert correlation(join_by_event(bars, facts)) > 0.8
    assert abs(correlation(join_when_known(bars, facts))) < 0.3


def finding_of(join: FactJoin, grid: pl.DataFrame, facts: pl.DataFrame) -> Finding:
    return facts_are_joined_when_known(grid, facts, name="rate", interval=BAR, join=join, most_bars=40)


def test_fact_joined_by_its_event_is_named(grid: pl.DataFrame, facts: pl.DataFrame) -> None:
    honest = finding_of(join_when_known, grid, facts)
    assert honest.holds, honest.sentence
    assert honest.sentence.startswith("equal at 38 bars")
    found = finding_of(join_by_event, grid, facts)
    assert not found.holds
    assert found.sentence.startswith("rate of BTCUSD at ")
    assert "was not known when the bar closed" in found.sentence


def test_honest_inputs_do_not_contain_the_label(data: Dataset) -> None:
    found = inputs_do_not_contain_the_label(data, horizons=HORIZONS)
    assert found.holds, found.sentence


@pytest.mark.parametrize("label", ["return_1", "up_2", "volatility_6", "return_6"])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_label_inside_the_input_is_named(data: Dataset, label: str, noise: float) -> None:
    kind, _, horizon = label.partition("_")
    outcome = np.nan_to_num(data.target(kind, int(horizon)))
    disturbed = outcome + noise * outcome.std() * np.random.default_rng(1).normal(size=len(data))
    values = data.values.copy()
    values[:, 0, 3] = disturbed if kind != "volatility" else outcome
    found = inputs_do_not_contain_the_label(
        Dataset(data.keys, values, data.names, data.targets), horizons=HORIZONS
    )
    assert not found.holds
    assert found.sentence.startswith(f"{data.names[3]} and {label} have a rank correlation of ")


def test_label_inside_the_input_makes_a_random_walk_foreseeable(data: Dataset) -> None:
    values = data.values.copy()
    values[:, 0, 3] = np.nan_to_num(data.target("return", 1))
    leaking = Dataset(data.keys, values, data.names, data.targets)

    def accuracy(rows: Dataset) -> float:
        train, test = halves(rows, horizon=1)
        said = Linear().fit(train, horizons=(1,), seed=1).predict(test).probability_up[:, 0]
        up = test.target("up", 1)
        return float(np.mean((said > CHANCE)[np.isfinite(up)] == (up[np.isfinite(up)] > CHANCE)))

    assert accuracy(leaking) > 0.9 > 0.56 > accuracy(data)


def test_dataset_whose_outcomes_are_hardly_known_does_not_pass(data: Dataset) -> None:
    last = data.between(data.times[-10], None)
    assert not inputs_do_not_contain_the_label(last, horizons=HORIZONS).holds


def test_scaler_fitted_on_all_rows_changes_the_inputs_and_is_named(data: Dataset) -> None:
    train, _ = halves(data, horizon=6)
    honest, leaking = (StandardScaler().fit(rows_of(part.values)) for part in (train, data))
    assert not np.allclose(honest.transform(rows_of(data.values)), leaking.transform(rows_of(data.values)))
    found = scaling_is_fitted_on_training_rows(honest.mean_, honest.scale_, train)
    assert found.holds, found.sentence
    found = scaling_is_fitted_on_training_rows(leaking.mean_, leaking.scale_, train)
    assert not found.holds
    assert "but the training rows give" in found.sentence
    assert found.sentence.split()[0] in FEW_FEATURES
