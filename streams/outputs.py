"""A batch as records to publish."""

from schemas.codec import encode
from schemas.outputs import Anomaly
from schemas.topics import ANOMALIES, DEAD_LETTERS, partition_of
from streams.config import KafkaConfig
from streams.dead_letters import dead_letter_record
from streams.processor import Batch
from streams.publisher import Headers, OutputRecord
from streams.state import EPOCH_HEADER, WORKER_HEADER, StateRecord

__all__ = ["Outputs"]

LEAST_DEAD_LETTER_BYTES = 1024


class Outputs:
    """Turns batches into records for the configured topics; the same batch always gives the same records.

    Args:
        kafka: names of the topics.
        dead_letter_max_bytes: longer dead letters are cut.
        worker: transactional id, for the window states: whoever finds one in an open transaction can end that.
    """

    def __init__(self, kafka: KafkaConfig, *, dead_letter_max_bytes: int, worker: str = "") -> None:
        self._worker = worker
        self._epochs: dict[int, Headers] = {}
        self._anomalies = kafka.topic("anomalies", ANOMALIES.name)
        self._dead_letters = kafka.topic("dead-letters", DEAD_LETTERS.name)
        self.dead_letter_max_bytes = dead_letter_max_bytes
        self.anomaly_partitions: int | None = None
        """Partitions of the anomalies; each goes to its cluster's, so that whoever groups them reads one partition.
        The key alone decides while this is not known."""

    @property
    def anomalies(self) -> str:
        """Topic of the anomalies."""
        return self._anomalies

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that are published to."""
        return self._anomalies, self._dead_letters

    def records(self, batch: Batch) -> list[OutputRecord]:
        """Anomalies, dead letters and window states of a batch, keyed as the wire contract says."""
        anomalies = [self._anomaly(each) for each in batch.anomalies]
        letters = [
            dead_letter_record(each, self._dead_letters, max_bytes=self.dead_letter_max_bytes)
            for each in batch.dead_letters
        ]
        return anomalies + letters + [self._state(each) for each in batch.states]

    def shrink(self) -> bool:
        """Halve the size of dead letters, because the cluster takes less; false when they are as small as they get."""
        if self.dead_letter_max_bytes <= LEAST_DEAD_LETTER_BYTES:
            return False
        self.dead_letter_max_bytes = max(LEAST_DEAD_LETTER_BYTES, self.dead_letter_max_bytes // 2)
        return True

    def _anomaly(self, anomaly: Anomaly) -> OutputRecord:
        count = self.anomaly_partitions
        partition = -1 if count is None else partition_of(anomaly.cluster, anomaly.node_id, count)
        return OutputRecord(self._anomalies, anomaly.node_id.encode(), encode(anomaly), [], partition)

    def _state(self, record: StateRecord) -> OutputRecord:
        headers = self._headers(record.epoch) if record.value is not None else []
        return OutputRecord(record.topic, record.key, record.value, headers, record.partition)

    def _headers(self, epoch: int) -> Headers:
        known = self._epochs.get(epoch)
        if known is None:
            known = self._epochs[epoch] = [(EPOCH_HEADER, str(epoch)), (WORKER_HEADER, self._worker)]
        return known
