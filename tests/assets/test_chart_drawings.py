"""Drawings keep what a candle is, and a mirrored window is mirrored."""

import numpy as np
import pytest
from fakes.chart_walks import walk

from cryptoai_assets.lib.charts.drawings import drawn, mirrored
from edge_bundle.chart import CLOSE, HIGH, LOW, OPEN, VOLUME, Float64Array


@pytest.fixture(scope="module")
def candles() -> Float64Array:
    return walk(50, 60, seed=9)


def test_drawing_is_of_valid_candles_near_the_window(candles: Float64Array) -> None:
    another = drawn(candles, np.random.default_rng(1))
    assert another.shape == candles.shape
    assert (another[:, :, HIGH] >= another[:, :, [OPEN, CLOSE]].max(axis=2)).all()
    assert (another[:, :, LOW] <= another[:, :, [OPEN, CLOSE]].min(axis=2)).all()
    assert np.isin(another[:, :, VOLUME], candles[:, :, VOLUME]).all()
    moved = np.abs(another[:, :, CLOSE] - candles[:, :, CLOSE])
    assert (moved > 0).mean() > 0.9
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(another[:, :, CLOSE], candles[:, :, CLOSE], strict=True)]
    assert np.median(alike) > 0.8


def test_drawing_depends_on_the_seed_alone(candles: Float64Array) -> None:
    first, again = (drawn(candles, np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != drawn(candles, np.random.default_rng(3))).any()


def test_window_turned_over_twice_is_itself(candles: Float64Array) -> None:
    over = mirrored(candles)
    np.testing.assert_allclose(mirrored(over), candles, rtol=1e-12)
    low, high = candles[:, :, LOW].min(axis=1), candles[:, :, HIGH].max(axis=1)
    np.testing.assert_allclose(over[:, :, LOW].min(axis=1), low, rtol=1e-12)
    np.testing.assert_allclose(over[:, :, HIGH].max(axis=1), high, rtol=1e-12)
    np.testing.assert_allclose(
        over[:, :, CLOSE] - low[:, None], high[:, None] - candles[:, :, CLOSE], rtol=0, atol=1e-9
    )
