"""A news site on loopback: feeds with marks, redirects and robots.txt, and a note of who asked for what."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from fakes.loopback_app import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ETAG = '"v1"'
MODIFIED = "Sun, 01 Mar 2026 10:00:00 GMT"


@dataclass(slots=True)
class NewsSite:
    """What the site serves, by path; a path in `moved` leads on with the status that stands there."""

    url: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    moved: dict[str, tuple[int, str]] = field(default_factory=dict)
    robots: str | None = None
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append((path, dict(request.headers)))
        if path == "/robots.txt":
            return Response(self.robots or "", 200 if self.robots is not None else 404)
        if path in self.moved:
            status, target = self.moved[path]
            return Response(status_code=status, headers={"Location": target})
        if path not in self.pages:
            return Response(status_code=404)
        marks = {"ETag": ETAG, "Last-Modified": MODIFIED}
        if request.headers.get("If-None-Match") == ETAG:
            return Response(status_code=304, headers=marks)
        headers = {"Content-Type": "application/rss+xml", **marks, **self.headers}
        return Response(self.pages[path], headers=headers)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked if path != "/robots.txt"]


@contextmanager
def news_site() -> Iterator[NewsSite]:
    """Serve until the block ends."""
    site = NewsSite()
    with serving(Starlette(routes=[Route("/{path:path}", site.answer)])) as loopback:
        site.url = loopback.http
        yield site


def rss(*items: str) -> bytes:
    """A feed of these items, each the inside of an ``item``."""
    inside = "".join(f"<item>{item}</item>" for item in items)
    channel = f"<channel><title>T</title>{inside}</channel>"
    return f'<?xml version="1.0"?><rss version="2.0">{channel}</rss>'.encode()
