"""Settings of every command: one tree, checked as a whole before anything starts.

A value comes from, in rising order of precedence: the default here, a TOML file, an environment variable ``VIGIL_...``
(``__`` goes one level down: ``VIGIL_KAFKA__BOOTSTRAP``), a flag. `vigil.configuration` reads those layers and words the
errors; this module only says what there is and what is valid.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from vigil.alert_settings import AlertSettings
from vigil.setting_types import Codes, Names, Property, Section, TopicName, as_mapping

__all__ = [
    "AlertSettings",
    "DeadLetterSettings",
    "KafkaSettings",
    "LogSettings",
    "MetricsSettings",
    "RedisSettings",
    "Settings",
    "StateSettings",
    "StreamSettings",
    "TopicSettings",
    "WorkerSettings",
]

USUAL_STREAMS = ("consensus", "node")
KNOWN_STREAMS = ("consensus", "node", "link", "compression")


class KafkaSettings(Section):
    """How to reach Kafka. Whatever librdkafka knows and is not listed here goes into ``properties``."""

    bootstrap: str = Field(default="127.0.0.1:9092", description="Brokers to ask first: `host:port[,host:port...]`.")
    group_id: str = Field(
        default="vigil", min_length=1, description="Consumer group; its workers share the partitions."
    )
    client_id: str = Field(default="vigil", min_length=1, description="Name in the brokers' logs and quotas.")
    group_instance_id: str | None = Field(
        default=None,
        min_length=1,
        description="Stable name of this worker: membership is static, so a restart moves no partition. Unique.",
    )
    session_timeout_ms: int = Field(
        default=10_000, ge=1000, le=1_800_000, description="A member silent for longer loses its partitions."
    )
    max_poll_interval_ms: int = Field(
        default=300_000, ge=1000, le=86_400_000, description="A batch that takes longer loses its partitions."
    )
    transaction_timeout_ms: int = Field(
        default=10_000, ge=1000, le=900_000, description="The broker aborts a transaction left open for longer."
    )
    sasl_username: str | None = Field(default=None, description="User name for SASL.")
    sasl_password: SecretStr | None = Field(
        default=None, description="Password for SASL; only as an environment variable."
    )
    sasl_password_file: Path | None = Field(default=None, description="File that holds the password for SASL.")
    ssl_key_password: SecretStr | None = Field(
        default=None, description="Password of the client's key; only as an environment variable."
    )
    ssl_key_password_file: Path | None = Field(
        default=None, description="File that holds the password of the client's key."
    )
    properties: Annotated[dict[str, Property], BeforeValidator(as_mapping)] = Field(
        default_factory=dict,
        description='Any librdkafka property, as `"security.protocol" = "SASL_SSL"`; `consumer.` or `producer.` in '
        "front limits it to that client.",
    )

    @field_validator("bootstrap")
    @classmethod
    def _bootstrap(cls, value: str) -> str:
        for address in value.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"{address.strip()!r} is not host:port")
        return value

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        for name in ("sasl_password", "ssl_key_password"):
            if getattr(self, name) is not None and getattr(self, f"{name}_file") is not None:
                raise ValueError(f"give {name} or {name}_file, not both")
        return self


class RedisSettings(Section):
    """How to reach Redis, the view of the newest verdicts."""

    enabled: bool = Field(default=True, description="Write the view to Redis; off, the worker needs Kafka alone.")
    url: str = Field(
        default="redis://127.0.0.1:6379/0", description="`redis://host:port/db`, `rediss://` for TLS, `unix://path`."
    )
    username: str | None = Field(default=None, description="ACL user.")
    password: SecretStr | None = Field(default=None, description="Password; only as an environment variable.")
    password_file: Path | None = Field(default=None, description="File that holds the password.")
    ssl_ca_file: Path | None = Field(
        default=None, description="Authority that signed the server's certificate, PEM; the system's when not given."
    )
    ssl_certificate_file: Path | None = Field(
        default=None, description="The client's certificate, PEM, where the server asks for one."
    )
    ssl_key_file: Path | None = Field(default=None, description="The key of that certificate, PEM.")
    key_prefix: str = Field(default="vigil:", description="First part of every key; one prefix a deployment.")
    ttl_s: int = Field(
        default=3600, ge=1, description="A node that publishes nothing for longer leaves the view, seconds."
    )
    timeout_s: float = Field(default=2.0, gt=0, le=60, description="Longest wait for Redis to answer, seconds.")
    flush_interval_s: float = Field(default=0.2, ge=0, le=60, description="Shortest time between two writes, seconds.")
    buffer_nodes: int = Field(
        default=500_000, ge=1, description="Nodes whose newest verdicts wait while Redis is away."
    )
    history_steps: int = Field(
        default=120, ge=0, le=1_000, description="Newest steps kept of a node, for dashboards; 0 for none."
    )
    history_nodes: int = Field(
        default=2_000, ge=0, description="Nodes of a detector whose steps are all kept; above, those of anomalous ones."
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"redis", "rediss", "unix"} or not (parts.hostname or parts.path):
            raise ValueError("a Redis address is redis://host:port/db, rediss://host:port/db or unix:///path")
        try:
            parts.port  # noqa: B018 -- reading it checks it
        except ValueError:  # its text would hold what may be a part of a password
            raise ValueError("its port is no number; in a password write # as %23, / as %2F and ? as %3F") from None
        return value

    @field_validator("ssl_ca_file", "ssl_certificate_file", "ssl_key_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("is no file")
        return value

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        return self

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        given = [self.ssl_ca_file, self.ssl_certificate_file, self.ssl_key_file]
        if any(given) and not self.url.startswith("rediss://"):
            raise ValueError("ssl files are for an address that starts with rediss://")
        return self


class StreamSettings(Section):
    """One stream of telemetry: a known one by its name, or your own with its ``fields``."""

    enabled: bool = Field(default=True, description="Consume this stream.")
    topic: TopicName | None = Field(default=None, description="Topic to read; the wire format's when not given.")
    step_ms: int | None = Field(
        default=None, ge=1, description="Nominal time between two records of a node, milliseconds; the stream's own."
    )
    gap_steps: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="Longest run of missing steps that is carried. 5 when not given, 15 for node metrics.",
    )
    resume_s: float | None = Field(
        default=None,
        ge=0,
        description="Longest gap, of those that are not carried, after which a window goes on with the steps from "
        "before it, seconds; after a longer one it starts again. 300 steps when not given, 0 for node metrics.",
    )
    late_steps: int = Field(
        default=5, ge=0, le=1000, description="How many steps back a late record may still fill a hole."
    )
    idle_s: int = Field(
        default=1800, ge=1, description="A node silent for longer, by event time, is forgotten, seconds."
    )
    silence_s: float | None = Field(
        default=None,
        ge=0,
        description="Longest silence of a node that is no anomaly, seconds; when not given `gap_steps` + 1 steps, and "
        "at least 5 s; 0 for no such anomalies.",
    )
    detectors: Names = Field(default=(), description="Detectors to run; the stream's own when empty.")
    artefacts: Path | None = Field(
        default=None,
        description="Folder of artefacts trained by you, one folder a detector; those shipped when not given.",
    )
    fields: Names = Field(default=(), description="Numeric fields of your own telemetry, the model's inputs in order.")
    codes: Codes = Field(
        default_factory=dict,
        description='Those of your fields that hold a name, with the names in code order: `{mode = ["a", "b"]}`.',
    )


class TopicSettings(Section):
    """Names of topics beside the telemetry's, and how topics are created."""

    incidents: TopicName = Field(default="dwcp.incidents", description="Reported incidents, read for training.")
    anomalies: TopicName = Field(default="dwcp.anomalies", description="Anomalies, one record a flagged window.")
    alerts: TopicName = Field(default="dwcp.alerts", description="Alerts, one record a change.")
    dead_letters: TopicName = Field(default="dwcp.dead-letters", description="Records that could not be used.")
    replication_factor: int = Field(
        default=-1, ge=-1, description="For `vigil topics create`; -1 is the broker's default."
    )

    @field_validator("replication_factor")
    @classmethod
    def _replicas(cls, value: int) -> int:
        if value == 0:
            raise ValueError("a topic has 1 replica or more (-1: the broker's default)")
        return value


class WorkerSettings(Section):
    """How one worker process runs."""

    batch_max: int = Field(default=30_000, ge=1, le=1_000_000, description="Most records taken at once.")
    linger_s: float = Field(default=0.002, ge=0, le=10, description="How long to collect a batch, seconds.")
    idle_s: float = Field(default=0.2, gt=0, le=10, description="How long one wait for a record lasts, seconds.")
    max_record_bytes: int = Field(
        default=65_536, ge=256, le=16_777_216, description="A longer record is a dead letter, undecoded."
    )
    dead_letter_max_bytes: int = Field(
        default=8 * 1024 * 1024, ge=1024, description="A longer value is cut in the dead letters; a header says so."
    )
    healthy_s: float = Field(default=60.0, gt=0, description="`/healthz` fails when the loop stood still for longer.")
    shutdown_s: float = Field(default=20.0, gt=0, description="The worker has ended this long after a stop request.")
    statistics_s: float = Field(default=1.0, gt=0, le=3600, description="How often lag is measured, seconds.")
    stuck_s: float = Field(
        default=60.0, gt=0, description="A partition with unread records that stands still for longer is reported."
    )
    stuck_exit_s: float = Field(
        default=300.0,
        ge=0,
        description="One that stands still for longer ends the worker, status 1; so does an alert service without its "
        "partitions; 0 for never.",
    )


class StateSettings(Section):
    """How windows survive a restart: kept in a compacted topic, in the transaction of the records they come from."""

    enabled: bool = Field(default=True, description="Keep them; off, a restarted worker begins with empty windows.")
    topic: TopicName = Field(default="vigil.state", description="Topic to keep them in; one a deployment.")
    every_steps: int = Field(
        default=30, ge=1, le=1_000_000, description="A node is saved at least every so many of its steps."
    )
    replay_records: int = Field(
        default=250_000,
        ge=1,
        le=100_000_000,
        description="Most records of a partition, besides one batch, that are read again after a restart.",
    )


class DeadLetterSettings(Section):
    """When a flood of unusable records stops the worker instead of draining the topic."""

    max_ratio: float = Field(
        default=0.5, gt=0, le=1, description="Largest share among the newest `ratio_records` of a partition."
    )
    ratio_records: int = Field(default=10_000, ge=1, description="Over how many records the share is taken.")
    max_run: int = Field(default=10_000, ge=1, description="Longest run without one good record.")
    action: Literal["halt", "continue"] = Field(
        default="halt", description="`halt`: end before the batch is committed; `continue`: count and log."
    )


class MetricsSettings(Section):
    """Where `/metrics`, `/healthz` and `/readyz` are served."""

    enabled: bool = Field(default=True, description="Serve them at all.")
    host: str = Field(default="127.0.0.1", description="Address to listen on; only this machine unless set.")
    port: int = Field(default=9464, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")


class LogSettings(Section):
    """What is logged to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    format: Literal["auto", "json", "text"] = Field(
        default="auto", description="`auto`: text on a terminal, JSON elsewhere."
    )


class Settings(BaseSettings):
    """All settings. Unknown names are errors."""

    model_config = SettingsConfigDict(env_prefix="VIGIL_", env_nested_delimiter="__", extra="forbid", frozen=True)

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    streams: dict[str, StreamSettings] = Field(default_factory=dict, validate_default=True)
    topics: TopicSettings = Field(default_factory=TopicSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    state: StateSettings = Field(default_factory=StateSettings)
    dead_letters: DeadLetterSettings = Field(default_factory=DeadLetterSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @field_validator("streams", mode="before")
    @classmethod
    def _usual_streams(cls, value: object) -> object:
        """Read consensus and node metrics unless a setting switches them off."""
        return {name: {} for name in USUAL_STREAMS} | value if isinstance(value, dict) else value

    @field_validator("streams")
    @classmethod
    def _known_streams(cls, value: dict[str, StreamSettings]) -> dict[str, StreamSettings]:
        for name, stream in value.items():
            if name in KNOWN_STREAMS and stream.fields:
                raise ValueError(f"stream {name!r} has its own fields; give a stream with other fields another name")
            if name not in KNOWN_STREAMS and not (stream.fields and stream.topic and stream.detectors):
                raise ValueError(
                    f"stream {name!r} is none of {', '.join(KNOWN_STREAMS)}; "
                    "a stream of your own needs fields, topic and detectors"
                )
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `vigil.configuration` merged: it reads the layers itself, to know where each value came from."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def section_fields(name: str) -> dict[str, Any]:
    """Fields of one section, ``streams`` meaning those of any stream."""
    model = StreamSettings if name == "streams" else Settings.model_fields[name].annotation
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        raise TypeError(f"{name} is no section")
    return dict(model.model_fields)
