"""The heartbeat: what was written is read, and what cannot be read is no sign of life."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_bundle.heartbeat import Heartbeat

NOW = datetime(2019, 10, 1, 12, tzinfo=UTC)


def test_newest_beat_is_read_and_no_draft_stays(tmp_path: Path) -> None:
    path = tmp_path / "data" / "heartbeat.json"
    assert Heartbeat.read(path) is None
    Heartbeat(NOW, NOW, ()).write(path)
    beat = Heartbeat(NOW, NOW - timedelta(hours=1), ("drift_asks_for_training",))
    beat.write(path)
    assert Heartbeat.read(path) == beat
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    [
        "",
        pytest.param("[" * 100_000, id="deep"),
        "[]",
        "{}",
        '{"at": 7, "since": 7, "silent": []}',
        '{"at": "soon", "since": "", "silent": []}',
    ],
)
def test_file_that_is_no_heartbeat_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "heartbeat.json"
    path.write_text(text)
    assert Heartbeat.read(path) is None
