"""A client of an application in this process: the real application behind httpx, without a socket."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI


@dataclass
class PortalTransport(httpx.BaseTransport):
    """Sends requests to an application that lives in the event loop of another thread."""

    portal: BlockingPortal
    app: FastAPI
    host: str

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self.portal.call(self._answer, request)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await httpx.ASGITransport(self.app, client=(self.host, 123)).handle_async_request(request)
        return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())


@contextmanager
def client_of(app: FastAPI, *, host: str = "127.0.0.1") -> Iterator[httpx.Client]:
    """Client at an address while the application's lifespan lasts."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        httpx.Client(
            transport=PortalTransport(portal, app, host), base_url="http://127.0.0.1:3600"
        ) as client,
    ):
        yield client
