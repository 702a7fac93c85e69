"""Dead-letter limits: stop before a producer's mistake drains a partition into the dead letters."""

from collections import deque
from collections.abc import Callable

import numpy as np
import structlog
from numpy.typing import NDArray

from streams.config import DeadLetterLimits
from streams.errors import DeadLetterLimit
from streams.processor import Batch
from streams.source import Partition

__all__ = ["LimitWatch"]

log = structlog.get_logger("vigil.worker")


class LimitWatch:
    """Counts, by partition, the share of dead letters among the newest records and the current run of them.

    Args:
        limits: the bounds.
    """

    def __init__(self, limits: DeadLetterLimits) -> None:
        self._limits = limits
        self._runs: dict[Partition, int] = {}
        self._recent: dict[Partition, deque[tuple[int, int]]] = {}

    def check(self, batch: Batch, passed: Callable[[], None]) -> None:
        """Count a batch that is not committed yet.

        Args:
            batch: the batch.
            passed: called for each partition that passes a limit.

        Raises:
            DeadLetterLimit: a limit is passed and the worker is to halt.
        """
        for partition, bad in batch.rejected.items():
            limit = self.observe(partition, bad)
            if limit is None:
                continue
            passed()
            if self._limits.action == "halt":
                raise DeadLetterLimit(
                    f"{limit}; {_example(batch, partition)}. Nothing of this batch is committed. "
                    "Fix the producer, or set dead_letters.action to continue"
                )
            log.error("too many dead letters", limit=limit)

    def observe(self, partition: Partition, bad: NDArray[np.bool_]) -> str | None:
        """Count a batch's records of one partition.

        Args:
            partition: which one.
            bad: bool (n,), in log order, whether each is a dead letter; n > 0.

        Returns:
            Which limit is passed, as a sentence, or ``None``.
        """
        run, longest = _runs(bad, self._runs.get(partition, 0))
        self._runs[partition] = run
        recent = self._recent.setdefault(partition, deque())
        recent.append((len(bad), int(bad.sum())))
        total, letters = sum(n for n, _ in recent), sum(n for _, n in recent)
        while total - recent[0][0] >= self._limits.ratio_records:
            n, n_bad = recent.popleft()
            total, letters = total - n, letters - n_bad
        where = f"{partition[0]} [{partition[1]}]"
        if longest > self._limits.max_run:
            return f"{where}: {longest} records in a row are unusable (limit {self._limits.max_run})"
        if total >= self._limits.ratio_records and letters > self._limits.max_ratio * total:
            return (
                f"{where}: {letters} of the newest {total} records are unusable "
                f"({letters / total:.0%}, limit {self._limits.max_ratio:.0%})"
            )
        return None

    def forget(self, partition: Partition) -> None:
        """Start over with a partition that now belongs to another worker."""
        self._runs.pop(partition, None)
        self._recent.pop(partition, None)


def _runs(bad: NDArray[np.bool_], run: int) -> tuple[int, int]:
    """Return the run of dead letters at a batch's end and the longest one in it; ``run`` is the one before it."""
    good = np.flatnonzero(~bad)
    if len(good) == 0:
        return run + len(bad), run + len(bad)
    between = np.diff(good) - 1
    longest = max(run + int(good[0]), int(between.max(initial=0)), len(bad) - 1 - int(good[-1]))
    return len(bad) - 1 - int(good[-1]), longest


def _example(batch: Batch, partition: Partition) -> str:
    letter = next(each for each in batch.dead_letters if (each.topic, each.partition) == partition)
    return f"first at offset {letter.offset}: {letter.code}: {letter.text}"
