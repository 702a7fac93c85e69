"""Kafka behind TLS, passwords and an authorizer: the commands of docs/operations/security.md, run as they stand."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from apache import LAUNCHER, ApacheKafka
from certificates import Certificate, make_certificate
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from explaining import as_shipped
from fleet_samples import Telemetry, consensus, fleet, message, offline, scorer, verdicts
from rig import WorkerThread, wait_until

from detectors.scoring import StreamScorer
from schemas.codec import decode_anomaly
from streams import KafkaConfig, Worker, WorkerConfig, admin_client
from streams.errors import WorkerFatal
from streams.kafka import client_properties
from vigil.assembly import kafka_config
from vigil.configuration import load_configuration
from vigil.doctor import broker_topics
from vigil.errors import ServiceError
from vigil.publisher import Publisher

pytestmark = pytest.mark.timeout(400)  # six starts of Kafka's own tool are slow on a busy machine

PAGE = Path(__file__).resolve().parents[2] / "docs/operations/security.md"
USERS = (
    "admin",
    "vigil-topics",
    "vigil-producer",
    "vigil-worker",
    "vigil-alerts",
    "vigil-oncall",
    "vigil-reader",
    "vigil-rebuild",
    "vigil-explain",
)
TELEMETRY, ANOMALIES = "dwcp.metrics.consensus", "dwcp.anomalies"
JAAS = "org.apache.kafka.common.security.scram.ScramLoginModule required"


@dataclass(frozen=True)
class Cluster:
    bootstrap: str
    directory: Path
    certificate: Certificate

    def variables(self, user: str) -> dict[str, str]:
        """What is set for one component, as environment variables; its password is in a file."""
        return {
            "VIGIL_KAFKA__BOOTSTRAP": self.bootstrap,
            "VIGIL_KAFKA__SASL_USERNAME": user,
            "VIGIL_KAFKA__SASL_PASSWORD_FILE": str(self.directory / f"{user}.password"),
            "VIGIL_KAFKA__PROPERTIES__SECURITY_PROTOCOL": "SASL_SSL",
            "VIGIL_KAFKA__PROPERTIES__SASL_MECHANISM": "SCRAM-SHA-512",
            "VIGIL_KAFKA__PROPERTIES__SSL_CA_LOCATION": str(self.certificate.file),
        }

    def config(self, user: str, **changed: str) -> KafkaConfig:
        """The configuration that the settings of one component make."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**self.variables(user), **changed}.items():
                patch.setenv(name, value)
            return kafka_config(load_configuration().settings)

    def vigil(self, user: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vigil", *words]
        environment = {**os.environ, **self.variables(user)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def password(user: str) -> str:
    return f"{user}-hunter2"


@pytest.fixture(scope="module")
def cluster(broker_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if broker_kind != "apache":
        pytest.skip("needs an Apache Kafka of its own with an authorizer: run with --kafka=apache (make test-kafka)")
    directory = tmp_path_factory.mktemp("secured")
    certificate = make_certificate(directory, "broker")
    broker = ApacheKafka(directory / "data", **listeners(certificate))
    for name in ("listeners", "advertised.listeners"):
        addresses = [f"SASL_SSL://127.0.0.1:{broker.port}", f"CONTROLLER://127.0.0.1:{broker.port + 1}"]
        broker.properties[name] = ",".join(addresses if name == "listeners" else addresses[:1])
    scram = [f"--add-scram SCRAM-SHA-512=[name={user},password={password(user)}]" for user in USERS]
    broker.environment = {"KAFKA_FORMAT_ARGS": " ".join(scram), "KAFKA_JIT": "1"}
    for user in USERS:
        (directory / f"{user}.password").write_text(f"{password(user)}\n")
    made = Cluster(broker.bootstrap, directory, certificate)
    broker.client = {name: str(value) for name, value in client_properties(made.config("admin"), "admin").items()}
    broker.start()
    try:
        grant(made)
        created = made.vigil("vigil-topics", "topics", "create", "--partitions", "2", "--json")
        assert created.returncode == 0, created.stderr
        yield made
    finally:
        broker.stop()


def listeners(certificate: Certificate) -> dict[str, str]:
    """Properties of a broker that takes nobody without TLS, a password and an ACL."""
    admin = f'username="admin" password="{password("admin")}"'
    return {
        "inter.broker.listener.name": "SASL_SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{JAAS} {admin};",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificate.keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificate.file),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin;User:ANONYMOUS",  # the controller's listener, on this machine only
    }


def grant(cluster: Cluster) -> None:
    """Run the page's commands with Kafka's own tool, under its usual name."""
    tool = cluster.directory / "kafka-acls.sh"
    java = "java -Xmx96m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    tool.write_text(f'#!/bin/sh\nexec {java} -cp "{LAUNCHER.parent}/libs/*" org.apache.kafka.tools.AclCommand "$@"\n')
    tool.chmod(0o755)
    (cluster.directory / "admin.properties").write_text(
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\n"
        f"ssl.truststore.location={cluster.certificate.file}\n"
        f'sasl.jaas.config={JAAS} username="admin" password="{password("admin")}";\n'
    )
    [commands] = re.findall(r"<!-- kafka: begin -->\n```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = f"{cluster.directory}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "BROKER": cluster.bootstrap}
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=cluster.directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rror" not in done.stdout + done.stderr, done.stdout + done.stderr


def work(cluster: Cluster, records: int, used: StreamScorer | None = None) -> Worker:
    """Run a worker with its own user until it has committed so many records, and stop it."""
    config = WorkerConfig(http_port=None, idle_s=0.1, statistics_s=0.2)
    thread = WorkerThread(Worker([used or scorer()], config, cluster.config("vigil-worker")))
    try:
        thread.wait_for_records(records)
    finally:
        thread.worker.stop()
        thread.join()
    return thread.worker


def publish(cluster: Cluster, messages: list[Telemetry]) -> None:
    with Publisher(TELEMETRY, client_properties(cluster.config("vigil-producer"), "producer")) as publisher:
        for each in messages:
            publisher.send(each.key, each.value, node=each.key or b"")


def read(cluster: Cluster, user: str, topic: str, *, group: str = "any") -> list[bytes]:
    """Read a topic to its end; raises what Kafka refuses."""
    properties = {
        **client_properties(cluster.config(user), "consumer"),
        "group.id": group,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "enable.auto.commit": False,
        "log_level": 0,
    }
    consumer = Consumer(properties)
    found: list[bytes] = []
    ended: set[int | None] = set()

    def all_ended() -> bool:
        for each in consumer.consume(100, 0.1):
            error = each.error()
            if error is None:
                found.append(each.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(each.partition())
            elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # of no account for assigned partitions
                raise KafkaException(error)
        return len(ended) == 2

    try:
        refused = consumer.list_topics(topic, timeout=20).topics[topic].error
        if refused is not None:
            raise KafkaException(refused)
        consumer.assign([TopicPartition(topic, number, 0) for number in range(2)])
        wait_until(all_ended, f"the end of {topic}")
    finally:
        consumer.close()
    return found


def refusal_of_write(cluster: Cluster, user: str, topic: str) -> int | None:
    """Error code of a record that is refused, `None` when it was taken."""
    refused: list[KafkaError | None] = []
    producer = Producer({**client_properties(cluster.config(user), "producer"), "log_level": 0})
    producer.produce(topic, b"{}", b"n0", on_delivery=lambda error, _: refused.append(error))
    assert producer.flush(20) == 0
    return None if refused[0] is None else refused[0].code()


def test_a_worker_works_with_its_rights_alone_and_a_successor_goes_on_where_it_stopped(cluster: Cluster) -> None:
    messages = fleet(3, range(50), faults={("n1", 35): 130.0, ("n2", 45): 90.0})
    publish(cluster, [*messages[:120], Telemetry(b"n0", b"no telemetry")])
    work(cluster, 121)
    publish(cluster, messages[120:])
    successor = work(cluster, 30)
    found = [decode_anomaly(value) for value in read(cluster, "vigil-reader", ANOMALIES, group="vigil-reader")]
    assert verdicts(found) == verdicts(offline(messages))
    assert successor.registry.get_sample_value("vigil_restored_nodes_total", {"stream": "consensus"}) == 3
    assert read(cluster, "admin", "dwcp.dead-letters") == [b"no telemetry"]


def test_the_alert_service_works_with_its_rights_alone(cluster: Cluster) -> None:
    steps = range(100, 150)
    publish(cluster, fleet(3, steps, faults={("n1", step): 130.0 for step in range(140, 146)}))
    work(cluster, 150)
    service = subprocess.Popen(
        [sys.executable, "-m", "vigil", "alerts", "run", "--set", "redis.enabled=false", "--set", "alerts.port=0"],
        env={**os.environ, **cluster.variables("vigil-alerts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        told = lambda: read(cluster, "vigil-reader", "dwcp.alerts", group="vigil-reader")  # noqa: E731
        wait_until(lambda: service.poll() is not None or bool(told()), "an alert", timeout=120)
        assert service.poll() is None, service.communicate()[0]
    finally:
        service.terminate()
        said = service.communicate(timeout=60)[0]
    assert service.returncode == 0, said


def test_an_anomaly_is_explained_with_the_rights_to_read_alone(cluster: Cluster) -> None:
    told = [consensus("x1", step, p99=130.0 if 390 <= step < 396 else 10.0) for step in range(300, 400)]
    publish(cluster, [message(each) for each in told])  # a node that no other test tells of
    work(cluster, 100, as_shipped())
    found = [decode_anomaly(value) for value in read(cluster, "vigil-reader", ANOMALIES, group="vigil-reader")]
    anomaly = next(each for each in found if each.detector == "consensus" and each.node_id == "x1")
    done = cluster.vigil("vigil-explain", "explain", anomaly.id, "--json")
    assert done.returncode == 0, done.stderr
    replay = json.loads(done.stdout)["replay"]
    assert (replay["status"], replay["score"]) == ("equal", anomaly.score)


def test_a_wrong_password_ends_the_alert_service_and_is_shown_nowhere(cluster: Cluster, tmp_path: Path) -> None:
    secret = tmp_path / "wrong.password"
    secret.write_text("correct-horse-battery")
    service = subprocess.run(
        [sys.executable, "-m", "vigil", "alerts", "run", "--set", "redis.enabled=false", "--set", "alerts.port=0"],
        env={**os.environ, **cluster.variables("vigil-alerts"), "VIGIL_KAFKA__SASL_PASSWORD_FILE": str(secret)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = service.stdout + service.stderr
    assert service.returncode == 1
    assert "Kafka refuses user or password" in said
    assert "correct-horse-battery" not in said


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("vigil-producer", ANOMALIES),
        ("vigil-producer", TELEMETRY),
        ("vigil-producer", "vigil.state"),
        ("vigil-worker", "dwcp.dead-letters"),
        ("vigil-reader", TELEMETRY),
        ("vigil-reader", "vigil.state"),
        ("vigil-alerts", "vigil.state"),
        ("vigil-oncall", "dwcp.alerts"),
        ("vigil-topics", ANOMALIES),
        ("vigil-rebuild", "dwcp.dead-letters"),
        ("vigil-explain", "dwcp.dead-letters"),
    ],
)
def test_nobody_reads_what_is_not_theirs(cluster: Cluster, user: str, topic: str) -> None:
    with pytest.raises(KafkaException) as caught:
        read(cluster, user, topic)
    assert caught.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("vigil-producer", ANOMALIES),
        ("vigil-producer", "vigil.state"),
        ("vigil-worker", TELEMETRY),
        ("vigil-reader", ANOMALIES),
        ("vigil-alerts", ANOMALIES),
        ("vigil-oncall", "dwcp.alerts"),
        ("vigil-topics", TELEMETRY),
        ("vigil-rebuild", "vigil.state"),
        ("vigil-explain", "vigil.state"),
    ],
)
def test_nobody_writes_what_is_not_theirs(cluster: Cluster, user: str, topic: str) -> None:
    assert refusal_of_write(cluster, user, topic) == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_a_worker_without_its_rights_ends_and_names_what_is_refused(cluster: Cluster) -> None:
    worker = Worker([scorer()], WorkerConfig(http_port=None), cluster.config("vigil-reader"))
    with pytest.raises(WorkerFatal, match=r"(?i)authorization"):
        worker.run()


@pytest.mark.parametrize("user", [each for each in USERS if each != "admin"])
def test_no_component_deletes_a_topic(cluster: Cluster, user: str) -> None:
    admin = admin_client(cluster.config(user))
    with pytest.raises(KafkaException) as caught:
        admin.delete_topics([ANOMALIES])[ANOMALIES].result(20)
    assert caught.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert ANOMALIES in broker_topics(cluster.config("admin"))


def test_a_producer_cannot_move_the_offsets_of_the_workers(cluster: Cluster) -> None:
    admin = admin_client(cluster.config("vigil-producer"))
    [moved] = admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions("vigil", [TopicPartition(TELEMETRY, 0, 0)])]
    ).values()
    with pytest.raises(KafkaException) as caught:
        moved.result(20)
    assert caught.value.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def test_a_broker_whose_certificate_is_unknown_is_not_talked_to(cluster: Cluster, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "stranger")
    with pytest.raises(ServiceError, match="certificate verify failed"):
        broker_topics(cluster.config("vigil-worker", VIGIL_KAFKA__PROPERTIES__SSL_CA_LOCATION=str(other.file)))


def test_a_wrong_password_ends_the_worker_says_so_and_is_shown_nowhere(cluster: Cluster, tmp_path: Path) -> None:
    secret = tmp_path / "wrong.password"
    secret.write_text("correct-horse-battery")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIGIL_DEBUG", "1")
        patch.setenv("VIGIL_LOG__LEVEL", "debug")
        patch.setenv("VIGIL_KAFKA__PROPERTIES__DEBUG", "security,broker,conf")
        variables = {**cluster.variables("vigil-worker"), "VIGIL_KAFKA__SASL_PASSWORD_FILE": str(secret)}
        worker = subprocess.Popen(
            [sys.executable, "-m", "vigil", "worker", "--stream", "consensus", "--set", "metrics.enabled=false"],
            env={**os.environ, **variables, "VIGIL_WORKER__SHUTDOWN_S": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    said = worker.communicate(timeout=60)[0]
    assert worker.returncode == 1
    assert "Kafka refuses user or password" in said
    with pytest.raises(ServiceError, match="Authentication failed") as caught:
        broker_topics(cluster.config("vigil-worker", VIGIL_KAFKA__SASL_PASSWORD_FILE=str(secret)))
    assert "Authentication failed" in said
    assert "correct-horse-battery" not in said + str(caught.value) + repr(caught.value) + caught.value.hint
