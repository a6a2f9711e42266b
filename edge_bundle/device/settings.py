"""Settings of a device: one TOML file, read by every program."""

import tomllib
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from edge_bundle.errors import EdgeBundleError
from edge_bundle.news.feed_addresses import FEEDS

# A clock that is further off the venue's is wrong: a person is told, and bars close by the venue's.
CLOCK_TOLERANCE = timedelta(seconds=20)
# The names of `edge_bundle.sentiment.release.METHODS`, which is dear to load.
NEWS_METHODS = ("keywords", "vader", "transformer")
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
        Where exported days go: a folder, ``platform``, ``s3://bucket/prefix`` or ``scp:user@host:folder``;
        empty keeps them on the device alone.
    dashboard_host, dashboard_port, dashboard_password
        Where the page is; without a password whoever reaches it may read it.
    webhook_url, slack_url
        Where alerts go; empty for none.
    mail_server, mail_from, mail_to
        That sends them as e-mail, such as ``smtps://user:password@host:465``, from whom and to whom; an empty
        server sends none.
    alert_probability
        Of the likelier direction, from which a forecast is worth an alert.
    alert_pause_minutes
        After an alert, before another one of the same matter.
    news_feeds
        Addresses of feeds; none for no news of them.
    newsapi_key
        Of NewsAPI; empty for no articles of it.
    news_method
        That scores what is read: ``keywords``, ``vader`` or ``transformer``.
    s3_endpoint, s3_region, s3_access_key, s3_secret_key
        Of the bucket that `export_to` names; an empty endpoint is Amazon's.
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
    mail_server: str = ""
    mail_from: str = ""
    mail_to: tuple[str, ...] = ()
    alert_probability: float = 0.65
    alert_pause_minutes: int = 60
    news_feeds: tuple[str, ...] = tuple(FEEDS.values())
    newsapi_url: str = "https://newsapi.org"
    newsapi_key: str = ""
    news_method: str = "vader"
    s3_endpoint: str = ""
    s3_region: str = "us-east-1"
    s3_access_key: str = ""
    s3_secret_key: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.history_days <= self.retention_days:
            raise SettingsRefusedError(
                f"history_days is {self.history_days}, retention_days {self.retention_days}: "
                "at least 1, and no more history than is kept"
            )
        if not 0.5 < self.alert_probability < 1:
            raise SettingsRefusedError(f"alert_probability is {self.alert_probability}: between 0.5 and 1")
        if self.news_method not in NEWS_METHODS:
            raise SettingsRefusedError(
                f"news_method is {self.news_method!r}: one of {', '.join(NEWS_METHODS)}"
            )
        if self.mail_server and not (self.mail_from and self.mail_to):
            raise SettingsRefusedError("mail_server is set, and mail_from or mail_to is not")
        if self.alert_pause_minutes < 1:
            raise SettingsRefusedError(f"alert_pause_minutes is {self.alert_pause_minutes}: at least 1")

    @property
    def database(self) -> Path:
        """File of the database."""
        return self.home / "device.db"

    @property
    def outbox(self) -> Path:
        """File of the alerts."""
        return self.home / "alerts.db"

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
        lists = {name: tuple(value) for name, value in record.items() if isinstance(value, list)}
        return cls(**{**record, **lists, "home": Path(record["home"])})


def _refuse_type(path: Path, name: str, value: Any, wanted: object) -> None:
    if wanted == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise SettingsRefusedError(f"{path}: {name} is {value!r}, a list of texts needed")
        return
    allowed = (int, float) if wanted is float else (int,) if wanted is int else (str,)
    if not isinstance(value, allowed) or isinstance(value, bool):
        words = " or ".join(kind.__name__ for kind in allowed)
        raise SettingsRefusedError(f"{path}: {name} is {value!r}, {words} needed")
