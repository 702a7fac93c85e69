"""Writes into a lost view in Redis what running workers would not: the newest anomaly of every node.

Verdicts are in no topic. Workers write each node's with its next step, and who is silent by themselves; an anomaly that
is over, though, is told once. It is in Kafka, so it is read from there.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.codec import decode_anomaly
from schemas.errors import RecordError
from schemas.outputs import Anomaly
from schemas.topics import ANOMALIES
from streams.config import KafkaConfig, RedisConfig
from streams.errors import RebuildError
from streams.kafka import Properties, client_properties
from streams.redis_client import redis_client
from streams.redis_view import add_verdicts
from streams.verdicts import NodeVerdict, anomaly_alone

__all__ = ["Rebuilt", "rebuild_view"]

READ_SECONDS: Final = 0.1
READ_MOST: Final = 10_000
WRITE_NODES: Final = 5_000
CALL_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 0.2
LEADERLESS: Final = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
)
READING: Final = "reading anomalies"
WRITING: Final = "writing to Redis"

Say = Callable[[str, int, int], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was found and written.

    Attributes:
        anomalies: read from Kafka.
        unreadable: records of the topic that are no anomalies.
        nodes: pairs of a detector and a node whose newest anomaly was written.
        seconds: how long it took.
    """

    anomalies: int
    unreadable: int
    nodes: int
    seconds: float


def rebuild_view(kafka: KafkaConfig, redis: RedisConfig, *, say: Say, within_s: float = 600.0) -> Rebuilt:
    """Read the anomalies that a view would still hold and write the newest of each node and detector.

    What is newer in Redis stays, so workers may run meanwhile, and doing it again changes nothing.

    Args:
        kafka: where; ``topics["anomalies"]`` names the topic where it is not the wire format's.
        redis: where the view is; anomalies published longer than its ``ttl_s`` ago are not read.
        say: told what is being done, how far it is and of how much.
        within_s: longest time to read.

    Raises:
        RebuildError: the topic does not exist, cannot be read, or was not read to its end in time.
        RedisError: Redis does not answer or refuses.
        StreamsConfigError: the user set a Kafka property that is vigil's own.
    """
    began = time.monotonic()
    topic = kafka.topic("anomalies", ANOMALIES.name)
    since_ms = time.time_ns() // 1_000_000 - 1000 * redis.ttl_s
    newest: dict[tuple[str, str], Anomaly] = {}
    anomalies = unreadable = 0
    consumer = Consumer(_properties(kafka), logger=logging.getLogger("vigil.librdkafka"))
    try:
        for message in _since(consumer, topic, since_ms, say=say, deadline=began + within_s):
            try:
                anomaly = decode_anomaly(message.value())
            except RecordError:
                unreadable += 1
                continue
            anomalies += 1
            key = anomaly.detector, anomaly.node_id
            if key not in newest or newest[key].ts_ms <= anomaly.ts_ms:
                newest[key] = anomaly
    except KafkaException as error:
        raise RebuildError(f"topic {topic} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()
    _write(redis, [anomaly_alone(each) for each in newest.values()], say)
    return Rebuilt(anomalies, unreadable, len(newest), time.monotonic() - began)


def _properties(kafka: KafkaConfig) -> Properties:
    return {
        **client_properties(kafka, "consumer"),
        "group.id": f"{kafka.group_id}.rebuild",  # the client asks for one; nothing is ever committed under it
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
    }


def _answered(call: Callable[[], T], deadline: float) -> T:
    """Call again while partitions have no leader: a topic that was just made, a broker that just went."""
    while True:
        try:
            return call()
        except KafkaException as error:
            if error.args[0].code() not in LEADERLESS or time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def _since(consumer: Consumer, topic: str, since_ms: int, *, say: Say, deadline: float) -> Iterable[Message]:
    """Yield the committed records of a topic that were published since then, to its end as it is met."""
    known = consumer.list_topics(topic, timeout=CALL_SECONDS).topics[topic]
    if known.error is not None or not known.partitions:
        raise RebuildError(f"topic {topic} does not exist, or may not be read: vigil topics create")
    wanted = [TopicPartition(topic, number, since_ms) for number in known.partitions]
    found = _answered(lambda: consumer.offsets_for_times(wanted, timeout=CALL_SECONDS), deadline)
    starts = [each for each in found if each.offset >= 0]
    marks = partial(consumer.get_watermark_offsets, timeout=CALL_SECONDS)
    total = sum(_answered(partial(marks, each), deadline)[1] - each.offset for each in starts)
    consumer.assign(starts)
    ended: set[int | None] = set()
    done = 0
    while len(ended) < len(starts):
        if time.monotonic() > deadline:
            raise RebuildError(f"topic {topic} was not read to its end in time: is Kafka reachable?")
        for message in consumer.consume(READ_MOST, READ_SECONDS):
            error = message.error()
            if error is None:
                done += 1
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 -- a public constant of the client
                ended.add(message.partition())
            else:
                raise KafkaException(error)
        say(READING, done, total)  # a transaction's markers count as records: done may stay below


def _write(redis: RedisConfig, rows: list[NodeVerdict], say: Say) -> None:
    waiting, done = iter(rows), 0
    with redis_client(redis) as client:
        client.ping()
        while chunk := list(islice(waiting, WRITE_NODES)):
            pipeline = client.pipeline(transaction=False)
            add_verdicts(pipeline, redis, chunk)
            pipeline.execute()
            done += len(chunk)
            say(WRITING, done, len(rows))
