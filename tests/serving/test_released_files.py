"""Released files: whole or in parts, by the name of their bytes, and nothing that is not released."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fakes.forecast_service import service_in
from fakes.releases import release_tiny_bundle

from cryptoai_serving.messages import ErrorAnswer
from edge_bundle.manifest import GRAPH_NAME, MANIFEST_NAME, bundle_digest
from edge_bundle.releases import channel_path

MODEL = "cryptoai-forecaster-sample"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root") / "releases"
    release_tiny_bundle(root, version=1, seed=1)
    (root / MODEL / "secret.json").write_text("secret")
    folder = release_tiny_bundle(root, version=2, seed=2)
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def client(bundle: Path) -> Iterator[httpx.Client]:
    with service_in(bundle.parents[3]) as (client, _):
        yield client


def test_device_finds_every_file_of_the_champion_and_its_bytes(client: httpx.Client, bundle: Path) -> None:
    told = client.get(f"/releases/{MODEL}").json()
    (release,) = told["releases"]
    assert (release["role"], release["version"]) == ("champion", 2)
    assert release["sha256"] == bundle_digest(bundle)
    assert {GRAPH_NAME, MANIFEST_NAME} <= {file["name"] for file in release["files"]}
    for file in release["files"]:
        fetched = client.get(f"/releases/{MODEL}/2/{file['name']}")
        assert fetched.content == (bundle / file["name"]).read_bytes()
        assert len(fetched.content) == file["size"] == int(fetched.headers["content-length"])
        digest = hashlib.sha256(fetched.content).hexdigest()
        assert fetched.headers["etag"] == f'"{digest}"' == f'"{file["sha256"]}"'


def test_file_comes_in_parts_that_make_the_whole(client: httpx.Client, bundle: Path) -> None:
    address, whole = f"/releases/{MODEL}/2/{GRAPH_NAME}", (bundle / GRAPH_NAME).read_bytes()
    etag = client.get(address).headers["etag"]
    first = client.get(address, headers={"range": "bytes=0-99"})
    rest = client.get(address, headers={"range": "bytes=100-", "if-range": etag})
    last = client.get(address, headers={"range": "bytes=-7"})
    assert [part.status_code for part in (first, rest, last)] == [206, 206, 206]
    assert first.content + rest.content == whole
    assert last.content == whole[-7:]
    assert first.headers["content-range"] == f"bytes 0-99/{len(whole)}"
    changed = client.get(address, headers={"range": "bytes=100-", "if-range": '"other"'})
    assert (changed.status_code, changed.content) == (200, whole)


def test_file_that_the_device_has_is_not_sent_again(client: httpx.Client) -> None:
    address = f"/releases/{MODEL}/2/{GRAPH_NAME}"
    etag = client.get(address).headers["etag"]
    for asked in (etag, f'W/{etag}, "x"', "*"):
        again = client.get(address, headers={"if-none-match": asked})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get(address, headers={"if-none-match": '"x"'}).status_code == 200


@pytest.mark.parametrize(
    "asked", ["bytes=99999999-", "bytes=5-4", "bytes=-0", "bytes=0-1,3-4", "bytes=", "lines=1-2", "bytes=a-b"]
)
def test_part_that_the_file_has_not_is_refused(client: httpx.Client, bundle: Path, asked: str) -> None:
    response = client.get(f"/releases/{MODEL}/2/{GRAPH_NAME}", headers={"range": asked})
    assert response.status_code == 416
    size = (bundle / GRAPH_NAME).stat().st_size
    assert response.headers["content-range"] == f"bytes */{size}"
    assert ErrorAnswer.model_validate(response.json()).code == "range_refused"


@pytest.mark.parametrize(
    "address",
    [
        f"/releases/{MODEL}/1/{GRAPH_NAME}",  # was champion, and is no more
        f"/releases/{MODEL}/2/secret.txt",
        f"/releases/{MODEL}/2/..%2F..%2Fsecret.json",
        f"/releases/{MODEL}/2/%2e%2e%2f%2e%2e%2fsecret.json",
        f"/releases/{MODEL}/2/..%5C..%5Csecret.json",
        f"/releases/{MODEL}/2/%2Fetc%2Fpasswd",
        f"/releases/{MODEL}/2/{GRAPH_NAME}%00.txt",
        f"/releases/{MODEL}/9/{GRAPH_NAME}",
        f"/releases/{MODEL}/-1/{GRAPH_NAME}",
        f"/releases/{MODEL}/99999999999999999999/{GRAPH_NAME}",
        "/releases/other",
        f"/releases/{MODEL}/2/%2e%2e",
        "/releases/%2e%2e",
        "/releases/..%2F..%2Fdata",
        f"/releases/..%2F{MODEL}/2/{GRAPH_NAME}",
    ],
)
def test_nothing_beside_the_release_can_be_fetched(client: httpx.Client, address: str) -> None:
    response = client.get(address)
    assert response.status_code in (404, 422), response.content[:80]
    assert "secret" not in ErrorAnswer.model_validate(response.json()).problem or "secret." in address


def test_link_in_a_bundle_leads_nowhere(tmp_path: Path) -> None:
    folder = release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    (tmp_path / "outside").write_bytes((folder / GRAPH_NAME).read_bytes())
    (folder / GRAPH_NAME).unlink()
    (folder / GRAPH_NAME).symlink_to(tmp_path / "outside")
    with service_in(tmp_path) as (client, _):
        assert client.get(f"/releases/{MODEL}/1/{GRAPH_NAME}").status_code == 404


@pytest.mark.parametrize("content", ["{", json.dumps({"schema_version": 7})])
def test_channel_that_cannot_be_read_is_unavailable_and_no_place_is_told(
    tmp_path: Path, content: str
) -> None:
    release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    channel_path(tmp_path / "releases", MODEL).write_text(content)
    with service_in(tmp_path) as (client, _):
        response = client.get(f"/releases/{MODEL}")
    assert response.status_code == 503
    assert str(tmp_path) not in response.text


def test_manifest_that_is_not_the_promised_one_is_not_handed_out(tmp_path: Path) -> None:
    folder = release_tiny_bundle(tmp_path / "releases", version=1, seed=1)
    (folder / MANIFEST_NAME).write_text((folder / MANIFEST_NAME).read_text() + " ")
    with service_in(tmp_path) as (client, _):
        assert client.get(f"/releases/{MODEL}").status_code == 503
        assert client.get(f"/releases/{MODEL}/1/{GRAPH_NAME}").status_code == 503
