"""Reads the clock and follows the anomalies, on one thread, in the order in which that means something."""

from collections.abc import Mapping
from dataclasses import dataclass

from streams.alerting.clocks import AnomalyClock, Clock, TelemetryClock, WallClock
from streams.alerting.config import AlertingConfig
from streams.alerting.follower import Follower
from streams.config import KafkaConfig

__all__ = ["Timekeeper", "Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """How far event time may pass, and when.

    Attributes:
        now_ms: event time, epoch, milliseconds.
        needed: the newest anomaly of each partition that has to be taken in before.
    """

    now_ms: int
    needed: Mapping[int, int]


class Timekeeper:
    """One clock and the anomalies beside it. For one thread.

    First the clock looks at what was done, then the anomalies are read to their end: so all that belongs to that time
    is below the offsets returned.

    Args:
        kafka: where, and as whom.
        config: which clock.
        anomalies: the topic.
    """

    def __init__(self, kafka: KafkaConfig, config: AlertingConfig, anomalies: str) -> None:
        self._hold_back_ms = round(config.hold_back_s * 1000)
        self._clock = _clock(kafka, config)
        self.follower = Follower(kafka, anomalies, group=config.group_id, timed=config.clock == "anomalies")

    def read(self) -> Timing | None:
        """Look once.

        Returns:
            How far time may pass; ``None`` when that is not known now.

        Raises:
            KafkaException: Kafka is away, or refuses.
        """
        self._clock.begin()
        followed = self.follower.follow()
        reached = None if followed is None else self._clock.reached_ms(followed)
        if followed is None or reached is None:
            return None
        # What the group has committed is done, also by an instance that is no more.
        needed = {number: at for number, at in followed.newest.items() if followed.committed.get(number, 0) <= at}
        return Timing(reached - self._hold_back_ms, needed)

    def close(self) -> None:
        """Let go of Kafka."""
        self._clock.close()
        self.follower.close()


def _clock(kafka: KafkaConfig, config: AlertingConfig) -> Clock:
    if config.clock == "wall":
        return WallClock()
    if config.clock == "anomalies":
        return AnomalyClock()
    return TelemetryClock(kafka, config.telemetry, group=config.worker_group, stall_s=config.stall_s)
