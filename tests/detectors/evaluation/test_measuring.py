"""What is measured of a recording: which rows, of which nodes, and how figures come together."""

from dataclasses import replace

import numpy as np
import pytest

from detectors.evaluation.events import Fault
from detectors.evaluation.run import EvaluationError, Recording, Scored, measure, score_baselines, sort_recording
from tests.detectors.evaluation.recordings import FAULT, START, STEPS, columns, recording


def scored(scores: np.ndarray, limit: float = 0.5) -> Scored:
    return Scored("model", scores, np.full(len(scores), limit), {"baseline": False})


def test_rows_of_train_and_rows_without_a_label_do_not_count() -> None:
    made = recording()
    truth = (made.label == 1).astype(float)
    truth[made.label == -1] = 9.0
    truth[made.train] = 9.0
    result = measure(made, scored(truth))
    assert (result["average_precision"], result["f1"], result["false_positive_rows"]) == (1.0, 1.0, 0)
    assert result["label_0_rows"] == 3 * (300 - 30 - 5)
    assert (result["events"], result["events_seen"], result["median_delay_s"]) == (3, 3, 0.0)


def test_figures_are_means_over_nodes_unless_the_nodes_are_one_cluster() -> None:
    made = recording(2)
    scores = (made.label == 1).astype(float)
    scores[made.nodes == 1] *= -1.0  # the second node is perfectly wrong
    of_nodes = measure(made, scored(scores))
    pooled = measure(replace(made, pooled=True), scored(scores))
    assert (of_nodes["recall"], of_nodes["precision"], of_nodes["roc_auc"]) == (0.5, 0.5, 0.5)
    assert (pooled["recall"], pooled["precision"]) == (0.5, 1.0)
    assert of_nodes["events_seen"] == pooled["events_seen"] == 1


def test_a_step_without_a_verdict_ranks_below_all_others_and_raises_no_alarm() -> None:
    made = recording(1)
    scores = np.where(made.label == 1, 2.0, 1.0)
    scores[FAULT.start : FAULT.start + 10] = np.nan
    result = measure(made, scored(scores, 0.5))
    # 20 rows first, then the 265 normal ones, then the 10 without a verdict.
    last = [(20 + hit) / (20 + 265 + 10) for hit in [10]]
    assert result["average_precision"] == pytest.approx((20 + 10 * last[0]) / 30)
    assert result["recall"] == pytest.approx(20 / 30)
    assert result["median_delay_s"] == 10.0
    assert result["share_without_verdict"] == pytest.approx(10 / 295)


def test_events_are_the_clusters_faults_where_they_are_known() -> None:
    fault = Fault(START + 1000 * FAULT.start - 300, START + 1000 * FAULT.stop)
    made = replace(recording(pooled=True), faults=(fault,))
    result = measure(made, scored((made.label == 1).astype(float)))
    assert (result["events"], result["events_seen"], result["median_delay_s"]) == (1, 1, 0.3)


def test_rows_with_a_gap_are_left_out_of_fits_and_get_no_verdict() -> None:
    rows = columns(1)
    rows.values[10, 0] = rows.values[500, 1] = np.nan
    sorted_rows, nodes = sort_recording(rows)
    made = Recording("gaps", sorted_rows, nodes, (0, 1, 2), log=False, step_ms=1000, pooled=False)
    for each in score_baselines(made):
        assert np.flatnonzero(np.isnan(each.scores)).tolist() == [10, 500]


def test_a_recording_is_sorted_by_node_and_then_by_time() -> None:
    rows = columns(2)
    order = np.random.default_rng(0).permutation(2 * STEPS)
    mixed = replace(
        rows,
        node_ids=rows.node_ids[order],
        ts_ms=rows.ts_ms[order],
        values=rows.values[order],
        split=rows.split[order],
        label=rows.label[order],
    )
    again, nodes = sort_recording(mixed)
    assert (again.values == rows.values).all()
    assert nodes.tolist() == [0] * STEPS + [1] * STEPS


def test_a_recording_without_labels_or_labelled_test_rows_is_refused() -> None:
    made = recording(1)
    bare = replace(made, columns=replace(made.columns, label=None))
    with pytest.raises(EvaluationError, match="no column label"):
        measure(bare, scored(np.zeros(STEPS)))
    only_train = replace(made, columns=replace(made.columns, split=np.full(STEPS, "train")))
    with pytest.raises(EvaluationError, match="no labelled test rows"):
        measure(only_train, scored(np.zeros(STEPS)))
