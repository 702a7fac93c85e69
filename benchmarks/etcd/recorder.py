"""A record of each member every second, labelled, to a file; and the faults, to a file beside it."""

import asyncio
import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.etcd.clients import Clients, Second
from benchmarks.etcd.cluster import MEMBERS, Cluster, Member
from benchmarks.etcd.faults import Injected, label, split
from benchmarks.etcd.gateway import Counters, counters
from schemas.metrics import ConsensusMetrics

__all__ = ["Recorder", "faults_path", "write_faults"]

SCRAPE_SECONDS: Final = 0.8
"""A member that does not answer for so long publishes nothing in this second."""
NOTHING: Final = Counters(pending=0, committed=0, leader_changes=0)


class Recorder:
    """Writes a recording.

    Args:
        write: where lines go, each with its end.
        name: the cluster's; members are ``NAME-n0`` and so on.
        cluster: whose members are asked.
        clients: of each member.
        faults: those injected so far; grows while it runs.
        seconds: length of the recording.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        name: str,
        cluster: Cluster,
        clients: Sequence[Clients],
        faults: Sequence[Injected],
        seconds: int,
    ) -> None:
        self._write = write
        self._name = name
        self._cluster = cluster
        self._clients = clients
        self._faults = faults
        self._seconds = seconds
        self._last: dict[int, Counters] = {}
        self.records = 0
        self.skipped = 0
        """Seconds without any record, because the rig itself was more than a second late."""

    async def run(self, done: Callable[[int], None]) -> None:
        """Write the records of every second; ``done`` is told how many seconds are over."""
        for member, found in zip(self._cluster.members, await self._scrape_all(), strict=True):
            if found is not None:
                self._last[member.number] = found
        first = int(time.time()) + 1
        await _sleep_until(first)
        for clients in self._clients:
            clients.take()
        for second in range(1, self._seconds + 1):
            tick = first + second
            if time.time() > tick + 1:
                self.skipped += 1
                continue
            await _sleep_until(tick)
            await self._write_second(1_000 * tick, 1_000 * (first + 1))
            done(second)

    async def _write_second(self, ts_ms: int, first_ms: int) -> None:
        seen = [clients.take() for clients in self._clients]
        answers = await self._scrape_all()
        active = sum(each is not None for each in answers)
        mark, fault = label(ts_ms, self._faults)
        labels = {
            "split": split(ts_ms, first_ms, self._seconds),
            "label": mark,
            "fault": None if fault is None else fault.kind,
            "intensity": None if fault is None else fault.intensity,
        }
        for number, (second, answer) in enumerate(zip(seen, answers, strict=True)):
            if answer is not None and second.latencies_ms:
                record = self._record(ts_ms, number, second, answer, active)
                self._last[number] = answer
                row = {name: value for name, value in msgspec.structs.asdict(record).items() if value is not None}
                self._write(msgspec.json.encode(row | labels) + b"\n")
                self.records += 1

    def _record(self, ts_ms: int, number: int, second: Second, now: Counters, active: int) -> ConsensusMetrics:
        before = self._last.get(number, NOTHING)
        return ConsensusMetrics(
            ts_ms=ts_ms,
            node_id=f"{self._name}-n{number}",
            cluster=self._name,
            region="lab",
            queue_depth=second.waiting,
            proposals_pending=now.pending,
            proposals_committed=max(0, now.committed - before.committed),
            latency_p50=round(second.quantile(0.50), 3),
            latency_p95=round(second.quantile(0.95), 3),
            latency_p99=round(second.quantile(0.99), 3),
            leader_changes=max(0, now.leader_changes - before.leader_changes),
            quorum_size=MEMBERS // 2 + 1,
            active_nodes=active,
            network_tier="lan",
            dwcp_mode="normal",
            consensus_type="raft",
        )

    async def _scrape_all(self) -> list[Counters | None]:
        return await asyncio.gather(*map(self._scrape, self._cluster.members))

    async def _scrape(self, member: Member) -> Counters | None:
        """Read a member's counters; ``None`` when it does not answer in time."""
        try:
            async with asyncio.timeout(SCRAPE_SECONDS):
                return await counters(member.port)
        except OSError:
            return None


def faults_path(path: Path) -> Path:
    """Return where the faults of a recording stand."""
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".jsonl") + ".faults.json")


def write_faults(path: Path, faults: Iterable[Injected]) -> None:
    """Write those that are over beside the recording ``path``."""
    ended = [dataclasses.asdict(each) for each in faults if each.end_ms is not None]
    faults_path(path).write_text(json.dumps(ended, indent=1) + "\n")


async def _sleep_until(second: int) -> None:
    await asyncio.sleep(max(0.0, second - time.time()))
