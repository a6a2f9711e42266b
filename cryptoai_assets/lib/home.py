"""The home of one market's data: where everything that the platform makes is kept."""

from dataclasses import dataclass
from pathlib import Path

from cryptoai_assets.lib.fact_store import FactStore
from cryptoai_assets.lib.ledger import Ledger
from cryptoai_assets.lib.market import Market
from cryptoai_assets.lib.market_data import MarketStores
from cryptoai_assets.lib.news.news_store import NewsStore
from cryptoai_assets.lib.orderbook.recordings import Recordings
from cryptoai_assets.lib.release_signing import ReleaseSigner
from cryptoai_assets.lib.releases import ReleaseDesk
from cryptoai_assets.lib.store import DailyStore, MonthlyStore, Place
from cryptoai_assets.lib.studies import Studies
from cryptoai_assets.lib.tracking import Tracking
from cryptoai_serving.bar_shelf import BarsPlace
from cryptoai_serving.log_database import log_place
from edge_bundle.sentiment.outlook import OUTLOOK_NAME

EXPERIMENT = "cryptoai"


@dataclass(frozen=True, slots=True)
class Home:
    """Folders and doors of one market under one root.

    Parameters
    ----------
    store
        Where candles, facts and features lie when not under the root; such as a bucket of S3.
    studies_address
        Of the database of searches, when it is not a file under the root.
    bars
        The online store, when it is not a file under the root.
    forecast_log
        Of the service, when it is another file or the address of a database.
    """

    root: Path
    market: Market
    store: Place | None = None
    studies_address: str | None = None
    bars: BarsPlace | None = None
    forecast_log: str | None = None

    @property
    def data(self) -> Path:
        """Folder of this market's data."""
        return self.root / "data" / self.market.name

    @property
    def tables(self) -> Place:
        """Folder of this market's candles, facts and features."""
        return self.data if self.store is None else self.store / self.market.name

    @property
    def stores(self) -> MarketStores:
        """Stores of candles and facts."""
        return MarketStores(self.tables)

    @property
    def facts(self) -> FactStore:
        """Facts of the outside world, of blockchains and of order books."""
        return FactStore(self.tables / "facts")

    @property
    def news(self) -> NewsStore:
        """News and talk, each version as it was known."""
        return NewsStore(self.tables / "news", self.data / "news_memories")

    @property
    def recordings(self) -> Recordings:
        """Raw messages of order books and trades."""
        return Recordings(self.data / "recordings")

    @property
    def microstructure(self) -> DailyStore:
        """Bars of order books and trades."""
        return DailyStore(self.tables / "microstructure")

    @property
    def features(self) -> MonthlyStore:
        """Features of every grid bar."""
        return MonthlyStore(self.tables / "features", "open_time")

    @property
    def training(self) -> Path:
        """Folder of what the training assets hand to each other."""
        return self.data / "training"

    @property
    def checkpoints(self) -> Path:
        """Folder from which a network's training that was killed goes on."""
        return self.training / "checkpoints"

    @property
    def training_dataset(self) -> Path:
        """Features and targets of every grid bar."""
        return self.training / "dataset.parquet"

    @property
    def studies(self) -> Studies:
        """What searches have tried."""
        return Studies(self.studies_address or f"sqlite:///{self.training.resolve() / 'studies.db'}")

    @property
    def model_settings(self) -> Path:
        """Settings that the search found."""
        return self.training / "model_settings.json"

    @property
    def procedure(self) -> Path:
        """Folder of the walk-forward's scores and predictions."""
        return self.training / "procedure"

    @property
    def candidate(self) -> Path:
        """Folder of the newest trained bundle and its record."""
        return self.training / "candidate"

    @property
    def backtest(self) -> Path:
        """What a strategy on the candidate's forecasts would have brought."""
        return self.candidate / "backtest.json"

    @property
    def monitoring(self) -> Path:
        """Folder of drift reports."""
        return self.data / "monitoring"

    @property
    def bars_database(self) -> BarsPlace:
        """Online store that the service reads."""
        return self.data / "bars.db" if self.bars is None else self.bars

    @property
    def device_candles(self) -> Path:
        """Candles that devices have sent to the service."""
        return self.data / "device_candles"

    @property
    def outlooks(self) -> Path:
        """What the news say, where the service reads it."""
        return self.data / OUTLOOK_NAME

    @property
    def sentiment(self) -> Path:
        """Folder of the comparison of sentiment methods, and of the one that it chose."""
        return self.data / "sentiment"

    @property
    def stream_record(self) -> Path:
        """What the stream of bars has brought."""
        return self.data / "stream.json"

    @property
    def forecasts_database(self) -> Path | str:
        """Log of every forecast that was served: a file, or the address of a database."""
        place = log_place(self.forecast_log or "data/forecasts.db")
        return self.root / place if isinstance(place, Path) else place

    @property
    def alerts_database(self) -> Path:
        """Outbox of alerts."""
        return self.root / "data" / "alerts.db"

    @property
    def expenses(self) -> Path:
        """What runs computed, by run."""
        return self.root / "data" / "expenses.db"

    @property
    def requests_database(self) -> Path:
        """Requests for promotions that the service has filed."""
        return self.root / "data" / "requests.db"

    @property
    def releases(self) -> Path:
        """Folder that the service and the devices read."""
        return self.root / "releases"

    @property
    def ledger(self) -> Ledger:
        """Record of decisions."""
        return Ledger(self.root / "data" / "ledger.db")

    @property
    def tracking(self) -> Tracking:
        """MLflow, at the place that ``mlflow ui`` opens by itself in the root."""
        root = self.root.resolve()
        return Tracking(f"sqlite:///{root / 'mlflow.db'}", root / "mlruns", EXPERIMENT)

    @property
    def release_desk(self) -> ReleaseDesk:
        """Where versions become releases."""
        return ReleaseDesk(self.releases, self.tracking, self.ledger, ReleaseSigner(self.signing_key))

    @property
    def edge(self) -> Path:
        """Folder of the archives that devices are installed from."""
        return self.root / "edge"

    @property
    def edge_wheels(self) -> Path:
        """Folder of the wheels that go into them."""
        return self.root / "build" / "edge-wheels"

    @property
    def emulated_pi(self) -> Path:
        """Debian's files of an emulated Raspberry Pi."""
        return self.root / "build" / "emulated-pi"

    @property
    def signing_key(self) -> Path:
        """Private key that releases are signed with; nothing else of the platform reads it."""
        return self.root / "data" / "keys" / "release-signing.pem"
