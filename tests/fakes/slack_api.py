"""Slack's Web API on loopback, as far as a bot that posts needs it: messages, their metadata, and pictures.

Source: https://docs.slack.dev/reference/methods
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fakes.slack_server import refused_part

TOKEN, CHANNEL = "xoxb-loopback", "C0123456789"


@dataclass
class SlackApi:
    """A running server: `posted` is what the channel shows, `pictures` what lies in its threads."""

    url: str
    posted: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    # Method, and the error that it answers from now on.
    refuses: dict[str, str] = field(default_factory=dict)
    retry_after: str | None = None
    # Whether answers to posted messages get lost on their way back.
    loses_answers: bool = False
    uploaded: dict[str, bytes] = field(default_factory=dict)

    def answer(self, method: str, told: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "chat.postMessage":
                if refused := refused_part(told):
                    return {"ok": False, "error": refused}
                self.posted.append(told)
                return {"ok": True, "channel": CHANNEL, "ts": f"{len(self.posted)}.000"}
            case "files.getUploadURLExternal":
                return {"ok": True, "file_id": "F1", "upload_url": f"{self.url}upload/F1"}
            case "files.completeUploadExternal":
                assert told["channel_id"] == CHANNEL
                self.pictures[told["thread_ts"]] = self.uploaded["F1"]
                return {"ok": True, "files": [{"id": "F1"}]}
            case "conversations.history":
                newest = self.posted[-int(told["limit"]) :]
                return {"ok": True, "messages": [{"metadata": one["metadata"]} for one in newest]}
        return {"ok": False, "error": "unknown_method"}


@contextmanager
def slack_api() -> Iterator[SlackApi]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.startswith("/api/upload/"):
                slack.uploaded[self.path.rpartition("/")[2]] = body
                self._send({"ok": True})
            elif self.headers["Content-Type"].startswith("application/json"):
                self._answer(json.loads(body))
            else:
                self._answer({name: values[0] for name, values in parse_qs(body.decode()).items()})

        def _answer(self, told: dict[str, Any]) -> None:
            method = urlsplit(self.path).path.rpartition("/")[2]
            slack.requests.append(method)
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self._send({"ok": False, "error": "invalid_auth"})
            elif error := slack.refuses.get(method):
                self._send({"ok": False, "error": error}, 429 if error == "ratelimited" else 200)
            else:
                answer = slack.answer(method, told)
                if slack.loses_answers and method == "chat.postMessage":
                    self.close_connection = True
                else:
                    self._send(answer)

        def _send(self, answer: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            if slack.retry_after:
                self.send_header("Retry-After", slack.retry_after)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        slack = SlackApi(f"http://127.0.0.1:{server.server_address[1]}/api/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield slack
        finally:
            server.shutdown()
            thread.join()
