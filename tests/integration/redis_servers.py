"""A real redis-server of a test's own."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from rig import wait_until


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def redis_server(directory: Path, port: int) -> Iterator[str]:
    """Run a redis-server of this test's own until the end of the block."""
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(directory), "--bind", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        wait_until(lambda: _answers(url), "redis-server")
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    client = Redis.from_url(url)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()
