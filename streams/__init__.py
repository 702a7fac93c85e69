"""Kafka in, Kafka and Redis out: the only package that knows either. Start with ``Worker``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from streams.config import DeadLetterLimits, KafkaConfig, RedisConfig, StateConfig, WorkerConfig
from streams.errors import DeadLetterLimit, StreamsConfigError, StreamsError, TopicsError, WorkerFatal

if TYPE_CHECKING:
    from streams.processor import Batch, Processor
    from streams.redis_view import RedisView
    from streams.source import Records
    from streams.topics import TopicsReport, admin_client, configured_topics, ensure_topics
    from streams.worker import Worker, run

# Loaded when asked for: reading settings must not load Kafka's, Redis' and Prometheus' clients.
_LAZY = {
    "Batch": "streams.processor",
    "Processor": "streams.processor",
    "Records": "streams.source",
    "RedisView": "streams.redis_view",
    "TopicsReport": "streams.topics",
    "Worker": "streams.worker",
    "admin_client": "streams.topics",
    "configured_topics": "streams.topics",
    "ensure_topics": "streams.topics",
    "run": "streams.worker",
}

__all__ = [
    "Batch",
    "DeadLetterLimit",
    "DeadLetterLimits",
    "KafkaConfig",
    "Processor",
    "Records",
    "RedisConfig",
    "RedisView",
    "StateConfig",
    "StreamsConfigError",
    "StreamsError",
    "TopicsError",
    "TopicsReport",
    "Worker",
    "WorkerConfig",
    "WorkerFatal",
    "admin_client",
    "configured_topics",
    "ensure_topics",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'streams' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
