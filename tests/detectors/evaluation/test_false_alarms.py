"""False alarms without a fault: episodes, rates, severities, periods and first hours, by hand."""

import numpy as np
import pytest

from detectors.evaluation.fault_free import Alarms, Run, fault_free_figures, find_alarms, first_verdicts, join_alarms

NAN = float("nan")


def alarms(*each: tuple[int, int, float]) -> Alarms:
    node, step, peak = zip(*each, strict=True) if each else ((), (), ())
    return Alarms(np.array(node, dtype=np.int64), np.array(step, dtype=np.int64), np.array(peak, dtype=np.float64))


def minutes(nodes: int, days: float) -> Run:
    """A run with a step a minute, so that a day has 1,440."""
    return Run(nodes, round(days * 1440), 60_000, (10.0, 100.0), asked=2.0)


def test_an_episode_has_a_node_a_first_step_and_a_peak() -> None:
    scores = np.full((3, 60), 1.0)
    scores[:, :29] = NAN
    scores[0, [29, 31, 41]] = 5.0, 9.0, 6.0  # ten steps apart are one episode
    scores[0, 53] = 7.0  # twelve are two
    scores[2, 59] = 4.5
    found = find_alarms(scores, scores > 4.0, node=10, step=1_000)
    assert found.node.tolist() == [10, 10, 12]
    assert found.step.tolist() == [1_029, 1_053, 1_059]
    assert found.peak.tolist() == [9.0, 7.0, 4.5]


def test_a_high_score_that_is_not_flagged_is_no_alarm() -> None:
    scores = np.full((2, 50), 9.0)
    flagged = np.zeros((2, 50), dtype=bool)
    flagged[1, 7] = True
    scores[1, 7] = 5.0
    found = find_alarms(scores, flagged)
    assert (found.node.tolist(), found.step.tolist(), found.peak.tolist()) == ([1], [7], [5.0])


def test_the_first_verdict_comes_after_the_steps_that_a_node_waited() -> None:
    scores = np.array([[NAN, NAN, 1.0, NAN], [1.0, 1.0, 1.0, 1.0], [NAN, NAN, NAN, NAN]])
    assert first_verdicts(scores).tolist() == [3, 1, 5]


def test_rates_are_by_node_day_and_against_what_was_asked() -> None:
    found = fault_free_figures(
        join_alarms([alarms((0, 70, 5.0)), alarms((0, 2000, 50.0), (3, 900, 500.0))]), minutes(4, 3)
    )
    assert (found["false_alarms"], found["node_days"], found["days"]) == (3, 12.0, 3.0)
    assert found["false_alarms_per_node_day"] == pytest.approx(0.25)
    assert found["times_asked"] == pytest.approx(0.125)
    assert {name: rate["false_alarms"] for name, rate in found["by_severity"].items()} == {
        "info": 1, "warning": 1, "critical": 1,
    }  # fmt: skip
    assert (found["nodes_without_false_alarm"], found["most_false_alarms_of_a_node"]) == (2, 2)


def test_a_short_run_is_told_by_day_and_a_long_one_by_week() -> None:
    short = fault_free_figures(alarms((0, 1439, 5.0), (0, 1440, 5.0), (1, 3000, 5.0)), minutes(2, 2.5))
    assert [(each["period"], each["number"], each["false_alarms"]) for each in short["by_period"]] == [
        ("day", 1, 1), ("day", 2, 1), ("day", 3, 1),
    ]  # fmt: skip
    assert [each["node_days"] for each in short["by_period"]] == [2.0, 2.0, 1.0]
    long = fault_free_figures(alarms((0, 7 * 1440 - 1, 5.0), (0, 7 * 1440, 5.0)), minutes(1, 9))
    assert [(each["period"], each["false_alarms"], each["node_days"]) for each in long["by_period"]] == [
        ("week", 1, 7.0), ("week", 1, 2.0),
    ]  # fmt: skip
    assert long["by_period"][1]["times_asked"] == pytest.approx(0.25)


def test_the_first_hour_is_measured_against_all_later_ones() -> None:
    found = fault_free_figures(alarms((0, 59, 5.0), (1, 60, 5.0), (1, 700, 5.0)), minutes(2, 11 / 24))["first_hour"]
    assert (found["false_alarms"], found["node_days"]) == (1, pytest.approx(2 / 24))
    assert found["usual_false_alarms_per_node_day"] == pytest.approx(2 / (20 / 24))
    assert found["times_usual"] == pytest.approx(5.0)  # one in 2 node-hours against two in 20


@pytest.mark.parametrize("days", [0.5 / 24, 1.0])
def test_a_ratio_to_nothing_is_not_defined(days: float) -> None:
    found = fault_free_figures(alarms((0, 3, 5.0)), minutes(1, days))["first_hour"]
    assert found["false_alarms"] == 1
    assert found["times_usual"] is None
