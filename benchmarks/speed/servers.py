"""Kafka and Redis for a measurement: the embedded pair, or one Apache Kafka broker and a Redis."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.servers import Cluster, RedisServer
from vigil.embedded import EmbeddedServers
from vigil.ports import free_ports

__all__ = ["Servers", "serve"]


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses of Kafka and Redis, and which Kafka it is."""

    bootstrap: str
    redis_url: str
    kind: str


@contextlib.contextmanager
def serve(kind: str, bootstrap: str | None = None, redis_url: str | None = None) -> Iterator[Servers]:
    """Start what a measurement needs.

    Args:
        kind: ``apache`` (from ``../shared/kafka``) or ``embedded``.
        bootstrap: an own Kafka instead.
        redis_url: an own Redis instead.
    """
    with contextlib.ExitStack() as stack:
        if bootstrap is not None and redis_url is not None:
            yield Servers(bootstrap, redis_url, "given")
            return
        if kind == "embedded" or bootstrap is not None:
            embedded = stack.enter_context(EmbeddedServers())
            yield Servers(bootstrap or embedded.bootstrap, redis_url or embedded.redis_url, kind)
            return
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-speed-")))
        ports = free_ports(4)
        cluster = Cluster(directory, [ports[2]], ports[:3])
        stack.callback(cluster.stop)
        cluster.start()
        redis = RedisServer(directory, ports[3])
        stack.callback(redis.kill)
        redis.start()
        yield Servers(cluster.bootstrap, redis_url or f"redis://127.0.0.1:{ports[3]}/0", kind)
