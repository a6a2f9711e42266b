"""The rasterizer against a plain loop over pixels, and what a picture gives back."""

import numpy as np
import pytest
from fakes.chart_walks import walk
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_bundle.chart import (
    BLOCK,
    CHART_5,
    CHART_20,
    CHART_60,
    CLOSE,
    INK,
    MEAN_INK,
    ChartFormat,
    Float64Array,
    UInt8Array,
    chart_images,
    closing_levels,
    price_levels,
)
from edge_bundle.errors import ChartRefusedError

CHARTS = st.sampled_from([CHART_5, CHART_20, CHART_60])


def nearest(value: float) -> int:
    return int(np.floor(value + 0.5))


def plain_picture(candles: Float64Array, chart: ChartFormat) -> UInt8Array:
    """One window, drawn bar by bar and pixel by pixel."""
    picture = np.zeros((chart.height, chart.width), dtype=np.uint8)
    lowest, highest = candles[:, 2].min(), candles[:, 1].max()
    rows = chart.price_rows - 1

    def level(price: float) -> int:
        return nearest((price - lowest) * (rows / (highest - lowest)))

    closes = [level(bar[CLOSE]) for bar in candles]
    means = [np.mean(closes[max(0, at + 1 - chart.mean_bars) : at + 1]) for at in range(chart.bars)]
    for at, (open_, high, low, close, volume) in enumerate(candles):
        for column in range(3):
            other = means[min(max(at + column - 1, 0), chart.bars - 1)]
            mean = means[at] + (other - means[at]) / 3
            picture[rows - nearest(mean), 3 * at + column] = MEAN_INK
        picture[rows - level(open_), 3 * at] = INK
        picture[rows - level(high) : rows - level(low) + 1, 3 * at + 1] = INK
        picture[rows - level(close), 3 * at + 2] = INK
        bar = nearest(volume * (chart.volume_rows / candles[:, 4].max()))
        picture[chart.height - bar :, 3 * at + 1] = np.maximum(picture[chart.height - bar :, 3 * at + 1], INK)
    return picture


@settings(max_examples=30, deadline=None)
@given(CHARTS, st.integers(0, 10_000))
def test_images_are_those_of_a_plain_loop(chart: ChartFormat, seed: int) -> None:
    candles = walk(2, chart.bars, seed)
    images = chart_images(candles, chart)
    assert images.shape == (2, chart.height, chart.width)
    for image, window in zip(images, candles, strict=True):
        np.testing.assert_array_equal(image, plain_picture(window, chart))


def test_formats_are_those_of_the_paper() -> None:
    assert [(chart.height, chart.width) for chart in (CHART_5, CHART_20, CHART_60)] == [
        (32, 15),
        (64, 60),
        (96, 180),
    ]
    assert [chart.volume_rows for chart in (CHART_5, CHART_20, CHART_60)] == [6, 12, 19]


def test_image_is_the_same_alone_and_in_a_batch_of_several_blocks() -> None:
    candles = walk(2 * BLOCK + 3, CHART_20.bars, seed=1)
    images = chart_images(candles, CHART_20)
    alone = np.concatenate([chart_images(window[None], CHART_20) for window in candles])
    np.testing.assert_array_equal(images, alone)


def test_paper_that_was_drawn_on_before_shows_nothing_of_it() -> None:
    first, second = walk(3, CHART_60.bars, seed=2), walk(3, CHART_60.bars, seed=3)
    expected = chart_images(second, CHART_60)
    paper = chart_images(first, CHART_60)
    drawn = chart_images(second, CHART_60, paper=paper)
    np.testing.assert_array_equal(drawn, expected)
    assert np.shares_memory(drawn, paper)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-6, 1e6), st.integers(0, 10_000))
def test_unit_of_money_and_of_volume_changes_nothing(unit: float, seed: int) -> None:
    candles = walk(1, CHART_20.bars, seed)
    levels, others = price_levels(candles, CHART_20), price_levels(candles * unit, CHART_20)
    # A price that lies between two pixels to the last digit may fall on either side.
    assert np.abs(levels - others).max() <= 1
    assert (levels != others).mean() <= 0.02


@settings(max_examples=30, deadline=None)
@given(CHARTS, st.integers(0, 10_000))
def test_closes_are_read_back_from_the_picture(chart: ChartFormat, seed: int) -> None:
    candles = walk(3, chart.bars, seed)
    read = closing_levels(chart_images(candles, chart), chart)
    np.testing.assert_array_equal(read, price_levels(candles, chart)[:, :, CLOSE])


def test_range_of_the_window_fills_the_price_area() -> None:
    levels = price_levels(walk(50, CHART_60.bars, seed=4), CHART_60)
    assert (levels.min(axis=(1, 2)) == 0).all()
    assert (levels.max(axis=(1, 2)) == CHART_60.top_level).all()


def test_window_without_movement_or_volume_is_a_line_in_the_middle() -> None:
    candles = np.zeros((1, CHART_5.bars, 5))
    candles[:, :, :4] = 7.0
    [image] = chart_images(candles, CHART_5)
    assert set(np.flatnonzero(image.any(axis=1))) == {CHART_5.top_level // 2}
    assert (image[CHART_5.top_level // 2] == INK).all()


def test_other_shapes_and_absent_values_are_refused() -> None:
    with pytest.raises(ChartRefusedError, match=r"\(1, 19, 5\).*\(batch, 20, 5\)"):
        chart_images(walk(1, 19, seed=5), CHART_20)
    candles = walk(1, 20, seed=5)
    candles[0, 3, 4] = np.nan
    with pytest.raises(ChartRefusedError, match="not finite"):
        chart_images(candles, CHART_20)


def test_picture_that_the_rasterizer_did_not_draw_is_refused() -> None:
    images = chart_images(walk(1, 20, seed=6), CHART_20)
    with pytest.raises(ChartRefusedError, match="64 x 60"):
        closing_levels(images[:, :, :-3], CHART_20)
    images[0, :, 5] = INK
    with pytest.raises(ChartRefusedError, match="closing tick"):
        closing_levels(images, CHART_20)
