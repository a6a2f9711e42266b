"""What goes over the wire about the bars that the service forecasts from."""

from datetime import datetime
from typing import Any, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from cryptoai_serving.messages import NUMBER_COLUMNS, CandleColumns
from edge_bundle.candles import interval_duration

EXAMPLE_CANDLES: dict[str, Any] = {
    "open_time": ["2019-09-30T23:30:00Z"],
    "open": [8281.1],
    "high": [8290.0],
    "low": [8275.5],
    "close": [8280.0],
    "volume": [41.7],
}


class BarsAnswer(BaseModel):
    """Newest closed bars of one symbol, in the form in which ``POST /forecast`` takes them."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "symbol": "BTCUSD",
                "interval": "30m",
                "known_at": "2019-10-01T00:00:00Z",
                "candles": EXAMPLE_CANDLES,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    symbol: str
    interval: str = Field(description="Length of a bar")
    known_at: datetime = Field(description="Close time of the newest bar, UTC")
    candles: CandleColumns = Field(description="Oldest first; slots without a trade have no bar")
    request_id: str

    @classmethod
    def of(cls, symbol: str, candles: pl.DataFrame, *, interval: str, request_id: str) -> Self:
        """Describe a candle frame of one symbol that has a bar."""
        times = candles["open_time"]
        return cls(
            symbol=symbol,
            interval=interval,
            known_at=times[-1] + interval_duration(interval),
            candles=CandleColumns(
                open_time=times.dt.strftime("%Y-%m-%dT%H:%M:%SZ").to_list(),
                symbol=None,
                **{name: candles[name].to_list() for name in NUMBER_COLUMNS},
            ),
            request_id=request_id,
        )
