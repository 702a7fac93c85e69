"""Which faults there are, drawing them from a seed, and the labels that follow from them. Nothing is done here."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["STRENGTHS", "TRAIN_SHARE", "Injected", "Kind", "Planned", "label", "plan", "split"]

TRAIN_SHARE: Final = 0.4
"""Share of the time, from the start, that is without faults."""
STRENGTHS: Final = {"weak": (0.1, 0.5), "strong": (0.6, 1.0)}
"""Least and greatest intensity."""
LASTING_SECONDS: Final = (12.0, 30.0)
QUIET_SECONDS: Final = (25.0, 60.0)
RECOVERY_MS: Final = 15_000
STEP_MS: Final = 1_000


class Kind(StrEnum):
    """What happens; docs/evaluation/recordings.md says how each is done."""

    CONGESTION = "network_congestion"
    ELECTIONS = "leader_election_storm"
    OVERFLOW = "queue_overflow"
    PAUSE = "follower_pause"
    PARTITION = "partition_leader"
    CONTENTION = "cpu_contention"
    CRASH = "member_crash"


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to come.

    Attributes:
        kind: what happens.
        begin_s: seconds from the start of the recording.
        lasting_s: how long, seconds.
        intensity: 0 to 1.
        chance: decides whom it strikes where the kind leaves that open, 0 to 1.
    """

    kind: Kind
    begin_s: float
    lasting_s: float
    intensity: float
    chance: float


@dataclass(slots=True)
class Injected:
    """A fault that was injected, as it stands in ``NAME.faults.json``.

    Attributes:
        start_ms, end_ms: Unix epoch in milliseconds; the end is ``None`` while it lasts.
        kind: what happened.
        target: whom it struck: a member's number, "leader", "all", "clients" or "host".
        intensity: 0 to 1.
    """

    start_ms: int
    end_ms: int | None
    kind: Kind
    target: str
    intensity: float


def plan(seed: int, seconds: float, strength: str) -> list[Planned]:
    """Draw the faults of a recording; the same arguments give the same ones.

    Kinds come in turns: all of them in a random order, then all again.

    Args:
        seed: of the draw.
        seconds: length of the recording.
        strength: a key of ``STRENGTHS``.
    """
    rng = random.Random(f"faults {seed}")
    faults: list[Planned] = []
    turn: list[Kind] = []
    begin = TRAIN_SHARE * seconds + rng.uniform(*QUIET_SECONDS) / 2
    while True:
        lasting = round(rng.uniform(*LASTING_SECONDS), 3)
        quiet = rng.uniform(*QUIET_SECONDS)
        if begin + lasting + QUIET_SECONDS[0] > seconds:
            return faults
        if not turn:
            turn = rng.sample(list(Kind), len(Kind))
        intensity = round(rng.uniform(*STRENGTHS[strength]), 3)
        faults.append(Planned(turn.pop(), round(begin, 3), lasting, intensity, rng.random()))
        begin += lasting + quiet


def split(ts_ms: int, first_ms: int, seconds: float) -> str:
    """Return "train" for a record of the fault-free beginning, else "test"."""
    return "train" if ts_ms - first_ms < 1_000 * TRAIN_SHARE * seconds else "test"


def label(ts_ms: int, faults: Iterable[Injected]) -> tuple[int | None, Injected | None]:
    """Return the label of the second that ends at ``ts_ms``, and the fault that was in it.

    1 where a fault was in force in a part of the second, ``None`` within 15 s after one, otherwise 0.
    """
    latest = max((each for each in faults if each.start_ms < ts_ms), key=lambda each: each.start_ms, default=None)
    if latest is None:
        return 0, None
    if latest.end_ms is None or ts_ms - STEP_MS < latest.end_ms:
        return 1, latest
    return (None if ts_ms - STEP_MS < latest.end_ms + RECOVERY_MS else 0), None
