"""Charts over HTTP: patterns in candles and in pictures, and every picture that is refused."""

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fakes.chart_detector import release_detector, written_detector
from fakes.forecast_service import columns, service_in
from fakes.hand_clock import HandClock
from fakes.tiny_bundle import walk_candles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cryptoai_assets.lib.releases import write_channel
from cryptoai_serving.bars import BarStore
from cryptoai_serving.chart_desk import CHART_MODEL, MOST_PICTURE_BYTES, ChartDesk, picture_of
from cryptoai_serving.last_failure import RETRY_AFTER
from edge_bundle.chart import CANDLE_COLUMNS, CHART_60, chart_images
from edge_bundle.detector import Detector
from edge_bundle.manifest import GRAPH_NAME
from edge_bundle.releases import Channel, ReleasedVersion, channel_path, release_folder

CANDLES = walk_candles(["BTCUSD"], bars=80, interval="30m", seed=8)
WINDOW = CANDLES.tail(CHART_60.bars).select(CANDLE_COLUMNS).to_numpy()
PICTURE = picture_of(WINDOW, CHART_60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    release_detector(folder / "releases", version=4)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    with service_in(folder) as (client, _):
        yield client


def asked(client: httpx.Client, picture: bytes) -> httpx.Response:
    return client.post("/analyze-chart", json={"picture": base64.b64encode(picture).decode()})


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


with Image.open(io.BytesIO(PICTURE)) as drawn:
    AS_JPEG = saved(drawn, "JPEG", quality=100)


def test_candles_and_their_picture_are_answered_alike(client: httpx.Client, folder: Path) -> None:
    body = {"candles": columns(CANDLES), "interval": "30m"}
    of_candles = client.post("/analyze-chart", json=body).json()
    of_picture = asked(client, PICTURE).json()
    [first], [second] = of_candles["charts"], of_picture["charts"]
    detector = Detector.load(release_folder(folder / "releases", CHART_MODEL, 4))
    [expected] = detector.detect(CANDLES, interval="30m")
    assert first["pattern"] == second["pattern"] == expected.pattern.name.lower()
    assert first["confidence"] == second["confidence"] == pytest.approx(expected.confidence)
    assert [point["bar"] for point in first["key_points"]] == [point["bar"] for point in second["key_points"]]
    assert [point["price"] for point in first["key_points"]] == [point.price for point in expected.key_points]
    assert (first["symbol"], second["symbol"]) == ("BTCUSD", None)
    assert of_candles["model_version"] == of_picture["model_version"] == 4
    assert len(second["occlusion"]) == CHART_60.bars


def test_occlusion_is_what_covering_a_bar_takes_from_the_pattern(folder: Path) -> None:
    detector = Detector.load(release_folder(folder / "releases", CHART_MODEL, 4))
    [image] = chart_images(WINDOW[None], CHART_60)
    reading = detector.read(image[None])
    pattern = int(reading.pattern[0])
    taken = detector.occlusion(image, pattern)
    covered = image.copy()
    covered[:, 3 * 29 : 3 * 32] = 0
    left = detector.session.run(np.ascontiguousarray(covered[None]))["pattern"][0, pattern]
    assert taken[30] == pytest.approx(reading.probabilities[0, pattern] - left, abs=1e-6)


def test_jpeg_of_the_picture_is_read_where_its_greys_are_kept(client: httpx.Client) -> None:
    response = asked(client, AS_JPEG)
    assert response.json()["charts"][0]["pattern"] == asked(client, PICTURE).json()["charts"][0]["pattern"]


def bomb() -> bytes:
    """PNG that says it has the right size of four billion pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 65_000, 65_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )


REFUSED = {
    "photograph": (
        saved(Image.effect_noise((CHART_60.width, CHART_60.height), 90), "PNG"),
        "not one closing tick",
    ),
    "another size": (saved(Image.new("L", (200, 96)), "PNG"), "200 x 96 pixels, a chart of 60 bars 180 x 96"),
    "empty paper": (saved(Image.new("L", (180, 96)), "PNG"), "not one closing tick"),
    "another format": (saved(Image.new("L", (180, 96)), "GIF"), "no PNG or JPEG"),
    "half a picture": (PICTURE[: len(PICTURE) // 2], "no PNG or JPEG that can be read"),
    "no picture": (b"hello", "no PNG or JPEG"),
    "a bomb": (bomb(), "no PNG or JPEG|65000 x 65000 pixels"),
    "too much": (bytes(MOST_PICTURE_BYTES + 1), "200,001 bytes, 200,000 at most"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_any_other_picture_is_refused_with_a_clear_word(client: httpx.Client, what: str) -> None:
    content, word = REFUSED[what]
    response = asked(client, content)
    told = response.json()
    assert response.status_code == 422
    assert (told["code"], told["where"]) == ("request_refused", "picture")
    assert any(part in told["problem"] for part in word.split("|")), told
    assert "chart_images" in told["cure"]


@st.composite
def broken_pictures(draw: st.DrawFn) -> bytes:
    """Bytes near a picture: changed, cut or continued; those of a PNG with sums that are right again."""
    content = bytearray(draw(st.sampled_from((PICTURE, AS_JPEG))))
    places = st.integers(0, len(content) - 1)
    for place, byte in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        content[place] = byte
    cut = draw(st.one_of(st.none(), places))
    changed = bytes(content[:cut]) + draw(st.binary(max_size=40))
    return with_right_sums(changed) if draw(st.booleans()) else changed


def with_right_sums(content: bytes) -> bytes:
    """The same chunks, as far as there are any, with the sums that a reader checks first."""
    parts, place = [content[:8]], 8
    while place + 12 <= len(content):
        end = place + 8 + struct.unpack_from(">I", content, place)[0]
        chunk = content[place:end]
        parts.append(chunk + struct.pack(">I", zlib.crc32(chunk[4:])))
        place = end + 4
    return b"".join(parts)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(picture=broken_pictures())
def test_whatever_is_uploaded_is_answered_or_refused(client: httpx.Client, picture: bytes) -> None:
    response = asked(client, picture)
    assert response.status_code in (200, 422), response.text
    assert response.status_code == 200 or response.json()["where"] == "picture"


def test_one_of_candles_and_picture_is_asked_for(client: httpx.Client) -> None:
    for body in ({}, {"picture": "", "candles": columns(CANDLES)}):
        response = client.post("/analyze-chart", json=body)
        assert response.status_code == 422
        assert "either candles or a picture" in response.json()["problem"]
    for text in ("%", "iVBORw0KGgo…"):
        assert "base64" in client.post("/analyze-chart", json={"picture": text}).json()["problem"]


def test_too_few_candles_are_refused(client: httpx.Client) -> None:
    response = client.post("/analyze-chart", json={"candles": columns(CANDLES.tail(59))})
    assert response.status_code == 422
    assert "59 bars since its last hole, 60 needed" in response.json()["problem"]


def test_without_a_release_nothing_is_analyzed(tmp_path: Path) -> None:
    with service_in(tmp_path) as (client, _):
        response = asked(client, PICTURE)
    assert response.status_code == 503
    assert response.json()["code"] == "no_model"


def test_released_bundle_that_was_changed_stays_out(tmp_path: Path) -> None:
    bundle = release_folder(tmp_path / "releases", CHART_MODEL, 1)
    written_detector(bundle)
    write_channel(tmp_path / "releases", Channel(CHART_MODEL, champion=ReleasedVersion(1, "0" * 64)))
    with service_in(tmp_path) as (client, _):
        response = asked(client, PICTURE)
    assert response.status_code == 503
    assert "not what the channel promises" in response.json()["problem"]


def test_damaged_release_is_read_again_only_after_a_while(tmp_path: Path) -> None:
    clock = HandClock()
    folder = release_detector(tmp_path / "releases", version=1)
    graph = (folder / GRAPH_NAME).read_bytes()
    (folder / GRAPH_NAME).write_bytes(graph[:-1])
    with BarStore(tmp_path / "bars.db") as bars:
        desk = ChartDesk(releases=tmp_path / "releases", bars=bars, clock=clock, kept_for=timedelta())
        desk.refresh()
        refused = desk.refused
        (folder / GRAPH_NAME).write_bytes(graph)
        clock.now += RETRY_AFTER - timedelta(milliseconds=1)
        desk.refresh()
        assert (GRAPH_NAME in refused, desk.refused) == (True, refused)
        clock.now += timedelta(milliseconds=1)
        desk.refresh()
        assert (desk.refused, desk.served().released.version) == ("", 1)


def test_release_after_a_damaged_one_is_taken_at_once(tmp_path: Path) -> None:
    folder = release_detector(tmp_path / "releases", version=1)
    (folder / GRAPH_NAME).unlink()
    with BarStore(tmp_path / "bars.db") as bars:
        desk = ChartDesk(releases=tmp_path / "releases", bars=bars, clock=HandClock(), kept_for=timedelta())
        desk.refresh()
        assert (GRAPH_NAME in desk.refused, str(tmp_path) in desk.refused) == (True, False)
        release_detector(tmp_path / "releases", version=2)
        desk.refresh()
        assert (desk.refused, desk.served().released.version) == ("", 2)


def test_channel_with_half_a_letter_is_an_answer(tmp_path: Path) -> None:
    path = channel_path(tmp_path / "releases", CHART_MODEL)
    path.parent.mkdir(parents=True)
    path.write_text('{"schema_version": 1, "\\ud800": {}}')
    with service_in(tmp_path) as (client, _):
        response = asked(client, PICTURE)
    assert (response.status_code, response.json()["code"]) == (503, "no_model")
    assert "\\ud800" in response.json()["problem"]
