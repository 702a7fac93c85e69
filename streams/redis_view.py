"""The live view in Redis: newest verdict of every node, active anomalies, worst nodes, what the workers did.

Kafka is the truth and Redis a view of it: writes happen on a thread of their own, so an outage never holds up the
worker; meanwhile only the newest verdict of each node is kept, and it is written when Redis is back. Whatever order
writers arrive in, the verdict with the newest event time stays. Keys: docs/operations/redis.md.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Protocol

import msgspec
import structlog
from redis.client import Pipeline
from redis.exceptions import RedisError

from streams.config import RedisConfig
from streams.redis_client import redis_client
from streams.verdicts import NodeVerdict

__all__ = ["RedisView", "ViewEvents", "add_verdicts"]

log = structlog.get_logger("vigil.redis")

CHUNK_NODES = 250  # nodes a script call: Redis is busy for about a millisecond, others are served in between
LONGEST_PAUSE_SECONDS = 5.0

# One call writes the newest verdicts of many nodes. Per node: skip if what is stored is newer, else store, keep the
# sorted sets in step, and note when the node lapses. Redis runs a script alone, so two workers cannot interleave.
WRITE_VERDICTS = """
local prefix, ttl_ms, rows = ARGV[1], tonumber(ARGV[2]), cjson.decode(ARGV[3])
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local written = 0
for _, row in ipairs(rows) do
  local member = row.detector .. ':' .. row.node
  local key = prefix .. 'verdict:' .. member
  local old = redis.call('HMGET', key, 'ts_ms', 'severity', 'anomaly_ts_ms')
  local old_ts, old_severity = tonumber(old[1] or '-1'), old[2] or ''
  if not row.ends or old_severity ~= '' then
    if row.anomaly and tonumber(old[3] or '-1') <= row.anomaly.ts_ms then
      redis.call('HSET', key, 'anomaly_ts_ms', row.anomaly.ts_ms, 'anomaly_id', row.anomaly.id,
        'anomaly_score', row.anomaly.score, 'anomaly_severity', row.anomaly.severity)
    end
    if not row.past and old_ts <= row.ts_ms then
      redis.call('HSET', key, 'ts_ms', row.ts_ms, 'score', row.score, 'threshold', row.threshold,
        'severity', row.severity, 'stream', row.stream, 'model_version', row.model_version,
        'cluster', row.cluster, 'region', row.region)
      if old_severity ~= '' and old_severity ~= row.severity then
        redis.call('ZREM', prefix .. 'active:' .. old_severity, member)
      end
      if row.severity ~= '' then
        redis.call('ZADD', prefix .. 'active:' .. row.severity, row.ts_ms, member)
      end
      redis.call('ZADD', prefix .. 'worst:' .. row.detector, row.ratio, row.node)
      written = written + 1
    end
    redis.call('PEXPIRE', key, ttl_ms)
    redis.call('ZADD', prefix .. 'expiry', now_ms + ttl_ms, member)
  end
end
return written
"""

# Nodes that fell silent leave the sorted sets when their hash has lapsed (members of a set have no time to live).
DROP_LAPSED = """
local prefix, most = ARGV[1], tonumber(ARGV[2])
local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local lapsed = redis.call('ZRANGEBYSCORE', prefix .. 'expiry', '-inf', now_ms, 'LIMIT', 0, most)
for _, member in ipairs(lapsed) do
  local colon = string.find(member, ':', 1, true)
  redis.call('ZREM', prefix .. 'worst:' .. string.sub(member, 1, colon - 1), string.sub(member, colon + 1))
  for _, severity in ipairs({'info', 'warning', 'critical'}) do
    redis.call('ZREM', prefix .. 'active:' .. severity, member)
  end
  redis.call('ZREM', prefix .. 'expiry', member)
end
return #lapsed
"""


def add_verdicts(pipeline: Pipeline, config: RedisConfig, verdicts: Iterable[NodeVerdict]) -> None:
    """Add to a pipeline what writes verdicts where they are newer than what is there."""
    ttl_ms, rows = str(config.ttl_s * 1000), iter(verdicts)
    while chunk := list(islice(rows, CHUNK_NODES)):
        pipeline.eval(WRITE_VERDICTS, 0, config.key_prefix, ttl_ms, msgspec.json.encode(chunk))


class ViewEvents(Protocol):
    """Told what becomes of writes (the metrics implement it)."""

    def redis_flushed(self, nodes: int, seconds: float) -> None:
        """Say that one pipeline was written."""
        ...

    def redis_failed(self) -> None:
        """Say that Redis did not take a pipeline; its content waits."""
        ...

    def redis_lost(self, nodes: int) -> None:
        """Say that the buffer was full and the verdicts waiting longest were forgotten."""
        ...


class RedisView:
    """Writes verdicts and counters, at most once every ``flush_interval_s``, on its own thread.

    Args:
        config: where and how.
        worker: name of this worker, for its counters.
        events: told of flushes and failures.
        counters: reads the worker's counters (absolute values) at the time of a flush.
    """

    def __init__(
        self,
        config: RedisConfig,
        *,
        worker: str,
        events: ViewEvents,
        counters: Callable[[], Mapping[str, int | float]] = dict,
    ) -> None:
        self._config = config
        self._worker = worker
        self._events = events
        self._counters = counters
        self._client = redis_client(config)  # a failed flush stays in the buffer: the next one is the retry
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], NodeVerdict] = {}
        self._wake = threading.Event()
        self._closing = threading.Event()
        self.up: bool | None = None
        self.emptied = threading.Event()
        """Set when Redis had lost what this worker wrote; whoever repairs the view clears it."""
        self._thread = threading.Thread(target=self._run, name="redis-view", daemon=True)

    def start(self) -> None:
        """Begin writing."""
        self._thread.start()

    def offer(self, verdicts: Iterable[NodeVerdict]) -> None:
        """Take the newest verdicts of some nodes; returns at once, whatever Redis does."""
        dropped = 0
        with self._lock:
            _merge(self._waiting, verdicts)
            dropped = self._bound()
        if dropped:
            self._events.redis_lost(dropped)
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Nodes whose newest verdict is not in Redis yet."""
        return len(self._waiting)

    def close(self, timeout: float) -> bool:
        """Write what waits, once, and end the thread; true when everything was written within ``timeout`` seconds."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._client.close()
        return not self._waiting

    def _run(self) -> None:
        pause = self._config.flush_interval_s
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing.is_set()
            written = self._flush()
            if closing:
                return
            pause = self._config.flush_interval_s if written else min(2 * pause, LONGEST_PAUSE_SECONDS)
            self._closing.wait(pause)
            if not written or self._closing.is_set():
                self._wake.set()

    def _flush(self) -> bool:
        """Write everything that waits in one pipeline; on failure it waits on, under anything newer."""
        with self._lock:
            taken, self._waiting = self._waiting, {}
        started = time.monotonic()
        try:
            self._write(taken)
        except RedisError as error:
            with self._lock:
                newer, self._waiting = self._waiting, taken
                _merge(self._waiting, newer.values())
                dropped = self._bound()
            if self.up is not False:
                log.warning("Redis is away, the view will catch up", redis=self._config.address, error=str(error))
            self.up = False
            self._events.redis_failed()
            if dropped:
                self._events.redis_lost(dropped)
            return False
        if self.up is False:
            log.info("Redis is back, the view is current", redis=self._config.address, nodes=len(taken))
        self.up = True
        self._events.redis_flushed(len(taken), time.monotonic() - started)
        return True

    def _write(self, verdicts: Mapping[tuple[str, str], NodeVerdict]) -> None:
        prefix = self._config.key_prefix
        key = f"{prefix}worker:{self._worker}"
        pipeline = self._client.pipeline(transaction=False)
        pipeline.exists(key)
        add_verdicts(pipeline, self._config, verdicts.values())
        pipeline.eval(DROP_LAPSED, 0, prefix, "1000")
        counters: dict[Any, Any] = {name: str(value) for name, value in self._counters().items()}
        if counters:
            pipeline.hset(key, mapping=counters)
            pipeline.pexpire(key, self._config.ttl_s * 1000)
        [known, *_] = pipeline.execute()
        if counters and not known:
            self.emptied.set()

    def _bound(self) -> int:
        """Forget the verdicts that wait longest where there are too many; the caller holds the lock."""
        excess = len(self._waiting) - self._config.buffer_nodes
        for key in list(islice(self._waiting, max(0, excess))):
            del self._waiting[key]
        return max(0, excess)


def _merge(waiting: dict[tuple[str, str], NodeVerdict], verdicts: Iterable[NodeVerdict]) -> None:
    """Keep the newest verdict, and the newest anomaly, of each node."""
    for verdict in verdicts:
        key = (verdict.detector, verdict.node)
        old = waiting.get(key)
        waiting[key] = verdict if old is None else old.merged(verdict)
