"""The alerts in Redis, for `vigil alerts list` and whoever wants a view of them; Kafka is the truth.

``alert:FINGERPRINT`` holds an alert as JSON, ``alerts:open`` the fingerprints of the open ones by when they began,
``alerts:controls`` what people said, by its key, ``alerts:history:SCOPE`` the newest alerts of a cluster, or of a node
without one. All have the prefix of the deployment; alerts lapse, open ones are written again before they do.
"""

from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.codec import encode
from schemas.outputs import Alert
from streams.alerting.controls import Controls
from streams.alerting.sinks import SinkAwayError
from streams.config import RedisConfig
from streams.redis_scripts import RECORD_ALERT

__all__ = ["CONTROLS", "OPEN", "RedisAlerts", "alert_key", "history_key"]

OPEN: Final = "alerts:open"
MOST: Final = "100"  # alerts of a scope that are kept
CONTROLS: Final = "alerts:controls"


def alert_key(fingerprint: str) -> str:
    """Key of an alert, behind the prefix."""
    return f"alert:{fingerprint}"


def history_key(alert: Alert) -> str:
    """Key of the newest alerts of an alert's scope, behind the prefix."""
    scope = f"node:{alert.node_id}" if alert.cluster is None else f"cluster:{alert.cluster}"
    return f"alerts:history:{scope}"


def _entry(alert: Alert) -> list[str]:
    """Return the fields of an alert's entry; the end of an open one is where it is known to be open."""
    ended_ms = alert.updated_ms if alert.ended_ms is None else alert.ended_ms
    told: dict[str, object] = {
        "status": alert.status,
        "severity": alert.severity,
        "kind": alert.kind or "",
        "node": alert.node_id,
        "started_ms": alert.started_ms,
        "ended_ms": ended_ms,
        "tags": f"{alert.severity},{alert.kind or 'unusual'},{alert.status}",
        "summary": alert.summary,
    }
    return [str(part) for pair in told.items() for part in pair]


class RedisAlerts:
    """The view in Redis as a sink.

    Args:
        config: where, and for how long.
        client: of that Redis.
    """

    name: Final = "redis"
    most: Final = 100
    wants_all: Final = True
    takes_silenced: Final = True

    def __init__(self, config: RedisConfig, client: Redis) -> None:
        self._config, self._client = config, client
        self.resend_s = config.ttl_s / 3

    async def tell(self, session: aiohttp.ClientSession, alerts: Sequence[Alert]) -> None:  # noqa: ARG002 -- a Sink
        """Write the newest state of some alerts."""
        prefix = self._config.key_prefix
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for alert in alerts:
                    pipeline.set(f"{prefix}{alert_key(alert.fingerprint)}", encode(alert), ex=self._config.ttl_s)
                    if alert.status == "firing":
                        pipeline.zadd(f"{prefix}{OPEN}", {alert.fingerprint: alert.started_ms})
                    else:
                        pipeline.zrem(f"{prefix}{OPEN}", alert.fingerprint)
                    key, limits = f"{prefix}{history_key(alert)}", (MOST, str(self._config.ttl_s * 1000))
                    told = (str(alert.updated_ms), alert.fingerprint, *limits, *_entry(alert))
                    await pipeline.eval(RECORD_ALERT, 0, key, *told)
                await pipeline.execute()
        except RedisError as error:
            raise SinkAwayError(str(error)) from error

    def forget(self) -> None:
        """Do nothing: it knows nothing of single alerts."""

    async def tell_controls(self, session: aiohttp.ClientSession, controls: Controls) -> None:  # noqa: ARG002 -- a Sink
        """Write what people said."""
        key = f"{self._config.key_prefix}{CONTROLS}"
        fields: dict[Any, Any] = {name: msgspec.json.encode(one) for name, one in controls.all().items()}
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.delete(key)
                if fields:
                    pipeline.hset(key, mapping=fields)
                await pipeline.execute()
        except RedisError as error:
            raise SinkAwayError(str(error)) from error
