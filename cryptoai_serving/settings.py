"""Settings of the service: the only reader of environment variables here."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptoai_serving.bar_shelf import BarsPlace, bars_place
from cryptoai_serving.forecast_cache import LIFETIME
from cryptoai_serving.log_database import log_place

MEBIBYTE = 1024 * 1024
REQUESTS_A_MINUTE = 12_000
SIGNAL_CONFIDENCE = 0.55
_HOST = re.compile(r"[a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Where the service finds what it serves.

    Parameters
    ----------
    market, model
        Name of the market, and the registered model whose releases are followed.
    releases
        Root folder of the releases.
    bars
        The online store that ingestion writes: a SQLite file, or a place in Redis.
    forecast_log
        Log that monitoring reads: a SQLite file, or the address of a PostgreSQL database.
    alerts
        SQLite file of the outbox, from which the platform tells people.
    requests
        SQLite file of requests for promotions, which the platform carries out or refuses.
    keys
        File of API keys; without it the service answers its own machine alone.
    limits
        File in which the workers of this machine count requests together.
    device_candles
        Folder of the candles that devices send, which the platform reads.
    told
        Folder in which the platform tells of the market's news.
    poll_seconds
        Time between two looks at the release channel and at the keys.
    max_body_bytes
        Largest request body; candles of 4,500 bars are about 0.5 MB.
    requests_a_minute
        Of one caller, unless its key says otherwise.
    hosts
        Names besides ``localhost`` by which the service may be asked without a key, as in ``desk.example``.
    cors_origins
        Pages whose scripts may ask, as in ``https://example.org``; none by itself.
    signal_confidence
        Probability that the likelier direction must have; a signal below it is HOLD.
    cache_seconds
        How long a forecast is kept for all who ask, at most; 0 computes every answer.
    workers
        Processes that BentoML starts.
    metrics_folder
        In which the workers' metrics are added up; None where each tells its own.
    """

    market: str
    model: str
    releases: Path
    bars: BarsPlace
    forecast_log: Path | str
    alerts: Path
    requests: Path
    keys: Path
    limits: Path
    device_candles: Path
    told: Path
    poll_seconds: float = 1.0
    max_body_bytes: int = 8 * MEBIBYTE
    requests_a_minute: int = REQUESTS_A_MINUTE
    hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    signal_confidence: float = SIGNAL_CONFIDENCE
    cache_seconds: float = LIFETIME.total_seconds()
    workers: int = 1
    metrics_folder: Path | None = None

    def __post_init__(self) -> None:
        if not 0.5 < self.signal_confidence <= 1.0:
            raise ValueError(
                f"a signal confidence of {self.signal_confidence:g}: over 0.5 and up to 1 needed, "
                "set it with CRYPTOAI_SIGNAL_CONFIDENCE"
            )
        if not 0 <= self.cache_seconds <= LIFETIME.total_seconds():
            raise ValueError(
                f"{self.cache_seconds:g} seconds of cache: 0 to {LIFETIME.total_seconds():g} needed, "
                "set them with CRYPTOAI_CACHE_SECONDS"
            )
        if self.workers < 1:
            raise ValueError(f"{self.workers} workers: 1 at least needed, set them with CRYPTOAI_WORKERS")
        if self.requests_a_minute < 1:
            raise ValueError(
                f"{self.requests_a_minute} requests a minute: 1 at least needed, "
                "set them with CRYPTOAI_REQUESTS_A_MINUTE"
            )
        if wrong := [host for host in self.hosts if not _HOST.fullmatch(host)]:
            raise ValueError(
                f"a host {wrong[0]}: a name without scheme and port needed, set it with CRYPTOAI_HOSTS"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read ``CRYPTOAI_MARKET`` and the like; what is not set lies below ``CRYPTOAI_ROOT``."""
        given = os.environ if environment is None else environment
        root = Path(given.get("CRYPTOAI_ROOT", "."))
        log = log_place(given.get("CRYPTOAI_FORECAST_LOG", "data/forecasts.db"))
        market = given.get("CRYPTOAI_MARKET", "sample")
        bars = bars_place(given.get("CRYPTOAI_BARS") or f"data/{market}/bars.db", market=market)
        return cls(
            market=market,
            model=given.get("CRYPTOAI_MODEL", f"cryptoai-forecaster-{market}"),
            releases=root / given.get("CRYPTOAI_RELEASES", "releases"),
            bars=root / bars if isinstance(bars, Path) else bars,
            forecast_log=root / log if isinstance(log, Path) else log,
            alerts=root / given.get("CRYPTOAI_ALERTS", "data/alerts.db"),
            requests=root / given.get("CRYPTOAI_REQUESTS", "data/requests.db"),
            keys=root / given.get("CRYPTOAI_KEYS", "data/keys.json"),
            limits=root / given.get("CRYPTOAI_LIMITS", "data/limits.bin"),
            device_candles=root / given.get("CRYPTOAI_DEVICE_CANDLES", f"data/{market}/device_candles"),
            told=root / given.get("CRYPTOAI_TOLD", f"data/{market}"),
            requests_a_minute=int(given.get("CRYPTOAI_REQUESTS_A_MINUTE", REQUESTS_A_MINUTE)),
            signal_confidence=float(given.get("CRYPTOAI_SIGNAL_CONFIDENCE", SIGNAL_CONFIDENCE)),
            cache_seconds=float(given.get("CRYPTOAI_CACHE_SECONDS", LIFETIME.total_seconds())),
            workers=int(given.get("CRYPTOAI_WORKERS", 1)),
            # Named by BentoML, and read by prometheus_client itself when it is imported.
            metrics_folder=Path(shared) if (shared := given.get("PROMETHEUS_MULTIPROC_DIR")) else None,
            hosts=_words(given.get("CRYPTOAI_HOSTS", "").lower()),
            cors_origins=_words(given.get("CRYPTOAI_CORS_ORIGINS", "")),
        )

    @classmethod
    def inside(cls, folder: Path, *, market: str = "sample", poll_seconds: float = 1.0) -> Self:
        """Everything inside one folder, laid out as in the project's root."""
        return cls(
            market=market,
            model=f"cryptoai-forecaster-{market}",
            releases=folder / "releases",
            bars=folder / "data" / market / "bars.db",
            forecast_log=folder / "data" / "forecasts.db",
            alerts=folder / "data" / "alerts.db",
            requests=folder / "data" / "requests.db",
            keys=folder / "data" / "keys.json",
            limits=folder / "data" / "limits.bin",
            device_candles=folder / "data" / market / "device_candles",
            told=folder / "data" / market,
            poll_seconds=poll_seconds,
        )


def _words(text: str) -> tuple[str, ...]:
    """Words with commas or spaces between."""
    return tuple(text.replace(",", " ").split())
