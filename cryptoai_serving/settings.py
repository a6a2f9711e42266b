"""Settings of the service: the only reader of environment variables here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Where the service finds what it serves.

    Parameters
    ----------
    market, model
        Name of the market, and the registered model whose releases are followed.
    releases
        Root folder of the releases.
    bars, forecast_log
        SQLite files: the online store that ingestion writes, and the log that monitoring reads.
    poll_seconds
        Time between two looks at the release channel.
    max_body_bytes
        Largest request body; candles of 4,500 bars are about 0.5 MB.
    """

    market: str
    model: str
    releases: Path
    bars: Path
    forecast_log: Path
    poll_seconds: float = 1.0
    max_body_bytes: int = 8 * MEBIBYTE

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read ``CRYPTOAI_MARKET`` and the like; what is not set lies in the current folder."""
        given = os.environ if environment is None else environment
        market = given.get("CRYPTOAI_MARKET", "sample")
        return cls(
            market=market,
            model=given.get("CRYPTOAI_MODEL", f"cryptoai-forecaster-{market}"),
            releases=Path(given.get("CRYPTOAI_RELEASES", "releases")),
            bars=Path(given.get("CRYPTOAI_BARS", f"data/{market}/bars.db")),
            forecast_log=Path(given.get("CRYPTOAI_FORECAST_LOG", "data/forecasts.db")),
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
            poll_seconds=poll_seconds,
        )
