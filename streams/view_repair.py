"""What the view would not get again by itself: silences are told when they begin and end, not with every step.

A Redis that lost its data knows of none; and where a worker died between its commit and its write, of an end, or of a
beginning, nobody will speak again.
"""

from collections.abc import Callable, Collection, Iterable

from streams.redis_view import RedisView
from streams.source import Partition
from streams.verdicts import NodeVerdict

__all__ = ["ViewRepair"]


class ViewRepair:
    """Tells the view again who is silent, where it may not know: after Redis was empty, and for partitions that came.

    Args:
        view: where to.
        silences: the verdicts on all nodes of a partition, silent or not.
    """

    def __init__(self, view: RedisView, silences: Callable[[Partition], list[NodeVerdict]]) -> None:
        self._view, self._silences = view, silences
        self._known: set[Partition] = set()

    def committed(self, partitions: Iterable[Partition], held: Collection[Partition]) -> None:
        """Take the partitions of a batch that is committed, and those held now.

        Args:
            partitions: those of the batch; who is silent is known once a partition had one.
            held: all.
        """
        if self._view.emptied.is_set():
            self._view.emptied.clear()
            self._known.clear()
        self._known.intersection_update(held)
        for partition in partitions:
            if partition not in self._known:
                self._known.add(partition)
                self._view.offer(self._silences(partition))
