"""The partitions a worker holds: their windows are brought back when they come and forgotten when they go."""

from collections.abc import Callable, Mapping, Sequence

import structlog

from streams.errors import WorkerFatal
from streams.group_offsets import UNSTABLE
from streams.lifecycle import Action, Assigned, Drop, Event, Lifecycle, Restore, Revoked
from streams.limits import LimitWatch
from streams.processor import Batch, Processor
from streams.recovery import Recovery
from streams.source import Partition, Source
from streams.stopping import StopRequest

__all__ = ["Holdings"]

log = structlog.get_logger("vigil.worker")


class Holdings:
    """Runs the state machine: what it asks for is done here, inside the rebalance where there is one.

    Args:
        processor: whose windows belong to the partitions.
        limits: forgets with them.
        stop: ends waiting.
        alive: called while waiting.
    """

    def __init__(
        self, processor: Processor, limits: LimitWatch, *, stop: StopRequest, alive: Callable[[], None]
    ) -> None:
        self.lifecycle = Lifecycle()
        self.recovery: Recovery | None = None
        """Brings windows back; ``None`` where they are not kept."""
        self.unstable: dict[Partition, int] = {}
        """Offsets to commit again before anything else: Kafka left a transaction over them open."""
        self.restoring = False
        """Whether partitions are held of which the windows are not back yet."""
        self._processor, self._limits = processor, limits
        self._stop, self._alive = stop, alive
        self._starts: dict[Partition, int] = {}

    def assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Take partitions; returns where to read on, for those that do not go on at the committed offset."""
        self._starts = {}
        self.handle(Assigned(partitions))
        return self._starts

    def revoked(self, partitions: Sequence[Partition], lost: bool) -> None:
        """Give partitions up."""
        self.handle(Revoked(partitions, lost))

    def handle(self, event: Event) -> None:
        """Pass an event to the state machine and do what it asks for."""
        self.lifecycle, actions = self.lifecycle.after(event)
        for action in actions:
            self._act(action)

    def abandon(self, batch: Batch, source: Source) -> None:
        """Give a batch up that can never be committed: its windows have moved on without it, so they are forgotten.

        Raises:
            WorkerFatal: Kafka does not say where to go on.
        """
        mine = [partition for partition in batch.offsets if partition in self.lifecycle.held]
        for partition in mine:
            self._forget(partition)
        starts = self._restored(mine)
        source.rewind(starts)
        rest = {partition: start for partition, start in batch.starts.items() if partition not in starts}
        if not source.rewind_to_committed(rest, stop=self._stop, alive=self._alive):
            raise WorkerFatal(f"cannot find out where to read on: {UNSTABLE}")

    def _act(self, action: Action) -> None:
        match action:
            case Restore(partitions):
                log.info("partitions assigned", partitions=_names(partitions), held=len(self.lifecycle.held))
                self._starts.update(self._restored(partitions))
            case Drop(partitions):
                log.info("partitions given up", partitions=_names(partitions), held=len(self.lifecycle.held))
                for partition in partitions:
                    self._forget(partition)
            case _:
                log.info("stopping")

    def _restored(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        if self.recovery is None or not partitions:
            return {}
        self.restoring = True
        try:
            return self.recovery.restore(partitions, self._processor.restore)
        finally:
            self.restoring = False

    def _forget(self, partition: Partition) -> None:
        self._processor.drop(partition)
        self._limits.forget(partition)
        self.unstable.pop(partition, None)


def _names(partitions: Sequence[Partition]) -> list[str]:
    return [f"{topic}[{number}]" for topic, number in partitions]
