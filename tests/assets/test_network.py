"""A network's fit: which rows it trains on, stops by, and is calibrated on; what it says is in bounds."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from fakes.promised_intervals import shares_held
from fakes.ridge_solver import EPOCHS, RidgeSolver
from fakes.walk_rows import BAR, FEW_FEATURES, HORIZONS, walk_grid
from scipy.special import logit

from cryptoai_assets.lib.datasets import Dataset, LookbackError, dataset
from cryptoai_assets.lib.models.coupling import INTERVAL_COVERAGE
from cryptoai_assets.lib.models.networks.fitted import FittedNetwork
from cryptoai_assets.lib.models.networks.network import (
    Network,
    _at_every,
    _averages,
    _parts,
    _shrunk,
    _slopes,
)
from cryptoai_assets.lib.models.networks.problem import Epoch
from cryptoai_assets.lib.models.networks.settings import LstmSettings, NetworkSettings, TransformerSettings
from cryptoai_assets.lib.targets import target_frame
from edge_bundle.features.catalog import feature_frame

LSTM = replace(LstmSettings.start(), lookback=8, units=(24,))
SETTINGS: tuple[NetworkSettings, ...] = (
    LSTM,
    replace(TransformerSettings.start(), lookback=8, width=24, heads=2, layers=1, inner=24),
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    grid = walk_grid(("BTCUSD", "ETHUSD"), bars=3000, seed=12)
    features, targets = feature_frame(grid, FEW_FEATURES), target_frame(grid, horizons=HORIZONS)
    return dataset(features, targets, FEW_FEATURES, lookback=8, bar=BAR)


@pytest.fixture(scope="module")
def train(data: Dataset) -> Dataset:
    return data.between(None, data.times[1700])


@pytest.fixture(scope="module")
def test(data: Dataset) -> Dataset:
    return data.between(data.times[1710], None)


def network(solver: RidgeSolver, settings: NetworkSettings = LSTM) -> Network:
    return Network(settings, solver, threads=1, after_epoch=lambda _: None)


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda settings: settings.kind)
def fitted(request: pytest.FixtureRequest, train: Dataset) -> FittedNetwork:
    return network(RidgeSolver(), request.param).fit(train, horizons=HORIZONS, seed=1)


def places_of(data: Dataset, last: np.ndarray) -> Dataset:
    assert data.history is not None
    return data.rows(np.isin(data.history.last, last))


def test_rows_are_read_in_the_order_training_stopping_calibration_and_purged_between(train: Dataset) -> None:
    solver = RidgeSolver()
    network(solver).fit(train, horizons=HORIZONS, seed=1)
    trial, final = solver.problems
    assert trial.stopping is not None
    training, stopping = places_of(train, trial.training.last), places_of(train, trial.stopping.last)
    times = train.times
    assert stopping.times[0] - training.times[-1] > max(HORIZONS) * BAR
    calibration_starts = times[int(len(times) * 0.8)]
    assert stopping.times[-1] + max(HORIZONS) * BAR < calibration_starts
    assert len(stopping) / (len(training) + len(stopping)) == pytest.approx(0.15, abs=0.02)
    assert final.stopping is None
    assert final.epochs == EPOCHS
    assert trial.epochs == trial.planned
    assert final.planned == EPOCHS, "the last one learns more and more slowly until its end"
    assert places_of(train, final.training.last).times[-1] >= times[-2]


def test_epoch_reads_a_window_every_quarter_of_a_lookback_and_the_next_one_others(train: Dataset) -> None:
    solver = RidgeSolver()
    network(solver).fit(train, horizons=(1,), seed=1)
    problem = solver.problems[-1]
    for epoch in (1, 2):
        read = places_of(train, problem.training.last[problem.turn(epoch)])
        for symbol in ("BTCUSD", "ETHUSD"):
            own = read.of_symbols([symbol]).keys["open_time"]
            assert own.diff().drop_nulls().unique().to_list() == [2 * BAR]
    both = [*problem.turn(1), *problem.turn(2)]
    assert sorted(both) == list(range(len(train)))


def test_outcomes_of_calibration_rows_change_calibration_and_coupling_of_the_trial_alone(
    train: Dataset,
) -> None:
    turned = train.targets.with_columns(
        up_1=pl.when(pl.int_range(pl.len()) >= int(0.85 * len(train)))
        .then(1 - pl.col("up_1"))
        .otherwise("up_1")
    )
    solvers = RidgeSolver(), RidgeSolver()
    before, after = (
        network(solver).fit(part, horizons=(1,), seed=1)
        for solver, part in zip(solvers, (train, replace(train, targets=turned)), strict=True)
    )
    trials = [solver.problems[0] for solver in solvers]
    assert np.array_equal(trials[0].training.targets, trials[1].training.targets, equal_nan=True)
    assert before.calibration != after.calibration


def test_volatility_and_interval_of_a_steady_walk_are_about_right(
    fitted: FittedNetwork, test: Dataset
) -> None:
    said = fitted.predict(test)
    assert np.median(said.expected_volatility[:, 2]) == pytest.approx(0.004 * np.sqrt(6), rel=0.15)
    assert shares_held(fitted, test, HORIZONS) == pytest.approx([INTERVAL_COVERAGE] * len(HORIZONS), abs=0.05)


def test_direction_that_only_an_earlier_bar_tells_is_found(train: Dataset, test: Dataset) -> None:
    """The bar before the last tells what follows, up to noise: a model of last bars cannot know."""

    def turned(part: Dataset) -> Dataset:
        earlier = part.windows(8)[:, -2, FEW_FEATURES.index("close_location")] - 0.5
        noise = np.random.default_rng(3).normal(size=len(part)) * 0.1
        ahead = (earlier.astype(np.float64) + noise) * 0.01
        targets = part.targets.with_columns(
            return_1=pl.Series(ahead), up_1=pl.Series((ahead > 0).astype(np.int8))
        )
        return replace(part, targets=targets)

    found = network(RidgeSolver()).fit(turned(train), horizons=(1,), seed=1)
    asked = turned(test)
    said = found.predict(asked)
    right = (said.probability_up[:, 0] > 0.5) == (asked.target("up", 1) > 0.5)
    assert right.mean() > 0.6
    assert found.calibration[0].slope > 0
    assert np.corrcoef(said.expected_return[:, 0], asked.target("return", 1))[0, 1] > 0.3


def test_network_that_is_wrong_where_it_is_calibrated_says_the_share_of_ups(train: Dataset) -> None:
    cut = int(len(train) * 0.8)
    location = train.column("close_location") > 0.5
    early = pl.int_range(pl.len()) < cut
    up = pl.Series(np.where(np.arange(len(train)) < cut, location, ~location).astype(np.int8))
    ahead = (up.to_numpy() - 0.5) * 0.01
    told = train.targets.with_columns(
        up_1=up, return_1=pl.when(early).then(pl.Series(ahead)).otherwise(-ahead)
    )
    found = network(RidgeSolver()).fit(replace(train, targets=told), horizons=(1,), seed=1)
    assert found.calibration[0].slope == 0
    assert found.predict(train).probability_up[:, 0] == pytest.approx(up.mean(), abs=0.002)


def test_mean_logit_is_that_of_the_training_rows_however_often_ups_came_later(train: Dataset) -> None:
    """A last fifth of nothing but rises moves no intercept."""
    rising = pl.int_range(pl.len()) >= int(0.8 * len(train))
    told = train.targets.with_columns(up_1=pl.when(rising).then(1).otherwise("up_1").cast(pl.Int8))
    found = network(RidgeSolver()).fit(replace(train, targets=told), horizons=(1,), seed=1)
    said = found.predict(train).probability_up[:, 0]
    assert logit(said).mean() == pytest.approx(logit(np.nanmean(told["up_1"])), abs=0.05)


def test_constant_that_the_body_adds_everywhere_weighs_nothing(fitted: FittedNetwork, train: Dataset) -> None:
    early, late = train.between(None, train.times[1200]), train.between(train.times[1200], None)
    bias = fitted.weights["heads.bias"].copy()
    bias[len(HORIZONS) : 2 * len(HORIZONS)] += 1.0  # of the logits
    raised = replace(fitted, weights={**fitted.weights, "heads.bias": bias})
    slopes = [
        _slopes(_parts(one, one.head_outputs(late), late), _averages(one, early), late, HORIZONS)
        for one in (fitted, raised)
    ]
    assert slopes[1] == pytest.approx(slopes[0], abs=0.01)


def test_averages_are_of_all_symbols_alike_where_their_number_divides_the_stride(train: Dataset) -> None:
    read = _at_every(train, 4).keys["symbol"].value_counts(sort=True)
    assert read["count"].to_list() == [len(train.times) // 4] * 2


def test_body_that_points_to_the_wrong_side_has_no_say_and_no_part_is_made_more_of() -> None:
    random = np.random.default_rng(2)
    parts = random.normal(0, 0.3, (20_000, 2))
    up = (0.4 + parts @ [-0.5, 0.8] + random.logistic(size=len(parts)) > 0).astype(float)
    assert _shrunk(parts, 0.4, up) == pytest.approx([0, 0.8], abs=0.1)
    assert _shrunk(parts * [-1, 1], 0.4, up) == pytest.approx([0.5, 0.8], abs=0.1)
    assert _shrunk(parts * [-1, 0.2], 0.4, up) == pytest.approx([0.5, 1], abs=0.1)
    assert _shrunk(parts[:0], 0.4, up[:0]).tolist() == [1, 1]


def test_rows_of_the_future_do_not_change_a_network_of_the_past(data: Dataset, train: Dataset) -> None:
    assert data.history is not None
    cut = train.times[-1]
    later = (data.keys["open_time"] > cut).to_numpy()
    bars = data.history.bars.copy()
    bars[data.history.last[later]] *= 5
    values = data.values.copy()
    values[later] *= 5
    changed = replace(data, values=values, history=replace(data.history, bars=bars))
    said = [
        network(RidgeSolver())
        .fit(part.between(None, data.times[1700]), horizons=(1,), seed=1)
        .predict(train)
        .probability_up
        for part in (data, changed)
    ]
    assert np.array_equal(said[0], said[1])


def test_dataset_that_holds_too_few_bars_is_refused(train: Dataset) -> None:
    longer = replace(LSTM, lookback=60)
    with pytest.raises(LookbackError, match="8 bars a row are held, 60 needed"):
        network(RidgeSolver(), longer).fit(train, horizons=(1,), seed=1)


def test_long_series_is_gone_through_fewer_times() -> None:
    training = replace(LSTM.training, epochs=24, windows=200_000)
    assert [training.planned_epochs(windows) for windows in (2_600, 20_000, 500_000, 0)] == [24, 10, 1, 24]


def test_epochs_are_told_as_a_bar_that_fills() -> None:
    assert Epoch(15, 30, 0.5, None).bar == "[##########..........] epoch 15/30, loss 0.50000"
    assert Epoch(30, 30, 0.5, 0.25).bar.endswith("] epoch 30/30, loss 0.50000, stopping loss 0.25000")
    assert "." not in Epoch(30, 30, 1, None).bar.split("]")[0]
