import numpy as np
import pytest

from schemas.codec import RecordCodec
from schemas.streams import custom_stream
from tests.detectors.consensus_samples import FIELDS, fitted
from vigil.errors import SettingsError
from vigil.scorers import stream_scorer
from vigil.settings import StreamSettings

HOUR_MS = 3_600_000
HOURLY = custom_stream("hourly", "hourly", FIELDS, HOUR_MS)


def test_nodes_with_a_step_an_hour_are_not_forgotten_between_their_steps() -> None:
    scorer = stream_scorer(HOURLY, StreamSettings(), [fitted()])
    values = [
        dict.fromkeys(FIELDS, 1.0) | {"v": 1, "ts_ms": (1 + step) * HOUR_MS, "node_id": "n"} for step in range(40)
    ]
    decoded = RecordCodec(HOURLY).decode([b"n"] * 40, [str(value).replace("'", '"').encode() for value in values])

    outcome = scorer.process(
        decoded, topic="hourly", partitions=np.zeros(40, dtype=np.int32), offsets=np.arange(40, dtype=np.int64)
    )

    assert len(outcome.verdicts[0].records) == 11


def test_a_time_of_ones_own_that_is_too_short_for_the_steps_is_refused_in_words() -> None:
    with pytest.raises(SettingsError, match=r"streams\.hourly: idle_ms is 1800000"):
        stream_scorer(HOURLY, StreamSettings(idle_s=1800), [fitted()])
