"""A real server on loopback for an application, in a thread of its own."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Loopback:
    """Where a running server listens."""

    port: int

    @property
    def http(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def websocket(self) -> str:
        return f"ws://{HOST}:{self.port}"


@contextmanager
def serving(app: ASGIApp, *, lifespan: Literal["on", "off"] = "off") -> Iterator[Loopback]:
    """Serve until the block ends; open connections are then cut."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",
            lifespan=lifespan,
            ws="websockets-sansio",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        # The port is open for connections before the server's loop runs: none is refused.
        listener.listen()
        thread.start()
        try:
            yield Loopback(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()
