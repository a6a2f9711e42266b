"""The page of the documentation: complete, with commands that work, and made of nothing from elsewhere."""

import itertools
import re
import shlex
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.forecast_service import service_in
from fakes.releases import release_tiny_bundle
from fakes.tiny_bundle import walk_candles

from cryptoai_serving.reference import reference_page

CANDLES = walk_candles(("BTCUSD", "ETHUSD"), bars=60, interval="30m", seed=3)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("root")
    release_tiny_bundle(folder / "releases", version=3, seed=1)
    with service_in(folder) as (client, app):
        app.rooms.bars.write_bars(CANDLES)
        yield client


@pytest.fixture(scope="module")
def page(client: httpx.Client) -> str:
    return client.get("/api/docs").text


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/openapi.json").json()
    return found


class Page(HTMLParser):
    """What a page loads, and whether its parts are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.opened: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        told = dict(attributes)
        self.loaded += [str(told[name]) for name in ("src", "data", "srcset") if name in told]
        self.loaded += [tag] if tag in {"script", "link", "iframe", "object"} else []
        self.links += [str(told["href"])] if "href" in told else []
        self.opened += [] if tag in {"meta"} else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag


def test_page_loads_nothing_and_every_link_leads_somewhere(page: str) -> None:
    found = Page()
    found.feed(page)
    assert found.loaded == []
    assert found.opened == []
    for link in set(found.links):
        assert link == "/api/openapi.json" or f'id="{link.removeprefix("#")}"' in page, link


def test_every_address_and_every_message_stands_there(page: str, document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method in methods:
            assert f'<span class="method">{method}</span> {path}</h3>' in page
    for name, schema in document["components"]["schemas"].items():
        assert f'<section id="{name}">' in page
        for field in schema.get("properties", {}):
            assert f"<code>{field}</code>" in page


def test_every_command_on_the_page_is_answered_as_documented(
    client: httpx.Client, page: str, document: dict[str, Any]
) -> None:
    commands = re.findall(r"<pre><code>(curl .*?)</code></pre>", page, re.DOTALL)
    assert len(commands) == sum(len(methods) for methods in document["paths"].values())
    answered = []
    for command in commands:
        words = shlex.split(unescape(command))
        headers = dict(word.split(": ", 1) for flag, word in itertools.pairwise(words) if flag == "-H")
        headers.pop("authorization", None)
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        body = words[words.index("--data-binary") + 1] if "--data-binary" in words else None
        response = client.request(method, words[-1], headers=headers, content=body)
        path = httpx.URL(words[-1]).path
        told = document["paths"].get(path) or next(
            methods
            for template, methods in document["paths"].items()
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
        )
        assert str(response.status_code) in told[method.lower()]["responses"], command
        answered.append(response.status_code)
    assert answered.count(200) > len(answered) / 2


def test_what_stands_in_the_document_is_text(document: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script>"
    page = reference_page(document | {"info": {"title": evil, "description": evil}}, server=evil)
    assert "<script" not in page


def test_address_is_the_one_that_was_asked(client: httpx.Client, page: str) -> None:
    assert f"{str(client.base_url).rstrip('/')}/forecast/BTCUSD" in page


def test_page_is_made_for_the_bundle_that_answers(page: str, tmp_path: Path) -> None:
    assert "Version 3 needs bars_needed" in page
    with service_in(tmp_path) as (client, _):
        assert "No model is loaded" in client.get("/api/docs").text
