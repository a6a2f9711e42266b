"""What the routes work with: everything that lives as long as the application does."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import anyio
from fastapi import Request

from cryptoai_serving.access import Guard
from cryptoai_serving.bars import BarStore
from cryptoai_serving.champion import ChampionWatch, RefusedRelease, refusal_alert
from cryptoai_serving.chart_desk import ChartDesk
from cryptoai_serving.errors import ReleaseNotFoundError
from cryptoai_serving.experiment_requests import ExperimentRequests
from cryptoai_serving.experiment_watch import ExperimentWatch
from cryptoai_serving.forecast_desk import ForecastDesk
from cryptoai_serving.forecast_log import ForecastLog, ForecastRecorder
from cryptoai_serving.keys import KeyWatch
from cryptoai_serving.logs import json_logs
from cryptoai_serving.metrics import ServingMetrics
from cryptoai_serving.rate_limits import RateLimits
from cryptoai_serving.release_requests import ReleaseRequests
from cryptoai_serving.sentiment_desk import SentimentDesk
from cryptoai_serving.settings import ServingSettings
from edge_bundle.alerts import Outbox, OutboxRefusedError
from edge_bundle.heartbeat import HEARTBEAT_NAME

logger = logging.getLogger(__name__)


class Rooms:
    """Opens nothing before `opened`, which brackets the life of the application."""

    def __init__(
        self, settings: ServingSettings, *, clock: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.champion = ChampionWatch(root=settings.releases, model=settings.model, clock=clock)
        self.bars = BarStore(settings.bars)
        kept_for = timedelta(seconds=settings.cache_seconds)
        self.charts = ChartDesk(releases=settings.releases, bars=self.bars, clock=clock, kept_for=kept_for)
        self.recorder = ForecastRecorder(ForecastLog(settings.forecast_log))
        self.experiments = ExperimentWatch(root=settings.releases, model=settings.model, clock=clock)
        self.desk = ForecastDesk(
            champion=self.champion,
            experiments=self.experiments,
            bars=self.bars,
            recorder=self.recorder,
            clock=clock,
            cores=anyio.CapacityLimiter(os.cpu_count() or 1),
            kept_for=kept_for,
        )
        # Files from devices are read one at a time.
        self.readers = anyio.CapacityLimiter(1)
        self.sentiment = SentimentDesk(told=settings.told, releases=settings.releases, clock=clock)
        self.metrics = ServingMetrics(
            self.champion,
            self.recorder,
            self.desk,
            folder=settings.metrics_folder,
            heartbeat=settings.told / HEARTBEAT_NAME,
        )
        self.requests = ReleaseRequests(settings.requests)
        self.experiment_requests = ExperimentRequests(settings.requests)
        self.keys = KeyWatch(settings.keys)
        self.limits = RateLimits(settings.limits, monotonic=monotonic)
        self.guard = Guard(
            keys=self.keys, limits=self.limits, a_minute=settings.requests_a_minute, hosts=settings.hosts
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Load the champion and the keys, follow both, and write what waits at the end."""
        with json_logs(sys.stderr):
            self.recorder.start()
            await asyncio.to_thread(self._look_around)
            watch = asyncio.create_task(self._follow())
            try:
                yield
            finally:
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch
                await self.desk.close()
                await asyncio.to_thread(self.recorder.close)
                self.bars.close()
                self.requests.close()
                self.experiment_requests.close()
                self.limits.close()

    def check_served(self, model: str) -> None:
        """Refuse what is asked about another model.

        Raises
        ------
        ReleaseNotFoundError
            When it is not the one that is served.
        """
        if model != self.settings.model:
            raise ReleaseNotFoundError(
                f"{model} is not served here", where="model", cure=f"ask about {self.settings.model}"
            )

    async def _follow(self) -> None:
        told = ""
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            try:
                await asyncio.to_thread(self._look_around)
                told = ""
            except Exception as error:
                # Whatever a look broke with, the next may go well. Until one does, a failure is told once.
                if (failure := f"{type(error).__name__}: {error}") != told:
                    logger.exception("what changed outside was not followed")
                    told = failure

    def _look_around(self) -> None:
        """Take what changed outside: released versions, keys."""
        self.keys.refresh()
        current, refused = self.champion.current, self.champion.refused
        self.champion.refresh()
        self._follow_charts()
        if (served := self.champion.current) is not current:
            logger.info("now serving version %s", served.released.version if served else None)
        self._follow_experiment()
        stays_out = self.champion.refused
        # A bundle that failed is tried again and again: it is told of once.
        if stays_out is not None and (refused is None or not stays_out.same_as(refused)):
            self._tell_refusal(stays_out)

    def _follow_charts(self) -> None:
        refused = self.charts.refused
        self.charts.refresh()
        if (stays_out := self.charts.refused) and stays_out != refused:
            logger.error("the chart network stays out: %s", stays_out)

    def _follow_experiment(self) -> None:
        ran, refused = self.experiments.running, self.experiments.refused
        self.experiments.refresh()
        if (runs := self.experiments.running) is not ran:
            logger.info("now running the experiment %s", runs.experiment.name if runs else None)
        if (stays_out := self.experiments.refused) and stays_out != refused:
            logger.error("the experiment stays out: %s", stays_out)

    def _tell_refusal(self, refused: RefusedRelease) -> None:
        logger.error("release of version %s stays out: %s", refused.version, refused.reason)
        served = self.champion.current
        alert = refusal_alert(
            refused, model=self.settings.model, served=served.released.version if served else None
        )
        try:
            Outbox(self.settings.alerts).add(alert)
        except OutboxRefusedError:
            logger.exception("the alert could not be put into the outbox")


def rooms_of(request: Request) -> Rooms:
    """Rooms of the application that a request came to."""
    rooms = request.app.state.rooms
    assert isinstance(rooms, Rooms)  # noqa: S101 — narrows Starlette's untyped attribute
    return rooms
