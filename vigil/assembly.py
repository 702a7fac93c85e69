"""Turns settings into what the lower packages take: streams, detectors, and the worker's configuration."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from schemas.streams import STREAMS, Stream, custom_stream
from streams.alerting.config import AlertingConfig, SinksConfig
from streams.config import DeadLetterLimits, KafkaConfig, RedisConfig, StateConfig, WorkerConfig
from vigil.configuration import read_secret
from vigil.errors import SettingsError
from vigil.settings import RedisSettings, Settings, StreamSettings

__all__ = [
    "alerting_config",
    "enabled_streams",
    "kafka_config",
    "redis_config",
    "stream_of",
    "view_config",
    "worker_config",
]

DEFAULT_STEP_MS = 1000


def stream_of(name: str, settings: StreamSettings | None = None) -> Stream:
    """Return a stream by its name, or the one that ``settings`` describe.

    Raises:
        SettingsError: no such stream, or its fields cannot be used.
    """
    if name in STREAMS:
        return STREAMS[name]
    if settings is None or not settings.fields or settings.topic is None:
        raise SettingsError(
            f"stream {name!r} is none of {', '.join(STREAMS)}",
            hint=f"describe your own in [streams.{name}] of vigil.toml",
        )
    codes = {field: {text: code for code, text in enumerate(texts)} for field, texts in settings.codes.items()}
    try:
        return custom_stream(name, settings.topic, settings.fields, settings.step_ms or DEFAULT_STEP_MS, codes=codes)
    except ValueError as error:
        raise SettingsError(f"streams.{name}: {error}", hint="docs/configuration.md has an example") from error


def enabled_streams(settings: Settings) -> dict[str, tuple[Stream, StreamSettings]]:
    """Return the streams to consume, by name."""
    return {name: (stream_of(name, one), one) for name, one in settings.streams.items() if one.enabled}


def kafka_config(settings: Settings) -> KafkaConfig:
    """Build Kafka's configuration, secrets read. Raises ``SettingsError`` when a secret's file has none."""
    kafka = settings.kafka
    topics = {name: one.topic for name, one in settings.streams.items() if one.topic is not None}
    topics |= {
        "incidents": settings.topics.incidents,
        "anomalies": settings.topics.anomalies,
        "dead-letters": settings.topics.dead_letters,
        "state": settings.state.topic,
        "alerts": settings.topics.alerts,
        "alerts-state": settings.alerts.state_topic,
        "alerts-controls": settings.alerts.controls_topic,
    }
    return KafkaConfig(
        bootstrap=kafka.bootstrap,
        group_id=kafka.group_id,
        client_id=kafka.client_id,
        group_instance_id=kafka.group_instance_id,
        properties={**kafka.properties, **_credentials(settings)},
        topics=topics,
        session_timeout_ms=kafka.session_timeout_ms,
        max_poll_interval_ms=kafka.max_poll_interval_ms,
        transaction_timeout_ms=kafka.transaction_timeout_ms,
    )


def redis_config(settings: Settings) -> RedisConfig | None:
    """Build Redis' configuration; ``None`` when the view is switched off."""
    redis = settings.redis
    if not redis.enabled:
        return None
    return RedisConfig(
        url=_redis_url(redis),
        key_prefix=redis.key_prefix,
        ttl_s=redis.ttl_s,
        timeout_s=redis.timeout_s,
        flush_interval_s=redis.flush_interval_s,
        buffer_nodes=redis.buffer_nodes,
        history_steps=redis.history_steps,
        history_nodes=redis.history_nodes,
        ssl_ca_file=_text(redis.ssl_ca_file),
        ssl_certificate_file=_text(redis.ssl_certificate_file),
        ssl_key_file=_text(redis.ssl_key_file),
    )


def view_config(settings: Settings) -> RedisConfig:
    """Build the configuration of a command that needs the view. Raises ``SettingsError`` when it is switched off."""
    config = redis_config(settings)
    if config is None:
        raise SettingsError("redis.enabled is false: there is no view to look at", hint="set redis.enabled = true")
    return config


def worker_config(settings: Settings) -> WorkerConfig:
    """Build the worker's configuration."""
    worker, letters, state = settings.worker, settings.dead_letters, settings.state
    return WorkerConfig(
        batch_max=worker.batch_max,
        linger_s=worker.linger_s,
        idle_s=worker.idle_s,
        max_record_bytes=worker.max_record_bytes,
        dead_letter_max_bytes=worker.dead_letter_max_bytes,
        limits=DeadLetterLimits(
            max_ratio=letters.max_ratio,
            ratio_records=letters.ratio_records,
            max_run=letters.max_run,
            action=letters.action,
        ),
        state=StateConfig(enabled=state.enabled, every_steps=state.every_steps, replay_records=state.replay_records),
        http_host=settings.metrics.host,
        http_port=settings.metrics.port if settings.metrics.enabled else None,
        healthy_s=worker.healthy_s,
        shutdown_s=worker.shutdown_s,
        statistics_s=worker.statistics_s,
        stuck_s=worker.stuck_s,
        stuck_exit_s=worker.stuck_exit_s,
    )


def alerting_config(settings: Settings, instance: str | None = None) -> AlertingConfig:
    """Build the alert service's configuration, secrets read.

    Args:
        settings: all of them.
        instance: stable name of this instance.

    Raises:
        SettingsError: a secret's file has none.
    """
    alerts, kafka = settings.alerts, kafka_config(settings)
    secret = read_secret(alerts.webhook_secret, alerts.webhook_secret_file, "alerts.webhook_secret")
    return AlertingConfig(
        group_id=alerts.group_id,
        instance=instance,
        clock=alerts.clock,
        hold_back_s=alerts.hold_back_s,
        tick_s=alerts.tick_s,
        batch_max=alerts.batch_max,
        linger_s=alerts.linger_s,
        telemetry=tuple(kafka.topic(name, stream.topic) for name, (stream, _) in enabled_streams(settings).items()),
        worker_group=kafka.group_id,
        stall_s=alerts.stall_s,
        sinks=SinksConfig(
            alertmanagers=alerts.alertmanagers,
            webhooks=alerts.webhooks,
            webhook_secret=None if secret is None else secret.encode(),
            resend_s=alerts.resend_s,
            expire_s=alerts.expire_s,
            timeout_s=alerts.timeout_s,
            retry_s=alerts.retry_s,
            mirror_silences=alerts.mirror_silences,
            runbooks=alerts.runbooks,
            dashboard=alerts.dashboard,
        ),
        http_host=settings.metrics.host,
        http_port=alerts.port if settings.metrics.enabled else None,
        healthy_s=settings.worker.healthy_s,
        stuck_exit_s=settings.worker.stuck_exit_s,
    )


def _credentials(settings: Settings) -> Mapping[str, str]:
    kafka = settings.kafka
    given = {
        "sasl.username": kafka.sasl_username,
        "sasl.password": read_secret(kafka.sasl_password, kafka.sasl_password_file, "kafka.sasl_password"),
        "ssl.key.password": read_secret(kafka.ssl_key_password, kafka.ssl_key_password_file, "kafka.ssl_key_password"),
    }
    return {name: value for name, value in given.items() if value is not None}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _redis_url(redis: RedisSettings) -> str:
    """Put user and password into the URL, where the client looks for them."""
    password = read_secret(redis.password, redis.password_file, "redis.password")
    if redis.username is None and password is None:
        return redis.url
    parts = urlsplit(redis.url)
    user = quote(redis.username or parts.username or "", safe="")
    secret = quote(password, safe="") if password is not None else quote(parts.password or "", safe="")
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{secret}@{place}"))
