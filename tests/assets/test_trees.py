"""Tree forecasters: the same seed gives the same model, and its intervals hold what they promise."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from fakes.promised_intervals import shares_held
from fakes.walk_rows import FEW_FEATURES, HORIZONS, walk_rows

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.coupling import INTERVAL_COVERAGE
from cryptoai_assets.lib.models.ensemble import EnsembleHead, EnsembleSettings
from cryptoai_assets.lib.models.tree_heads import (
    ForestSettings,
    LightgbmSettings,
    TreeSettings,
    XgboostSettings,
)
from cryptoai_assets.lib.models.trees import FittedTrees, Trees

SETTINGS: tuple[TreeSettings, ...] = (
    replace(XgboostSettings.start(), trees=30, learning_rate=0.1, min_child_weight=20.0),
    replace(LightgbmSettings.start(), trees=30, learning_rate=0.1, rows_a_leaf=50),
    replace(ForestSettings.start(), trees=30),
)
SETTINGS = (*SETTINGS, EnsembleSettings.of(SETTINGS))


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda settings: settings.kind)
def model(request: pytest.FixtureRequest) -> Trees:
    return Trees(request.param, threads=1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return walk_rows(bars=6000, seed=12)


@pytest.fixture(scope="module")
def train(data: Dataset) -> Dataset:
    return data.between(None, data.times[3500])


@pytest.fixture(scope="module")
def test(data: Dataset) -> Dataset:
    return data.between(data.times[3510], None)


@pytest.fixture(scope="module")
def fitted(model: Trees, train: Dataset) -> FittedTrees:
    return model.fit(train, horizons=HORIZONS, seed=1)


def test_same_seed_gives_the_same_predictions_and_another_seed_others(
    model: Trees, fitted: FittedTrees, train: Dataset, test: Dataset
) -> None:
    said = fitted.predict(test)
    same = model.fit(train, horizons=HORIZONS, seed=1).predict(test)
    other = model.fit(train, horizons=HORIZONS, seed=2).predict(test)
    for name in ("expected_return", "probability_up", "expected_volatility"):
        assert np.array_equal(getattr(said, name), getattr(same, name))
        assert getattr(said, name).shape == (len(test), len(HORIZONS))
    assert not np.array_equal(said.probability_up, other.probability_up)


def test_intervals_hold_the_share_of_outcomes_that_they_promise(fitted: FittedTrees, test: Dataset) -> None:
    assert shares_held(fitted, test, HORIZONS) == pytest.approx([INTERVAL_COVERAGE] * len(HORIZONS), abs=0.04)


def test_volatility_of_a_steady_walk_is_about_its_own(fitted: FittedTrees, test: Dataset) -> None:
    said = fitted.predict(test)
    assert np.median(said.expected_volatility[:, 2]) == pytest.approx(0.004 * np.sqrt(6), rel=0.15)


def test_volatility_is_right_in_the_mean(fitted: FittedTrees, test: Dataset) -> None:
    said = fitted.predict(test)
    for column, horizon in enumerate(HORIZONS):
        ratio = test.target("volatility", horizon) / said.expected_volatility[:, column]
        assert np.nanmean(ratio) == pytest.approx(1.0, abs=0.08)


def test_expected_return_follows_the_lead_of_the_probability(fitted: FittedTrees, test: Dataset) -> None:
    said = fitted.predict(test)
    assert (said.expected_return * (said.probability_up - 0.5) >= 0).all()


def test_member_of_an_ensemble_says_what_it_says_when_fitted_alone(
    model: Trees, fitted: FittedTrees, train: Dataset, test: Dataset
) -> None:
    told = fitted.predict(test).members
    if not isinstance(model.settings, EnsembleSettings):
        assert not told
        return
    assert list(told) == [member.kind for member in model.settings.members]
    for member in model.settings.members:
        alone = Trees(member, threads=1).fit(train, horizons=HORIZONS, seed=1).predict(test)
        for name in ("expected_return", "probability_up", "expected_volatility"):
            assert np.array_equal(getattr(told[member.kind], name), getattr(alone, name))


def test_planted_direction_is_found_and_is_most_important(
    model: Trees, train: Dataset, test: Dataset
) -> None:
    def turned(part: Dataset) -> Dataset:
        move = part.column("close_location") - 0.5
        noise = np.random.default_rng(3).normal(size=len(part)) * 0.1
        ahead = (move + noise) * 0.01
        targets = part.targets.with_columns(
            return_1=pl.Series(ahead), up_1=pl.Series((ahead > 0).astype(np.int8))
        )
        return Dataset(part.keys, part.values, part.names, targets)

    found = model.fit(turned(train), horizons=(1,), seed=1)
    up = turned(test).target("up", 1)
    assert np.mean((found.predict(test).probability_up[:, 0] > 0.5) == (up > 0.5)) > 0.8
    importance = found.importance()
    assert next(iter(importance)) == "close_location"
    assert sum(importance.values()) == pytest.approx(1)


def test_constant_feature_is_not_read(model: Trees, train: Dataset, test: Dataset) -> None:
    def flat(part: Dataset, level: float) -> Dataset:
        values = part.values.copy()
        values[:, :, 1] = level
        return Dataset(part.keys, values, part.names, part.targets)

    found = model.fit(flat(train, 1.0), horizons=(1,), seed=1)
    assert 1 not in found.selected
    first, second = (found.predict(flat(test, level)).probability_up for level in (1.0, 99.0))
    assert np.array_equal(first, second)


def test_training_range_holds_nearly_all_training_rows(fitted: FittedTrees, train: Dataset) -> None:
    rows = train.values[:, -1, :]
    outside = ((rows < fitted.training_range.low) | (rows > fitted.training_range.high)).mean(axis=0)
    assert outside.shape == (len(FEW_FEATURES),)
    assert outside.max() < 0.002


def test_rows_of_the_future_do_not_change_a_model_of_the_past(
    model: Trees, data: Dataset, train: Dataset
) -> None:
    cut = train.times[-1]
    later = (data.keys["open_time"] > cut).to_numpy()
    values = data.values.copy()
    values[later] *= 5
    changed = Dataset(data.keys, values, data.names, data.targets).between(None, data.times[3500])
    asked = data.between(None, cut)
    said = [model.fit(part, horizons=(1,), seed=1).predict(asked) for part in (train, changed)]
    assert np.array_equal(said[0].probability_up, said[1].probability_up)


def test_member_that_knows_nothing_loses_its_weight_and_the_spread_of_members_is_there_to_see(
    train: Dataset, test: Dataset
) -> None:
    """A forest of stumps over one column in eight sees little; the first weights are .4, .4, .2."""
    blind = replace(ForestSettings.start(), trees=1, max_depth=1, column_share=0.01, row_share=0.01)
    ensemble = EnsembleSettings.of((*SETTINGS[:2], blind))
    assert ensemble.direction_weights == (0.4, 0.4, 0.2)
    fitted = Trees(ensemble, threads=1).fit(train, horizons=HORIZONS, seed=1)
    head = fitted.volatility[2]
    assert isinstance(head, EnsembleHead)
    assert sum(head.weights) == pytest.approx(1)
    assert head.weights[2] < 0.1
    rows = np.ascontiguousarray(test.values[:, -1, fitted.selected])
    members = head.members(rows)
    assert members.shape == (3, len(test))
    np.testing.assert_allclose(head.predict(rows), np.array(head.weights) @ members, rtol=1e-12)


def test_members_without_any_skill_keep_the_first_weights() -> None:
    ensemble = EnsembleSettings.of(SETTINGS[:3])
    assert ensemble.weighted("direction", np.array([-1.0, 0.0, -0.1])).direction_weights == (0.4, 0.4, 0.2)
    assert ensemble.weighted("volatility", np.array([0.1, 0.1, 0.0])).volatility_weights == (0.5, 0.5, 0.0)
