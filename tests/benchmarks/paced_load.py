"""Requests at a fixed rate over open connections, timed from when each was due.

A server that stalls makes all wait who were due meanwhile, and their wait is counted. It knows nothing about
what is asked.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

CONNECTIONS = 16


@dataclass(slots=True)
class Paced:
    """What came of a paced load.

    Parameters
    ----------
    seconds
        From due to answered, one a request.
    statuses
        How many requests ended with each; 0 is a connection that broke.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


def http_request(path: str, *, port: int, key: str, body: bytes | None = None) -> bytes:
    """Bytes of one request on a connection that stays open."""
    method, length = ("GET", "") if body is None else ("POST", f"content-length: {len(body)}\r\n")
    kind = "" if body is None else "content-type: application/json\r\n"
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
    return f"{head}{kind}{length}\r\n".encode() + (body or b"")


def paced(
    port: int,
    requests: Sequence[bytes],
    *,
    a_second: float,
    seconds: float,
    each_second: Callable[[int], None] = lambda _: None,
) -> Paced:
    """Send the requests in turn, `a_second` of them, and wait for all answers.

    Parameters
    ----------
    each_second
        Called with the whole seconds that have passed.
    """
    return asyncio.run(_paced(port, requests, a_second, seconds, each_second))


async def _paced(
    port: int,
    requests: Sequence[bytes],
    a_second: float,
    seconds: float,
    each_second: Callable[[int], None],
) -> Paced:
    found, due = Paced(), asyncio.Queue[tuple[float, bytes] | None]()
    clock = asyncio.get_running_loop().time
    senders = [asyncio.create_task(_send(port, due, found)) for _ in range(CONNECTIONS)]
    started, told = clock(), 0
    for number in range(round(a_second * seconds)):
        moment = started + number / a_second
        if (pause := moment - clock()) > 0:
            await asyncio.sleep(pause)
        due.put_nowait((moment, requests[number % len(requests)]))
        if (passed := int(number / a_second)) > told:
            told = passed
            each_second(passed)
    for _ in senders:
        due.put_nowait(None)
    await asyncio.gather(*senders)
    return found


async def _send(port: int, due: "asyncio.Queue[tuple[float, bytes] | None]", found: Paced) -> None:
    clock = asyncio.get_running_loop().time
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    while (entry := await due.get()) is not None:
        moment, request = entry
        try:
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            status, closes = await _answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            status, closes = 0, True
        found.seconds.append(clock() - moment)
        found.statuses[status] += 1
        if closes and writer is not None:
            writer.close()
            reader = writer = None
    if writer is not None:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Status of the next answer, and whether the connection ends with it; the body is read and dropped."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    await reader.readexactly(int(headers.get("content-length", "0")))
    return int(head[0].split()[1]), headers.get("connection") == "close"
