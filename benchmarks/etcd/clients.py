"""Clients of each member: load that rises and falls, and what they saw of it."""

import asyncio
import base64
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from benchmarks.etcd.gateway import Connection

__all__ = ["Clients", "Load", "Second", "bursts"]

CYCLE_SECONDS: Final = 300.0
REQUESTS_PER_S: Final = 54.0
SWING: Final = 0.3
PATIENCE_SECONDS: Final = 9.0
"""After so long a client gives up; etcd itself gives up after 7."""
KEYS: Final = 1_000
VALUE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Second:
    """What clients of one member saw in one second.

    Attributes:
        latencies_ms: of the requests that ended in it, in order; of the oldest one that waits where none ended.
        waiting: requests without an answer at its end.
    """

    latencies_ms: Sequence[float]
    waiting: int

    def quantile(self, share: float) -> float:
        """Return the smallest latency that so large a share of the requests did not exceed, milliseconds."""
        return self.latencies_ms[max(0, math.ceil(share * len(self.latencies_ms)) - 1)]


class Clients:
    """Clients of one member.

    Args:
        port: the member's, for clients.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []
        self._began: dict[int, float] = {}
        self._ended: list[float] = []
        self._number = 0
        self.refused = 0
        """Requests that met a closed port or a connection that broke."""

    async def put(self, body: bytes) -> None:
        """Send one request on an idle connection or a new one, and note how long the answer took.

        An answer that says no is an answer. A refused or broken connection is none: it is counted and measures nothing.
        """
        loop = asyncio.get_running_loop()
        self._number += 1
        number, began = self._number, loop.time()
        self._began[number] = began
        connection, kept = None, False
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                connection = self._pop() or await Connection.open(self._port)
                await connection.post("/v3/kv/put", body)
            kept = connection.reusable
            self._ended.append(loop.time() - began)
        except TimeoutError:
            self._ended.append(loop.time() - began)
        except OSError:
            self.refused += 1
        finally:
            del self._began[number]
            if connection is not None and kept:
                self._idle.append(connection)
            elif connection is not None:
                connection.close()

    def take(self) -> Second:
        """Return what was seen since the last call."""
        ended, self._ended = self._ended, []
        if not ended and self._began:
            ended = [asyncio.get_running_loop().time() - next(iter(self._began.values()))]
        return Second(sorted(1_000 * each for each in ended), len(self._began))

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _pop(self) -> Connection | None:
        """Return an idle connection that is still open: a member that died has closed its own."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
            connection.close()
        return None


class Load:
    """Requests at random times, each to a random member: a five-minute cycle, short bursts, and ``factor``.

    Args:
        clients: of each member.
        seed: of times, members, keys and bursts.
        seconds: how long bursts are drawn for.
    """

    def __init__(self, clients: Sequence[Clients], seed: int, seconds: float) -> None:
        self._clients = clients
        self._rng = random.Random(f"load {seed}")
        self._bursts = list(bursts(seed, seconds))
        self._tasks: set[asyncio.Task[None]] = set()
        self.factor = 1.0
        """What a fault multiplies the load with."""

    async def run(self) -> None:
        """Send until cancelled, then drop what is on its way."""
        loop = asyncio.get_running_loop()
        began = due = loop.time()
        value = base64.b64encode(self._rng.randbytes(VALUE_BYTES)).decode()
        bodies = [msgspec.json.encode({"key": _encode(f"key {i}"), "value": value}) for i in range(KEYS)]
        try:
            while True:
                rate = self.factor * self.rate(due - began)
                due = max(due, loop.time() - 1.0) + self._rng.expovariate(rate)
                await asyncio.sleep(due - loop.time())
                clients = self._rng.choice(self._clients)
                task = loop.create_task(clients.put(self._rng.choice(bodies)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for clients in self._clients:
                clients.close()

    def rate(self, second: float) -> float:
        """Return requests a second to all members, without ``factor``."""
        burst = next((factor for begin, end, factor in self._bursts if begin <= second < end), 1.0)
        return REQUESTS_PER_S * (1.0 + SWING * math.sin(2.0 * math.pi * second / CYCLE_SECONDS)) * burst


def bursts(seed: int, seconds: float) -> Iterator[tuple[float, float, float]]:
    """Draw bursts that are no fault: begin, end (seconds) and what the load is multiplied with."""
    rng = random.Random(f"bursts {seed}")
    begin = rng.uniform(20.0, 120.0)
    while begin < seconds:
        end = begin + rng.uniform(2.0, 5.0)
        yield begin, end, rng.uniform(1.4, 2.2)
        begin = end + rng.uniform(30.0, 120.0)


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
