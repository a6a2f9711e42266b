"""What goes over the wire about a chart: candles or a picture in, a pattern with its place out."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cryptoai_serving.chart_desk import MOST_PICTURE_BYTES, PictureReading
from cryptoai_serving.messages import DISCLAIMER, CandleColumns, ForecastRequest, Symbol
from edge_bundle.detection import Detection
from edge_bundle.detector import pattern_names

AGREEMENT = "Agreement with a rule, and no promise of profit."
# In base64.
_MOST_CHARACTERS = 4 * (MOST_PICTURE_BYTES // 3 + 1)


class ChartRequest(BaseModel):
    """Candles of one symbol, or a picture."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"picture": "iVBORw0KGgo=", "symbol": None, "candles": None, "interval": "30m"}
        },
    )

    candles: CandleColumns | None = Field(
        None, description="The newest closed bars, in columns: as many as the network's chart has, or more"
    )
    symbol: Symbol | None = Field(None, description="Of the candles")
    interval: str = Field(
        "30m", pattern=r"^[1-9][0-9]{0,3}[mhd]$", description="Length of a bar of the candles"
    )
    picture: str | None = Field(
        None,
        max_length=_MOST_CHARACTERS,
        description="PNG or JPEG in base64, of the rasterizer's own format; any other picture is refused",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.candles is None) == (self.picture is None):
            raise ValueError("give either candles or a picture")
        if self.candles is not None and self.symbol is None and self.candles.symbol is None:
            raise ValueError("no symbol: give `symbol`, or one for each bar")
        return self

    def forecast_request(self) -> ForecastRequest:
        """The same candles, as forecasts are asked from."""
        return ForecastRequest(candles=self.candles, symbol=self.symbol)


class KeyPointMessage(BaseModel):
    """An extremum of the pattern."""

    bar: int = Field(description="Counted from the window's first, which is 0")
    open_time: datetime | None = Field(description="UTC; null for a picture, which has no time")
    price: float | None = Field(description="Close of the bar; null for a picture, which has no price")


class ChartAnswer(BaseModel):
    """A pattern in a chart."""

    symbol: str | None = Field(description="Null for a picture")
    pattern: str = Field(description=f"One of {', '.join(pattern_names())}")
    confidence: float = Field(description=f"Share of certainty given to the pattern. {AGREEMENT}")
    window_start: datetime | None = Field(description="Opening of the first bar, UTC; null for a picture")
    window_end: datetime | None = Field(description="Opening of the last bar, UTC; null for a picture")
    key_points: list[KeyPointMessage] = Field(description="In order of time; none without a pattern")
    occlusion: list[float] | None = Field(
        description="By bar, how much less sure the network is when the bar and its neighbours are covered; "
        "null for candles"
    )
    bundle: str = Field(description="SHA-256 of the bundle's manifest")

    @classmethod
    def of_detection(cls, found: Detection) -> Self:
        """Describe what was found in candles."""
        return cls(
            symbol=found.symbol,
            pattern=found.pattern.name.lower(),
            confidence=found.confidence,
            window_start=found.window_start,
            window_end=found.window_end,
            key_points=[
                KeyPointMessage(bar=point.bar, open_time=point.open_time, price=point.price)
                for point in found.key_points
            ],
            occlusion=None,
            bundle=found.bundle,
        )

    @classmethod
    def of_picture(cls, reading: PictureReading, bundle: str) -> Self:
        """Describe what was found in a picture."""
        return cls(
            symbol=None,
            pattern=reading.pattern.name.lower(),
            confidence=reading.probabilities[reading.pattern],
            window_start=None,
            window_end=None,
            key_points=[KeyPointMessage(bar=bar, open_time=None, price=None) for bar in reading.bars],
            occlusion=list(reading.occlusion),
            bundle=bundle,
        )


EXAMPLE_CHART: dict[str, Any] = {
    "symbol": "BTCUSD",
    "pattern": "none",
    "confidence": 0.91,
    "window_start": "2019-09-29T18:00:00Z",
    "window_end": "2019-09-30T23:30:00Z",
    "key_points": [],
    "occlusion": None,
    "bundle": "9c1f0d52a7b84e6f" * 4,
}


class AnalyzeChartAnswer(BaseModel):
    """Patterns, one a symbol, and the version that says so."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "charts": [EXAMPLE_CHART],
                "model_version": 1,
                "disclaimer": f"{AGREEMENT} {DISCLAIMER}",
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )
    charts: list[ChartAnswer]
    model_version: int = Field(description="Registered version that answered")
    disclaimer: str = f"{AGREEMENT} {DISCLAIMER}"
    request_id: str
