"""The embedded servers are real ones: they answer over TCP, keep what they are told, and leave nothing behind."""

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from vigil.embedded import EmbeddedServers
from vigil.errors import EmbeddedError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def servers() -> Iterator[EmbeddedServers]:
    with EmbeddedServers() as running:
        yield running


def test_redis_keeps_a_value(servers: EmbeddedServers) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.set("greeting", "hello")
        assert client.get("greeting") == b"hello"


def test_a_consumer_that_has_read_everything_asks_a_few_times_a_second(servers: EmbeddedServers) -> None:
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    admin.create_topics([NewTopic("quiet", num_partitions=4, replication_factor=1)])["quiet"].result(10)
    fetches: list[int] = []

    def count(statistics: str) -> None:
        fetches.append(sum(each["req"].get("Fetch", 0) for each in json.loads(statistics)["brokers"].values()))

    consumer = Consumer(
        {
            "bootstrap.servers": servers.bootstrap,
            "group.id": "quiet",
            "statistics.interval.ms": 500,
            "stats_cb": count,
        }
    )
    consumer.assign([TopicPartition("quiet", number, 0) for number in range(4)])
    while len(fetches) < 6:
        assert consumer.poll(0.1) is None
    consumer.close()
    assert 0 < fetches[-1] < 400, "without a pause it would be tens of thousands in three seconds"


def test_a_record_comes_back_from_the_broker(servers: EmbeddedServers) -> None:
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    admin.create_topics([NewTopic("echo", num_partitions=1, replication_factor=1)])["echo"].result(10)
    producer = Producer({"bootstrap.servers": servers.bootstrap})
    producer.produce("echo", key=b"n1", value=b"{}", timestamp=1234)
    assert producer.flush(10) == 0
    consumer = Consumer(
        {"bootstrap.servers": servers.bootstrap, "group.id": "echo", "auto.offset.reset": "earliest"},
    )
    try:
        consumer.subscribe(["echo"])
        deadline = time.monotonic() + 20
        message = None
        while message is None and time.monotonic() < deadline:
            message = consumer.poll(0.5)
        assert message is not None
        assert (message.key(), message.value(), message.timestamp()[1]) == (b"n1", b"{}", 1234)
    finally:
        consumer.close()


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with EmbeddedServers() as running:
        pid, port = running.pid, int(running.bootstrap.rpartition(":")[2])
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_given_folder_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path) as running, redis.Redis.from_url(running.redis_url) as client:
        client.set("kept", "yes")
    with EmbeddedServers(tmp_path) as running, redis.Redis.from_url(running.redis_url) as client:
        assert client.get("kept") == b"yes"


def test_the_loaders_warning_stays_out_of_sight(capfd: pytest.CaptureFixture[str]) -> None:
    with EmbeddedServers():
        pass
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vigil.embedded.find_spec", lambda _name: None)
    with pytest.raises(EmbeddedError, match="not installed") as caught:
        EmbeddedServers().start()
    assert "vigil-dwcp[embedded]" in caught.value.hint
