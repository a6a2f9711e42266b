"""Two workers of the real service: what one counts, the other knows."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import monotonic

import httpx
import psutil
import pytest
from fakes.bento_process import bento_service
from fakes.waiting import wait_until

from cryptoai_serving.keys import main
from cryptoai_serving.settings import ServingSettings

A_MINUTE = 6


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ServingSettings.inside(tmp_path_factory.mktemp("root")).keys


@pytest.fixture(scope="module")
def workers(keys: Path) -> Iterator[list[httpx.Client]]:
    """A connection to each of the two, kept open."""
    root = keys.parents[1]
    made_key(keys, a_minute=10**6)
    with bento_service(root, settings={"CRYPTOAI_WORKERS": "2"}) as client, ExitStack() as opened:
        found: dict[int, httpx.Client] = {}

        def both_answer() -> bool:
            one = opened.enter_context(httpx.Client(base_url=client.base_url, timeout=30))
            stream = one.get("/livez").extensions["network_stream"]
            own = stream.get_extra_info("client_addr")[1]
            for process in psutil.Process().children(recursive=True):
                if any(each.raddr and each.raddr.port == own for each in process.net_connections()):
                    found[process.pid] = one
            return len(found) == 2

        wait_until(both_answer, "two workers answer")
        yield list(found.values())


def made_key(keys: Path, *, a_minute: int) -> dict[str, str]:
    told: list[str] = []
    arguments = ["make", "--scope", "read", "--label", "test", "--requests-a-minute", str(a_minute)]
    assert main(arguments, path=keys, tell=told.append) == 0
    return {"authorization": f"Bearer {told[0].splitlines()[0]}"}


def known_to_all(workers: list[httpx.Client], key: dict[str, str]) -> None:
    wait_until(
        lambda: all(one.get("/models", headers=key).status_code == 200 for one in workers), "the key is valid"
    )


def test_request_counts_once_against_its_limit_whoever_answers_it(
    workers: list[httpx.Client], keys: Path
) -> None:
    key = made_key(keys, a_minute=A_MINUTE)
    began = monotonic()
    statuses: list[int] = []

    def exhausted() -> bool:
        # A new key is unknown for a moment.
        told = [one.get("/models", headers=key).status_code for one in workers]
        statuses.extend(status for status in told if status != 401)
        return len(statuses) >= 2 * A_MINUTE

    wait_until(exhausted, "more was asked than may be")
    given_back = (monotonic() - began) * A_MINUTE / 60
    assert set(statuses) == {200, 429}
    assert A_MINUTE <= statuses.count(200) <= A_MINUTE + given_back + 1


def test_metrics_tell_what_all_workers_have_counted(workers: list[httpx.Client], keys: Path) -> None:
    key = made_key(keys, a_minute=10**6)
    known_to_all(workers, key)

    def counted(worker: httpx.Client) -> int:
        text = worker.get("/metrics", headers=key).text
        [count] = re.findall(
            r'cryptoai_request_seconds_count{.*route="/api/ml/status".*status="200".*} (\S+)', text
        )
        return int(float(count))

    def all_count(asked: int) -> bool:
        told = [counted(worker) for worker in workers]
        assert max(told) <= asked
        return min(told) == asked

    asked = 0
    for number in (3, 2):
        for worker in workers:
            for _ in range(number):
                assert worker.get("/api/ml/status", headers=key).status_code == 200
                asked += 1
        # An answer is counted after it went out.
        wait_until(partial(all_count, asked), "both tell what all have counted")
