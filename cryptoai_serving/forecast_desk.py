"""Answers to requests for forecasts, from the champion and from candles; it knows nothing about HTTP."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

import polars as pl

from cryptoai_serving.bars import BarStore
from cryptoai_serving.champion import ChampionWatch, ServedModel
from cryptoai_serving.errors import (
    NoBarsError,
    NoModelError,
    RequestRefusedError,
    TooFewBarsError,
    UnknownSymbolError,
)
from cryptoai_serving.forecast_log import ForecastRecorder, LoggedForecast, Origin
from cryptoai_serving.messages import ForecastRequest
from edge_bundle.candles import interval_duration
from edge_bundle.features.sources import reads_market
from edge_bundle.forecast import Forecast
from edge_bundle.manifest import Manifest
from edge_bundle.windows import MarketWindow

# Bars from the oldest to the newest of a request: the grid between them is built, holes and all.
LONGEST_SPAN_BARS = 50_000


@dataclass(frozen=True, slots=True)
class Answered:
    """Forecasts and the version that gave them."""

    forecasts: tuple[Forecast, ...]
    served: ServedModel


class ForecastDesk:
    """Takes a request, asks the champion, and hands what it said to the log."""

    def __init__(
        self,
        *,
        champion: ChampionWatch,
        bars: BarStore,
        recorder: ForecastRecorder,
        clock: Callable[[], datetime],
    ) -> None:
        self._champion = champion
        self._bars = bars
        self._recorder = recorder
        self._clock = clock

    def from_candles(self, request: ForecastRequest, *, request_id: str) -> Answered:
        """Forecast from the candles of a request.

        Raises
        ------
        NoModelError, UnknownSymbolError, RequestRefusedError, EdgeBundleError
            When there is no champion, or the request does not fit it.
        """
        started, served = perf_counter(), self._served()
        manifest = served.forecaster.manifest
        window = request.window(manifest.interval)
        given = set(window.candles["symbol"].unique()) | set(request.no_trade)
        _check_known(given, manifest)
        now = self._now(manifest)
        _check_times(window, manifest, now)
        forecasts = served.forecaster.forecast(self._accompanied(window, manifest), now)
        for forecast in forecasts:
            if forecast.abstention and forecast.abstention.reason == "too_few_bars":
                raise TooFewBarsError(
                    f"{forecast.symbol}: {forecast.abstention.detail}",
                    where="candles",
                    cure=f"send the newest {manifest.bars_needed} closed {manifest.interval} bars, or more",
                )
        return self._logged(forecasts, served, started, origin="request", request_id=request_id)

    def from_store(self, symbol: str, *, request_id: str) -> Answered:
        """Forecast from the latest bars of the online store.

        Raises
        ------
        NoModelError, UnknownSymbolError, NoBarsError, StoreUnavailableError
            When there is no champion, or there are no bars for it.
        """
        started, served = perf_counter(), self._served()
        manifest = served.forecaster.manifest
        _check_known({symbol}, manifest)
        together = manifest.symbols if reads_market(manifest.features) else (symbol,)
        window = self._accompanied(self._bars.window(together, manifest.bars_needed), manifest)
        if window.candles.filter(symbol=symbol).is_empty():
            raise NoBarsError(
                f"the online store holds no bar of {symbol}",
                where="symbol",
                cure="materialize online_bars, or send the candles to POST /forecast",
            )
        every = served.forecaster.forecast(window, self._now(manifest))
        forecasts = tuple(forecast for forecast in every if forecast.symbol == symbol)
        return self._logged(forecasts, served, started, origin="store", request_id=request_id)

    def _accompanied(self, window: MarketWindow, manifest: Manifest) -> MarketWindow:
        """Window with the stored facts that the bundle reads; a request brings candles only."""
        if not manifest.facts:
            return window
        return MarketWindow(window.candles, pl.concat([window.facts, self._bars.facts(manifest.facts)]))

    def _served(self) -> ServedModel:
        served = self._champion.current
        if served is None:
            raise NoModelError(
                self._champion.reason,
                cure="release a verified version (make demo does), then ask again; /readyz tells when",
            )
        return served

    def _now(self, manifest: Manifest) -> datetime | None:
        """Time of asking; None replays a market that ended with its data."""
        return self._clock() if manifest.live else None

    def _logged(
        self,
        forecasts: tuple[Forecast, ...],
        served: ServedModel,
        started: float,
        *,
        origin: Origin,
        request_id: str,
    ) -> Answered:
        asked_at, latency_ms = self._clock(), 1e3 * (perf_counter() - started)
        self._recorder.record(
            [
                LoggedForecast(
                    forecast=forecast,
                    version=served.released.version,
                    role=served.role,
                    origin=origin,
                    asked_at=asked_at,
                    latency_ms=latency_ms,
                    request_id=request_id,
                )
                for forecast in forecasts
            ]
        )
        return Answered(forecasts, served)


def _check_known(symbols: set[str], manifest: Manifest) -> None:
    if unknown := sorted(symbols - set(manifest.symbols)):
        raise UnknownSymbolError(
            f"{', '.join(map(ascii, unknown))} is not known",
            where="symbol",
            cure=f"ask for one of {', '.join(manifest.symbols)}",
        )


def _check_times(window: MarketWindow, manifest: Manifest, now: datetime | None) -> None:
    step = interval_duration(manifest.interval)
    slots = window.facts.select("symbol", "known_at", open_time="event_time")
    if now is not None and (future := slots.filter(pl.col("known_at") > now)).height:
        raise RequestRefusedError(
            f"the no-trade bar of {future['open_time'][0]:%Y-%m-%d %H:%M} UTC has not closed yet",
            where=f"no_trade.{future['symbol'][0]}",
            cure="send closed bars only",
        )
    times = pl.concat([window.candles.select("symbol", "open_time"), slots.select("symbol", "open_time")])
    spans = times.group_by("symbol").agg(span=pl.col("open_time").max() - pl.col("open_time").min())
    longest = spans.sort("span", "symbol").tail(1)
    if longest.height and longest["span"][0] > LONGEST_SPAN_BARS * step:
        raise RequestRefusedError(
            f"the candles of {longest['symbol'][0]} span {longest['span'][0] // step} bars, "
            f"at most {LONGEST_SPAN_BARS} are read",
            where="candles.open_time",
            cure=f"send the newest {manifest.bars_needed} bars",
        )
