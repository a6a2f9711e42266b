"""What goes over the wire about why a forecast is what it is."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from cryptoai_serving.forecast_desk import ExplainedForecast
from cryptoai_serving.messages import DISCLAIMER, AbstentionMessage
from edge_bundle.explanation import Contribution, Explanation, Unit

EXAMPLE_CONTRIBUTIONS: list[Any] = [
    {"feature": "log_return_1", "value": -0.0021, "contribution": 0.024, "standard_error": 0.0011},
    {"feature": "close_location", "value": 0.31, "contribution": 0.004, "standard_error": 0.0007},
]


class ContributionMessage(BaseModel):
    """What one feature moved."""

    feature: str
    value: float = Field(description="Of the feature at the last bar read, in the feature's own unit")
    contribution: float = Field(description="Shapley value, in the explanation's unit")
    standard_error: float | None = Field(description="Of a sampled contribution; null for an exact one")

    @classmethod
    def of(cls, contribution: Contribution) -> Self:
        """Describe a contribution."""
        return cls(**{name: getattr(contribution, name) for name in cls.model_fields})


class ExplanationMessage(BaseModel):
    """Contributions of all features: `baseline` plus all of them is `said`, but for `remainder`."""

    method: Literal["exact", "sampled"] = Field(description="Exact for the trees of one library")
    unit: Unit = Field(description="What adds up: the probability of up, or its log odds, log(p / (1 - p))")
    baseline: float = Field(description="Mean of what is said of the real rows that the bundle carries")
    said: float = Field(description="Of this forecast, by the graph that answers")
    remainder: float = Field(description="What is left by rounding")
    orders: int | None = Field(description="Orders of the features that were drawn; null when exact")
    contributions: list[ContributionMessage] = Field(description="The largest first")

    @classmethod
    def of(cls, explanation: Explanation) -> Self:
        """Describe an explanation."""
        return cls(
            method="exact" if explanation.orders is None else "sampled",
            unit=explanation.unit,
            baseline=explanation.baseline,
            said=explanation.said,
            remainder=explanation.remainder,
            orders=explanation.orders,
            contributions=[ContributionMessage.of(one) for one in explanation.contributions],
        )


class ExplanationAnswer(BaseModel):
    """Why the direction of a horizon is forecast as it is: what moved the model, not the market."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "symbol": "BTCUSD",
                "known_at": "2019-10-01T00:00:00Z",
                "horizon_bars": 1,
                "probability_up": 0.537,
                "member": None,
                "members": ["xgboost", "lightgbm"],
                "explanation": {
                    "method": "sampled",
                    "unit": "probability",
                    "baseline": 0.509,
                    "said": 0.537,
                    "remainder": 0.0,
                    "orders": 20,
                    "contributions": EXAMPLE_CONTRIBUTIONS,
                },
                "abstention": None,
                "model_version": 3,
                "feature_fingerprint": "b40e7c1d95a2f386" * 4,
                "disclaimer": DISCLAIMER,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    symbol: str
    known_at: datetime = Field(description="Close of the last bar read, UTC: the forecast holds from here")
    horizon_bars: int = Field(description="Bars after the last bar read")
    probability_up: float | None = Field(description="Of the forecast; null when it abstains")
    member: str | None = Field(description="Member of an ensemble that is explained; null for the whole")
    members: list[str] = Field(description="Those that can be asked for; none when the model is no ensemble")
    explanation: ExplanationMessage | None = Field(description="Null when the forecast abstains")
    abstention: AbstentionMessage | None = Field(description="Null when the forecast is given")
    model_version: int = Field(description="Registered version that answered")
    feature_fingerprint: str = Field(description="SHA-256 over the features that the version reads")
    disclaimer: str = DISCLAIMER
    request_id: str

    @classmethod
    def of(cls, explained: ExplainedForecast, *, member: str, members: list[str], request_id: str) -> Self:
        """Describe an explained forecast."""
        forecast, served = explained.stored.forecast, explained.stored.served
        own = {horizon.horizon_bars: horizon for horizon in forecast.horizons}[explained.horizon_bars]
        abstention = forecast.abstention
        return cls(
            symbol=forecast.symbol,
            known_at=forecast.known_at,
            horizon_bars=explained.horizon_bars,
            probability_up=own.probability_up,
            member=member or None,
            members=members,
            explanation=ExplanationMessage.of(explained.explanation) if explained.explanation else None,
            abstention=AbstentionMessage(reason=abstention.reason, detail=abstention.detail)
            if abstention
            else None,
            model_version=served.released.version,
            feature_fingerprint=served.forecaster.manifest.feature_fingerprint,
            request_id=request_id,
        )
