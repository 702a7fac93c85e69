"""A broker for all tests here, and what each needs of its own on it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from benchmarks.alert_servers import AlertmanagerServer, HookServer, ServerMissingError
from benchmarks.alert_stage import AlertReader, AlertStage, alert_stage
from benchmarks.waiting import PATIENCE_SECONDS
from schemas.codec import encode
from schemas.outputs import Anomaly
from schemas.topics import partition_of
from vigil.demo.stage import WorkerProcess
from vigil.embedded import EmbeddedServers

sys.path.insert(0, str(Path(__file__).parents[1] / "detectors" / "alerts"))  # samples of anomalies

PARTITIONS = 4


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    with EmbeddedServers() as running:
        yield running


@pytest.fixture
def stage(servers: EmbeddedServers) -> Iterator[AlertStage]:
    """Topics of the test's own; event time is that of the newest anomaly."""
    with alert_stage(servers.bootstrap, servers.redis_url) as made:
        made.settings |= {"alerts.clock": "anomalies", "alerts.tick_s": "0.1", "alerts.linger_s": "0.02"}
        yield made


@pytest.fixture
def start(stage: AlertStage) -> Iterator[Callable[..., WorkerProcess]]:
    """Start an alert service with some settings; all are stopped at the end. One that is killed needs a name."""
    running: list[WorkerProcess] = []

    def begin(member: str | None = None, **settings: str) -> WorkerProcess:
        extra = {f"alerts.{name}": value for name, value in settings.items()}
        service = stage.alerts(extra, member)
        running.append(service)
        service.wait_until_ready(PATIENCE_SECONDS)
        return service

    yield begin
    for service in running:
        service.stop()


@pytest.fixture
def reader(stage: AlertStage) -> Iterator[AlertReader]:
    with AlertReader(stage.kafka).running() as reading:
        yield reading


@pytest.fixture
def send(stage: AlertStage) -> Callable[..., None]:
    """Publish anomalies as a worker does: in order, all of a cluster to one partition."""
    producer = Producer({"bootstrap.servers": stage.kafka.bootstrap, "enable.idempotence": True})
    topic = stage.kafka.topics["anomalies"]

    def publish(*anomalies: Anomaly) -> None:
        for one in anomalies:
            producer.produce(
                topic, encode(one), one.node_id.encode(), partition_of(one.cluster, one.node_id, PARTITIONS)
            )
        assert producer.flush(30) == 0

    return publish


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with HookServer() as server:
        yield server


@pytest.fixture
def pages() -> Iterator[HookServer]:
    """Where Alertmanager sends its notifications."""
    with HookServer() as server:
        yield server


@pytest.fixture
def alertmanager(tmp_path: Path, pages: HookServer) -> Iterator[AlertmanagerServer]:
    try:
        server = AlertmanagerServer(tmp_path, pages.url)
    except ServerMissingError as error:
        pytest.skip(str(error))
    with server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "stage" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.integration)
