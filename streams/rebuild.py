"""Writes into a lost view in Redis what running workers would not: the newest anomaly of every node.

Verdicts are in no topic. Workers write each node's with its next step, and who is silent by themselves; an anomaly that
is over, though, is told once. It is in Kafka, so it is read from there.
"""

import time
from dataclasses import dataclass
from itertools import islice
from typing import Final

from schemas.codec import decode_anomaly
from schemas.errors import RecordError
from schemas.outputs import Anomaly
from schemas.topics import ANOMALIES
from streams.config import KafkaConfig, RedisConfig
from streams.errors import RebuildError, TopicUnreadableError
from streams.redis_client import redis_client
from streams.redis_view import add_verdicts
from streams.spans import Say, reading
from streams.verdicts import NodeVerdict, anomaly_alone

__all__ = ["Rebuilt", "rebuild_view"]

WRITE_NODES: Final = 5_000
READING: Final = "reading anomalies"
WRITING: Final = "writing to Redis"


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
    try:
        with reading(kafka, "rebuild", within_s=within_s) as reader:
            spans = reader.since(topic, since_ms, reader.partitions(topic))
            for message in reader.read(topic, spans, READING, say):
                try:
                    anomaly = decode_anomaly(message.value())
                except RecordError:
                    unreadable += 1
                    continue
                anomalies += 1
                key = anomaly.detector, anomaly.node_id
                if key not in newest or newest[key].ts_ms <= anomaly.ts_ms:
                    newest[key] = anomaly
    except TopicUnreadableError as error:
        raise RebuildError(str(error)) from error
    _write(redis, [anomaly_alone(each) for each in newest.values()], say)
    return Rebuilt(anomalies, unreadable, len(newest), time.monotonic() - began)


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
