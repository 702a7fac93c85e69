"""Which faults made a node fall silent, how soon that was told, and which silences were no fault's.

Beside the figures of a model, never in them: what a detector makes of windows stays comparable.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from detectors.evaluation.events import AFTER_MS, Fault
from detectors.offline import NEVER_MS, Steps
from detectors.silence import SilenceDetector, usual_limit_ms
from features.appended import Silence
from features.rules import SilenceRules
from features.windows import WindowStore

GAP_STEPS: Final = 5
_STEPS_AT_ONCE: Final = 8_192


def find_silences(steps: Steps, clusters: Sequence[str | None] | None = None) -> tuple[SilenceDetector, list[Silence]]:
    """Find the silences of a recording at the usual limit, as a worker with one partition would.

    Args:
        steps: n steps in log order.
        clusters: n names.

    Returns:
        The detector, and the silences in the order in which they were told; ``record`` is the place among the steps.
    """
    limit_ms = usual_limit_ms(steps.step_ms, GAP_STEPS)
    store = WindowStore(1, step_ms=steps.step_ms, gap_steps=GAP_STEPS, idle_ms=NEVER_MS, silence_ms=limit_ms)
    found: list[Silence] = []
    for start in range(0, len(steps), _STEPS_AT_ONCE):
        part = slice(start, start + _STEPS_AT_ONCE)
        n = len(steps.ts_ms[part])
        appended = store.append(
            np.zeros(n, np.int32),
            steps.keys[part],
            steps.ts_ms[part],
            np.zeros((n, 1), np.float32),
            offsets=start + np.arange(n),
            labels=None if clusters is None else [(name, None) for name in clusters[part]],
        )
        found += appended.silences
    return SilenceDetector(SilenceRules.of(store.rules)), found


def silence_figures(
    steps: Steps, faults: Sequence[Fault], clusters: Sequence[str | None] | None = None, *, complete: bool
) -> dict[str, Any]:
    """Return how silences and faults go together, over the whole recording.

    Args:
        steps: n steps in log order.
        faults: injected or reported.
        clusters: n names.
        complete: whether those are all faults there were; otherwise no silence can be called false.
    """
    detector, silences = find_silences(steps, clusters)
    told = [(each, detector.told_ms(each.last_ms)) for each in silences]
    first = {
        fault: min((at for each, at in told if _belongs(each, at, fault)), default=None)
        for fault in dict.fromkeys(faults)
    }
    seen = {fault: at for fault, at in first.items() if at is not None}
    kinds, seen_kinds = Counter(fault.kind for fault in first), Counter(fault.kind for fault in seen)
    strays = [each for each, at in told if not any(_belongs(each, at, fault) for fault in faults)]
    delays = [(at - fault.start_ms) / 1000 for fault, at in seen.items()]
    return {
        "limit_s": detector.threshold,
        "told": len(told),
        "false": len(strays) if complete else None,
        "faults_seen": len(seen),
        "median_delay_s": float(np.median(delays)) if delays else None,
        "by_kind": {kind: {"faults": count, "seen": seen_kinds[kind]} for kind, count in sorted(kinds.items())},
    }


def _belongs(silence: Silence, at: int, fault: Fault) -> bool:
    """Whether the silent time and the fault have a moment in common."""
    same = not fault.cluster or fault.cluster == silence.cluster
    return same and silence.last_ms <= fault.end_ms + AFTER_MS and at >= fault.start_ms
