"""Looks at everything a worker needs, and says what is wrong and how to mend it."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from importlib.util import find_spec
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from redis.exceptions import RedisError

from detectors.artefacts import ArtefactError
from detectors.catalogue import load_detectors
from schemas.streams import Stream
from schemas.topics import ALERTS, ALERTS_CONTROLS, ALERTS_STATE, ANOMALIES
from streams.config import KafkaConfig
from streams.kafka import admin_properties
from streams.redis_client import redis_client
from streams.topics import cleanup_policies, configured_topics
from vigil.assembly import enabled_streams, kafka_config, redis_config
from vigil.errors import ServiceError
from vigil.settings import Settings, StreamSettings

__all__ = ["Check", "Status", "broker_topics", "diagnose", "quiet_admin"]

ANSWER_SECONDS = 5.0
CREATE = "vigil topics create"
ALTER = "kafka-configs.sh --bootstrap-server KAFKA --alter --entity-type topics"
COMPACTED = "--add-config cleanup.policy=compact"
OLDEST_REDIS = 5
REFUSED = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 -- public constants of the client


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        name: what.
        status: ok, warning (a worker runs, something is amiss) or failed (it does not).
        detail: what was found.
        fix: what to do about it, empty when ok.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""


def diagnose(settings: Settings) -> Iterator[Check]:
    """Check Kafka, topics, Redis, models and extras, in this order; one thing wrong does not end it."""
    broker = kafka_config(settings)
    try:
        there = broker_topics(broker)
    except ServiceError as error:
        yield Check("Kafka", Status.FAILED, error.message, error.hint)
    else:
        yield Check("Kafka", Status.OK, f"{broker.bootstrap} answers")
        yield from _topics(settings, broker, there)
    yield _redis(settings)
    for stream, own in enabled_streams(settings).values():
        yield _models(stream, own)
    yield from _extras()


def quiet_admin(broker: KafkaConfig, on_error: Callable[[KafkaError], None] = lambda _error: None) -> AdminClient:
    """Make an admin client that leaves the words about failures to us; ``on_error`` is told when it is polled."""
    properties: dict[str, Any] = {**admin_properties(broker), "log_level": 0, "error_cb": on_error}
    return AdminClient(properties)


def broker_topics(broker: KafkaConfig) -> dict[str, int]:
    """Return the number of partitions of every topic that may be seen.

    Raises:
        ServiceError: Kafka does not answer, or refuses the password or the certificate.
    """
    reasons: dict[int, str] = {}
    admin = quiet_admin(broker, lambda error: reasons.update({error.code(): error.str()}))
    try:
        topics = admin.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        admin.poll(0)  # tells the reasons, of which the call itself knows none
        told = next((reasons[code] for code in REFUSED if code in reasons), error.args[0].str())
        raise ServiceError(
            f"Kafka at {broker.bootstrap} does not answer: {told}",
            hint="check kafka.bootstrap (--kafka), that the broker runs, and kafka.properties for TLS and SASL",
        ) from error
    return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}


def _topics(settings: Settings, broker: KafkaConfig, there: dict[str, int]) -> Iterator[Check]:
    reads = {broker.topic(name, stream.topic) for name, (stream, _) in enabled_streams(settings).items()}
    needed = reads | {settings.topics.anomalies, settings.topics.dead_letters}
    wanted = {topic.name: topic for topic in configured_topics(broker)}
    for name in sorted(needed):
        if name not in there:
            fix = CREATE if name in wanted else f"create topic {name} with your producers"
            yield Check(f"topic {name}", Status.FAILED, "does not exist", fix)
        else:
            yield Check(f"topic {name}", Status.OK, f"{there[name]} partitions")
    if settings.state.enabled:
        yield _state(settings.state.topic, there, max((there.get(name, 0) for name in reads), default=0))
    yield from _alert_topics(broker, there)
    kept = [topic.name for topic in wanted.values() if topic.compact and topic.name in there]
    for name, policy in cleanup_policies(quiet_admin(broker), kept, ANSWER_SECONDS).items():
        if "compact" not in policy:
            detail = f"cleanup.policy is {policy}: what is old is lost, although it is still needed"
            yield Check(f"topic {name}", Status.WARNING, detail, f"{ALTER} --entity-name {name} {COMPACTED}")


def _alert_topics(broker: KafkaConfig, there: dict[str, int]) -> Iterator[Check]:
    """Check the topics without which a worker runs, and the alert service does not."""
    anomalies = broker.topic("anomalies", ANOMALIES.name)
    state = broker.topic("alerts-state", ALERTS_STATE.name)
    for name in (broker.topic("alerts", ALERTS.name), state, broker.topic("alerts-controls", ALERTS_CONTROLS.name)):
        if name not in there:
            yield Check(f"topic {name}", Status.WARNING, "does not exist: the alert service waits for it", CREATE)
        elif name == state and there[name] != there.get(anomalies, there[name]):
            detail = f"{there[name]} partitions, {anomalies} has {there[anomalies]}: the alert service does not start"
            fix = f"stop the alert service, delete {name}, {CREATE}; open alerts begin anew"
            yield Check(f"topic {name}", Status.WARNING, detail, fix)
        else:
            yield Check(f"topic {name}", Status.OK, f"{there[name]} partitions")


def _state(name: str, there: dict[str, int], needed: int) -> Check:
    """Check the topic without which a worker runs, but forgets its windows when it is restarted."""
    if name not in there:
        return Check(f"topic {name}", Status.WARNING, "does not exist: windows are lost at a restart", CREATE)
    if there[name] < needed:
        detail = f"{there[name]} partitions, the metrics have {needed}: some windows are lost at a restart"
        return Check(f"topic {name}", Status.WARNING, detail, f"give it {needed} partitions")
    return Check(f"topic {name}", Status.OK, f"{there[name]} partitions")


def _redis(settings: Settings) -> Check:
    config = redis_config(settings)
    if config is None:
        return Check("Redis", Status.OK, "switched off (redis.enabled)")
    try:
        with redis_client(config, timeout_s=ANSWER_SECONDS) as client:
            version = str(client.info("server").get("redis_version", "unknown"))
    except RedisError as error:
        # The worker goes on without its view, and fills it when Redis is back.
        fix = "check redis.url (--redis), its user, password and ssl files; redis.enabled = false does without the view"
        return Check("Redis", Status.WARNING, f"{config.address} does not answer: {error}", fix)
    if int(version.partition(".")[0] or 0) < OLDEST_REDIS:
        return Check("Redis", Status.WARNING, f"{config.address} is version {version}", f"use {OLDEST_REDIS} or newer")
    return Check("Redis", Status.OK, f"{config.address} answers, version {version}")


def _models(stream: Stream, own: StreamSettings) -> Check:
    name = f"models of {stream.name}"
    try:
        detectors = load_detectors(stream, own.detectors, own.artefacts)
    except (ArtefactError, ValueError, OSError) as error:
        return Check(name, Status.FAILED, str(error), f"check streams.{stream.name}.detectors and .artefacts")
    return Check(name, Status.OK, ", ".join(f"{each.version}, threshold {each.threshold:.3g}" for each in detectors))


def _extras() -> Iterator[Check]:
    for package, extra, purpose in (
        ("noida_db", "embedded", "`vigil demo` without servers of your own"),
        ("torch", "train", "`vigil train autoencoder`"),
        ("pyarrow", "train", "parquet recordings"),
    ):
        if find_spec(package) is None:
            fix = f"pip install 'vigil-dwcp[{extra}]' for {purpose}"
            yield Check(f"extra {extra} ({package})", Status.WARNING, "not installed; a worker does not need it", fix)
