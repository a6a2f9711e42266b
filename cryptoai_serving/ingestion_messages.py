"""What goes over the wire about candles that devices send."""

from datetime import date

from pydantic import BaseModel, ConfigDict, Field


class DayKept(BaseModel):
    """A day's candles lie where the platform reads them."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "day": "2026-11-20",
                "rows": 1440,
                "symbols": ["BTCUSDT"],
                "sha256": "27a5b1c06fd3e948" * 4,
                "new": True,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    day: date = Field(description="In UTC")
    rows: int = Field(description="Bars in the file")
    symbols: list[str]
    sha256: str = Field(description="Of the file as it was sent")
    new: bool = Field(description="False when these very bytes were there already")
    request_id: str
