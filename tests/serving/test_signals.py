"""Signals: a side where the forecast is confident, HOLD with its reason everywhere else."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cryptoai_serving.signals import signals
from edge_bundle.forecast import Abstention, Forecast, HorizonForecast

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def forecast(*probabilities: float | None, abstention: Abstention | None = None) -> Forecast:
    return Forecast(
        symbol="BTCUSD",
        open_time=NOW,
        known_at=NOW,
        interval="30m",
        model="m",
        bundle="b",
        interval_coverage=0.9,
        horizons=tuple(
            HorizonForecast(bars, 1.0, probability, 1.0, 0.0, 2.0)
            for bars, probability in enumerate(probabilities, 1)
        ),
        abstention=abstention,
        input_sha256=None,
    )


@pytest.mark.parametrize(
    ("probability", "type_", "reason", "confidence"),
    [
        (0.60, "BUY", "forecast", 0.60),
        (0.55, "BUY", "forecast", 0.55),
        (0.5499, "HOLD", "low_confidence", 0.5499),
        (0.50, "HOLD", "low_confidence", 0.50),
        (0.4501, "HOLD", "low_confidence", 0.5499),
        (0.40, "SELL", "forecast", 0.60),
    ],
)
def test_side_needs_the_confidence(probability: float, type_: str, reason: str, confidence: float) -> None:
    (signal,) = signals(forecast(probability), least_confidence=0.55, leak_alarm=None)
    assert (signal.type, signal.reason, signal.source) == (type_, reason, "forecast")
    assert signal.confidence == pytest.approx(confidence)
    assert f"{probability if reason == 'forecast' else confidence:.3f}" in signal.detail


def test_each_horizon_has_its_own() -> None:
    found = signals(forecast(0.7, 0.5, 0.2), least_confidence=0.55, leak_alarm=None)
    assert [(one.horizon_bars, one.type) for one in found] == [(1, "BUY"), (2, "HOLD"), (3, "SELL")]


def test_leak_alarm_holds_everything_however_confident() -> None:
    found = signals(forecast(0.99, 0.01), least_confidence=0.55, leak_alarm="rank IC is 0.4")
    assert {(one.type, one.reason, one.detail) for one in found} == {("HOLD", "leak_alarm", "rank IC is 0.4")}


def test_abstention_holds_with_its_own_reason_and_no_confidence() -> None:
    stale = replace(forecast(None, None), abstention=Abstention("stale_data", "an hour old"))
    found = signals(stale, least_confidence=0.55, leak_alarm="too good")
    assert {(one.type, one.reason, one.detail, one.confidence) for one in found} == {
        ("HOLD", "stale_data", "an hour old", None)
    }
