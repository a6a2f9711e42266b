"""Prometheus metrics of the service; labels take only values that are known beforehand."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from cryptoai_serving.champion import ChampionWatch
from cryptoai_serving.forecast_desk import ForecastDesk
from cryptoai_serving.forecast_log import ForecastRecorder
from edge_bundle.forecast import Forecast
from edge_bundle.heartbeat import Heartbeat

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 1.0, 5.0)
METHODS = ("GET", "POST")


class ServingMetrics:
    """What is counted, in a registry of its own.

    Parameters
    ----------
    folder
        In which the workers' counts are added up; None where this process counts alone.
    heartbeat
        File that the platform's daemon renews.
    """

    def __init__(
        self,
        champion: ChampionWatch,
        recorder: ForecastRecorder,
        desk: ForecastDesk,
        *,
        folder: Path | None,
        heartbeat: Path,
    ) -> None:
        self._folder = folder
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "cryptoai_request_seconds",
            "Time from a request to its answer, by route and status",
            ["route", "method", "status"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._forecasts = Counter(
            "cryptoai_forecasts",
            "Forecasts by symbol and outcome: answered, or the reason of the abstention",
            ["symbol", "origin", "outcome"],
            registry=self._registry,
        )
        self._states = (_ServiceState(champion, recorder, desk), _PlatformState(heartbeat))

    def request(self, *, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count a request; `route` is the path's template, None when none matched."""
        method = method if method in METHODS else "other"
        self._requests.labels(route or "none", method, str(status)).observe(seconds)

    def forecasts(self, forecasts: Sequence[Forecast], *, origin: str) -> None:
        """Count forecasts."""
        for forecast in forecasts:
            outcome = forecast.abstention.reason if forecast.abstention else "answered"
            self._forecasts.labels(forecast.symbol, origin, outcome).inc()

    def exposition(self) -> bytes:
        """Text that Prometheus reads: what all workers counted, and the state of the one that answers."""
        state = CollectorRegistry()
        for read in self._states:
            state.register(read)
        if self._folder is None:
            return generate_latest(self._registry) + generate_latest(state)
        counted = CollectorRegistry()
        MultiProcessCollector(counted, str(self._folder))  # type: ignore[no-untyped-call]  # theirs is not typed
        return generate_latest(counted) + generate_latest(state)


class _ServiceState(Collector):
    """Reads the state of the service when Prometheus asks."""

    def __init__(self, champion: ChampionWatch, recorder: ForecastRecorder, desk: ForecastDesk) -> None:
        self._champion = champion
        self._recorder = recorder
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        current, refused = self._champion.current, self._champion.refused
        yield _gauge("cryptoai_ready", "1 when a verified bundle is loaded", int(current is not None))
        yield _gauge(
            "cryptoai_release_refused", "1 when the newest release stays out", int(refused is not None)
        )
        yield _gauge(
            "cryptoai_release_version", "Version that answers", current.released.version if current else 0
        )
        yield _gauge("cryptoai_forecast_log_waiting", "Forecasts not written yet", self._recorder.waiting)
        yield _gauge("cryptoai_forecast_log_dropped", "Forecasts never written", self._recorder.dropped)
        yield _gauge(
            "cryptoai_forecast_cache_hits", "Forecasts that were there already", self._desk.forecasts.hits
        )
        yield _gauge(
            "cryptoai_forecast_cache_misses", "Forecasts that were computed", self._desk.forecasts.misses
        )
        yield _gauge("cryptoai_shadow_left_out", "Forecasts that a shadow did not make", self._desk.left_out)
        alarmed = self._champion.leak_alarm is not None
        yield _gauge("cryptoai_leak_alarm", "1 while every signal is HOLD for a leak", int(alarmed))


class _PlatformState(Collector):
    """Reads the platform's heartbeat when Prometheus asks."""

    def __init__(self, heartbeat: Path) -> None:
        self._heartbeat = heartbeat

    def collect(self) -> Iterator[Metric]:
        beat = Heartbeat.read(self._heartbeat)
        yield _gauge(
            "cryptoai_platform_heartbeat_seconds",
            "When the platform's daemon gave its last sign of life, in seconds since 1970; 0 for never",
            beat.at.timestamp() if beat else 0,
        )
        silent = len(beat.silent) if beat else 0
        yield _gauge("cryptoai_platform_silent", "Sensors and schedules that are not evaluated", silent)


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value)
