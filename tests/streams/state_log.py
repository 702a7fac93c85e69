"""Random telemetry of a stream of its own, a detector with a state, and a broker that keeps only what is committed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.rounds import rounds
from detectors.scoring import StreamScorer
from features.batch import WindowBatch
from schemas.outputs import Anomaly, Contribution
from schemas.streams import custom_stream
from streams import Batch, Processor, Records, StateConfig
from streams.changelog import Changelog
from streams.state import Saved, SavedPartition, sort_saved

TOPIC, GROUP, STATE = "probe", "vigil", "vigil.state"
START_MS = 1_750_000_000_000
STEP_MS = 1000
STREAM = custom_stream("probe", TOPIC, ("load", "delay"), STEP_MS)
SETTINGS = {"gap_steps": 2, "late_steps": 3, "idle_ms": 9_000}

Message = tuple[bytes, bytes]


class CountingDetector:
    """Flags every window; the score tells its rows and how many windows its node had before, so nothing can hide."""

    name = "counting"
    fields = STREAM.features
    window = 3
    threshold = -1e30
    levels = (1e30, 1e30)
    state_width = 2

    def __init__(self, version: str = "counting-1") -> None:
        self.version = version

    def prime(self, keys: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(keys), 2), np.float32)

    def advance(self, windows: WindowBatch, state: NDArray[np.float32], node: NDArray[np.int64]) -> NDArray[np.float32]:
        before = np.empty((len(windows), 2), np.float32)
        for part in rounds(node):
            mine = node[part]
            before[part] = state[mine]
            state[mine, 0] += 1
            state[mine, 1] = state[mine, 1] * np.float32(0.5) + windows.last()[part, 0]
        return before

    def score(self, windows: WindowBatch, before: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        assert before is not None
        weights = np.arange(1, 2 * self.window + 1, dtype=np.float64)
        rows = windows.tensor().reshape(len(windows), -1).astype(np.float64)
        return (rows * weights).sum(axis=1) + 1e4 * before[:, 0] + before[:, 1]

    def contributions(
        self, windows: WindowBatch, before: NDArray[np.float32] | None = None
    ) -> list[tuple[Contribution, ...]]:
        del before
        return [()] * len(windows)

    def save(self, directory: Path) -> None:
        (directory / "metadata.json").write_text("{}")

    @classmethod
    def load(cls, directory: Path) -> Self:
        del directory
        return cls()


def scorer(version: str = "counting-1", **options: Any) -> StreamScorer:
    return StreamScorer(STREAM, [CountingDetector(version)], **{**SETTINGS, **options})


def processor(config: StateConfig | None, used: StreamScorer | None = None) -> Processor:
    used = used or scorer()
    if config is None:
        return Processor({TOPIC: used})
    changelog = Changelog(TOPIC, used, group=GROUP, topic=STATE, config=config)
    return Processor({TOPIC: used}, changelogs={TOPIC: changelog})


def message(node: str, ts_ms: int, load: float, cluster: str | None = None) -> Message:
    body = {"v": 1, "ts_ms": ts_ms, "node_id": node, "load": load, "delay": load / 3}
    return node.encode(), msgspec.json.encode(body if cluster is None else {**body, "cluster": cluster})


def random_log(random: Random, size: int) -> list[Message]:
    """One partition's log: steps on time, late, repeated, after gaps; silent nodes, wrong clocks, broken records."""
    nodes = [f"n{i}" for i in range(random.randint(1, 6))]
    moves = [STEP_MS, STEP_MS + 300, 0, -STEP_MS, -2 * STEP_MS, 3 * STEP_MS, 8 * STEP_MS, 10**9]
    weights = [12, 3, *(random.choice([0, 1, 3]) for _ in moves[2:-1]), random.choice([0, 0, 0.1])]
    pick = [random.choice([1, 1, 1, 0.1]) for _ in nodes]
    clocks = dict.fromkeys(nodes, START_MS)
    log = []
    for i in range(size):
        [node], [move] = random.choices(nodes, pick), random.choices(moves, weights)
        ts_ms = clocks[node] + move
        clocks[node] = max(ts_ms, clocks[node])
        log.append((node.encode(), b"{") if random.random() < 0.03 else message(node, ts_ms, float(i % 97)))
    return log


def fleet_log(random: Random, size: int) -> list[Message]:
    """One partition's log of nodes that report every second, but for silences, a stall and records out of order."""
    nodes = [f"n{i}" for i in range(random.randint(1, 5))]
    seconds = size // len(nodes) + 1
    stall = random.randint(5, 60)
    steps = []
    for node in nodes:
        mute, phase, slow = random.randint(4, 20), random.random(), random.choice([0, 0, 0.5, 3])
        for second in range(seconds):
            if stall < second < stall + random.choice([0, 9]):
                continue
            if second >= mute and random.random() < 0.1:
                mute = second + random.randint(3, 14)
            if second >= mute or second < 4:
                steps.append(
                    (second + phase + random.uniform(0, slow), START_MS + round(1000 * (second + phase)), node)
                )
    return [
        message(node, ts_ms, float(i % 97), random.choice("xy")) for i, (_, ts_ms, node) in enumerate(sorted(steps))
    ]


def records(log: Sequence[Message], partition: int, begin: int, end: int) -> Records:
    return mixed({partition: list(log)}, [(partition, offset) for offset in range(begin, end)])


def mixed(logs: dict[int, list[Message]], places: Sequence[tuple[int, int]]) -> Records:
    """Read the records at these (partition, offset) places."""
    return Records(
        TOPIC,
        np.array([partition for partition, _ in places], np.int32),
        np.array([offset for _, offset in places], np.int64),
        [logs[partition][offset][0] for partition, offset in places],
        [logs[partition][offset][1] for partition, offset in places],
    )


@dataclass
class KeptByKafka:
    """Logs, and what transactions left: committed offsets, state partitions (every version of them), anomalies."""

    logs: dict[int, list[Message]]
    offsets: dict[int, int] = field(default_factory=dict)
    states: dict[int, list[dict[bytes, Saved]]] = field(default_factory=dict)
    anomalies: list[Anomaly] = field(default_factory=list)

    def commit(self, batch: Batch) -> None:
        self.anomalies.extend(batch.anomalies)
        for (_, partition), offset in batch.offsets.items():
            self.offsets[partition] = offset
        changed: dict[int, dict[bytes, Saved]] = {}
        for record in batch.states:
            versions = self.states.setdefault(record.partition, [{}])
            now = changed.setdefault(record.partition, dict(versions[-1]))
            if record.value is None:
                now.pop(record.key, None)
            else:
                now[record.key] = Saved(record.epoch, record.value)
        for partition, now in changed.items():
            self.states[partition].append(now)

    def saved(self, partition: int, behind: int = 0) -> SavedPartition:
        """What a reader sees of the state of a partition, some transactions behind (but the first)."""
        versions = self.states.get(partition, [{}])
        seen = versions[max(min(1, len(versions) - 1), len(versions) - 1 - behind)]
        return sort_saved(seen, GROUP).get(TOPIC, SavedPartition())


class Reader:
    """A worker without Kafka: a processor, and where it reads on in each partition it holds."""

    def __init__(self, kafka: KeptByKafka, config: StateConfig, used: StreamScorer | None = None) -> None:
        self.kafka = kafka
        self.processor = processor(config, used)
        self.positions: dict[int, int] = {}

    def take(self, partition: int, behind: int = 0) -> int:
        committed = self.kafka.offsets.get(partition)
        restored = self.processor.restore((TOPIC, partition), self.kafka.saved(partition, behind), committed)
        start = restored.start if restored.start is not None else committed or 0
        self.positions[partition] = start
        return (committed or 0) - start

    def give_up(self, partition: int) -> None:
        self.processor.drop((TOPIC, partition))
        del self.positions[partition]

    def read(self, random: Random, most: int) -> Batch:
        """Work through some records of the partitions held, interleaved."""
        places = list(self._next(random, most))
        return self.processor.process([mixed(self.kafka.logs, places)] if places else [])

    def _next(self, random: Random, most: int) -> Iterator[tuple[int, int]]:
        for _ in range(most):
            open_ = [p for p, at in self.positions.items() if at < len(self.kafka.logs[p])]
            if not open_:
                return
            partition = random.choice(open_)
            yield partition, self.positions[partition]
            self.positions[partition] += 1


def undisturbed(logs: dict[int, list[Message]]) -> list[Anomaly]:
    return [
        anomaly
        for partition, log in logs.items()
        for anomaly in processor(None).process([records(log, partition, 0, len(log))]).anomalies
    ]


def everything(anomalies: Sequence[Anomaly]) -> list[tuple[object, ...]]:
    found = [
        (each.id, each.score, each.window_start_ms, each.source.partition, each.source.offset, each.cluster or "")
        for each in anomalies
    ]
    return sorted(found)
