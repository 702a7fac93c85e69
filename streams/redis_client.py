"""Connections to Redis: one place where address, TLS and time-outs become a client."""

from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from streams.config import RedisConfig

__all__ = ["async_redis_client", "redis_client"]


def redis_client(config: RedisConfig, *, timeout_s: float | None = None) -> Redis:
    """Make a client that tries each command once; it connects with the first one.

    Args:
        config: where and as whom; the server's certificate is checked, its name as well, where the URL is ``rediss://``.
        timeout_s: longest wait to connect or for an answer, instead of the configured one.
    """
    seconds = config.timeout_s if timeout_s is None else timeout_s
    return Redis.from_url(
        config.url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),  # whoever calls knows better when to try again
        **(_encryption(config) if config.url.startswith("rediss://") else {}),
    )


def async_redis_client(config: RedisConfig) -> AsyncRedis:
    """Make such a client for an event loop."""
    return AsyncRedis.from_url(
        config.url,
        socket_timeout=config.timeout_s,
        socket_connect_timeout=config.timeout_s,
        retry=AsyncRetry(NoBackoff(), 0),
        **(_encryption(config) if config.url.startswith("rediss://") else {}),
    )


def _encryption(config: RedisConfig) -> dict[str, Any]:
    files = {
        "ssl_ca_certs": config.ssl_ca_file,
        "ssl_certfile": config.ssl_certificate_file,
        "ssl_keyfile": config.ssl_key_file,
    }
    # Not the default of all releases of the client: a certificate of another host is none.
    return {"ssl_check_hostname": True, **{name: file for name, file in files.items() if file is not None}}
