"""Doing faults to a cluster. Most are in force for a part of every few seconds: a weak one is the same for shorter."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from benchmarks.etcd.clients import Load
from benchmarks.etcd.cluster import Cluster, Member
from benchmarks.etcd.faults import Injected, Kind, Planned

__all__ = ["Injector"]

LEADER_DELAY_S: Final = 0.120
"""Into the leader, at intensity 1; a commit of its clients waits for it once, of others' clients twice."""
ALL_DELAY_S: Final = LEADER_DELAY_S / 2
"""Into every member: each commit waits for it twice as often."""
JITTER: Final = 0.3
OVERLOAD: Final = 12.0
BUSY_PER_CORE: Final = 2
CONTENTION_SECONDS: Final = 1.0
STORM_SECONDS: Final = 4.0
PAUSE_SECONDS: Final = 5.0
PARTITION_SECONDS: Final = 6.0
CRASH_SECONDS: Final = 12.0

Held = TypeVar("Held")


class Injector:
    """Injects planned faults one after the other and keeps the record of them.

    Args:
        cluster: which it strikes.
        load: of its clients.
    """

    def __init__(self, cluster: Cluster, load: Load) -> None:
        self._cluster = cluster
        self._load = load
        self.injected: list[Injected] = []
        """All so far; the last one may still last."""

    async def run(self, faults: Sequence[Planned]) -> None:
        """Inject each at its time from now. Whoever cancels this finds everything undone, as after each fault."""
        began = asyncio.get_running_loop().time()
        for fault in faults:
            await asyncio.sleep(began + fault.begin_s - asyncio.get_running_loop().time())
            await self.inject(fault)

    async def inject(self, fault: Planned) -> None:
        """Inject one fault: returns when it is over and the cluster whole."""
        target, work = self._prepare(fault, await self._cluster.leader() or self._cluster.members[0])
        self.injected.append(Injected(_now_ms(), None, fault.kind, target, fault.intensity))
        try:
            await work
        finally:
            self.injected[-1].end_ms = _now_ms()

    def _prepare(self, fault: Planned, leader: Member) -> tuple[str, Coroutine[Any, Any, None]]:
        """Choose whom the fault strikes; returns that and what is to be awaited."""
        i, lasting = fault.intensity, fault.lasting_s
        match fault.kind:
            case Kind.CONGESTION if fault.chance < 0.5:
                target, work = "leader", self._congestion([leader], i * LEADER_DELAY_S, lasting)
            case Kind.CONGESTION:
                target, work = "all", self._congestion(self._cluster.members, i * ALL_DELAY_S, lasting)
            case Kind.ELECTIONS:
                target, work = str(leader.number), self._elections(0.2 + 1.8 * i, lasting)
            case Kind.OVERFLOW:
                target, work = "clients", self._overflow(1.0 + OVERLOAD * i, lasting)
            case Kind.PAUSE:
                follower = _choose([each for each in self._cluster.members if each is not leader], fault.chance)
                target, work = str(follower.number), self._pause(follower, i * PAUSE_SECONDS, lasting)
            case Kind.PARTITION:
                target, work = str(leader.number), self._partition(i * PARTITION_SECONDS, lasting)
            case Kind.CONTENTION:
                target, work = "host", self._contention(i * CONTENTION_SECONDS, lasting)
            case Kind.CRASH:
                member = _choose(self._cluster.members, fault.chance)
                target, work = str(member.number), self._crash(member, i * CRASH_SECONDS, lasting)
        return target, work

    async def _congestion(self, members: Sequence[Member], delay_s: float, lasting_s: float) -> None:
        """Hold up what is sent to these members."""
        try:
            for member in members:
                self._cluster.network.slow(member.number, delay_s, JITTER * delay_s)
            await asyncio.sleep(lasting_s)
        finally:
            for member in members:
                self._cluster.network.slow(member.number, 0.0)

    async def _overflow(self, factor: float, lasting_s: float) -> None:
        try:
            self._load.factor = factor
            await asyncio.sleep(lasting_s)
        finally:
            self._load.factor = 1.0

    async def _contention(self, held_s: float, lasting_s: float) -> None:
        """Keep processes busy beside the cluster."""
        processes = _start_busy(BUSY_PER_CORE * (os.cpu_count() or 1))

        async def begin() -> None:
            _signal_all(processes, signal.SIGCONT)

        def end(_: None) -> None:
            _signal_all(processes, signal.SIGSTOP)

        try:
            await _in_turns(begin, end, held_s, CONTENTION_SECONDS, lasting_s)
        finally:
            _signal_all(processes, signal.SIGKILL)
            for process in processes:
                process.wait()

    async def _elections(self, held_s: float, lasting_s: float) -> None:
        """Stop whoever leads, again and again."""

        async def begin() -> Member | None:
            leader = await self._cluster.leader()
            if leader is not None:
                leader.pause()
            return leader

        def end(leader: Member | None) -> None:
            if leader is not None:
                leader.resume()

        await _in_turns(begin, end, held_s, STORM_SECONDS, lasting_s)

    async def _pause(self, follower: Member, held_s: float, lasting_s: float) -> None:
        async def begin() -> Member:
            follower.pause()
            return follower

        await _in_turns(begin, Member.resume, held_s, PAUSE_SECONDS, lasting_s)

    async def _partition(self, held_s: float, lasting_s: float) -> None:
        """Cut whoever leads off from the others."""

        async def begin() -> Member | None:
            leader = await self._cluster.leader()
            if leader is not None:
                self._cluster.network.cut(leader.number)
            return leader

        def end(leader: Member | None) -> None:
            if leader is not None:
                self._cluster.network.mend(leader.number)

        await _in_turns(begin, end, held_s, PARTITION_SECONDS, lasting_s)

    async def _crash(self, member: Member, held_s: float, lasting_s: float) -> None:
        """Kill a member and start it again; the fault lasts until it serves."""

        async def begin() -> Member:
            member.kill()
            return member

        await _in_turns(begin, Member.start, held_s, CRASH_SECONDS, lasting_s)
        await self._cluster.wait_for(member)


async def _in_turns(
    begin: Callable[[], Awaitable[Held]], end: Callable[[Held], None], held_s: float, period_s: float, lasting_s: float
) -> None:
    """Begin, hold and end something every ``period_s`` seconds, for ``lasting_s`` seconds in all."""
    loop = asyncio.get_running_loop()
    until = loop.time() + lasting_s
    turn = loop.time()
    while turn < until:
        held = await begin()
        try:
            await asyncio.sleep(min(turn + held_s, until) - loop.time())
        finally:
            end(held)
        turn += period_s
        await asyncio.sleep(min(turn, until) - loop.time())


def _start_busy(count: int) -> list[subprocess.Popen[bytes]]:
    """Start processes that compute as long as they live."""
    return [subprocess.Popen([sys.executable, "-c", "while True: pass"], process_group=0) for _ in range(count)]


def _signal_all(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        process.send_signal(number)


def _choose(members: Sequence[Member], chance: float) -> Member:
    return members[min(int(chance * len(members)), len(members) - 1)]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
