"""Settings are read from one file, and what means nothing is refused by name."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge_bundle.device.settings import DeviceSettings, SettingsRefusedError

NEEDED = 'home = "/var/lib/cryptoai-edge"\nmodel = "cryptoai-forecaster-live"\n'


def test_what_is_left_out_has_a_value(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(NEEDED + 'retention_days = 40\nalert_probability = 0.7\nnews_feeds = ["a", "b"]\n')
    found = DeviceSettings.read(path)
    assert found.news_feeds == ("a", "b")
    assert found.database == Path("/var/lib/cryptoai-edge/device.db")
    assert (found.retention, found.alert_probability) == (timedelta(days=40), 0.7)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "lacks home, model"),
        (NEEDED + "retention = 3", "unknown entries: retention"),
        (NEEDED + 'retention_days = "3"', "retention_days is '3', int needed"),
        (NEEDED + "venue_url = 3", "venue_url is 3, str needed"),
        (NEEDED + "dashboard_port = true", "dashboard_port is True, int needed"),
        (NEEDED + "retention_days = 3", "no more history than is kept"),
        (NEEDED + "alert_probability = 0.5", "between 0.5 and 1"),
        (NEEDED + "alert_pause_minutes = 0", "at least 1"),
        (NEEDED + 'mail_server = "smtp://h:25"\nmail_from = "a@h.test"', "mail_from or mail_to is not"),
        (NEEDED + 'news_method = "oracle"', "one of keywords, vader, transformer"),
        (NEEDED + 'news_feeds = "https://n.test/rss"', "a list of texts needed"),
        (NEEDED + "news_feeds = [3]", "a list of texts needed"),
        ("home =", "cannot be read"),
    ],
)
def test_what_means_nothing_is_refused_by_name(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(SettingsRefusedError, match=told):
        DeviceSettings.read(path)


def test_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefusedError, match="cannot be read"):
        DeviceSettings.read(tmp_path / "settings.toml")
