"""Notices partitions that are assigned and do not advance although their log has more: says so, and ends the worker."""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.group_offsets import UNSTABLE, committed_offsets
from streams.kafka import NOT_SHARED, Properties
from streams.source import Partition
from streams.standstill import Look, Standstill, Stuck

__all__ = ["LogEnds", "Watchdog", "WatchdogEvents", "stacks"]

CALL_SECONDS: Final = 5.0
LOOKS: Final = 10  # in the time after which a partition counts as stuck
LEAST_SECONDS, MOST_SECONDS = 0.1, 10.0

log = structlog.get_logger("vigil.watchdog")


class LogEnds:
    """Asks Kafka about logs and offsets, with a client of its own: the worker's may be what hangs.

    Args:
        properties: librdkafka properties of a consumer that reads committed records, with the worker's group.
    """

    def __init__(self, properties: Properties) -> None:
        self._properties = {name: value for name, value in properties.items() if name not in NOT_SHARED}
        self._client: Consumer | None = None

    def ends(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return the offset after the last committed record of each partition, until one does not answer."""
        found = {}
        for each in partitions:
            try:
                _, end = self._consumer().get_watermark_offsets(TopicPartition(*each), timeout=CALL_SECONDS)
            except KafkaException as error:
                log.warning("waiting for Kafka", call="watermarks", error=error.args[0].str())
                break
            found[each] = int(end)
        return found

    def unstable(self, partitions: Sequence[Partition]) -> bool:
        """Tell whether a transaction over the group's offsets of these partitions seems to be open."""
        try:
            return committed_offsets(self._consumer(), partitions, CALL_SECONDS) is None
        except KafkaException as error:
            log.warning("the group's offsets are not known", error=error.args[0].str())
            return False

    def close(self) -> None:
        """End the client."""
        if self._client is not None:
            self._client.close()

    def _consumer(self) -> Consumer:
        if self._client is None:
            self._client = Consumer(self._properties, logger=logging.getLogger("vigil.librdkafka"))
        return self._client


@dataclass(frozen=True, slots=True)
class WatchdogEvents:
    """Who is told what, on the watchdog's thread.

    Attributes:
        stuck: how many partitions are stuck now.
        give_up: that the worker must end, and why.
    """

    stuck: Callable[[int], None]
    give_up: Callable[[str], None]


class Watchdog:
    """Looks at the partitions now and then, on a thread of its own.

    Args:
        look: the partitions held, each with its position and what the client passed (``end`` not known yet).
        kafka: asked for the ends of those that did not move since the last look; the others cost nothing.
        stuck_s: a partition that stands still for longer is reported, with the stacks of all threads.
        exit_s: one that stands still for longer ends the worker; ``None`` for never.
        events: who is told.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        look: Callable[[], Mapping[Partition, Look]],
        kafka: LogEnds,
        *,
        stuck_s: float,
        exit_s: float | None,
        events: WatchdogEvents,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look, self._kafka, self._events, self._clock = look, kafka, events, clock
        self._stuck_s, self._exit_s = stuck_s, exit_s
        self._state = Standstill()
        self._reported: frozenset[Partition] = frozenset()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin looking."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; a look under way ends by itself."""
        self._closing.set()

    def turn(self) -> None:
        """Look once."""
        looks = dict(self._look())
        quiet = [each for each, look in looks.items() if self._stands(each, look)]
        ends = self._kafka.ends(quiet) if quiet else {}
        now = self._clock()
        full = {each: Look(look.position, look.passed, ends.get(each)) for each, look in looks.items()}
        self._state = self._state.after(full, now)
        stuck = self._state.stuck(now, self._stuck_s)
        self._events.stuck(len(stuck))
        self._report({each: one for each, one in stuck.items() if each not in self._reported})
        self._reported = frozenset(stuck)
        if self._exit_s is not None and (gone := self._state.stuck(now, self._exit_s)):
            self._events.give_up(self._reason(gone))
            self.close()

    def _run(self) -> None:
        pause = min(MOST_SECONDS, max(LEAST_SECONDS, self._stuck_s / LOOKS))
        try:
            while not self._closing.wait(pause):
                self.turn()
        finally:
            self._kafka.close()

    def _stands(self, partition: Partition, look: Look) -> bool:
        before = self._state.latest.get(partition)
        return before is not None and before.position == look.position

    def _report(self, stuck: Mapping[Partition, Stuck]) -> None:
        if stuck:
            log.error("partitions stand still although there is more to read", stuck=_said(stuck), stacks=stacks())

    def _reason(self, stuck: Mapping[Partition, Stuck]) -> str:
        what = f"partitions stand still although there is more to read: {'; '.join(_said(stuck))}"
        return f"{what}. {UNSTABLE}" if self._kafka.unstable(list(stuck)) else what


def stacks() -> str:
    """Return what every thread of this process is doing."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001 -- the documented way to all threads' frames
    return "\n".join(
        f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in frames.items()
    )


def _said(stuck: Mapping[Partition, Stuck]) -> list[str]:
    return [
        f"{topic}[{number}] at {'its start' if one.position is None else one.position} of {one.end} "
        f"for {one.seconds:.0f} s"
        for (topic, number), one in sorted(stuck.items())
    ]
