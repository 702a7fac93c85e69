"""What people see of alerts, and how what they say gets to the alert service."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from redis import Redis

from schemas.codec import encode
from schemas.controls import Control, control_key, decode_control
from schemas.outputs import Alert
from streams.alerting.controls import Controls
from streams.alerting.redis_alerts import CONTROLS, OPEN, alert_key
from streams.config import KafkaConfig
from streams.kafka import client_properties

__all__ = ["known_alerts", "known_controls", "open_alerts", "publish_control"]

FLUSH_SECONDS = 30.0


def open_alerts(client: Redis, prefix: str) -> list[Alert]:
    """Return the open alerts in Redis, the oldest first."""
    names = [_raw(name).decode() for name in client.zrange(f"{prefix}{OPEN}", 0, -1)]
    values = client.mget([f"{prefix}{alert_key(name)}" for name in names]) if names else []
    return list(_decoded(values))


def known_alerts(client: Redis, prefix: str) -> list[Alert]:
    """Return all alerts in Redis, the oldest first; those that are over stay for a while."""
    keys = list(client.scan_iter(f"{prefix}{alert_key('*')}", count=1_000))
    return sorted(_decoded(client.mget(keys) if keys else []), key=lambda one: (one.started_ms, one.fingerprint))


def known_controls(client: Redis, prefix: str) -> Controls:
    """Return what people said, as Redis has it."""
    controls = Controls()
    for key, value in client.hgetall(f"{prefix}{CONTROLS}").items():
        controls.put(_raw(key).decode(), decode_control(_raw(value)))
    return controls


def publish_control(kafka: KafkaConfig, topic: str, control: Control) -> None:
    """Publish what somebody said, and wait until it is in Kafka. Raises ``KafkaException``."""
    failed: list[KafkaError] = []

    def note(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer({**client_properties(kafka, "producer"), "log_level": 0})
    producer.produce(topic, encode(control), control_key(control).encode(), on_delivery=note)
    if producer.flush(FLUSH_SECONDS):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 -- a public constant of the client
    if failed:
        raise KafkaException(failed[0])


def _decoded(values: Sequence[Any]) -> Iterator[Alert]:
    decoder = msgspec.json.Decoder(Alert)
    return (decoder.decode(_raw(value)) for value in values if value is not None)


def _raw(value: Any) -> bytes:
    """Return what Redis has, also where the client decodes it."""
    return value if isinstance(value, bytes) else str(value).encode()
