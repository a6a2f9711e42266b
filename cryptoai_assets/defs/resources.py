"""Every resource of the platform; the only reader of environment variables in this package."""

import asyncio
import json
import logging
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args
from urllib.parse import quote

import dagster as dg
from pydantic import Field

from cryptoai_assets.lib.expenses import Prices
from cryptoai_assets.lib.gaps import GapTable
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import Market, beyond_candles, market_of
from cryptoai_assets.lib.market_data import MarketStores
from cryptoai_assets.lib.models.zoo import long_enough
from cryptoai_assets.lib.probation import Probation
from cryptoai_assets.lib.s3_path import S3Settings
from cryptoai_assets.lib.sources.archive import ArchiveSource
from cryptoai_assets.lib.sources.candle_source import CandleSource, SourceRefusedError
from cryptoai_assets.lib.sources.coingecko import BASE_URL, REQUESTS_PER_SECOND, CoinGeckoSource
from cryptoai_assets.lib.sources.device_files import DeviceFilesSource
from cryptoai_assets.lib.sources.exchange import ExchangeSource
from cryptoai_assets.lib.sources.exchange_stream import ExchangeStream, Reconnecting
from cryptoai_assets.lib.sources.fallback import FallbackSource
from cryptoai_assets.lib.sources.patience import Patience
from cryptoai_assets.lib.sources.sample import sample_file
from cryptoai_assets.lib.sources.web import WebClient
from cryptoai_assets.lib.store import Place, place
from cryptoai_assets.lib.trouble import Limits
from cryptoai_assets.lib.watch import RETRAIN_DAYS, trained_every
from cryptoai_monitoring.verdict import VerdictPolicy
from cryptoai_serving.bar_shelf import bars_place
from edge_bundle.alert_links import AlertLinks
from edge_bundle.alerts import Channel, Outbox, Severity
from edge_bundle.channels import (
    SLACK_API,
    LoggedChannel,
    MailChannel,
    SlackBotChannel,
    SlackChannel,
    WebhookChannel,
)
from edge_bundle.experiment import Mode

SANDBOX = "http://127.0.0.1:3800"
SANDBOX_REQUESTS_PER_SECOND = 100.0
TIMEOUT_SECONDS = 10.0
# Folder of the markets that are described in files.
MARKETS = "markets"
ARCHIVES = ("sample", "archive")
APPROVALS = ("automatic", "manual", *get_args(Mode))
# A probation that must find this difference of log loss takes some weeks of half hours.
TOLERATED_LOSS = 0.005
# Variables with another address than a source's own.
ADDRESSES = {
    "coin_metrics": "CRYPTOAI_COIN_METRICS_ADDRESS",
    "mempool_space": "CRYPTOAI_MEMPOOL_SPACE_ADDRESS",
    "fear_greed": "CRYPTOAI_FEAR_GREED_ADDRESS",
    "fred": "CRYPTOAI_FRED_ADDRESS",
}
# Six tries within about a minute, or as long as the venue asks for, up to two minutes at once.
PATIENCE = Patience(tries=6, first_seconds=1.0, longest_seconds=120.0, sleep=time.sleep, jitter=random.random)
# A venue tells of a running bar every few seconds; half a minute without a word is no pause.
RECONNECTING = Reconnecting(
    silence_seconds=30.0, first_seconds=0.5, longest_seconds=30.0, sleep=asyncio.sleep, jitter=random.random
)
UPKEEP = {
    "least_free_gigabytes": "CRYPTOAI_LEAST_DISK_GB",
    "queue_minutes": "CRYPTOAI_QUEUE_MINUTES",
    "slowest_ms": "CRYPTOAI_SLOWEST_MS",
    "abstentions": "CRYPTOAI_ABSTENTIONS",
    "server_errors": "CRYPTOAI_SERVER_ERRORS",
    "slowest_answer_ms": "CRYPTOAI_SLOWEST_ANSWER_MS",
    "news_silence_hours": "CRYPTOAI_NEWS_SILENCE_HOURS",
    "price_a_minute": "CRYPTOAI_PRICE_A_MINUTE",
    "monthly_budget": "CRYPTOAI_MONTHLY_BUDGET",
    "run_budget": "CRYPTOAI_RUN_BUDGET",
}
# What is open is told again after this time; 0 is never.
REMIND_CRITICAL_HOURS, REMIND_WARNING_HOURS = 1.0, 24.0
LOOK_SECONDS = 30
# At successive bars, before the stream goes on without one; the hole is then a gap, which REST works off.
LOOKS_AT_A_HOLE = 3


def configured_market() -> Market:
    """Return the market that ``CRYPTOAI_MARKET`` names, the sample when it is not set."""
    return configured_resource().settings


class MarketResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # generic only for resources that make others
    """A market: its settings, its source, its clock, and the folder of what is made of it.

    Parameters
    ----------
    name
        Of a preset, or of a file in the root's folder ``markets``.
    root
        Folder under which ``data/<market>`` lies.
    archive
        File of candles that is read in place of the embedded sample's.
    store
        Folder, or address such as ``s3://bucket/prefix``, of the candles, facts and features of all markets;
        None is below the root.
    s3_region, s3_endpoint
        Of a store on S3; no endpoint is Amazon's.
    time
        ISO 8601 with an offset, in place of the clock.
    sandbox
        Address of the simulated venues and sources.
    beyond
        Families of features that read more than the candles of one symbol, in place of the market's own.
    models
        Kinds of model that are trained, in place of the market's own.
    files
        Folder of daily CSV files and of the export of Google Trends.
    addresses
        Of sources of facts that are asked elsewhere than at home, such as one's own node, by name.
    news_feeds
        Feeds that are read beside the usual ones, by name.
    article_texts
        Hosts of the feeds whose items are read on their own pages, ``all`` for every feed's.
    telegram_channels
        Public channels of Telegram, as in t.me/NAME.
    sentiment
        Method that scores the news: see `cryptoai_assets.lib.sentiment_methods.choice.NAMES`.
    sentiment_compared
        Methods that are compared beside the usual ones.
    labelled_texts
        File or folder of labelled texts, on which sentiment methods are compared.
    ollama
        Address of a running Ollama.
    tries
        Of one question to a source, the first one included.
    approval
        Who has the last word on what the gate admits: nobody with ``automatic``, a person with ``manual``,
        and with ``shadow`` or ``split`` a probation of that mode.
    tolerated_loss
        By which a version's mean log loss on probation may be higher than the champion's.
    retrain_days
        After which a training is due, and within which no verdict asks for another.
    fred_key_variable
        Environment variable that holds the API key of FRED, which no configuration shows.
    studies_variable
        Environment variable that holds the address of a database of searches, with its password.
    bars_variable
        Environment variable that holds the place of the online store: a file, or an address of Redis.
    forecasts_variable
        Environment variable that names the service's forecast log, likewise.
    """

    name: str
    root: str = "."
    archive: str | None = None
    store: str | None = None
    s3_region: str = "us-east-1"
    s3_endpoint: str | None = None
    time: str | None = None
    sandbox: str = SANDBOX
    beyond: list[str] = []
    models: list[str] = []
    files: str | None = None
    addresses: dict[str, str] = {}
    news_feeds: dict[str, str] = {}
    article_texts: list[str] = []
    telegram_channels: list[str] = []
    sentiment: str = "released"
    sentiment_compared: list[str] = []
    labelled_texts: str | None = None
    ollama: str = "http://127.0.0.1:11434"
    tries: int = PATIENCE.tries
    approval: str = "automatic"
    tolerated_loss: float = TOLERATED_LOSS
    retrain_days: int = Field(default=RETRAIN_DAYS, ge=1)
    fred_key_variable: str = "CRYPTOAI_FRED_KEY"
    studies_variable: str = "CRYPTOAI_STUDIES"
    bars_variable: str = "CRYPTOAI_BARS"
    forecasts_variable: str = "CRYPTOAI_FORECAST_LOG"

    @property
    def settings(self) -> Market:
        """Settings of the preset or the file, with the families and the kinds of model that are set."""
        market = beyond_candles(market_of(self.name, Path(self.root) / MARKETS), self.beyond)
        return long_enough(replace(market, models=tuple(self.models)) if self.models else market)

    @property
    def asks_a_person(self) -> bool:
        """Whether what the gate admits waits for a person."""
        self._check_approval()
        return self.approval == "manual"

    @property
    def probation(self) -> Probation | None:
        """How what the gate admits is tried before it is promoted; None when it is not."""
        self._check_approval()
        mode = next((mode for mode in get_args(Mode) if mode == self.approval), None)
        return Probation(mode, self.tolerated_loss) if mode else None

    @property
    def verdict_policy(self) -> VerdictPolicy:
        """When the watch's evidence is acted upon, and when a training is due without any."""
        return trained_every(self.retrain_days)

    def _check_approval(self) -> None:
        if self.approval not in APPROVALS:
            raise ValueError(f"approval {self.approval!r}: set CRYPTOAI_APPROVAL to {' or '.join(APPROVALS)}")
        if not self.tolerated_loss > 0:
            raise ValueError(f"{self.tolerated_loss:g}: set CRYPTOAI_TOLERATED_LOSS to a log loss over 0")

    @property
    def patience(self) -> Patience:
        """Patience with a source that fails."""
        return replace(PATIENCE, tries=self.tries)

    @property
    def fred_key(self) -> str | None:
        """API key of FRED, if one is set."""
        return os.environ.get(self.fred_key_variable) or None

    def secret(self, variable: str) -> str | None:
        """Return a key that a variable of the environment holds, which no configuration shows."""
        return os.environ.get(variable) or None

    @property
    def folder(self) -> Path:
        """Folder of everything that is made of this market's data."""
        return Path(self.root) / "data" / self.name

    @property
    def home(self) -> Home:
        """Every folder and door of this market."""
        studies = os.environ.get(self.studies_variable) or None
        bars = os.environ.get(self.bars_variable)
        return Home(
            Path(self.root),
            self.settings,
            self._store,
            studies,
            bars_place(bars, market=self.name) if bars else None,
            os.environ.get(self.forecasts_variable) or None,
        )

    @property
    def _store(self) -> Place | None:
        if not self.store:
            return None
        # Keys come from where Amazon's tools look for them: the environment, a profile, the machine's role.
        return place(
            self.store, S3Settings(self.s3_region, self.s3_endpoint, access_key=None, secret_key=None)
        )

    @property
    def stores(self) -> MarketStores:
        """Stores of candles and facts."""
        return self.home.stores

    @property
    def gaps(self) -> GapTable:
        """Table of gaps."""
        return GapTable(self.stores.folder / "gaps")

    @property
    def source_files(self) -> dict[str, Path]:
        """Files that the source reads, by name; none when it asks a venue."""
        if self.settings.source not in ARCHIVES:
            return {}
        if self.settings.source == "archive" and not self.archive:
            raise SourceRefusedError(f"the market {self.name} reads a file: name it with CRYPTOAI_ARCHIVE")
        return {"archive": Path(self.archive) if self.archive else sample_file()}

    def source(self) -> CandleSource:
        """Return the source of candles."""
        for archive in self.source_files.values():
            return ArchiveSource(archive, self.settings.interval, self.settings.source)
        devices = DeviceFilesSource(self.home.device_candles, self.settings.interval)
        if self.settings.source == "device":
            return devices
        # What devices saw of the venue is nearer to it than what another one saw.
        sent = (devices,) if devices.folder.is_dir() else ()
        return FallbackSource((self.exchange(), *sent, self.coingecko()), self._known_at)

    def second_source(self) -> CandleSource | None:
        """Return the venue that is asked for what the market's own does not give."""
        other = self.settings.second_venue
        return self._venue(other) if other and not self.source_files else None

    def exchange(self) -> ExchangeSource:
        """Return the market's venue, or its simulation in the sandbox."""
        return self._venue(self.settings.venue)

    def _venue(self, name: str) -> ExchangeSource:
        simulated = self.settings.source == "sandbox"
        return ExchangeSource(
            name,
            self.settings.interval,
            base_url=f"{self.sandbox}/binance" if simulated else None,
            patience=self.patience,
            timeout_seconds=TIMEOUT_SECONDS,
            clock=self.clock,
            simulated=simulated,
            milliseconds_between_requests=0.0 if simulated else None,
        )

    def coingecko(self) -> CoinGeckoSource:
        """Return what is asked when the venue does not answer, or its simulation in the sandbox."""
        simulated = self.settings.source == "sandbox"
        web = WebClient(
            "simulated CoinGecko" if simulated else "CoinGecko",
            f"{self.sandbox}/coingecko/api/v3" if simulated else BASE_URL,
            requests_per_second=SANDBOX_REQUESTS_PER_SECOND if simulated else REQUESTS_PER_SECOND,
            timeout_seconds=TIMEOUT_SECONDS,
            patience=PATIENCE,
            clock=self.clock,
        )
        return CoinGeckoSource(web, self.settings.interval, self._known_at)

    def stream(self) -> ExchangeStream:
        """Return the venue's streams, whose holes the venue alone fills."""
        simulated = self.settings.source == "sandbox"
        return ExchangeStream(
            self.settings.venue,
            self.settings.interval,
            source=self.exchange(),
            base_url=f"{self.sandbox}/binance" if simulated else None,
            reconnecting=RECONNECTING,
            looks=LOOKS_AT_A_HOLE,
        )

    def clock(self) -> datetime:
        """Return the time of the world, for records and retries; the market's own is `now`."""
        return datetime.fromisoformat(self.time) if self.time else datetime.now(UTC)

    def _known_at(self) -> datetime:
        """Return when what is heard now is known, in a simulated venue's time where that is the clock."""
        return self.now() if self.settings.clock == "venue" else self.clock()

    def now(self) -> datetime:
        """Return the market's present, which its preset says whose it is.

        Raises
        ------
        SourceError
            When the venue has the clock and does not answer.
        """
        if self.time or self.settings.clock == "wall":
            return self.clock()
        end = self.settings.history_end
        if self.settings.clock == "venue" or end is None:
            return self.exchange().now()
        return datetime(end.year, end.month, end.day, tzinfo=UTC)


def configured_resource() -> MarketResource:
    """Return the market of this environment, in its folder."""
    return MarketResource(
        name=os.environ.get("CRYPTOAI_MARKET", "sample"),
        root=os.environ.get("CRYPTOAI_ROOT", "."),
        archive=os.environ.get("CRYPTOAI_ARCHIVE") or None,
        store=os.environ.get("CRYPTOAI_STORE") or None,
        s3_region=os.environ.get("AWS_REGION", "us-east-1"),
        s3_endpoint=os.environ.get("AWS_ENDPOINT_URL") or None,
        sandbox=os.environ.get("CRYPTOAI_SANDBOX", SANDBOX),
        beyond=_listed("CRYPTOAI_BEYOND"),
        models=_listed("CRYPTOAI_MODELS"),
        files=os.environ.get("CRYPTOAI_FILES") or None,
        addresses={
            source: address for source, variable in ADDRESSES.items() if (address := os.environ.get(variable))
        },
        news_feeds={
            address.partition("://")[2].partition("/")[0]: address
            for address in _listed("CRYPTOAI_NEWS_FEEDS")
        },
        article_texts=_listed("CRYPTOAI_ARTICLE_TEXTS"),
        telegram_channels=_listed("CRYPTOAI_TELEGRAM_CHANNELS"),
        sentiment=os.environ.get("CRYPTOAI_SENTIMENT") or "released",
        sentiment_compared=_listed("CRYPTOAI_SENTIMENT_COMPARED"),
        labelled_texts=os.environ.get("CRYPTOAI_LABELLED_TEXTS") or None,
        ollama=os.environ.get("CRYPTOAI_OLLAMA_ADDRESS", "http://127.0.0.1:11434"),
        approval=os.environ.get("CRYPTOAI_APPROVAL") or "automatic",
        tolerated_loss=float(os.environ.get("CRYPTOAI_TOLERATED_LOSS") or TOLERATED_LOSS),
        retrain_days=_days("CRYPTOAI_RETRAIN_DAYS", RETRAIN_DAYS),
    )


def _listed(variable: str) -> list[str]:
    """Names that a variable gives, with commas between."""
    return os.environ.get(variable, "").replace(",", " ").split()


def _days(variable: str, usual: int) -> int:
    """Whole days that a variable gives, at least one."""
    said = os.environ.get(variable) or str(usual)
    if not (said.isascii() and said.isdigit() and int(said)):
        raise ValueError(f"{said!r}: set {variable} to whole days, 1 or more")
    return int(said)


class AlertsResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # generic only for resources that make others
    """Where alerts go, and where their links lead.

    Parameters
    ----------
    slack_webhook
        Address of Slack's incoming webhook.
    slack_channel, slack_address
        Id of the channel to which a bot posts, and Slack's API.
    mail_from, mail_to
        Sender and recipients of e-mail.
    dagster_address, mlflow_address, serving_address
        Of the Dagster UI, of MLflow's, and of the service that has the alerts' pages.
    remind_hours
        By severity, after how long what is still open is told again; a severity that is absent is not.
    slack_bot_variable, smtp_variable, webhook_variable
        Environment variables that hold the bot's token, the mail server with its password, and the address
        that takes alerts as JSON; no configuration shows them.
    """

    slack_webhook: str | None = None
    slack_channel: str | None = None
    slack_address: str = SLACK_API
    mail_from: str = "cryptoai@localhost"
    mail_to: list[str] = []
    dagster_address: str = "http://127.0.0.1:3000"
    mlflow_address: str = "http://127.0.0.1:5000"
    serving_address: str = "http://127.0.0.1:3600"
    remind_hours: dict[str, float] = {}
    slack_bot_variable: str = "CRYPTOAI_SLACK_TOKEN"
    smtp_variable: str = "CRYPTOAI_SMTP"
    webhook_variable: str = "CRYPTOAI_ALERT_WEBHOOK"

    def channels(self, show: Callable[[str], None]) -> list[Channel]:
        """Return the channels that are set, or the one that shows messages."""
        token, mail, webhook = (
            os.environ.get(name)
            for name in (self.slack_bot_variable, self.smtp_variable, self.webhook_variable)
        )
        found: list[Channel] = []
        if token and self.slack_channel:
            found.append(SlackBotChannel(token, self.slack_channel, address=self.slack_address))
        elif self.slack_webhook:
            found.append(SlackChannel(self.slack_webhook))
        if mail and self.mail_to:
            found.append(MailChannel(mail, self.mail_from, tuple(self.mail_to)))
        if webhook:
            found.append(WebhookChannel(webhook))
        return found or [LoggedChannel(show)]

    def deliver(self, home: Home, show: Callable[[str], None], now: datetime) -> list[str]:
        """Remind of what is open, and send what waits; return a line for each message that was not taken."""
        outbox, links = Outbox(home.alerts_database), AlertLinks.beside(home.alerts_database)
        every = {
            severity: timedelta(hours=self.remind_hours[severity])
            for severity in get_args(Severity)
            if self.remind_hours.get(severity)
        }
        outbox.remind(every, now)
        return outbox.deliver(
            self.channels(show), now, page=lambda alert: links.page(self.serving_address, alert, now)
        )

    def run_address(self, run_id: str) -> str:
        """Return the page of a run."""
        return f"{self.dagster_address}/runs/{run_id}"

    def asset_address(self, asset: str) -> str:
        """Return the page of an asset, with its newest metadata."""
        return f"{self.dagster_address}/assets/{asset}"

    def drift_links(self, home: Home, run_id: str) -> dict[str, str]:
        """Return where to look when the market drifts; versions are compared where there are two."""
        newest = home.tracking.versions(home.market.model)[-2:]
        runs = {found.run_id: found.version for found in newest}
        compared = {"MLflow comparison": self.comparison_address(home.market.model, runs)}
        return {
            "Dagster run": self.run_address(run_id),
            "Evidently report": self.asset_address("drift_report"),
            **(compared if len(runs) == 2 else {}),
        }

    def comparison_address(self, model: str, runs: Mapping[str, int]) -> str:
        """Return MLflow's page that compares versions of a model.

        Parameters
        ----------
        runs
            Version by the id of its run.
        """
        versions = json.dumps({run: str(version) for run, version in runs.items()}, separators=(",", ":"))
        return (
            f"{self.mlflow_address}/#/compare-model-versions"
            f"?name={quote(json.dumps(quote(model)))}&runs={quote(versions)}"
        )


def configured_alerts() -> AlertsResource:
    """Return where this environment's alerts go."""
    return AlertsResource(
        slack_webhook=os.environ.get("CRYPTOAI_SLACK_WEBHOOK") or None,
        slack_channel=os.environ.get("CRYPTOAI_SLACK_CHANNEL") or None,
        slack_address=os.environ.get("CRYPTOAI_SLACK_ADDRESS") or SLACK_API,
        mail_from=os.environ.get("CRYPTOAI_MAIL_FROM") or "cryptoai@localhost",
        mail_to=_listed("CRYPTOAI_MAIL_TO"),
        dagster_address=os.environ.get("CRYPTOAI_DAGSTER_ADDRESS", "http://127.0.0.1:3000"),
        mlflow_address=os.environ.get("CRYPTOAI_MLFLOW_ADDRESS", "http://127.0.0.1:5000"),
        serving_address=os.environ.get("CRYPTOAI_SERVING_ADDRESS", "http://127.0.0.1:3600"),
        remind_hours={
            "critical": float(os.environ.get("CRYPTOAI_REMIND_CRITICAL_HOURS", REMIND_CRITICAL_HOURS)),
            "warning": float(os.environ.get("CRYPTOAI_REMIND_WARNING_HOURS", REMIND_WARNING_HOURS)),
        },
    )


def links_lead_to(*, dagster: str, mlflow: str, serving: str) -> None:
    """Let links of messages lead there, of this process and those that it starts, unless others are set."""
    os.environ.setdefault("CRYPTOAI_DAGSTER_ADDRESS", dagster)
    os.environ.setdefault("CRYPTOAI_MLFLOW_ADDRESS", mlflow)
    os.environ.setdefault("CRYPTOAI_SERVING_ADDRESS", serving)


class UpkeepResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # generic only for resources that make others
    """What the platform may run on and cost, and from when on that is told.

    Parameters
    ----------
    queue_minutes
        How long a run may wait for its turn.
    slowest_ms
        Within which nineteen of twenty forecasts answer.
    abstentions
        Share of an hour's forecasts that may abstain.
    server_errors
        Share of an hour's answers of the service that may have a status from 500 on.
    slowest_answer_ms
        Within which ninety-nine of a hundred answers of the service come.
    news_silence_hours
        How long a source of news may bring nothing new, by default a long weekend; 0 is for ever.
    serving_key
        With which the service is asked for its numbers; None where it asks for none.
    price_a_minute
        Of computing, in any currency; 0 for a machine that is paid for anyway.
    monthly_budget, run_budget
        In the same currency; None for none.
    """

    least_free_gigabytes: float = 5.0
    queue_minutes: float = 60.0
    slowest_ms: float = 250.0
    abstentions: float = 0.5
    server_errors: float = 0.02
    slowest_answer_ms: float = 1000.0
    news_silence_hours: float = 96.0
    serving_key: str | None = None
    price_a_minute: float = 0.0
    monthly_budget: float | None = None
    run_budget: float | None = None

    @property
    def limits(self) -> Limits:
        """From when on something is told."""
        return Limits(
            free_gigabytes=self.least_free_gigabytes,
            queued=timedelta(minutes=self.queue_minutes),
            slowest_ms=self.slowest_ms,
            abstentions=self.abstentions,
            errors=self.server_errors,
            slowest_answers=timedelta(milliseconds=self.slowest_answer_ms),
            news_silence=timedelta(hours=self.news_silence_hours),
        )

    @property
    def prices(self) -> Prices:
        """What computing costs and may cost."""
        return Prices(self.price_a_minute, self.monthly_budget, self.run_budget)


def configured_upkeep() -> UpkeepResource:
    """Return this environment's limits; what is not set is as the class says."""
    given = {name: os.environ.get(variable) for name, variable in UPKEEP.items()}
    limits = {name: float(value) for name, value in given.items() if value}
    return UpkeepResource(serving_key=os.environ.get("CRYPTOAI_SERVING_KEY") or None, **limits)


def look_seconds() -> int:
    """Return the time between two looks of a sensor at what it follows; more of it spares a small machine."""
    return int(os.environ.get("CRYPTOAI_LOOK_SECONDS", LOOK_SECONDS))


@dg.logger
def progress_logger(_: dg.InitLoggerContext) -> logging.Logger:
    """Print what assets say about their progress, and nothing of Dagster's own events."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("         %(message)s"))
    handler.addFilter(_is_said_by_an_asset)
    logger = logging.Logger("progress", level=logging.INFO)
    logger.addHandler(handler)
    return logger


def _is_said_by_an_asset(record: logging.LogRecord) -> bool:
    told = getattr(record, "dagster_meta", {})
    if told.get("dagster_event") is not None:
        return False
    record.msg = told.get("orig_message", record.msg)
    return True


def _quiet_libraries() -> None:
    """Keep addresses with keys in them out of the log, and complaints about pages that hold no article."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)


@dg.definitions
def resources() -> dg.Definitions:
    """Resources of this environment, and the executor of every job: one process, since steps are short."""
    _quiet_libraries()
    return dg.Definitions(
        resources={
            "market": configured_resource(),
            "alerts": configured_alerts(),
            "upkeep": configured_upkeep(),
        },
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, "progress": progress_logger},
    )
