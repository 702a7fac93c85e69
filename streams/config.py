"""What a worker needs to know, as plain frozen values; ``vigil.settings`` builds them."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from streams.errors import StreamsConfigError

__all__ = ["DeadLetterLimits", "KafkaConfig", "RedisConfig", "StateConfig", "WorkerConfig"]


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """Where Kafka is and as whom the worker joins.

    Attributes:
        bootstrap: comma-separated ``host:port`` list.
        group_id: consumer group shared by all workers of one deployment.
        client_id: name shown in the brokers' logs and quotas.
        group_instance_id: stable name of this worker (a StatefulSet's pod name). With it membership is static: a
            restart within ``session_timeout_ms`` moves no partition. Two running workers must never share it.
        properties: librdkafka properties passed through (TLS, SASL, ...). ``consumer.`` or ``producer.`` in front
            limits one to that client. Not shown in ``repr``: it may hold secrets.
        topics: names to use instead of the defaults, by stream (``consensus``, ``node``, ...) or output (``anomalies``,
            ``dead-letters``, ``state``).
        session_timeout_ms: a member silent for this long loses its partitions.
        max_poll_interval_ms: a batch that takes longer than this loses its partitions too.
        transaction_timeout_ms: the broker aborts a transaction left open for this long. It bounds how long a crashed
            worker without a stable name can hold back readers of committed data, so it is short.
    """

    bootstrap: str = "127.0.0.1:9092"
    group_id: str = "vigil"
    client_id: str = "vigil"
    group_instance_id: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    topics: Mapping[str, str] = field(default_factory=dict)
    session_timeout_ms: int = 10_000
    max_poll_interval_ms: int = 300_000
    transaction_timeout_ms: int = 10_000

    def topic(self, name: str, default: str) -> str:
        """Name of the topic of a stream or output: the one configured, else the default."""
        return self.topics.get(name, default)

    def transactional_id(self) -> str:
        """Name under which outputs are published: stable with ``group_instance_id``, else new for each process."""
        return f"{self.group_id}.{self.group_instance_id or uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """Where the live view is kept.

    Attributes:
        url: ``redis://``, ``rediss://`` or ``unix://`` URL. Not shown in ``repr``: it may hold a password.
        key_prefix: first part of every key; one prefix a deployment.
        ttl_s: a node that publishes nothing for this long disappears from the view.
        timeout_s: longest wait for Redis to connect or answer.
        flush_interval_s: shortest time between two writes; each carries only the newest verdict of every node.
        buffer_nodes: how many nodes' newest verdicts wait for Redis to come back, about; the oldest go first.
        history_steps: newest steps kept of a node, for dashboards; 0 for none.
        history_nodes: nodes of a detector up to which all leave their steps; above, the anomalous ones alone.
        ssl_ca_file: authority that signed the server's certificate, PEM; the system's when ``None``.
        ssl_certificate_file: the client's certificate, PEM, where the server asks for one.
        ssl_key_file: the key of that certificate, PEM.
    """

    url: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    key_prefix: str = "vigil:"
    ttl_s: int = 3600
    timeout_s: float = 2.0
    flush_interval_s: float = 0.2
    buffer_nodes: int = 500_000
    history_steps: int = 120
    history_nodes: int = 2_000
    ssl_ca_file: str | None = None
    ssl_certificate_file: str | None = None
    ssl_key_file: str | None = None

    @property
    def address(self) -> str:
        """The URL without user and password, for logs."""
        parts = urlsplit(self.url)
        host = f"{parts.hostname or ''}:{parts.port}" if parts.port else (parts.hostname or "")
        return f"{parts.scheme}://{host}{parts.path}"


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """When unusable records stop the worker instead of flowing away.

    One producer's schema mistake would otherwise empty its partition into the dead letters while all looks alive.

    Attributes:
        max_ratio: largest share of dead letters among the newest ``ratio_records`` records of a partition.
        ratio_records: over how many records the share is taken; nothing is judged before so many were seen.
        max_run: longest run of dead letters with no good record between them.
        action: ``halt`` ends the worker before the offending batch is committed; ``continue`` only counts and logs.
    """

    max_ratio: float = 0.5
    ratio_records: int = 10_000
    max_run: int = 10_000
    action: Literal["halt", "continue"] = "halt"

    def __post_init__(self) -> None:
        if not 0 < self.max_ratio <= 1:
            raise StreamsConfigError(f"dead-letter max_ratio is {self.max_ratio:g}: give a share above 0, at most 1")
        if min(self.ratio_records, self.max_run) < 1:
            raise StreamsConfigError("dead-letter ratio_records and max_run count records: give numbers of at least 1")


@dataclass(frozen=True, slots=True)
class StateConfig:
    """How windows and detector states are kept in Kafka.

    Attributes:
        enabled: whether they are; without, a restarted worker begins with empty windows.
        every_steps: a node is saved at least every so many of its steps.
        replay_records: and at the latest so many records of its partition after it changed: bounds the replay after a
            restart (to this, and one batch).
    """

    enabled: bool = True
    every_steps: int = 30
    replay_records: int = 250_000

    def __post_init__(self) -> None:
        if min(self.every_steps, self.replay_records) < 1:
            raise StreamsConfigError(
                f"state every_steps is {self.every_steps} and replay_records {self.replay_records}: "
                "they count steps and records, give numbers of at least 1"
            )


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How a worker runs.

    Attributes:
        batch_max: most records read, scored and committed together; reached only when the worker is behind.
        linger_s: after the first record, how long to collect more into the batch. Most of the delay of an idle worker.
        idle_s: how long one wait for a record lasts; bounds how late a stop request is seen.
        max_record_bytes: larger values are dead letters, undecoded.
        dead_letter_max_bytes: larger values are cut when published as dead letters (a header says so).
        limits: when dead letters stop the worker.
        state: how windows survive a restart.
        http_host: address of ``/metrics``, ``/healthz`` and ``/readyz``; localhost unless opened on purpose.
        http_port: its port, 0 for any free one, ``None`` for no server.
        healthy_s: ``/healthz`` fails when the loop has not turned for this long.
        shutdown_s: within this long after a stop request the worker has ended, whatever Kafka and Redis do.
        statistics_s: how often lag and broker state are refreshed.
        stuck_s: a partition that has unread records and does not move for this long is reported.
        stuck_exit_s: one that does not move for this long ends the worker; 0 for never.
    """

    batch_max: int = 30_000
    linger_s: float = 0.002
    idle_s: float = 0.2
    max_record_bytes: int = 65_536
    dead_letter_max_bytes: int = 8 * 1024 * 1024
    limits: DeadLetterLimits = DeadLetterLimits()
    state: StateConfig = StateConfig()
    http_host: str = "127.0.0.1"
    http_port: int | None = 9464
    healthy_s: float = 60.0
    shutdown_s: float = 20.0
    statistics_s: float = 1.0
    stuck_s: float = 60.0
    stuck_exit_s: float = 300.0

    def __post_init__(self) -> None:
        if not 1 <= self.batch_max <= 1_000_000:
            raise StreamsConfigError(f"batch_max is {self.batch_max}: give 1 to 1,000,000 records")
        if self.linger_s < 0 or self.idle_s <= 0:
            raise StreamsConfigError(
                f"linger_s is {self.linger_s:g} and idle_s {self.idle_s:g}: give seconds, linger_s >= 0 and idle_s > 0"
            )
        if self.dead_letter_max_bytes < 1024:
            raise StreamsConfigError(f"dead_letter_max_bytes is {self.dead_letter_max_bytes}: give at least 1024 bytes")
