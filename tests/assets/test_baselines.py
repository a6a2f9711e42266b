"""Baselines: each says what its name promises, learnt from its training rows alone."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from fakes.walk_rows import HORIZONS, walk_rows

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.leaks import scaling_is_fitted_on_training_rows
from cryptoai_assets.lib.models.baselines import (
    DIRECTION_BASELINES,
    VOLATILITY_BASELINES,
    Har,
    LastSignReversal,
    Linear,
    Majority,
    Zero,
)
from cryptoai_assets.lib.models.feature_choice import LEAST_ROWS_A_SYMBOL
from cryptoai_assets.lib.models.forecaster_model import ForecasterModel

SYMBOLS = ("BTCUSD", "ETHUSD")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return walk_rows(bars=1500, seed=9, symbols=SYMBOLS)


@pytest.fixture(scope="module")
def train(data: Dataset) -> Dataset:
    return data.between(None, data.times[800])


@pytest.fixture(scope="module")
def test(data: Dataset) -> Dataset:
    return data.between(data.times[810], None)


def share_of_ups(data: Dataset, mask: npt.NDArray[np.bool_], horizon: int) -> float:
    up = data.target("up", horizon)[mask]
    return float((np.nansum(up) + 0.5) / (np.isfinite(up).sum() + 1))


def test_zero_expects_nothing_at_even_odds(train: Dataset, test: Dataset) -> None:
    said = Zero().fit(train, horizons=HORIZONS, seed=1).predict(test)
    assert (said.expected_return == 0).all()
    assert (said.probability_up == 0.5).all()
    assert np.isnan(said.expected_volatility).all()


def test_majority_says_the_share_of_rises_of_each_symbol(train: Dataset, test: Dataset) -> None:
    said = Majority().fit(train, horizons=HORIZONS, seed=1).predict(test)
    for symbol in SYMBOLS:
        own, asked = ((part.keys["symbol"] == symbol).to_numpy() for part in (train, test))
        for column, horizon in enumerate(HORIZONS):
            assert said.probability_up[asked, column] == pytest.approx(share_of_ups(train, own, horizon))


def test_last_sign_reversal_says_the_share_of_rises_after_the_same_sign(
    train: Dataset, test: Dataset
) -> None:
    said = LastSignReversal().fit(train, horizons=HORIZONS, seed=1).predict(test)
    rose, asked = (
        ((part.keys["symbol"] == "ETHUSD").to_numpy()) & (part.column("log_return_1") > 0)
        for part in (train, test)
    )
    assert said.probability_up[asked, 1] == pytest.approx(share_of_ups(train, rose, 2))


def test_symbol_that_was_never_trained_on_is_even(train: Dataset, test: Dataset) -> None:
    only = train.of_symbols(["BTCUSD"])
    said = Majority().fit(only, horizons=HORIZONS, seed=1).predict(test.of_symbols(["ETHUSD"]))
    assert (said.probability_up == 0.5).all()


def test_linear_is_scaled_by_its_training_rows(data: Dataset, train: Dataset) -> None:
    fitted = Linear().fit(train, horizons=(1,), seed=1)
    [ridge] = fitted.returns
    scaler = ridge[0]
    known = np.isfinite(train.target("return", 1))
    assert scaling_is_fitted_on_training_rows(scaler.mean_, scaler.scale_, train.rows(known)).holds
    assert not scaling_is_fitted_on_training_rows(scaler.mean_, scaler.scale_, data).holds


def test_linear_finds_a_linear_relation(train: Dataset, test: Dataset) -> None:
    def turned(part: Dataset) -> Dataset:
        ahead = part.column("log_return_1") * 0.8
        targets = part.targets.with_columns(
            return_1=pl.Series(ahead), up_1=pl.Series((ahead > 0).astype(np.int8))
        )
        return Dataset(part.keys, part.values, part.names, targets)

    said = Linear().fit(turned(train), horizons=(1,), seed=1).predict(turned(test))
    up = turned(test).target("up", 1)
    assert np.mean((said.probability_up[:, 0] > 0.5) == (up > 0.5)) > 0.9
    assert np.corrcoef(said.expected_return[:, 0], test.column("log_return_1"))[0, 1] > 0.95


def test_linear_tells_symbols_apart_where_the_models_do(train: Dataset, test: Dataset) -> None:
    """Rises are those of bitcoin, and nothing else tells them."""

    def told(data: Dataset, times: int) -> Dataset:
        is_bitcoin = (data.keys["symbol"] == "BTCUSD").to_numpy()
        values = np.concatenate([0 * data.values[:, :, :1], is_bitcoin[:, None, None]], axis=2)
        places = np.resize(np.arange(len(data)), times * len(data))
        up = [pl.Series(f"up_{horizon}", is_bitcoin * 1.0) for horizon in HORIZONS]
        return replace(
            data,
            keys=data.keys[places],
            values=values[places].astype(np.float32),
            names=("nothing", "symbol_is_BTCUSD"),
            targets=data.targets.with_columns(up)[places],
        )

    few, many = (
        Linear().fit(told(train, times), horizons=HORIZONS, seed=1).predict(told(test, 1)).probability_up
        for times in (1, 1 + LEAST_ROWS_A_SYMBOL // len(train))
    )
    assert np.ptp(few[:, 0]) == 0
    assert np.ptp(many[:, 0]) > 0.5


def test_har_follows_volatility_that_lasts(train: Dataset, test: Dataset) -> None:
    def lasting(part: Dataset) -> Dataset:
        level = np.exp(np.sin(np.arange(len(part)) / 50))
        values = part.values.copy()
        values[:, 0, 4:] = level[:, None]
        targets = part.targets.with_columns(volatility_2=pl.Series(3 * level))
        return Dataset(part.keys, values, part.names, targets)

    said = Har().fit(lasting(train), horizons=(2,), seed=1).predict(lasting(test))
    assert said.expected_volatility[:, 0] == pytest.approx(lasting(test).target("volatility", 2), rel=1e-3)
    assert np.isnan(said.probability_up).all()


@pytest.mark.parametrize("model", [*DIRECTION_BASELINES, *VOLATILITY_BASELINES], ids=lambda model: model.kind)
def test_outcomes_of_asked_rows_are_not_read(model: ForecasterModel, train: Dataset, test: Dataset) -> None:
    blind = Dataset(test.keys, test.values, test.names, test.targets.clear(len(test)))
    fitted = model.fit(train, horizons=HORIZONS, seed=1)
    with_outcomes, without = fitted.predict(test), fitted.predict(blind)
    for name in ("expected_return", "probability_up", "expected_volatility"):
        assert np.array_equal(getattr(with_outcomes, name), getattr(without, name), equal_nan=True)
