"""The topics of the alert service: which they are, and whether they can be used."""

from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.topics import ALERTS, ALERTS_CONTROLS, ALERTS_STATE, ANOMALIES
from streams.config import KafkaConfig
from streams.errors import StreamsConfigError, WorkerFatal
from streams.kafka import admin_properties

__all__ = ["Names", "count_partitions", "names_of"]

ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Names:
    """Names of the topics, and how many partitions they have.

    Attributes:
        anomalies, alerts, state, controls: names.
        partitions: of ``anomalies``, and so of ``state``.
        alert_partitions: of ``alerts``.
    """

    anomalies: str
    alerts: str
    state: str
    controls: str
    partitions: int
    alert_partitions: int


def count_partitions(kafka: KafkaConfig) -> dict[str, int]:
    """Count the partitions of every topic; empty while no broker answers.

    Raises:
        WorkerFatal: the brokers refuse user or password; a file that holds them is read again at the next start.
    """
    reasons: dict[int, str] = {}
    noted: dict[str, Any] = {"log_level": 0, "error_cb": lambda error: reasons.update({error.code(): error.str()})}
    admin = AdminClient({**admin_properties(kafka), **noted})
    try:
        topics = admin.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        admin.poll(0)  # tells the reasons, of which the call itself knows none
        refused = reasons.get(KafkaError._AUTHENTICATION)  # noqa: SLF001 -- a public constant of the client
        if refused is not None:
            raise WorkerFatal(f"Kafka refuses user or password: {refused}") from error
        return {}
    return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}


def names_of(kafka: KafkaConfig, counts: dict[str, int]) -> Names | str:
    """Return the topics; or, in words, what is missing.

    Raises:
        StreamsConfigError: the state has another number of partitions than the anomalies.
    """
    anomalies = kafka.topic("anomalies", ANOMALIES.name)
    alerts = kafka.topic("alerts", ALERTS.name)
    state = kafka.topic("alerts-state", ALERTS_STATE.name)
    controls = kafka.topic("alerts-controls", ALERTS_CONTROLS.name)
    if not counts:
        return "waiting for Kafka"
    missing = [name for name in (anomalies, alerts, state, controls) if not counts.get(name)]
    if missing:
        return f"topics do not exist: {', '.join(missing)}"
    if counts[state] != counts[anomalies]:
        raise StreamsConfigError(
            f"topic {state} has {counts[state]} partitions and {anomalies} {counts[anomalies]}: they must have as "
            f"many; stop the alert service, delete {state} and run vigil topics create"
        )
    return Names(anomalies, alerts, state, controls, counts[anomalies], counts[alerts])
