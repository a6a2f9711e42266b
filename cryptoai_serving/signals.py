"""Signals: what a forecast is worth acting on, and why not where it is not. Never more than the evidence."""

from dataclasses import dataclass
from typing import Literal

from edge_bundle.forecast import AbstentionReason, Forecast, HorizonForecast

SignalType = Literal["BUY", "SELL", "HOLD"]
SignalReason = Literal["forecast", "low_confidence", "leak_alarm"] | AbstentionReason


@dataclass(frozen=True, slots=True)
class Signal:
    """A verdict on one horizon.

    Parameters
    ----------
    confidence
        Probability of the likelier direction, 0.5 to 1; None where the forecast abstains.
    reason, detail
        As a word for programs and a sentence with the numbers.
    """

    type: SignalType
    source: Literal["forecast"]
    horizon_bars: int
    confidence: float | None
    reason: SignalReason
    detail: str


def signals(forecast: Forecast, *, least_confidence: float, leak_alarm: str | None) -> tuple[Signal, ...]:
    """Signal of each horizon; HOLD under the confidence, under the leak alarm, and where it abstains.

    Parameters
    ----------
    leak_alarm
        Why the version's scores are not believed; None while they are.
    """
    return tuple(
        _signal(horizon, forecast, least_confidence=least_confidence, leak_alarm=leak_alarm)
        for horizon in forecast.horizons
    )


def _signal(
    horizon: HorizonForecast, forecast: Forecast, *, least_confidence: float, leak_alarm: str | None
) -> Signal:
    bars, probability = horizon.horizon_bars, horizon.probability_up
    if forecast.abstention is not None:
        return Signal("HOLD", "forecast", bars, None, forecast.abstention.reason, forecast.abstention.detail)
    assert probability is not None  # noqa: S101 — a forecast that does not abstain has all its values
    confidence = max(probability, 1.0 - probability)
    if leak_alarm is not None:
        return Signal("HOLD", "forecast", bars, confidence, "leak_alarm", leak_alarm)
    if confidence < least_confidence:
        told = f"the likelier direction has a probability of {confidence:.3f}, {least_confidence:g} needed"
        return Signal("HOLD", "forecast", bars, confidence, "low_confidence", told)
    told = f"the probability of up within {bars} bars is {probability:.3f}"
    return Signal("BUY" if probability > 0.5 else "SELL", "forecast", bars, confidence, "forecast", told)
