"""The live view in Redis: newest verdict of every node, active anomalies, worst nodes, what the workers did.

Kafka is the truth and Redis a view of it: writes happen on a thread of their own, so an outage never holds up the
worker; meanwhile only the newest verdict of each node is kept, and it is written when Redis is back. Whatever order
writers arrive in, the verdict with the newest event time stays. Keys: docs/operations/redis.md.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import msgspec
import structlog
from redis.client import Pipeline
from redis.exceptions import RedisError

from streams.config import RedisConfig
from streams.redis_client import redis_client
from streams.redis_scripts import DROP_LAPSED, WRITE_VERDICTS
from streams.verdict_columns import VerdictColumns, joined
from streams.verdicts import About, NodeVerdict

__all__ = ["RedisView", "ViewEvents", "add_verdicts"]

log = structlog.get_logger("vigil.redis")

Row = tuple[Any, ...]
CHUNK_NODES = 250  # nodes a script call: Redis is busy for about a millisecond, others are served in between
PART_NODES = 5_000  # nodes that are told at once: what is sent is in memory three times over
MOST_STEPS = 1_000  # nodes of a write up to which each leaves its step; above, those that are anomalous
LONGEST_PAUSE_SECONDS = 5.0
PACE = 4.0  # times what a write took before the next one: whoever shares Redis has four fifths of its time


def add_verdicts(pipeline: Pipeline, config: RedisConfig, verdicts: Iterable[NodeVerdict]) -> None:
    """Add to a pipeline what writes verdicts where they are newer than what is there."""
    groups: dict[About, list[Row]] = {}
    for each in verdicts:
        groups.setdefault(each.about, []).append(each.row())
    for about, rows in groups.items():
        _add_rows(pipeline, config, about, rows)


def _add_rows(pipeline: Pipeline, config: RedisConfig, about: About, rows: Sequence[Row]) -> None:
    limits = (str(config.ttl_s * 1000), str(config.history_steps), str(config.history_nodes))
    for start in range(0, len(rows), CHUNK_NODES):
        batch = msgspec.json.encode((about, rows[start : start + CHUNK_NODES]))
        pipeline.eval(WRITE_VERDICTS, 0, config.key_prefix, batch, *limits)


class ViewEvents(Protocol):
    """Told what becomes of writes (the metrics implement it)."""

    def redis_flushed(self, nodes: int, seconds: float) -> None:
        """Say that one pipeline was written."""
        ...

    def redis_failed(self) -> None:
        """Say that Redis did not take a pipeline; its content waits."""
        ...

    def redis_lost(self, nodes: int) -> None:
        """Say that the buffer was full and the oldest verdicts were forgotten."""
        ...


@dataclass(slots=True)
class Waiting:
    """Verdicts that are not written yet.

    Attributes:
        lean: whether the steps of verdicts that pass are dropped: a write as large as the last one leaves them out.
        columns: in the order they came, a node perhaps several times.
        told: verdicts told one by one, by detector and node.
    """

    lean: bool = False
    columns: list[VerdictColumns] = field(default_factory=list)
    told: dict[tuple[str, str], NodeVerdict] = field(default_factory=dict)

    def add(self, verdicts: Iterable[NodeVerdict], columns: Iterable[VerdictColumns]) -> None:
        """Take newer ones."""
        self.columns.extend(each.lean() if self.lean else each for each in columns)
        for verdict in verdicts:
            old = self.told.get(verdict.key)
            self.told[verdict.key] = verdict if old is None else old.merged(verdict)

    def reduce(self) -> int:
        """Keep the newest verdict, and the newest anomaly, of each node; returns how many there are."""
        self.columns = joined(self.columns)
        return sum(map(len, self.columns)) + len(self.told)

    def bound(self, most: int) -> int:
        """Forget the oldest where there are too many; returns how many. Looks only once it may be worth it."""
        if sum(map(len, self.columns)) + len(self.told) <= 2 * most:
            return 0
        excess = left = max(0, self.reduce() - most)
        for i, each in enumerate(self.columns):
            gone = min(left, len(each))
            self.columns[i], left = each.without_first(gone), left - gone
        for key in list(islice(self.told, left)):
            del self.told[key]
        return excess


class RedisView:
    """Writes verdicts and counters, at most once every ``flush_interval_s``, on its own thread.

    What takes long is written less often: the pause after a write is ``PACE`` times as long as it took, 5 seconds at
    most. With 100,000 nodes that each report once a second a view of every step would be all that Redis does.

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
        self._waiting = Waiting()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self.up: bool | None = None
        self.emptied = threading.Event()
        """Set when Redis had lost what this worker wrote; whoever repairs the view clears it."""
        self._thread = threading.Thread(target=self._run, name="redis-view", daemon=True)

    def start(self) -> None:
        """Begin writing."""
        self._thread.start()

    def offer(self, verdicts: Iterable[NodeVerdict] = (), columns: Iterable[VerdictColumns] = ()) -> None:
        """Take verdicts on some nodes; returns at once, whatever Redis does."""
        with self._lock:
            self._waiting.add(verdicts, columns)
            dropped = self._waiting.bound(self._config.buffer_nodes)
        if dropped:
            self._events.redis_lost(dropped)
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Nodes whose newest verdict is not in Redis yet, for each detector."""
        with self._lock:
            columns, told = list(self._waiting.columns), len(self._waiting.told)
        names: dict[About, set[str]] = {}
        for each in columns:
            names.setdefault(each.about, set()).update(each.nodes)
        return told + sum(map(len, names.values()))

    def close(self, timeout: float) -> bool:
        """Write what waits, once, and end the thread; true when everything was written within ``timeout`` seconds."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._client.close()
        return not self.waiting

    def _run(self) -> None:
        pause = self._config.flush_interval_s
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing.is_set()
            began = time.monotonic()
            written = self._flush()
            if closing:
                return
            paced = max(self._config.flush_interval_s, PACE * (time.monotonic() - began))
            pause = min(paced if written else 2 * pause, LONGEST_PAUSE_SECONDS)
            self._closing.wait(pause)
            if not written or self._closing.is_set():
                self._wake.set()

    def _flush(self) -> bool:
        """Write everything that waits in one pipeline; on failure it waits on, under anything newer."""
        with self._lock:
            taken, self._waiting = self._waiting, Waiting(self._waiting.lean)
        nodes = taken.reduce()
        self._waiting.lean = not self._tells_steps(taken)
        started = time.monotonic()
        try:
            self._write(taken)
        except RedisError as error:
            with self._lock:
                newer, self._waiting, taken.lean = self._waiting, taken, self._waiting.lean
                self._waiting.add(newer.told.values(), newer.columns)
                dropped = self._waiting.bound(self._config.buffer_nodes)
            if self.up is not False:
                log.warning("Redis is away, the view will catch up", redis=self._config.address, error=str(error))
            self.up = False
            self._events.redis_failed()
            if dropped:
                self._events.redis_lost(dropped)
            return False
        if self.up is False:
            log.info("Redis is back, the view is current", redis=self._config.address, nodes=nodes)
        self.up = True
        self._events.redis_flushed(nodes, time.monotonic() - started)
        return True

    def _tells_steps(self, waiting: Waiting) -> bool:
        """Whether a write leaves the step of every node."""
        return self._config.history_steps > 0 and sum(map(len, waiting.columns)) <= MOST_STEPS

    def _write(self, waiting: Waiting) -> None:
        """Write part by part: a pipeline that fails halfway is written again, which changes nothing."""
        pipeline = self._client.pipeline(transaction=False)
        add_verdicts(pipeline, self._config, waiting.told.values())
        all_steps = self._tells_steps(waiting)
        for each in waiting.columns:
            for first in range(0, len(each), PART_NODES):
                rows = each.rows(first, first + PART_NODES, all_steps=all_steps)
                _add_rows(pipeline, self._config, each.about, rows)
                pipeline.execute()
        self._write_counters(pipeline)

    def _write_counters(self, pipeline: Pipeline) -> None:
        """Write what the pipeline holds, drop what lapsed and write the worker's counters."""
        prefix, ttl_ms, name = self._config.key_prefix, self._config.ttl_s * 1000, f"worker:{self._worker}"
        pipeline.eval(DROP_LAPSED, 0, prefix, "1000", str(ttl_ms))
        pipeline.exists(f"{prefix}{name}")
        there = len(pipeline) - 1
        counters: dict[Any, Any] = {name: str(value) for name, value in self._counters().items()}
        if counters:
            pipeline.hset(f"{prefix}{name}", mapping=counters)
            pipeline.pexpire(f"{prefix}{name}", ttl_ms)
            # By this machine's clock: the hash itself says whether the worker is there, this is only where to look.
            pipeline.zadd(f"{prefix}names", {name: time.time_ns() // 1_000_000 + ttl_ms})
        if not pipeline.execute()[there] and counters:
            self.emptied.set()
