"""What labels are used for on servers: known quarters choose, the others measure."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detectors.evaluation.run import Recording
from vigil.half_labelled import chosen_steps, held, precisions, quarters
from vigil.labelled import read_labelled

STEPS = 400


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """Two servers; after a train part of 200 minutes, ten minutes in every fifty of the labelled time are anomalous."""
    time = np.tile(np.arange(STEPS) * 60_000, 2)
    label = ((time // 60_000 >= 200) & (time // 60_000 % 50 < 10)).astype(np.int8)
    table = {
        "ts_ms": time + 1_760_054_400_000,
        "node_id": np.repeat(["a", "b"], STEPS),
        "split": np.where(time // 60_000 < 200, "train", "test"),
        "load": np.random.default_rng(0).random(2 * STEPS),
    }
    path = tmp_path / "servers.parquet"
    pq.write_table(pa.table({name: pa.array(values) for name, values in table.items()} | {"label": label}), path)
    return read_labelled(path)[0]


def test_each_nodes_labelled_time_is_cut_into_quarters(recording: Recording) -> None:
    quarter = quarters(recording)
    for node in (0, 1):
        assert np.bincount(quarter[recording.nodes == node] + 1).tolist() == [200, 50, 50, 50, 50]


def test_a_score_that_leads_is_held_as_long_as_the_known_labels_last(recording: Recording) -> None:
    begins = np.diff(recording.label, prepend=0) == 1
    score = begins + 0.01 * np.random.default_rng(1).random(len(begins))
    known = np.isin(quarters(recording), (0, 1))
    assert chosen_steps(recording, known, score) == 10
    assert precisions(recording, known, held(recording, score, 10)) == {0: 1.0, 1: 1.0}


def test_a_score_that_is_right_already_is_left_alone(recording: Recording) -> None:
    score = recording.label + 0.01 * np.random.default_rng(1).random(len(recording.label))
    assert chosen_steps(recording, quarters(recording) == 2, score) == 1
