"""A real redis-server of a test's own."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from certificates import Certificate
from redis import Redis
from redis.exceptions import RedisError
from rig import wait_until


@contextlib.contextmanager
def redis_server(directory: Path, port: int) -> Iterator[str]:
    """Run a redis-server of this test's own until the end of the block."""
    url = f"redis://127.0.0.1:{port}/0"
    with _running(["--port", str(port), "--dir", str(directory)], lambda: Redis.from_url(url)):
        yield url


@contextlib.contextmanager
def secured_redis(directory: Path, port: int, certificate: Certificate, password: str) -> Iterator[str]:
    """Run a redis-server that speaks TLS alone and lets nobody in without a password; yields its address."""
    options = ["--port", "0", "--tls-port", str(port), "--dir", str(directory), "--requirepass", password]
    options += ["--tls-cert-file", str(certificate.file), "--tls-key-file", str(certificate.key)]
    options += ["--tls-ca-cert-file", str(certificate.file), "--tls-auth-clients", "no"]
    url = f"rediss://127.0.0.1:{port}/0"
    with _running(options, lambda: Redis.from_url(url, password=password, ssl_ca_certs=str(certificate.file))):
        yield url


@contextlib.contextmanager
def _running(options: list[str], client: Callable[[], Redis]) -> Iterator[None]:
    command = ["redis-server", "--save", "", "--bind", "127.0.0.1", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: _answers(client()), "redis-server")
        yield
    finally:
        process.terminate()
        process.wait(10)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()
