"""GARCH: parameters of a made series are found again, and its forecast is what the recursion says."""

import numpy as np
import polars as pl
import pytest
from fakes.walk_rows import walk_rows

from cryptoai_assets.lib.datasets import Dataset
from cryptoai_assets.lib.models.garch import Garch, GarchParameters

OMEGA, ALPHA, BETA = 2e-7, 0.1, 0.85


def simulated(bars: int, seed: int) -> np.ndarray:
    draws, variance, returns = np.random.default_rng(seed), OMEGA / (1 - ALPHA - BETA), []
    for shock in draws.normal(size=bars):
        returns.append(variance**0.5 * shock)
        variance = OMEGA + ALPHA * returns[-1] ** 2 + BETA * variance
    return np.array(returns)


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Rows whose one-bar returns are a GARCH series."""
    rows = walk_rows(bars=9000, seed=3)
    values = rows.values.copy()
    values[:, -1, rows.names.index("log_return_1")] = simulated(len(rows), seed=4)
    return Dataset(rows.keys, values, rows.names, rows.targets)


def test_parameters_of_a_made_series_are_found_again(data: Dataset) -> None:
    fitted = Garch().fit(data, horizons=(1,), seed=1)
    [parameters] = fitted.parameters.values()
    assert parameters.alpha == pytest.approx(ALPHA, abs=0.03)
    assert parameters.beta == pytest.approx(BETA, abs=0.05)
    assert parameters.omega == pytest.approx(OMEGA, rel=0.6)


def test_forecast_is_what_the_recursion_says_bar_by_bar() -> None:
    parameters = GarchParameters(OMEGA, ALPHA, BETA, variance=3e-6)
    returns, variance, expected = simulated(50, seed=1), 3e-6, []
    for value in returns:
        variance = OMEGA + ALPHA * value**2 + BETA * variance
        expected.append(variance)
    ahead = parameters.next_variance(returns)
    np.testing.assert_allclose(ahead, expected, rtol=1e-12)
    summed, step = np.zeros(50), ahead
    for _ in range(6):
        summed, step = summed + step, OMEGA + (ALPHA + BETA) * step
    np.testing.assert_allclose(parameters.total_variance(ahead, 6), summed, rtol=1e-12)


def test_forecast_is_right_in_the_mean_of_the_training_rows(data: Dataset) -> None:
    said = Garch().fit(data, horizons=(1, 6), seed=1).predict(data).expected_volatility
    for column, horizon in enumerate((1, 6)):
        ratio = data.target("volatility", horizon) / said[:, column]
        assert np.nanmean(ratio) == pytest.approx(1)


def test_rows_after_the_training_go_on_from_its_last_variance_and_read_no_later_bar(data: Dataset) -> None:
    cut = data.times[6000]
    fitted = Garch().fit(data.between(None, cut), horizons=(1, 6), seed=1)
    later, short = data.between(cut, None), data.between(cut, data.times[7000])
    said = fitted.predict(later).expected_volatility
    np.testing.assert_array_equal(said[: len(short)], fitted.predict(short).expected_volatility)
    assert (said[:, 1] > said[:, 0]).all()
    assert np.isnan(fitted.predict(later).probability_up).all()
    other = Dataset(later.keys.with_columns(symbol=pl.lit("NEW")), later.values, later.names, later.targets)
    assert np.isnan(fitted.predict(other).expected_volatility).all()
