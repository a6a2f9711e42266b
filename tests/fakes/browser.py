"""A real browser without a window, and what a page did in it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# As root and without a screen; and it asks nothing of its makers.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE, DESKTOP = (390, 844), (1280, 900)


@dataclass(frozen=True, slots=True)
class Watched:
    """A page, what it complained of, and which hosts it asked."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium of the machine; a test without it skips, naming it."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs the apt package chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def opened_page(own: Browser, size: tuple[int, int]) -> Iterator[Watched]:
    """Empty page of a size in pixels, with a session of its own."""
    page = own.new_page(viewport={"width": size[0], "height": size[1]})
    watched = Watched(page)
    page.on("console", lambda message: watched.complaints.append(message.text))
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on("request", lambda request: watched.hosts.update(re.findall(r"^\w+://([^/]+)", request.url)))
    try:
        yield watched
    finally:
        page.close()
