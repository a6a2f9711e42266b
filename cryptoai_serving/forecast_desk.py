"""Answers to requests for forecasts, from the champion and from candles; it knows nothing about HTTP."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from time import perf_counter
from typing import TypeVar

import anyio
import polars as pl
from anyio.to_thread import run_sync

from cryptoai_serving.bars import BarStore
from cryptoai_serving.champion import ChampionWatch, ServedModel
from cryptoai_serving.errors import (
    NoBarsError,
    NoModelError,
    RequestRefusedError,
    TooFewBarsError,
    UnknownSymbolError,
)
from cryptoai_serving.experiment_watch import Chosen, ExperimentWatch
from cryptoai_serving.forecast_cache import ForecastCache
from cryptoai_serving.forecast_log import ForecastRecorder, LoggedForecast, Origin
from cryptoai_serving.messages import ForecastMessage, ForecastRequest
from cryptoai_serving.patterns import PATTERN_BARS, Patterns, recent_patterns
from edge_bundle.candles import interval_duration
from edge_bundle.explanation import DrawnOrders, Explainer, Explanation
from edge_bundle.features.sources import reads_market
from edge_bundle.forecast import Forecast, member_names
from edge_bundle.forecaster import STALE_INTERVALS
from edge_bundle.manifest import Manifest
from edge_bundle.windows import Float32Array, MarketWindow

# Bars from the oldest to the newest of a request: the grid between them is built, holes and all.
LONGEST_SPAN_BARS = 50_000
# Forecasts of a challenger that nobody waits for.
MOST_BESIDE = 64
# What runs beside may run late: so many bars may have come since the one that it is about.
MOST_NEWER_BARS = 16
Result = TypeVar("Result")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """Forecasts and the version that gave them."""

    forecasts: tuple[Forecast, ...]
    served: ServedModel


@dataclass(frozen=True, slots=True)
class StoredForecast:
    """What a version says about the newest bar of a symbol in the online store.

    Parameters
    ----------
    message
        The forecast as it goes over the wire, made once for all who ask.
    close
        Of the newest bar, in the quote currency.
    stale_after
        When its bar is older than is allowed; None where no clock counts.
    """

    forecast: Forecast
    message: ForecastMessage
    served: ServedModel
    close: float
    stale_after: datetime | None


@dataclass(frozen=True, slots=True)
class ExplainedForecast:
    """A forecast of the online store, and why one of its horizons is what it is; None where it abstains."""

    stored: StoredForecast
    horizon_bars: int
    explanation: Explanation | None


class ForecastDesk:
    """Takes a request, asks the champion, and hands what it said to the log.

    Parameters
    ----------
    experiments
        Which versions answer whom; refreshed like the champion.
    cores
        Forecasts are computed beside the event loop, no more of them at once than this admits.
    kept_for
        How long a forecast that was made is the answer to all who ask; nothing makes each its own.
    """

    def __init__(
        self,
        *,
        champion: ChampionWatch,
        experiments: ExperimentWatch,
        bars: BarStore,
        recorder: ForecastRecorder,
        clock: Callable[[], datetime],
        cores: anyio.CapacityLimiter,
        kept_for: timedelta,
    ) -> None:
        self._champion = champion
        self._experiments = experiments
        self._bars = bars
        self._recorder = recorder
        self._clock = clock
        self._cores = cores
        self._one_core = anyio.CapacityLimiter(1)
        self._running_beside: set[asyncio.Task[None]] = set()
        self._shadowed: dict[str, tuple[str | None, datetime]] = {}
        self.left_out = 0
        self.forecasts = ForecastCache[StoredForecast](
            clock=clock, lifetime=kept_for, until=lambda stored: stored.stale_after
        )
        self._patterns = ForecastCache[Patterns](clock=clock, lifetime=kept_for)
        self._explains: Explainer | None = None
        self._drawn: dict[str, tuple[Explainer, int, DrawnOrders]] = {}
        # One at a time: a network's takes as long as hundreds of forecasts, which must not wait for it.
        self._explainers = anyio.CapacityLimiter(1)
        self._explanations = ForecastCache[ExplainedForecast](
            clock=clock, lifetime=kept_for, until=lambda explained: explained.stored.stale_after
        )

    async def from_candles(
        self, request: ForecastRequest, *, request_id: str, user_id: str | None = None
    ) -> Answered:
        """Forecast from the candles of a request.

        Raises
        ------
        NoModelError, UnknownSymbolError, RequestRefusedError, EdgeBundleError
            When there is no champion, or the request does not fit it.
        """
        started, chosen = perf_counter(), self.chosen(user_id)
        forecasts = await self._beside(partial(self._read, request, chosen.served))
        await self._log(forecasts, chosen, started, origin="request", request_id=request_id)
        if shadow := self._shadow(chosen):
            self._run_beside(shadow, partial(self._read, request, shadow.served), "request", request_id)
        return Answered(forecasts, chosen.served)

    async def from_store(self, symbol: str, *, request_id: str, user_id: str | None = None) -> StoredForecast:
        """Forecast from the latest bars of the online store; computed once a bar and version.

        Raises
        ------
        NoModelError, UnknownSymbolError, NoBarsError, StoreUnavailableError
            When there is no champion, or there are no bars for it.
        """
        started, chosen = perf_counter(), self.chosen(user_id)
        served = chosen.served
        check_known({symbol}, served.forecaster.manifest)
        stored = await self.forecasts.answer(
            (symbol, served.role),
            (served, self._bars.revision()),
            lambda: self._beside(partial(self._forecast, symbol, served)),
        )
        await self._log((stored.forecast,), chosen, started, origin="store", request_id=request_id)
        shadow = self._shadow(chosen)
        if shadow and self._shadowed.get(symbol) != (mark := (shadow.experiment, stored.forecast.known_at)):
            self._shadowed[symbol] = mark
            work = partial(self._forecast_until, symbol, shadow.served, stored.forecast.open_time)
            self._run_beside(shadow, lambda: (work().forecast,), "store", request_id)
        return stored

    async def explanation(self, symbol: str, horizon: int | None, member: str) -> ExplainedForecast:
        """Why the forecast of the online store's newest bar is what it is; computed once a bar and version.

        Parameters
        ----------
        horizon
            Bars ahead; None for the nearest.
        member
            Of an ensemble; an empty text for the whole.

        Raises
        ------
        NoModelError, UnknownSymbolError, NoBarsError, RequestRefusedError, StoreUnavailableError
            When there is no champion, or it has no such horizon or member, or there are no bars for it.
        """
        served = self.served()
        manifest = served.forecaster.manifest
        check_known({symbol}, manifest)
        asked = manifest.horizons[0] if horizon is None else horizon
        _check_explainable(asked, member, served)
        return await self._explanations.answer(
            (symbol, asked, member),
            (served, self._bars.revision()),
            lambda: run_sync(
                partial(self._explained, symbol, asked, member, served), limiter=self._explainers
            ),
        )

    async def patterns(self, symbol: str) -> Patterns:
        """Candlestick patterns in the latest bars of the online store.

        Raises
        ------
        NoModelError, UnknownSymbolError, NoBarsError, StoreUnavailableError
            When there is no champion that names the interval, or there are no bars.
        """
        served = self.served()
        check_known({symbol}, served.forecaster.manifest)
        return await self._patterns.answer(
            symbol,
            (served, self._bars.revision()),
            lambda: self._beside(partial(self._found_patterns, symbol, served.forecaster.manifest)),
        )

    async def newest_bars(self, symbol: str, bars: int) -> pl.DataFrame:
        """Candle frame of at most so many of the newest closed bars of the online store.

        Raises
        ------
        NoModelError, UnknownSymbolError, NoBarsError, StoreUnavailableError
            When there is no champion that names the interval, or there are no bars.
        """
        check_known({symbol}, self.served().forecaster.manifest)
        return _own_bars(await self._beside(partial(self._bars.window, (symbol,), bars)), symbol)

    def served(self) -> ServedModel:
        """Version that answers now.

        Raises
        ------
        NoModelError
            When there is none.
        """
        served = self._champion.current
        if served is None:
            raise NoModelError(
                self._champion.reason,
                cure="release a verified version (make demo does), then ask again; /readyz tells when",
            )
        return served

    def chosen(self, user_id: str | None) -> Chosen:
        """Version that answers a user now.

        Raises
        ------
        NoModelError
            When there is none.
        """
        champion, running = self.served(), self._experiments.running
        return Chosen(champion) if running is None else running.chosen(champion, user_id)

    async def close(self) -> None:
        """Wait for what still runs beside."""
        await asyncio.gather(*self._running_beside)

    def _shadow(self, chosen: Chosen) -> Chosen | None:
        running = self._experiments.running
        return None if running is None else running.beside(chosen)

    def _run_beside(
        self, shadow: Chosen, work: Callable[[], tuple[Forecast, ...]], origin: Origin, request_id: str
    ) -> None:
        """Ask the challenger what nobody waits for; with too much of that under way, leave it out."""
        if len(self._running_beside) >= MOST_BESIDE:
            self.left_out += 1
            return
        task = asyncio.create_task(self._log_beside(shadow, work, origin, request_id))
        self._running_beside.add(task)
        task.add_done_callback(self._running_beside.discard)

    async def _log_beside(
        self, shadow: Chosen, work: Callable[[], tuple[Forecast, ...]], origin: Origin, request_id: str
    ) -> None:
        started = perf_counter()
        try:
            forecasts = await run_sync(work, limiter=self._one_core)
            await self._log(forecasts, shadow, started, origin=origin, request_id=request_id)
        except Exception:  # the border of a task: what a challenger breaks with is nobody's answer
            self.left_out += 1
            logger.exception("the challenger failed beside a request", extra={"request_id": request_id})

    async def _beside(self, work: Callable[[], Result]) -> Result:
        return await run_sync(work, limiter=self._cores)

    def _read(self, request: ForecastRequest, served: ServedModel) -> tuple[Forecast, ...]:
        manifest = served.forecaster.manifest
        window = request.window(manifest.interval)
        given = set(window.candles["symbol"].unique()) | set(request.no_trade)
        check_known(given, manifest)
        now = self._now(manifest)
        _check_times(window, manifest, now)
        forecasts = served.forecasts(self._accompanied(window, manifest), now)
        for forecast in forecasts:
            if forecast.abstention and forecast.abstention.reason == "too_few_bars":
                raise TooFewBarsError(
                    f"{forecast.symbol}: {forecast.abstention.detail}",
                    where="candles",
                    cure=f"send the newest {manifest.bars_needed} closed {manifest.interval} bars, or more",
                )
        return forecasts

    def _forecast(self, symbol: str, served: ServedModel) -> StoredForecast:
        return self._forecast_of(self._stored_window(symbol, served), symbol, served)

    def _explained(self, symbol: str, horizon: int, member: str, served: ServedModel) -> ExplainedForecast:
        window = self._stored_window(symbol, served)
        stored = self._forecast_of(window, symbol, served)
        if stored.forecast.abstention:
            return ExplainedForecast(stored, horizon, None)
        read = served.forecaster.newest_window(window, symbol).values[0]
        # The same bar is explained the same way, whenever and wherever it is asked.
        seed = int.from_bytes(hashlib.sha256(read.tobytes()).digest()[:8], "big")
        explainer = self._explainer(served)
        drawn = None if explainer.is_exact(horizon, member) else self._orders(explainer, symbol, read, seed)
        explanation = explainer.explanation(read, horizon, part=member, seed=seed, drawn=drawn)
        return ExplainedForecast(stored, horizon, explanation)

    def _orders(self, explainer: Explainer, symbol: str, read: Float32Array, seed: int) -> DrawnOrders:
        """Orders that were drawn for a symbol's newest bar, once for all its horizons and members."""
        known = self._drawn.get(symbol)
        if known is None or known[0] is not explainer or known[1] != seed:
            self._drawn[symbol] = known = explainer, seed, explainer.drawn(read, seed=seed)
        return known[2]

    def _explainer(self, served: ServedModel) -> Explainer:
        """Explainer of a version, read once."""
        known = self._explains
        if known is None or known.forecaster is not served.forecaster:
            threads = int(self._cores.total_tokens)
            self._explains = known = Explainer.of(served.forecaster, threads=threads)
        return known

    def _forecast_until(self, symbol: str, served: ServedModel, newest: datetime) -> StoredForecast:
        """Forecast after a bar of which newer ones may have come since."""
        window = self._stored_window(symbol, served, newer=MOST_NEWER_BARS)
        candles = window.candles.filter(pl.col("open_time") <= newest)
        return self._forecast_of(MarketWindow(candles, window.facts), symbol, served)

    def _stored_window(self, symbol: str, served: ServedModel, *, newer: int = 0) -> MarketWindow:
        manifest = served.forecaster.manifest
        together = manifest.symbols if reads_market(manifest.features) else (symbol,)
        return self._accompanied(self._bars.window(together, manifest.bars_needed + newer), manifest)

    def _forecast_of(self, window: MarketWindow, symbol: str, served: ServedModel) -> StoredForecast:
        manifest = served.forecaster.manifest
        close = _own_bars(window, symbol)["close"][-1]
        every = served.forecasts(window, self._now(manifest))
        (own,) = (forecast for forecast in every if forecast.symbol == symbol)
        allowed = STALE_INTERVALS * interval_duration(manifest.interval)
        # Symbols that it is compared with end with the same bar, or it abstains.
        stale_after = own.known_at + allowed if manifest.live else None
        return StoredForecast(own, ForecastMessage.of(own), served, close, stale_after)

    def _found_patterns(self, symbol: str, manifest: Manifest) -> Patterns:
        window = self._bars.window((symbol,), PATTERN_BARS)
        _own_bars(window, symbol)
        return recent_patterns(window, interval=manifest.interval, max_missing_bars=manifest.max_missing_bars)

    def _accompanied(self, window: MarketWindow, manifest: Manifest) -> MarketWindow:
        """Window with the stored facts that the bundle reads; a request brings candles only."""
        if not manifest.facts:
            return window
        return MarketWindow(window.candles, pl.concat([window.facts, self._bars.facts(manifest.facts)]))

    def _now(self, manifest: Manifest) -> datetime | None:
        """Time of asking; None replays a market that ended with its data."""
        return self._clock() if manifest.live else None

    async def _log(
        self,
        forecasts: tuple[Forecast, ...],
        chosen: Chosen,
        started: float,
        *,
        origin: Origin,
        request_id: str,
    ) -> None:
        asked_at, latency_ms = self._clock(), 1e3 * (perf_counter() - started)
        entries = [
            LoggedForecast(
                forecast=forecast,
                version=chosen.served.released.version,
                role=chosen.served.role,
                variant=chosen.variant,
                experiment=chosen.experiment,
                user_token=chosen.user_token,
                origin=origin,
                asked_at=asked_at,
                latency_ms=latency_ms,
                request_id=request_id,
            )
            for forecast in forecasts
        ]
        if self._recorder.has_room(len(entries)):
            self._recorder.record(entries)
        else:
            await asyncio.to_thread(self._recorder.record, entries)


def check_known(symbols: set[str], manifest: Manifest) -> None:
    """Refuse symbols that a bundle does not know.

    Raises
    ------
    UnknownSymbolError
        When there is one.
    """
    if unknown := sorted(symbols - set(manifest.symbols)):
        raise UnknownSymbolError(
            f"{', '.join(map(ascii, unknown))} is not known",
            where="symbol",
            cure=f"ask for one of {', '.join(manifest.symbols)}",
        )


def _check_explainable(horizon: int, member: str, served: ServedModel) -> None:
    horizons = served.forecaster.manifest.horizons
    if horizon not in horizons:
        raise RequestRefusedError(
            f"no forecast is made {horizon} bars ahead",
            where="horizon",
            cure=f"ask for one of {', '.join(map(str, horizons))}",
        )
    members = member_names(served.forecaster.session.outputs)
    if member and member not in members:
        raise RequestRefusedError(
            f"the model has no member {member!a}",
            where="member",
            cure=f"ask for one of {', '.join(members)}, or leave it out" if members else "leave it out",
        )


def _own_bars(window: MarketWindow, symbol: str) -> pl.DataFrame:
    own = window.candles.filter(symbol=symbol)
    if own.is_empty():
        raise NoBarsError(
            f"the online store holds no bar of {symbol}",
            where="symbol",
            cure="materialize online_bars, or send the candles to POST /forecast",
        )
    return own


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
