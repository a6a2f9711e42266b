"""Every resource of the platform; the only reader of environment variables in this package."""

import asyncio
import logging
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from cryptoai_assets.lib.gaps import GapTable
from cryptoai_assets.lib.home import Home
from cryptoai_assets.lib.market import Market, beyond_candles, market_of
from cryptoai_assets.lib.market_data import MarketStores
from cryptoai_assets.lib.models.zoo import long_enough
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
from cryptoai_serving.bar_shelf import bars_place
from edge_bundle.alerts import Channel, LoggedChannel, SlackChannel

SANDBOX = "http://127.0.0.1:3800"
SANDBOX_REQUESTS_PER_SECOND = 100.0
TIMEOUT_SECONDS = 10.0
# Folder of the markets that are described in files.
MARKETS = "markets"
ARCHIVES = ("sample", "archive")
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
    beyond: list[str] = []  # noqa: RUF012 — a field of pydantic, copied for each resource
    models: list[str] = []  # noqa: RUF012 — likewise
    files: str | None = None
    addresses: dict[str, str] = {}  # noqa: RUF012 — likewise
    news_feeds: dict[str, str] = {}  # noqa: RUF012 — a field of pydantic, copied for each resource
    article_texts: list[str] = []  # noqa: RUF012 — likewise
    telegram_channels: list[str] = []  # noqa: RUF012 — likewise
    sentiment: str = "released"
    sentiment_compared: list[str] = []  # noqa: RUF012 — likewise
    labelled_texts: str | None = None
    ollama: str = "http://127.0.0.1:11434"
    tries: int = PATIENCE.tries
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
    )


def _listed(variable: str) -> list[str]:
    """Names that a variable gives, with commas between."""
    return os.environ.get(variable, "").replace(",", " ").split()


class AlertsResource(dg.ConfigurableResource):  # type: ignore[type-arg]  # generic only for resources that make others
    """Where alerts go.

    Parameters
    ----------
    slack_webhook
        Address of Slack's incoming webhook; messages are shown in the log when it is None.
    dagster_address
        Of the Dagster UI, for links.
    """

    slack_webhook: str | None = None
    dagster_address: str = "http://127.0.0.1:3000"

    def channels(self, show: Callable[[str], None]) -> list[Channel]:
        """Return the channels that are set, or the one that shows messages."""
        return [SlackChannel(self.slack_webhook)] if self.slack_webhook else [LoggedChannel(show)]

    def run_address(self, run_id: str) -> str:
        """Return the page of a run."""
        return f"{self.dagster_address}/runs/{run_id}"


def configured_alerts() -> AlertsResource:
    """Return where this environment's alerts go."""
    return AlertsResource(
        slack_webhook=os.environ.get("CRYPTOAI_SLACK_WEBHOOK") or None,
        dagster_address=os.environ.get("CRYPTOAI_DAGSTER_ADDRESS", "http://127.0.0.1:3000"),
    )


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
        },
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, "progress": progress_logger},
    )
