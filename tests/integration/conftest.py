import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache import ApacheKafka
from redis import Redis
from redis.exceptions import RedisError
from rig import Rig, wait_until

from vigil.embedded import EmbeddedServers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedServers]:
    with EmbeddedServers() as servers:
        yield servers


@pytest.fixture(scope="session")
def broker_kind(request: pytest.FixtureRequest) -> str:
    """Which broker the tests talk to: embedded, apache, or HOST:PORT."""
    return str(request.config.getoption("--kafka"))


@pytest.fixture(scope="session")
def bootstrap(
    broker_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if broker_kind == "embedded":
        yield request.getfixturevalue("embedded").bootstrap
    elif broker_kind == "apache":
        broker = ApacheKafka(tmp_path_factory.mktemp("kafka")).start()
        yield broker.bootstrap
        broker.stop()
    else:
        yield broker_kind


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis where one is installed, else the embedded one."""
    if shutil.which("redis-server") is None:
        yield request.getfixturevalue("embedded").redis_url
        return
    with redis_server(tmp_path_factory.mktemp("redis"), free_port()) as url:
        yield url


@pytest.fixture
def rig(bootstrap: str, redis_url: str) -> Rig:
    made = Rig(bootstrap, redis_url)
    made.create_topics()
    return made


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
