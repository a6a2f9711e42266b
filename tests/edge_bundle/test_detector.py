"""The detector: a bundle of a real network, its refusals, and where a pattern is said to be."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fakes.chart_detector import PICTURES, written_detector
from fakes.chart_problem import walk_set
from fakes.tiny_bundle import walk_candles

from edge_bundle.chart import CANDLE_COLUMNS, CHART_60, INK, chart_images, closing_levels
from edge_bundle.chart_rule import RULE
from edge_bundle.chart_turns import alternating_turns
from edge_bundle.detection import NO_BAR, Pattern
from edge_bundle.detector import (
    BY_NETWORK,
    BY_RULE,
    PATTERN,
    POINTERS,
    TURNS,
    Detector,
    key_bars,
    reading_by_rule,
)
from edge_bundle.errors import BundleRefusedError, ChartRefusedError, WindowRefusedError
from edge_bundle.manifest import GOLDEN_NAME, GRAPH_NAME, MANIFEST_NAME

START = datetime(2019, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written_detector(tmp_path / "bundle")


@pytest.fixture
def candles() -> pl.DataFrame:
    return walk_candles(["BTCUSD", "ETHUSD"], bars=90, interval="1h", seed=4, start=START)


def test_detector_looks_at_the_newest_window_of_each_symbol(folder: Path, candles: pl.DataFrame) -> None:
    detector = Detector.load(folder)
    found = detector.detect(candles, interval="1h")
    assert [detection.symbol for detection in found] == ["BTCUSD", "ETHUSD"]
    for detection in found:
        own = candles.filter(symbol=detection.symbol).tail(CHART_60.bars)
        assert (detection.window_start, detection.window_end) == (own["open_time"][0], own["open_time"][-1])
        reading = detector.read(chart_images(own.select(CANDLE_COLUMNS).to_numpy()[None], CHART_60))
        assert detection.pattern == reading.pattern[0]
        assert detection.confidence == pytest.approx(reading.probabilities[0].max())
        assert len(detection.key_points) == detection.pattern.key_points
        for point in detection.key_points:
            assert own["open_time"][point.bar] == point.open_time
            assert own["close"][point.bar] == point.price


def test_key_points_are_those_of_the_likeliest_pattern() -> None:
    pointers = np.zeros((3, 7, 60), dtype=np.float32)
    pointers[:, np.arange(7), [10, 20, 30, 40, 50, 12, 31]] = 1
    bars = key_bars(np.array([Pattern.TRIANGLE_TOP, Pattern.DOUBLE_BOTTOM, Pattern.NONE]), pointers)
    assert bars.tolist() == [[10, 20, 30, 40, 50], [12, 31, 50, NO_BAR, NO_BAR], [NO_BAR] * 5]


def test_too_few_bars_and_none_at_all_are_refused(folder: Path, candles: pl.DataFrame) -> None:
    detector = Detector.load(folder)
    with pytest.raises(WindowRefusedError, match="BTCUSD has 59 bars"):
        detector.detect(candles.filter(symbol="BTCUSD").tail(59), interval="1h")
    with pytest.raises(WindowRefusedError, match="no candle"):
        detector.detect(candles.head(0), interval="1h")
    holed = pl.concat([candles.filter(symbol="BTCUSD").head(50), candles.filter(symbol="BTCUSD").tail(20)])
    with pytest.raises(WindowRefusedError, match="20 bars since its last hole"):
        detector.detect(holed, interval="1h")


def test_picture_of_another_hand_is_refused(folder: Path) -> None:
    detector = Detector.load(folder)
    images = walk_set().images(np.arange(2), CHART_60)
    assert detector.read(images).pattern.shape == (2,)
    images[1, :, 8] = INK
    with pytest.raises(ChartRefusedError, match="closing tick"):
        detector.read(images)


def test_changed_file_is_refused_by_name(folder: Path) -> None:
    (folder / GRAPH_NAME).write_bytes((folder / GRAPH_NAME).read_bytes() + b" ")
    with pytest.raises(BundleRefusedError, match=GRAPH_NAME):
        Detector.load(folder)


def test_bundle_of_other_patterns_is_refused(folder: Path) -> None:
    record = json.loads((folder / MANIFEST_NAME).read_bytes())
    record["patterns"][1] = "cup_and_handle"
    (folder / MANIFEST_NAME).write_text(json.dumps(record))
    with pytest.raises(BundleRefusedError, match="cup_and_handle"):
        Detector.load(folder)


@pytest.mark.parametrize("output", [PATTERN, POINTERS, TURNS])
def test_selftest_replays_every_output_of_the_golden_pictures(folder: Path, output: str) -> None:
    assert Detector.load(folder).selftest()
    with np.load(folder / GOLDEN_NAME) as golden:
        assert len(golden["images"]) == PICTURES
        other = {**golden, output: golden[output] + np.float32(0.05)}
    detector = Detector.load(folder)
    np.savez_compressed(folder / GOLDEN_NAME, allow_pickle=False, **other)
    assert not detector.selftest()


def said_of(turns: np.ndarray, certainty: float) -> dict[str, np.ndarray]:
    """What a network that sees these turns says, and no pattern at all."""
    probabilities = np.full((*turns.shape, 3), (1 - certainty) / 2, dtype=np.float32)
    np.put_along_axis(probabilities, turns[:, :, None].astype(int) + 1, certainty, axis=2)
    none = np.eye(len(Pattern), dtype=np.float32)[np.zeros(len(turns), dtype=int)]
    return {TURNS: probabilities, PATTERN: none}


def test_rule_decides_from_the_turns_that_are_seen() -> None:
    data = walk_set()
    levels = closing_levels(data.images(np.arange(len(data)), CHART_60), CHART_60)
    reading = reading_by_rule(levels, said_of(data.turns, 1.0), RULE, top_level=CHART_60.top_level)
    np.testing.assert_array_equal(reading.pattern, data.pattern)
    np.testing.assert_array_equal(reading.key_points, data.key_points)
    np.testing.assert_allclose(reading.probabilities.sum(axis=1), 1.0, rtol=1e-5)
    said = said_of(data.turns, 0.99)
    unsure = reading_by_rule(levels, said, RULE, top_level=CHART_60.top_level)
    np.testing.assert_array_equal(unsure.pattern, data.pattern)
    held = data.pattern != Pattern.NONE
    sure = unsure.probabilities[held].max(axis=1)
    chance = alternating_turns(said[TURNS], unconfirmed=RULE.nearest_end_bars).chance[held]
    np.testing.assert_allclose(sure, 0.5 + 0.5 * chance, rtol=1e-4)
    assert 0.5 < sure.min() < sure.max() < 1.0


def test_bundle_says_who_decides(tmp_path: Path) -> None:
    readings = {}
    for decision in (BY_NETWORK, BY_RULE):
        detector = Detector.load(written_detector(tmp_path / decision, decision=decision))
        images = walk_set().images(np.arange(40), CHART_60)
        said = detector.session.run(np.ascontiguousarray(images))
        readings[decision] = detector.read(images)
    np.testing.assert_array_equal(readings[BY_NETWORK].probabilities, said[PATTERN])
    expected = reading_by_rule(
        closing_levels(images, CHART_60), said, RULE, top_level=CHART_60.top_level
    ).probabilities
    np.testing.assert_allclose(readings[BY_RULE].probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("decision", [BY_NETWORK, BY_RULE])
def test_occlusion_is_what_the_decision_loses(tmp_path: Path, decision: str) -> None:
    detector = Detector.load(written_detector(tmp_path / "bundle", decision=decision))
    [image] = walk_set().images(np.array([3]), CHART_60)
    levels = closing_levels(image[None], CHART_60)
    bar = 30
    covered = image.copy()
    covered[:, 3 * (bar - 1) : 3 * (bar + 2)] = 0
    seen, blind = (detector.session.run(np.ascontiguousarray(one[None])) for one in (image, covered))
    if decision == BY_RULE:
        told = [
            reading_by_rule(levels, said, RULE, top_level=CHART_60.top_level).probabilities[0]
            for said in (seen, blind)
        ]
    else:
        told = [seen[PATTERN][0], blind[PATTERN][0]]
    for pattern in (Pattern.NONE, Pattern.HEAD_AND_SHOULDERS):
        expected = told[0][pattern] - told[1][pattern]
        assert detector.occlusion(image, pattern)[bar] == pytest.approx(expected, abs=1e-6)
