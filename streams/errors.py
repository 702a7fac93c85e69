"""What can go wrong in a worker.

StreamsError
 +-- StreamsConfigError       a setting cannot work; names the setting and what to write instead
 +-- TopicsError              topics cannot be listed or created
 +-- IncidentsError           the incident topic cannot be read
 +-- RebuildError             the view in Redis cannot be made again from Kafka
 +-- TopicUnreadableError     a topic is not there, may not be read, or was not read to its end in time
 +-- AnomalyAmbiguousError    several anomalies begin with the digits that were given
 +-- ReplayImpossibleError    the telemetry of an anomaly is not in Kafka any more, or is other telemetry
 +-- WorkerFatal              the worker must end (non-zero) and be started again by the orchestrator
      +-- DeadLetterLimit     too many records of a partition are unusable: stopped before they drain away
"""

__all__ = [
    "AnomalyAmbiguousError",
    "DeadLetterLimit",
    "IncidentsError",
    "RebuildError",
    "ReplayImpossibleError",
    "StreamsConfigError",
    "StreamsError",
    "TopicUnreadableError",
    "TopicsError",
    "WorkerFatal",
]


class StreamsError(Exception):
    """Base of everything this package raises on its own account."""


class StreamsConfigError(StreamsError):
    """A setting cannot work: the message names it, its value and the fix."""


class TopicsError(StreamsError):
    """The cluster refused to list or create topics: the message says which and why."""


class IncidentsError(StreamsError):
    """The incident topic cannot be read, or a record in it is no incident: the message says which and why."""


class RebuildError(StreamsError):
    """The topic from which the view in Redis is made again cannot be read: the message says which and why."""


class TopicUnreadableError(StreamsError):
    """A topic is not there, may not be read, or was not read to its end in time: the message says which and why."""


class AnomalyAmbiguousError(StreamsError):
    """Several anomalies begin with the digits that were given: the message names some."""


class ReplayImpossibleError(StreamsError):
    """An anomaly's telemetry cannot be replayed: the message says what is missing."""


class WorkerFatal(StreamsError):  # noqa: N818 -- it says what it does, as KafkaError.fatal() does
    """The worker cannot go on in this process: it must exit non-zero and be started again.

    Nothing is lost: whatever was not committed is read again, by this worker after its restart or by another one.
    """


class DeadLetterLimit(WorkerFatal):
    """Too large a share of a partition's records is unusable, so the worker stopped before committing them."""
