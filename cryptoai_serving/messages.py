"""What goes over the wire: requests and answers, with units in the description of every field."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired, Self, cast

import polars as pl
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from typing_extensions import TypedDict

from cryptoai_serving.bars import no_trade_facts
from cryptoai_serving.champion import RefusedRelease, ServedModel
from edge_bundle.candles import PRICE_COLUMNS, candle_frame
from edge_bundle.forecast import AbstentionReason, Forecast
from edge_bundle.windows import MarketWindow

DISCLAIMER = "Not investment advice."
NUMBER_COLUMNS = (*PRICE_COLUMNS, "volume")
# Years outside 1970 to 2199 are mistakes, and reach past what a datetime can hold.
_LAST_TIME_MS = 7_258_118_399_999
_ISO_UTC = (
    r"^(19[7-9]\d|2[01]\d\d)-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|\+00:00)?$"
)

Symbol = Annotated[
    str, Field(pattern=r"^[A-Z0-9]{2,20}$", description="Market that names its quote, as in BTCUSD")
]
OpenTime = (
    Annotated[int, Field(strict=True, ge=0, le=_LAST_TIME_MS)]
    | Annotated[str, Field(pattern=_ISO_UTC, max_length=32)]
)
Price = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Volume = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]

_OPEN_TIME = "Opening of the bar: ISO 8601 in UTC, or whole milliseconds since 1970"
_PRICE = "In the quote currency"
_VOLUME = "Traded in the bar, in the base currency"


class CandleColumns(BaseModel):
    """Closed bars as columns of equal length."""

    open_time: list[OpenTime] = Field(min_length=1, description=_OPEN_TIME)
    symbol: list[Symbol] | None = Field(None, description="Of each bar; left out when `symbol` names it once")
    open: list[Price] = Field(description=_PRICE)
    high: list[Price] = Field(description=_PRICE)
    low: list[Price] = Field(description=_PRICE)
    close: list[Price] = Field(description=_PRICE)
    volume: list[Volume] = Field(description=_VOLUME)

    @model_validator(mode="after")
    def _equal_lengths(self) -> Self:
        for name in ("symbol", *NUMBER_COLUMNS):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.open_time):
                raise ValueError(f"{name} has {len(values)} values, open_time has {len(self.open_time)}")
        return self


class CandleRow(TypedDict):
    """One closed bar."""

    open_time: Annotated[OpenTime, Field(description=_OPEN_TIME)]
    symbol: NotRequired[Symbol]
    open: Annotated[Price, Field(description=_PRICE)]
    high: Annotated[Price, Field(description=_PRICE)]
    low: Annotated[Price, Field(description=_PRICE)]
    close: Annotated[Price, Field(description=_PRICE)]
    volume: Annotated[Volume, Field(description=_VOLUME)]


def _shape(candles: Any) -> str:
    return "rows" if isinstance(candles, list) else "columns"


class ForecastRequest(BaseModel):
    """Candles to forecast from: the newest closed bars of one symbol or more, in any order."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "symbol": "BTCUSD",
                "candles": {
                    "open_time": ["2019-09-30T23:00:00Z", "2019-09-30T23:30:00Z"],
                    "open": [8301.0, 8296.5],
                    "high": [8310.0, 8299.0],
                    "low": [8290.1, 8270.3],
                    "close": [8296.5, 8280.0],
                    "volume": [41.2, 87.9],
                },
            }
        },
    )

    candles: Annotated[
        Annotated[CandleColumns, Tag("columns")]
        | Annotated[list[CandleRow], Field(min_length=1), Tag("rows")],
        Discriminator(_shape),
    ] = Field(description="Closed bars of the model's interval, as columns or as a list of rows")
    symbol: Symbol | None = Field(None, description="Of all bars, when the bars do not say it themselves")
    no_trade: dict[Symbol, list[OpenTime]] = Field(
        default={},
        description="Open times, by symbol, of bars for which the venue answered that nobody traded; "
        "a bar that is neither here nor among the candles counts as missing",
    )

    @model_validator(mode="after")
    def _every_bar_has_one_symbol(self) -> Self:
        columns = self._columns()
        named = columns.get("symbol")
        if named is None and self.symbol is None:
            raise ValueError("no symbol: give `symbol` once, or one for each bar")
        if named is not None and self.symbol is not None:
            raise ValueError("two symbols: give either `symbol` once, or one for each bar")
        for times in (columns["open_time"], *self.no_trade.values()):
            if len({type(time) for time in times}) > 1:
                raise ValueError("open_time mixes text and numbers: give all times in one of the two ways")
        return self

    def window(self, interval: str) -> MarketWindow:
        """Market window of the request; no-trade slots are known when they close.

        Raises
        ------
        CandlesRefusedError
            When a time is no date.
        """
        columns = self._columns()
        columns.setdefault("symbol", [self.symbol] * len(columns["open_time"]))
        numbers = dict.fromkeys(NUMBER_COLUMNS, pl.Float64)
        candles = candle_frame(pl.DataFrame(columns, schema_overrides=numbers))
        quiet = [_slots(symbol, times) for symbol, times in self.no_trade.items() if times]
        if not quiet:
            return MarketWindow(candles)
        return MarketWindow(candles, no_trade_facts(pl.concat(quiet), interval=interval, source="request"))

    def _columns(self) -> dict[str, list[Any]]:
        if isinstance(self.candles, CandleColumns):
            columns = {name: getattr(self.candles, name) for name in ("open_time", "symbol", *NUMBER_COLUMNS)}
        else:
            rows = cast(list[dict[str, Any]], self.candles)
            columns = {name: [row[name] for row in rows] for name in ("open_time", *NUMBER_COLUMNS)}
            columns["symbol"] = list(_row_symbols(self.candles)) or None
        if columns["symbol"] is None:
            del columns["symbol"]
        return columns


def _row_symbols(rows: list[CandleRow]) -> Iterator[str]:
    given = ["symbol" in row for row in rows]
    if any(given) and not all(given):
        raise ValueError(f"row {given.index(False)} has no symbol, others have one")
    return (row["symbol"] for row in rows if "symbol" in row)


def _slots(symbol: str, times: list[Any]) -> pl.DataFrame:
    unpriced = {name: pl.lit(1.0) for name in NUMBER_COLUMNS}
    slots = pl.DataFrame({"open_time": times}).with_columns(symbol=pl.lit(symbol), **unpriced)
    return candle_frame(slots).select("symbol", "open_time")  # reads times as those of candles are read


class HorizonMessage(BaseModel):
    """Forecast of one horizon; every value is null when the forecast abstains."""

    horizon_bars: int = Field(description="Bars after the last bar read")
    expected_return_bps: float | None = Field(description="Log return of the close, in basis points")
    probability_up: float | None = Field(description="That the return is above 0, given that it is not 0")
    expected_volatility_bps: float | None = Field(
        description="Mean of the root of the sum of squared one-bar log returns to come, in basis points"
    )
    lower_bps: float | None = Field(description="Lower end of the return's interval, in basis points")
    upper_bps: float | None = Field(description="Upper end of the return's interval, in basis points")


class AbstentionMessage(BaseModel):
    """Why no forecast is given."""

    reason: AbstentionReason
    detail: str = Field(description="The numbers behind the reason")


class ForecastMessage(BaseModel):
    """One model output for one symbol and time: the record that a device gives from the same bundle."""

    symbol: str
    open_time: datetime = Field(description="Opening of the last bar read, UTC")
    known_at: datetime = Field(description="Close of the last bar read, UTC: the forecast holds from here")
    interval: str = Field(description="Length of a bar")
    model: str
    bundle: str = Field(description="SHA-256 of the bundle's manifest")
    interval_coverage: float = Field(description="Share of outcomes that the interval is made to hold")
    horizons: list[HorizonMessage]
    abstention: AbstentionMessage | None = Field(description="Null when the forecast is given")
    input_sha256: str | None = Field(description="Of the numbers that the model read; null when it read none")

    @classmethod
    def of(cls, forecast: Forecast) -> Self:
        """Say what a device would say."""
        return cls.model_validate(forecast.to_dict())


EXAMPLE_FORECAST: dict[str, Any] = {
    "symbol": "BTCUSD",
    "open_time": "2019-09-30T23:30:00Z",
    "known_at": "2019-10-01T00:00:00Z",
    "interval": "30m",
    "model": "cryptoai-forecaster-sample",
    "bundle": "9c1f0d52a7b84e6f" * 4,
    "interval_coverage": 0.9,
    "horizons": [
        {
            "horizon_bars": 1,
            "expected_return_bps": 1.5,
            "probability_up": 0.537,
            "expected_volatility_bps": 39.6,
            "lower_bps": -63.5,
            "upper_bps": 66.6,
        }
    ],
    "abstention": None,
    "input_sha256": "27a5b1c06fd3e948" * 4,
}


class ForecastAnswer(BaseModel):
    """Forecasts, one a symbol in alphabetical order."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "forecasts": [EXAMPLE_FORECAST],
                "model_version": 3,
                "feature_fingerprint": "b40e7c1d95a2f386" * 4,
                "disclaimer": DISCLAIMER,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    forecasts: list[ForecastMessage]
    model_version: int = Field(description="Registered version that answered")
    feature_fingerprint: str = Field(description="SHA-256 over the features that the version reads")
    disclaimer: str = DISCLAIMER
    request_id: str


class ModelMessage(BaseModel):
    """A loaded model."""

    model: str
    kind: str
    role: str
    version: int
    bundle: str = Field(description="SHA-256 of the bundle's manifest")
    venue: str
    quote: str
    interval: str
    symbols: list[str]
    horizons_bars: list[int] = Field(description="Bars after the last bar read, one a forecast")
    bars_needed: int = Field(description="Closed bars in a row that a forecast needs, for each symbol")
    live: bool = Field(description="Whether forecasts are made by the clock; otherwise as of the newest bar")
    features: list[str]
    feature_fingerprint: str
    precision: str
    trained_until: datetime = Field(description="Close of the last bar in the fit, UTC")
    loaded_at: datetime

    @classmethod
    def of(cls, served: ServedModel) -> Self:
        """Describe a served model."""
        manifest = served.forecaster.manifest
        return cls(
            model=manifest.model,
            kind=manifest.kind,
            role=served.role,
            version=served.released.version,
            bundle=served.forecaster.digest,
            venue=manifest.venue,
            quote=manifest.quote,
            interval=manifest.interval,
            symbols=list(manifest.symbols),
            horizons_bars=list(manifest.horizons),
            bars_needed=manifest.bars_needed,
            live=manifest.live,
            features=list(manifest.features),
            feature_fingerprint=manifest.feature_fingerprint,
            precision=manifest.quantization["precision"],
            trained_until=datetime.fromisoformat(manifest.trained_until),
            loaded_at=served.loaded_at,
        )


class RefusedMessage(BaseModel):
    """A release that stays out."""

    version: int | None = Field(description="Null when the release channel itself cannot be read")
    reason: str
    refused_at: datetime

    @classmethod
    def of(cls, refused: RefusedRelease | None) -> Self | None:
        """Describe a refusal, if there is one."""
        return cls(**{name: getattr(refused, name) for name in cls.model_fields}) if refused else None


class ModelsAnswer(BaseModel):
    """What is loaded, and what was refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "models": [
                    {
                        "model": "cryptoai-forecaster-sample",
                        "kind": "lightgbm",
                        "role": "champion",
                        "version": 3,
                        "bundle": "9c1f0d52a7b84e6f" * 4,
                        "venue": "Bitfinex",
                        "quote": "USD",
                        "interval": "30m",
                        "symbols": ["BTCUSD", "ETHUSD"],
                        "horizons_bars": [1, 2, 6],
                        "bars_needed": 801,
                        "live": False,
                        "features": ["log_return_1", "close_location"],
                        "feature_fingerprint": "b40e7c1d95a2f386" * 4,
                        "precision": "fp32",
                        "trained_until": "2019-07-20T00:00:00Z",
                        "loaded_at": "2019-10-01T00:00:12Z",
                    }
                ],
                "refused": None,
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    models: list[ModelMessage]
    refused: RefusedMessage | None = Field(description="The newest release, when it failed its verification")
    request_id: str


class LivenessAnswer(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"example": {"alive": True}})

    alive: Literal[True] = True


class ReadinessAnswer(BaseModel):
    """Whether forecasts can be given: a verified version is loaded, and bars of a symbol are fresh."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"ready": True, "reason": "", "version": 3, "stale_symbols": [], "refused": None}
        }
    )

    ready: bool
    reason: str = Field(description="Why not; empty when ready")
    version: int | None = Field(description="Registered version that answers")
    stale_symbols: list[str] = Field(description="Symbols whose bars are absent or too old for a forecast")
    refused: RefusedMessage | None = Field(description="The newest release, when it failed its verification")


class ErrorAnswer(BaseModel):
    """What is wrong, where, and what to do; every error of this service has this shape."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "schema_version": 1,
                "code": "too_few_bars",
                "problem": "BTCUSD: 55 bars given, 56 needed",
                "where": "candles",
                "cure": "send the newest 56 closed 30m bars, or more",
                "request_id": "5f3c9a0e7d1b2c48",
            }
        }
    )

    schema_version: Literal[1] = Field(default=1, description="Of this shape")
    code: str = Field(description="One word for programs")
    problem: str = Field(description="What is wrong, with the numbers")
    where: str | None = Field(description="Place in the request, as in candles.close.17; null for all of it")
    cure: str = Field(description="What to do")
    request_id: str
