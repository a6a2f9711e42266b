"""Settings of a device: one TOML file, read by every program."""

import tomllib
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from edge_bundle.errors import EdgeBundleError

# A clock that is further off the venue's is wrong: a person is told, and bars close by the venue's.
CLOCK_TOLERANCE = timedelta(seconds=20)
PATH = Path("/etc/cryptoai-edge/settings.toml")


class SettingsRefusedError(EdgeBundleError):
    """The settings cannot be read, or hold a name or a value that means nothing."""


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """What a device is told; whatever is left out has the value of the archive that was installed.

    Parameters
    ----------
    home
        Folder of the database, the models and the exported days.
    model
        Registered model whose releases are followed.
    venue_url
        Binance's spot API, or what speaks like it.
    fallback_url
        CoinGecko's API; empty for none.
    platform_url
        Where the platform's service answers, for updates and exported days; empty for none.
    platform_key
        API key of the device there.
    trusted_keys
        Folder of the public keys whose signature a model must bear.
    retention_days
        After which bars and forecasts are dropped.
    history_days
        How far back bars are fetched at the start.
    export_to
        Where exported days go: a folder, ``platform`` or ``scp:user@host:folder``; empty keeps them on the
        device alone.
    dashboard_host, dashboard_port, dashboard_password
        Where the page is; without a password whoever reaches it may read it.
    webhook_url, slack_url
        Where alerts go; empty for none.
    alert_probability
        Of the likelier direction, from which a forecast is worth an alert.
    """

    home: Path
    model: str
    venue_url: str = "https://api.binance.us"
    fallback_url: str = "https://api.coingecko.com/api/v3"
    platform_url: str = ""
    platform_key: str = ""
    trusted_keys: str = "/etc/cryptoai-edge/keys"
    retention_days: int = 90
    history_days: int = 30
    export_to: str = ""
    dashboard_host: str = "0.0.0.0"  # noqa: S104 — the page is for the phone in the same house
    dashboard_port: int = 5000
    dashboard_password: str = ""
    webhook_url: str = ""
    slack_url: str = ""
    alert_probability: float = 0.65

    def __post_init__(self) -> None:
        if not 1 <= self.history_days <= self.retention_days:
            raise SettingsRefusedError(
                f"history_days is {self.history_days}, retention_days {self.retention_days}: "
                "at least 1, and no more history than is kept"
            )
        if not 0.5 < self.alert_probability < 1:
            raise SettingsRefusedError(f"alert_probability is {self.alert_probability}: between 0.5 and 1")

    @property
    def database(self) -> Path:
        """File of the database."""
        return self.home / "device.db"

    @property
    def releases(self) -> Path:
        """Folder of the models, as the platform's."""
        return self.home / "releases"

    @property
    def exports(self) -> Path:
        """Folder of the exported days."""
        return self.home / "exports"

    @property
    def retention(self) -> timedelta:
        """How long bars and forecasts are kept."""
        return timedelta(days=self.retention_days)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises
        ------
        SettingsRefusedError
            When it is absent, no TOML, or an entry is absent, unknown or of another type.
        """
        try:
            record = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsRefusedError(f"{path} cannot be read: {error}") from error
        known = {field.name: field for field in fields(cls)}
        if unknown := sorted(set(record) - set(known)):
            raise SettingsRefusedError(
                f"{path} has unknown entries: {', '.join(unknown)}; known are {', '.join(known)}"
            )
        if absent := [name for name in ("home", "model") if name not in record]:
            raise SettingsRefusedError(f"{path} lacks {', '.join(absent)}")
        for name, value in record.items():
            _refuse_type(path, name, value, known[name].type)
        return cls(**{**record, "home": Path(record["home"])})


def _refuse_type(path: Path, name: str, value: Any, wanted: object) -> None:
    allowed = (int, float) if wanted is float else (int,) if wanted is int else (str,)
    if not isinstance(value, allowed) or isinstance(value, bool):
        words = " or ".join(kind.__name__ for kind in allowed)
        raise SettingsRefusedError(f"{path}: {name} is {value!r}, {words} needed")
