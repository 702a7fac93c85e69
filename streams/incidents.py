"""Reads the incidents that were reported, from the beginning of their topic to its end: labels for training."""

import logging
import time
from typing import Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import UNREADABLE
from schemas.metrics import Incident
from schemas.topics import INCIDENTS
from streams.config import KafkaConfig
from streams.errors import IncidentsError
from streams.kafka import Properties, client_properties

__all__ = ["read_incident_log"]

ROLE: Final = "incidents"
READ_SECONDS: Final = 0.1
READ_MOST: Final = 10_000


def read_incident_log(kafka: KafkaConfig, *, within_s: float = 60.0) -> list[Incident]:
    """Read all committed records of the incident topic.

    A node's records are in log order, so that a later one corrects an earlier one (``labels.current`` resolves them).
    Records without a value are passed over.

    Args:
        kafka: where; ``topics["incidents"]`` names the topic where it is not the wire format's.
        within_s: longest time.

    Raises:
        IncidentsError: the topic is missing or cannot be read in time, or a record is no incident: its place is named.
        StreamsConfigError: the user set a Kafka property that is vigil's own.
    """
    topic = kafka.topics.get(ROLE, INCIDENTS.name)
    deadline = time.monotonic() + within_s
    consumer = Consumer(_properties(kafka), logger=logging.getLogger("vigil.librdkafka"))
    try:
        numbers = _partitions(consumer, topic, within_s)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
        found: dict[int, list[Incident]] = {number: [] for number in numbers}
        ended: set[int] = set()
        while len(ended) < len(numbers):
            if time.monotonic() > deadline:
                raise IncidentsError(
                    f"topic {topic} was not read to its end within {within_s:g} s: is Kafka reachable?"
                )
            for message in consumer.consume(READ_MOST, READ_SECONDS):
                number = int(message.partition() or 0)
                if _is_end(topic, message):
                    ended.add(number)
                else:
                    found[number] += _decoded(topic, message)
    except KafkaException as error:
        raise IncidentsError(f"topic {topic} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()
    return [incident for number in sorted(found) for incident in found[number]]


def _properties(kafka: KafkaConfig) -> Properties:
    return {
        **client_properties(kafka, "consumer"),
        "group.id": f"{kafka.group_id}.training",  # the client asks for one; nothing is ever committed under it
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
    }


def _partitions(consumer: Consumer, topic: str, within_s: float) -> list[int]:
    known = consumer.list_topics(topic, timeout=within_s).topics.get(topic)
    if known is None or not known.partitions:
        raise IncidentsError(f"topic {topic} does not exist: create it (vigil topics create), or give a file")
    return sorted(known.partitions)


def _is_end(topic: str, message: Message) -> bool:
    """Tell the end of a partition from a record. Raises ``IncidentsError`` for an error that waiting does not mend."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 -- a public constant of the client
        return True
    raise IncidentsError(f"topic {topic} cannot be read: {error.str()} ({error.name()})")


def _decoded(topic: str, message: Message) -> list[Incident]:
    value = message.value()
    if value is None:
        return []
    try:
        return [msgspec.json.decode(value, type=Incident)]
    except UNREADABLE as error:
        place = f"{topic}, partition {message.partition()}, offset {message.offset()}"
        raise IncidentsError(f"{place}: {error}; docs/wire-format.md describes incidents") from error
