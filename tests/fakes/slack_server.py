"""Slack's incoming webhook on loopback: takes messages, refuses malformed blocks, answers as told."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# In place of a status: the request is read, and then nothing is answered, or the connection is closed.
SILENCE, HANG_UP = 0, -1


@dataclass(frozen=True, slots=True)
class Answer:
    """What the next request gets."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    # Whether the message is posted all the same, as when an answer gets lost on its way back.
    posts: bool = False


@dataclass
class SlackServer:
    """A running server: `posted` is what a channel would show, `requests` counts what arrived."""

    url: str
    posted: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    answers: deque[Answer] = field(default_factory=deque)
    closing: threading.Event = field(default_factory=threading.Event)

    def will_answer(self, *answers: Answer) -> None:
        """Say what the next requests get; 200 after them."""
        self.answers.extend(answers)


def refused_part(message: dict[str, Any]) -> str:
    """First thing that Slack would refuse, or nothing: https://docs.slack.dev/reference/block-kit/blocks."""
    blocks = message.get("blocks", [])
    if not message.get("text", "").strip():
        return "no_text"
    if not 1 <= len(blocks) <= 50:
        return f"invalid_blocks: {len(blocks)} blocks"
    refused = [
        f"invalid_blocks: {place}: {why}" for place, why in enumerate(map(_refused_block, blocks)) if why
    ]
    return refused[0] if refused else ""


def _refused_block(block: dict[str, Any]) -> str:
    match block:
        case {"type": "header", "text": {"type": "plain_text"} as text, **rest} if not rest:
            return _refused_text(text, 150)
        case {"type": "section", "text": text, **rest} if not rest:
            return _refused_text(text, 3_000)
        case {"type": "section", "fields": [_, *_] as fields, **rest} if not rest and len(fields) <= 10:
            return next((why for why in (_refused_text(text, 2_000) for text in fields) if why), "")
        case {"type": "context", "elements": [_, *_] as elements, **rest} if not rest and len(elements) <= 10:
            return next((why for why in (_refused_text(text, 3_000) for text in elements) if why), "")
    return f"unknown shape {block}"


def _refused_text(text: dict[str, Any], limit: int) -> str:
    kind, content = text.get("type"), text.get("text", "")
    known = {"type", "text", "emoji"} if kind == "plain_text" else {"type", "text", "verbatim"}
    if kind not in {"plain_text", "mrkdwn"} or set(text) - known:
        return f"no text object: {text}"
    if not 1 <= len(content) <= limit:
        return f"{len(content)} characters, from 1 to {limit} allowed"
    return ""


@contextmanager
def slack_server() -> Iterator[SlackServer]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            slack.requests += 1
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = slack.answers.popleft() if slack.answers else Answer(200, posts=True)
            refused = refused_part(message)
            if answer.posts and not refused:
                slack.posted.append(message)
            if answer.status in {SILENCE, HANG_UP}:
                if answer.status == SILENCE:
                    slack.closing.wait()
                self.close_connection = True
                return
            body = (refused or ("ok" if answer.status == 200 else "no")).encode()
            self.send_response(400 if refused and answer.status == 200 else answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        slack = SlackServer(f"http://127.0.0.1:{server.server_address[1]}/services/T000/B000/secret")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield slack
        finally:
            slack.closing.set()
            server.shutdown()
            thread.join()
