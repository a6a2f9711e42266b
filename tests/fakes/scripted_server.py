"""An HTTP server on loopback that answers, byte for byte, what a test tells it to."""

import socketserver
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes over the wire, and whether the line is held open afterwards."""

    data: bytes
    holds: bool = False


HANG_UP = Reply(b"")
SILENCE = Reply(b"", holds=True)


def reply(
    body: bytes | str = b"",
    *,
    status: int = 200,
    headers: Mapping[str, str] = MappingProxyType({}),
    lost: int = 0,
    holds: bool = False,
) -> Reply:
    """A whole answer, or one of which the last `lost` bytes never come."""
    content = body.encode() if isinstance(body, str) else body
    lines = {"Content-Length": str(len(content)), "Connection": "close", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    data = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode() + content
    return Reply(data[: len(data) - lost], holds)


@dataclass(slots=True)
class ScriptedServer:
    """A running server: `asked` holds the target of each request."""

    url: str
    asked: list[str] = field(default_factory=list)
    script: deque[Reply] = field(default_factory=deque)
    closing: threading.Event = field(default_factory=threading.Event)

    def will_answer(self, *replies: Reply) -> None:
        """Say what the next requests get; 200 with ``{}`` after them."""
        self.script.extend(replies)


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """Serve until the block ends."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = self.rfile.readline().decode()
            while self.rfile.readline().strip():
                pass
            server.asked.append(request.split()[1])
            answer = server.script.popleft() if server.script else reply("{}")
            self.wfile.write(answer.data)
            if answer.holds:
                server.closing.wait()

    class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
        def handle_error(self, *_: object) -> None:
            """Keep the test's output clean: a client may hang up."""

    with Server(("127.0.0.1", 0), Handler) as listening:
        server = ScriptedServer(f"http://127.0.0.1:{listening.server_address[1]}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            listening.shutdown()
            thread.join()
