"""The Faust application: one agent, one changelog table, and what Faust has to be told to read committed data only.

Imported only where the alert service runs: Faust is an extra, and slow to import.
"""

import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import faust
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from yarl import URL

from streams.alerting.config import AlertingConfig
from streams.config import KafkaConfig
from streams.errors import StreamsConfigError
from streams.kafka import client_properties

__all__ = ["make_app", "make_topic", "read_from"]

SESSION_PARTS: Final = 4  # heartbeats a session
LARGEST_BYTES: Final = 64 * 1024 * 1024  # before compression; the topic bounds it afterwards
KNOWN: Final = frozenset({"bootstrap.servers", "client.id", "security.protocol", "log_level"})
SASL: Final = frozenset({"sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"})
TLS: Final = frozenset(
    {
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "enable.ssl.certificate.verification",
        "ssl.endpoint.identification.algorithm",
    }
)
NEEDS_SECURITY: Final = ("sasl.", "ssl.", "security.", "enable.ssl.")


class _CommittedThread(AIOKafkaConsumerThread):
    """Faust's consumer reads what was aborted too, unless it publishes in transactions itself."""

    def _create_worker_consumer(self, transport: Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        if not hasattr(consumer, "_isolation_level"):
            raise StreamsConfigError("this aiokafka keeps its isolation level elsewhere: install one of pyproject.toml")
        consumer._isolation_level = "read_committed"  # noqa: SLF001 -- Faust passes no setting through
        return consumer


class _CommittedConsumer(Consumer):
    starts: Mapping[TP, int] = {}
    """Where partitions are read from after an assignment, whatever the group has committed."""

    async def perform_seek(self) -> None:
        await super().perform_seek()
        for partition, start in self.starts.items():
            # Acknowledgements from before belong to records that are now read again, or never.
            for known in (self._acked, self._acked_index, self._gap):
                known.pop(partition, None)
            self._committed_offset[partition] = start or None
            await self.seek(partition, start)

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)


class _CommittedTransport(Transport):
    Consumer = _CommittedConsumer


def make_app(kafka: KafkaConfig, config: AlertingConfig, partitions: int) -> faust.App:
    """Make an application that creates no topic, keeps its table in memory, and has no web server.

    Args:
        kafka: where, and as whom.
        config: its group and instance.
        partitions: of the anomalies and of the table.

    Raises:
        StreamsConfigError: a property of Kafka's client that Faust's cannot be given.
    """
    broker = ";".join(f"kafka://{address.strip()}" for address in kafka.bootstrap.split(","))
    session_s = kafka.session_timeout_ms / 1000
    app = faust.App(
        config.group_id,
        broker=broker,
        broker_client_id=kafka.client_id,
        broker_credentials=_credentials(client_properties(kafka, "consumer")),
        broker_commit_interval=1.0,
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / SESSION_PARTS,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=config.instance,
        consumer_max_fetch_size=8 * 1024 * 1024,
        producer_compression_type="lz4",
        producer_max_request_size=LARGEST_BYTES,
        producer_request_timeout=config.request_s,
        store="memory://",
        stream_wait_empty=True,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=partitions,
        web_enabled=False,
    )
    app.transport = _CommittedTransport([URL(one) for one in broker.split(";")], app)
    return app


def read_from(app: faust.App, topic: str, starts: Mapping[int, int]) -> None:
    """Read a topic's partitions from these offsets; call it before Faust seeks, when a rebalance is complete."""
    cast("_CommittedConsumer", app.consumer).starts = {TP(topic, number): start for number, start in starts.items()}


def make_topic(app: faust.App, name: str, partitions: int | None = None) -> Any:
    """Describe a topic of raw keys and values."""
    return app.topic(
        name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        partitions=partitions,
        allow_empty=True,
    )


def _credentials(properties: Mapping[str, Any]) -> Any:
    """Say in Faust's words what librdkafka's properties say about TLS and SASL."""
    unknown = sorted(name for name in properties if name.startswith(NEEDS_SECURITY) and name not in KNOWN | SASL | TLS)
    if unknown:
        raise StreamsConfigError(f"kafka properties {', '.join(unknown)}: the alert service's client has none of these")
    protocol = str(properties.get("security.protocol", "plaintext")).lower()
    make: Mapping[str, Callable[[], Any]] = {
        "plaintext": lambda: None,
        "ssl": lambda: SSLCredentials(_tls(properties)),
        "sasl_plaintext": lambda: _sasl(properties, None),
        "sasl_ssl": lambda: _sasl(properties, _tls(properties)),
    }
    if protocol not in make:
        raise StreamsConfigError(f"security.protocol is {protocol!r}: give one of {', '.join(make)}")
    return make[protocol]()


def _sasl(properties: Mapping[str, Any], context: ssl.SSLContext | None) -> SASLCredentials:
    mechanism = properties.get("sasl.mechanism") or properties.get("sasl.mechanisms")
    if mechanism not in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}:
        raise StreamsConfigError(
            f"sasl.mechanism is {mechanism!r}: the alert service has PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512"
        )
    return SASLCredentials(
        username=properties.get("sasl.username"),
        password=properties.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=context,
    )


def _tls(properties: Mapping[str, Any]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=properties.get("ssl.ca.location"))
        if properties.get("ssl.certificate.location"):
            context.load_cert_chain(
                properties["ssl.certificate.location"],
                properties.get("ssl.key.location"),
                properties.get("ssl.key.password"),
            )
    except OSError as error:
        raise StreamsConfigError(f"kafka's ssl files cannot be used: {error}") from error
    if str(properties.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    if str(properties.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
