"""A stopwatch on the group's offsets: how long a partition stood still."""

import threading
import time
from collections.abc import Collection
from typing import Final

from confluent_kafka import KafkaException

from benchmarks.chaos.world import World

__all__ = ["Pauses"]

LOOK_SECONDS: Final = 0.05


class Pauses:
    """Watches the group's offsets on a thread; the longest time that a partition stood still.

    Args:
        world: whose group.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._offsets: dict[int, int] = {}
        self._since: dict[int, float] = {}
        self._longest: dict[int, float] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pauses", daemon=True)

    def start(self) -> None:
        """Begin watching."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._closing.set()
        self._thread.join(20)

    def begin(self) -> None:
        """Forget what was seen."""
        with self._lock:
            now = time.monotonic()
            self._longest.clear()
            self._since = dict.fromkeys(self._since, now)

    def longest(self, partitions: Collection[int] | None = None) -> float:
        """Seconds, since ``begin``, of these partitions or of all."""
        with self._lock:
            now = time.monotonic()
            seconds = {each: max(self._longest.get(each, 0.0), now - at) for each, at in self._since.items()}
        return round(max(at for each, at in seconds.items() if partitions is None or each in partitions), 2)

    def _run(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            try:
                found = self._world.committed()
            except KafkaException:
                continue
            now = time.monotonic()
            with self._lock:
                for number, offset in found.items():
                    if offset != self._offsets.get(number):
                        gap = now - self._since.get(number, now)
                        self._longest[number] = max(self._longest.get(number, 0.0), gap)
                        self._offsets[number], self._since[number] = offset, now
