"""What goes over the wire about a symbol beside its forecast: predictions, signals, patterns, all at once."""

import math
import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from cryptoai_serving.champion import ServedModel
from cryptoai_serving.chart_desk import FoundChart
from cryptoai_serving.chart_messages import EXAMPLE_CHART, ChartAnswer
from cryptoai_serving.experiment_watch import ExperimentWatch
from cryptoai_serving.forecast_desk import StoredForecast
from cryptoai_serving.freshness import Freshness
from cryptoai_serving.messages import (
    DISCLAIMER,
    EXAMPLE_FORECAST,
    AbstentionMessage,
    ErrorAnswer,
    ForecastMessage,
    RefusedMessage,
    Symbol,
)
from cryptoai_serving.patterns import Pattern, Patterns
from cryptoai_serving.signals import Signal, SignalReason, SignalType
from edge_bundle.experiment import Mode
from edge_bundle.forecast import MEMBER_VALUE_NAMES, MemberForecast

BASIS_POINTS = 1e4
MOST_SYMBOLS = 50


class BatchRequest(BaseModel):
    """Symbols to forecast from the online store."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"symbols": ["BTCUSD", "ETHUSD"]}}
    )

    symbols: list[Symbol] = Field(
        min_length=1,
        max_length=MOST_SYMBOLS,
        description="Of those in /models; one that is named twice is answered twice",
    )


class BatchItem(BaseModel):
    """Answer about one symbol: a forecast, or why there is none."""

    symbol: str
    forecast: ForecastMessage | None = Field(description="Null when `error` says why")
    error: ErrorAnswer | None = Field(description="Null when there is a forecast")


class BatchAnswer(BaseModel):
    """Answers in the order of the request; an error of one symbol leaves the others alone."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "answers": [{"symbol": "BTCUSD", "forecast": EXAMPLE_FORECAST, "error": None}],
                "model_version": 3,
                "disclaimer": DISCLAIMER,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    answers: list[BatchItem]
    model_version: int = Field(description="Registered version that answered")
    disclaimer: str = DISCLAIMER
    request_id: str


class MemberMessage(BaseModel):
    """What one member of an ensemble says, as if it had been asked alone."""

    name: str = Field(description="Kind of the member, such as xgboost")
    expected_price: float = Field(description="In the quote currency")
    expected_return_bps: float = Field(description="Log return of the close, in basis points")
    probability_up: float = Field(description="That the return is above 0, given that it is not 0")
    expected_volatility_bps: float = Field(description="As that of the ensemble, in basis points")


class SpreadMessage(BaseModel):
    """How far the members are apart: the standard deviation of what they say, each counted once."""

    expected_return_bps: float = Field(description="In basis points")
    probability_up: float = Field(description="In probability")
    expected_volatility_bps: float = Field(description="In basis points")


class MembersMessage(BaseModel):
    """The members of an ensemble."""

    said: list[MemberMessage]
    spread: SpreadMessage

    @classmethod
    def of(cls, members: Sequence[MemberForecast], close: float) -> Self | None:
        """Members of one horizon; None where there are none."""
        if not members:
            return None
        return cls(
            said=[
                MemberMessage(
                    name=member.name,
                    expected_price=close * math.exp(member.expected_return_bps / BASIS_POINTS),
                    **{name: getattr(member, name) for name in MEMBER_VALUE_NAMES},
                )
                for member in members
            ],
            spread=SpreadMessage(
                **{
                    name: statistics.pstdev(getattr(member, name) for member in members)
                    for name in MEMBER_VALUE_NAMES
                }
            ),
        )


class PriceMessage(BaseModel):
    """Price after one horizon; every value is null when the forecast abstains."""

    horizon_bars: int = Field(description="Bars after the last bar read")
    expected_price: float | None = Field(description="In the quote currency")
    lower_price: float | None = Field(description="Lower end of the price's interval, in the quote currency")
    upper_price: float | None = Field(description="Upper end of the price's interval, in the quote currency")
    expected_return_bps: float | None = Field(description="Log return of the close, in basis points")
    probability_up: float | None = Field(description="That the return is above 0, given that it is not 0")
    expected_volatility_bps: float | None = Field(
        description="Mean of the root of the sum of squared one-bar log returns to come, in basis points"
    )
    members: MembersMessage | None = Field(
        description="What each member of an ensemble says, and their spread; null when the forecast "
        "abstains, for a model that is no ensemble, and for versions whose graphs tell the whole alone",
    )


class PricePrediction(BaseModel):
    """Prices to come of one symbol."""

    symbol: str
    current_price: float = Field(description="Close of the last bar read, in the quote currency")
    known_at: datetime = Field(description="Close time of the last bar read, UTC: it holds from here")
    interval: str = Field(description="Length of a bar")
    interval_coverage: float = Field(description="Share of outcomes that the interval is made to hold")
    horizons: list[PriceMessage]
    abstention: AbstentionMessage | None = Field(description="Null when the forecast is given")

    @classmethod
    def of(cls, stored: StoredForecast) -> Self:
        """Prices of a forecast of returns."""
        forecast = stored.forecast
        abstention = forecast.abstention
        return cls(
            symbol=forecast.symbol,
            current_price=stored.close,
            known_at=forecast.known_at,
            interval=forecast.interval,
            interval_coverage=forecast.interval_coverage,
            horizons=[
                PriceMessage(
                    horizon_bars=horizon.horizon_bars,
                    expected_price=_price(stored.close, horizon.expected_return_bps),
                    lower_price=_price(stored.close, horizon.lower_bps),
                    upper_price=_price(stored.close, horizon.upper_bps),
                    expected_return_bps=horizon.expected_return_bps,
                    probability_up=horizon.probability_up,
                    expected_volatility_bps=horizon.expected_volatility_bps,
                    members=MembersMessage.of(
                        [one for one in forecast.members if one.horizon_bars == horizon.horizon_bars],
                        stored.close,
                    ),
                )
                for horizon in forecast.horizons
            ],
            abstention=AbstentionMessage(reason=abstention.reason, detail=abstention.detail)
            if abstention
            else None,
        )


EXAMPLE_PREDICTION: dict[str, Any] = {
    "symbol": "BTCUSD",
    "current_price": 8280.0,
    "known_at": "2019-10-01T00:00:00Z",
    "interval": "30m",
    "interval_coverage": 0.9,
    "horizons": [
        {
            "horizon_bars": 1,
            "expected_price": 8281.2,
            "lower_price": 8227.5,
            "upper_price": 8335.3,
            "expected_return_bps": 1.5,
            "probability_up": 0.537,
            "expected_volatility_bps": 39.6,
            "members": {
                "said": [
                    {
                        "name": "xgboost",
                        "expected_price": 8282.0,
                        "expected_return_bps": 2.4,
                        "probability_up": 0.545,
                        "expected_volatility_bps": 38.2,
                    },
                    {
                        "name": "lightgbm",
                        "expected_price": 8280.5,
                        "expected_return_bps": 0.6,
                        "probability_up": 0.529,
                        "expected_volatility_bps": 41.0,
                    },
                ],
                "spread": {
                    "expected_return_bps": 0.9,
                    "probability_up": 0.008,
                    "expected_volatility_bps": 1.4,
                },
            },
        }
    ],
    "abstention": None,
}


class PricePredictionAnswer(BaseModel):
    """Prices to come, and the version that says so."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "prediction": EXAMPLE_PREDICTION,
                "model_version": 3,
                "disclaimer": DISCLAIMER,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    prediction: PricePrediction
    model_version: int = Field(description="Registered version that answered")
    disclaimer: str = DISCLAIMER
    request_id: str


class SignalMessage(BaseModel):
    """A verdict on one horizon."""

    type: SignalType
    source: Literal["forecast"]
    horizon_bars: int = Field(description="Bars after the last bar read")
    confidence: float | None = Field(
        description="Probability of the likelier direction, 0.5 to 1; null when the forecast abstains"
    )
    reason: SignalReason = Field(description="One word for programs; `forecast` when the type is not HOLD")
    detail: str = Field(description="The numbers behind the reason")

    @classmethod
    def of(cls, signal: Signal) -> Self:
        """Describe a signal."""
        return cls(**{name: getattr(signal, name) for name in cls.model_fields})


EXAMPLE_SIGNAL: dict[str, Any] = {
    "type": "HOLD",
    "source": "forecast",
    "horizon_bars": 1,
    "confidence": 0.537,
    "reason": "low_confidence",
    "detail": "the likelier direction has a probability of 0.537, 0.55 needed",
}


class SignalsAnswer(BaseModel):
    """Signals of one symbol, one a horizon."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "symbol": "BTCUSD",
                "known_at": "2019-10-01T00:00:00Z",
                "signals": [EXAMPLE_SIGNAL],
                "least_confidence": 0.55,
                "model_version": 3,
                "disclaimer": DISCLAIMER,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    symbol: str
    known_at: datetime = Field(description="Close time of the last bar read, UTC")
    signals: list[SignalMessage]
    least_confidence: float = Field(description="A signal with less is HOLD")
    model_version: int = Field(description="Registered version that answered")
    disclaimer: str = DISCLAIMER
    request_id: str


class PatternMessage(BaseModel):
    """A candlestick pattern that ended with a bar; nothing shows that it foretells anything."""

    name: str
    meaning: str
    side: Literal["up", "down"] | None = Field(
        description="Direction that its own sign tells; null where the name says it already"
    )
    bars: int = Field(description="Bars that it is made of")
    open_time: datetime = Field(description="Opening of its last bar, UTC")
    known_at: datetime = Field(description="Close of its last bar, UTC")
    bars_ago: int = Field(description="0 for the newest bar")

    @classmethod
    def of(cls, pattern: Pattern) -> Self:
        """Describe a pattern."""
        return cls(**{name: getattr(pattern, name) for name in cls.model_fields})


class PatternsMessage(BaseModel):
    """Patterns in the latest bars of one symbol: candlesticks by their definitions, charts by a network."""

    patterns: list[PatternMessage] = Field(description="Of candlesticks, newest first")
    strongest: PatternMessage | None = Field(
        description="The one of most bars, then the newest; null when none is found"
    )
    known_at: datetime = Field(description="Close of the newest bar, UTC")
    bars_looked_through: int
    chart: ChartAnswer | None = Field(
        description="What the released chart network sees in its newest window; null when `chart_reason` "
        "says why it looked at none"
    )
    chart_reason: str = Field(description="Empty when there is a chart")

    @classmethod
    def of(cls, patterns: Patterns, chart: FoundChart) -> Self:
        """Describe what was found."""
        strongest = patterns.strongest
        return cls(
            patterns=[PatternMessage.of(pattern) for pattern in patterns.found],
            strongest=PatternMessage.of(strongest) if strongest else None,
            known_at=patterns.known_at,
            bars_looked_through=patterns.bars,
            chart=ChartAnswer.of_detection(chart.detection) if chart.detection else None,
            chart_reason=chart.reason,
        )


EXAMPLE_PATTERN: dict[str, Any] = {
    "name": "bullish_engulfing",
    "meaning": "A rising body around the falling one before it.",
    "side": None,
    "bars": 2,
    "open_time": "2019-09-30T23:30:00Z",
    "known_at": "2019-10-01T00:00:00Z",
    "bars_ago": 0,
}
EXAMPLE_PATTERNS: dict[str, Any] = {
    "patterns": [EXAMPLE_PATTERN],
    "strongest": EXAMPLE_PATTERN,
    "known_at": "2019-10-01T00:00:00Z",
    "bars_looked_through": 24,
    "chart": EXAMPLE_CHART,
    "chart_reason": "",
}


class PatternsAnswer(PatternsMessage):
    """Patterns of one symbol."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": EXAMPLE_PATTERNS
            | {"symbol": "BTCUSD", "interval": "30m", "request_id": "5f3c9a0e7d1b2c48"}
        }
    )

    symbol: str
    interval: str = Field(description="Length of a bar")
    request_id: str


class ModelState(BaseModel):
    """The version that answers."""

    model: str
    version: int
    kind: str
    role: str
    trained_until: datetime = Field(description="Close of the last bar in the fit, UTC")
    leak_alarm: str | None = Field(description="Why its scores are not believed; null while they are")

    @classmethod
    def of(cls, served: ServedModel, leak_alarm: str | None) -> Self:
        """Describe a served model."""
        manifest = served.forecaster.manifest
        return cls(
            model=manifest.model,
            version=served.released.version,
            kind=manifest.kind,
            role=served.role,
            trained_until=datetime.fromisoformat(manifest.trained_until),
            leak_alarm=leak_alarm,
        )


EXAMPLE_MODEL: dict[str, Any] = {
    "model": "cryptoai-forecaster-sample",
    "version": 3,
    "kind": "lightgbm",
    "role": "champion",
    "trained_until": "2019-07-20T00:00:00Z",
    "leak_alarm": None,
}


class InsightsAnswer(BaseModel):
    """Everything about a symbol at once; the patterns say by themselves up to which bar they looked."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "symbol": "BTCUSD",
                "timeframe": "30m",
                "current_price": 8280.0,
                "known_at": "2019-10-01T00:00:00Z",
                "prediction": EXAMPLE_PREDICTION,
                "signals": [EXAMPLE_SIGNAL],
                "patterns": EXAMPLE_PATTERNS,
                "confidence": 0.537,
                "model": EXAMPLE_MODEL,
                "disclaimer": DISCLAIMER,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    symbol: str
    timeframe: str = Field(description="Length of a bar")
    current_price: float = Field(description="Close of the last bar read, in the quote currency")
    known_at: datetime = Field(description="Close time of the last bar read, UTC")
    prediction: PricePrediction
    signals: list[SignalMessage]
    patterns: PatternsMessage
    confidence: float | None = Field(
        description="Greatest confidence of the signals, 0.5 to 1; null when the forecast abstains"
    )
    model: ModelState
    disclaimer: str = DISCLAIMER
    request_id: str


class FreshnessMessage(BaseModel):
    """How fresh the bars of a symbol are."""

    symbol: str
    known_at: datetime | None = Field(description="Close of its newest bar, UTC; null when there is none")
    fresh: bool = Field(description="Whether a forecast may be made from it")
    detail: str = Field(description="Why not; empty when it is fresh")

    @classmethod
    def of(cls, one: Freshness) -> Self:
        """Describe the freshness of a symbol."""
        return cls(symbol=one.symbol, known_at=one.known_at, fresh=one.fresh, detail=one.detail)


class ExperimentState(BaseModel):
    """Two versions held against each other on what is asked."""

    name: str | None = Field(description="Null while the one that should run stays out")
    mode: Mode | None
    control: int | None = Field(description="Version that it began against; another champion lets it rest")
    challenger: int | None
    reason: str = Field(description="Why it stays out; empty when it runs")

    @classmethod
    def of(cls, watch: ExperimentWatch) -> Self | None:
        """Describe the experiment, if there is one."""
        if watch.running is None:
            state = cls(name=None, mode=None, control=None, challenger=None, reason=watch.refused)
            return state if watch.refused else None
        plan = watch.running.experiment
        return cls(
            name=plan.name,
            mode=plan.mode,
            control=plan.control.version,
            challenger=plan.challenger.version,
            reason=watch.refused,
        )


class StatusAnswer(BaseModel):
    """State of the service: its model, its bars, its log."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": EXAMPLE_MODEL,
                "reason": "",
                "refused": None,
                "experiment": {
                    "name": "calmer-trees",
                    "mode": "split",
                    "control": 3,
                    "challenger": 4,
                    "reason": "",
                },
                "bars": [
                    {"symbol": "BTCUSD", "known_at": "2019-10-01T00:00:00Z", "fresh": True, "detail": ""}
                ],
                "forecasts_waiting": 0,
                "forecasts_dropped": 0,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    model: ModelState | None = Field(description="Null when none is loaded")
    reason: str = Field(description="Why no model is loaded; empty when one is")
    refused: RefusedMessage | None = Field(description="The newest release, when it failed its verification")
    experiment: ExperimentState | None = Field(description="Null when there is none")
    bars: list[FreshnessMessage] = Field(description="Of each symbol that the model knows")
    forecasts_waiting: int = Field(description="Answered forecasts that are not in the log yet")
    forecasts_dropped: int = Field(description="Answered forecasts that never will be")
    request_id: str


def _price(close: float, return_bps: float | None) -> float | None:
    return None if return_bps is None else close * math.exp(return_bps / BASIS_POINTS)
