"""Random logs that meet every rule of the window store, and ways to run a store over them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features import MAX_TS_MS, StepStatus, WindowRules, WindowStore

# Logs are long for what hypothesis draws, and the machines that test are slow and shared.
PATIENT = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
)
START_MS = 1_700_000_000_000
STEP_MS = 10
FEATURES = 2


@dataclass(frozen=True)
class Record:
    partition: int
    key: str
    ts_ms: int
    row: tuple[float, ...]


@dataclass(frozen=True)
class Seen:
    """What a store said about one record; windows as bytes, so that equal means equal to the bit."""

    status: StepStatus
    rows: bytes = b""
    ts_ms: tuple[int, ...] = ()
    carried: tuple[bool, ...] = ()
    scored: int = 0


def window_rules() -> st.SearchStrategy[WindowRules]:
    def build(window: int, gap: int, late: int, idle: int, silence: int | None, resume: int) -> WindowRules:
        idle_ms = (gap + 1) * STEP_MS + idle
        return WindowRules(
            features=FEATURES,
            window=window,
            step_ms=STEP_MS,
            gap_steps=gap,
            late_steps=late,
            idle_ms=idle_ms,
            state_width=1,
            silence_ms=0 if silence is None else (gap + 1) * STEP_MS + silence,
            resume_ms=resume,
        )

    silences = st.none() | st.integers(0, 40)
    resumes = st.just(0) | st.integers(0, 20 * STEP_MS)
    sizes = st.integers(1, 5), st.integers(0, 4), st.integers(0, 5), st.integers(0, 120)
    return st.builds(build, *sizes, silences, resumes)


# How a node's next time differs from its newest. Each log mixes these with weights of its own.
_MOVES: dict[str, Callable[[Random], int]] = {
    "on the beat": lambda _: STEP_MS,
    "about on the beat": lambda random: random.randint(1, 2 * STEP_MS),
    "repeated": lambda random: -STEP_MS * random.randint(0, 7),
    "late": lambda random: -random.randint(1, 7 * STEP_MS),
    "after a gap": lambda random: STEP_MS * random.randint(2, 6) + random.randint(-4, 4),
    "after a long gap": lambda random: STEP_MS * random.randint(6, 40),
    "a clock gone wrong": lambda random: random.choice([10**9, 10**11, -(10**9)]),
}


@st.composite
def logs(draw: st.DrawFn, max_size: int = 150) -> list[Record]:
    random = draw(st.randoms(use_true_random=False))
    size, nodes = draw(st.integers(0, max_size)), draw(st.integers(1, 4))
    weights = [random.choice([0, 1, 4]) for _ in _MOVES]
    weights[0], weights[-1] = 6, weights[-1] / 20
    clocks: dict[tuple[int, str], int] = {}
    log = []
    for i in range(size):
        home = random.randint(0, 1) if nodes > 1 else 0, f"node-{random.randrange(nodes)}"
        [kind] = random.choices(list(_MOVES), weights)
        ts_ms = min(max(clocks.get(home, START_MS) + _MOVES[kind](random), 1), MAX_TS_MS - 1)
        clocks[home] = max(ts_ms, clocks.get(home, 0))
        log.append(Record(*home, ts_ms, (float(i), -float(i) / 3)))
    return log


def cuts(size: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, size), max_size=12).map(sorted)


def pieces(log: Sequence[Record], where: Sequence[int]) -> list[Sequence[Record]]:
    bounds = [0, *where, len(log)]
    return [log[a:b] for a, b in pairwise(bounds)]


def store_of(rules: WindowRules, capacity: int = 1) -> WindowStore:
    return WindowStore(
        rules.features,
        window=rules.window,
        step_ms=rules.step_ms,
        gap_steps=rules.gap_steps,
        late_steps=rules.late_steps,
        idle_ms=rules.idle_ms,
        capacity=capacity,
        state_width=rules.state_width,
        silence_ms=rules.silence_ms,
        resume_ms=rules.resume_ms,
    )


def arrays(log: Sequence[Record]) -> tuple[NDArray[np.int32], list[str], NDArray[np.int64], NDArray[np.float32]]:
    rows = np.array([record.row for record in log], np.float32).reshape(len(log), FEATURES)
    partitions = np.array([record.partition for record in log], np.int32)
    return partitions, [record.key for record in log], np.array([record.ts_ms for record in log], np.int64), rows


class Run:
    """A store, what it said about each record so far, and the sums of its counts.

    Each window adds 1 to its node's state, in log order, as a detector with a baseline would.
    """

    def __init__(self, store: WindowStore) -> None:
        self.store = store
        self.seen: list[Seen] = []
        self.counts = dict.fromkeys(("gaps", "filled", "restarts", "created", "evictions"), 0)
        self.evicted: list[tuple[int, str]] = []
        self.silences: list[tuple[int, str, int]] = []
        self.returned: list[int] = []

    def feed(self, log: Sequence[Record], first_offset: int | None = None) -> None:
        offsets = None if first_offset is None else first_offset + np.arange(len(log), dtype=np.int64)
        appended = self.store.append(*arrays(log), offsets=offsets)
        told = [(len(self.seen) + each.record, each.key, each.last_ms) for each in appended.silences]
        self.silences.extend(told)
        self.returned.extend(len(self.seen) + record for record, _ in appended.returned)
        windows, answers = appended.windows, [Seen(StepStatus(s)) for s in appended.status.tolist()]
        tensor = windows.tensor()
        for i, (record, end, slot) in enumerate(zip(windows.records, windows.ends, windows.slots, strict=True)):
            part = slice(end - windows.length + 1, end + 1)
            self.store.state[slot, 0] += 1
            answers[record] = Seen(
                StepStatus(int(appended.status[record])),
                tensor[i].tobytes(),
                tuple(windows.ts_ms[part].tolist()),
                tuple(windows.carried[part].tolist()),
                int(self.store.state[slot, 0]),
            )
        self.seen.extend(answers)
        self.evicted.extend(appended.evicted)
        for name in self.counts:
            self.counts[name] += getattr(appended, name)

    def nodes(self) -> set[tuple[int, str]]:
        """Return the nodes there are; one that was restored as forgotten has no steps and is none."""
        slots = [(p, slot) for p in self.store.partitions for slot in self.store.slots_of(p).tolist()]
        return {(p, self.store.key_of(slot)) for p, slot in slots if self.store.steps_held([slot])[0]}
