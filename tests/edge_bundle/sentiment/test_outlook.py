"""What the news say, as a file: read back as it was written, and refused when it is something else."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_bundle.errors import OutlookRefusedError
from edge_bundle.sentiment.outlook import Outlook, Outlooks, Topic

OWN = Outlook({"sentiment_24h": 0.3, "sentiment_1h": None}, "BUY", ("much", "so"))
TOLD = Outlooks(
    known_at="2026-03-01T12:00:00+00:00",
    live=True,
    method="transformer",
    method_version="1",
    symbols={"BTCUSD": OWN},
    market=Outlook({}, "HOLD", ("0 articles",)),
    trending=(Topic("spot etf", 9, 0.5),),
)


def test_file_says_what_was_written(tmp_path: Path) -> None:
    TOLD.write(tmp_path / "data" / "sentiment.json")
    assert Outlooks.read(tmp_path / "data" / "sentiment.json") == TOLD
    assert TOLD.moment == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["sentiment.json"]


def test_nothing_told_is_none(tmp_path: Path) -> None:
    assert Outlooks.read(tmp_path / "sentiment.json") is None


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"known_at": "yesterday"},
        {"trending": [{"words": "x"}]},
        {"symbols": []},
        {"more": 1},
        {"market": None},
    ],
    ids=str,
)
def test_file_of_another_form_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    file = tmp_path / "sentiment.json"
    TOLD.write(file)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(OutlookRefusedError, match="of another form"):
        Outlooks.read(file)


@pytest.mark.parametrize("content", [b"{", pytest.param(b"[" * 100_000, id="deep"), b"\xff\xfe", b"[]", b""])
def test_file_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sentiment.json").write_bytes(content)
    with pytest.raises(OutlookRefusedError, match=r"sentiment.json"):
        Outlooks.read(tmp_path / "sentiment.json")
