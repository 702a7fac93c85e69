import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from apache import ApacheKafka
from redis_servers import redis_server
from rig import Rig, lively_fleet, wait_until

from detectors.catalogue import load_detectors
from schemas.streams import CONSENSUS
from vigil.embedded import EmbeddedServers
from vigil.ports import free_run
from vigil.scorers import stream_scorer
from vigil.settings import StreamSettings

TOLD_STEPS = 240


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
    with redis_server(tmp_path_factory.mktemp("redis"), free_run(1)) as url:
        yield url


@pytest.fixture
def rig(bootstrap: str, redis_url: str) -> Rig:
    made = Rig(bootstrap, redis_url)
    made.create_topics()
    return made


@pytest.fixture(scope="session")
def told(bootstrap: str, redis_url: str) -> Rig:
    """A fleet with faults and silences that one worker scored; tests only read."""
    made = Rig(bootstrap, redis_url)
    made.create_topics()
    messages = lively_fleet(4, TOLD_STEPS)
    made.produce(messages)
    with made.running(
        scorers=[stream_scorer(CONSENSUS, StreamSettings(), load_detectors(CONSENSUS))], batch_max=300
    ) as thread:
        # One try for all tests that read it: patient on a busy machine.
        wait_until(lambda: thread.worker.monitor.records >= len(messages), "the fleet to be scored", timeout=150)
    return made
