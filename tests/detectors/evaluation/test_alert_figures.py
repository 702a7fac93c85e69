"""Alerts against faults, counted by hand."""

import pytest

from detectors.evaluation.alerts import alert_figures
from detectors.evaluation.events import Fault
from schemas.outputs import Alert, alert_fingerprint, alert_id

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


def firing(started: int, fired: int, ended: int, resolved: int, *, of: int | None = None) -> list[Alert]:
    """The two changes of an alert, seconds after the start; ``of``: the start of the alert that comes back."""
    name = alert_fingerprint("cluster:a", START_MS + 1000 * (started if of is None else of))

    def change(number: int, at: int, end: int | None) -> Alert:
        return Alert(
            id=alert_id(name, number),
            fingerprint=name,
            status="firing" if end is None else "resolved",
            severity="critical",
            detectors=("consensus",),
            node_id="n0",
            cluster="a",
            started_ms=START_MS + 1000 * (started if of is None else of),
            ended_ms=None if end is None else START_MS + 1000 * end,
            updated_ms=START_MS + 1000 * at,
            peak_score=2.0,
            summary="",
            contributions=(),
            anomaly_count=2,
            runbook="",
        )

    return [change(0, fired, None), change(1, resolved, ended)]


def fault(start: int, end: int, cluster: str = "") -> Fault:
    return Fault(START_MS + 1000 * start, START_MS + 1000 * end, cluster=cluster)


def test_delays_count_the_time_that_event_time_is_held_back() -> None:
    figures = alert_figures(firing(101, 102, 125, 140), [fault(100, 120)], HOUR_MS)
    assert (figures.faults_covered, figures.alerts_opened, figures.alerts_unrelated) == (1, 1, 0)
    assert (figures.median_fire_delay_s, figures.median_resolve_delay_s) == (4.0, 22.0)


def test_an_alert_far_from_every_fault_is_unrelated() -> None:
    figures = alert_figures([*firing(101, 102, 125, 140), *firing(500, 502, 510, 525)], [fault(100, 120)], HOUR_MS // 2)
    assert (figures.alerts_unrelated, figures.unrelated_an_hour, figures.alerts_a_fault) == (1, 2.0, 1.0)


def test_an_alert_that_stays_open_does_not_cover_the_next_fault() -> None:
    figures = alert_figures(firing(101, 102, 325, 340), [fault(100, 120), fault(300, 320)], HOUR_MS)
    assert (figures.faults, figures.faults_covered, figures.alerts_unrelated) == (2, 1, 0)


def test_an_alert_that_is_not_resolved_counts_and_says_nothing_of_the_delay() -> None:
    changes = [*firing(101, 102, 125, 140), firing(300, 302, 325, 340)[0]]
    figures = alert_figures(changes, [fault(100, 120), fault(300, 320)], HOUR_MS)
    assert (figures.alerts_opened, figures.faults_covered, figures.alerts_unrelated) == (2, 2, 0)
    assert (figures.median_fire_delay_s, figures.median_resolve_delay_s) == (4.0, 22.0)


def test_an_alert_that_comes_back_covers_the_next_fault() -> None:
    changes = [*firing(101, 102, 125, 140), *firing(150, 152, 170, 200, of=101)]
    figures = alert_figures(changes, [fault(100, 120), fault(150, 165)], HOUR_MS)
    assert (figures.faults_covered, figures.alerts_opened, figures.alerts_a_fault) == (2, 1, 0.5)


@pytest.mark.parametrize("cluster", ["b", "c"])
def test_a_fault_of_another_cluster_is_not_covered(cluster: str) -> None:
    figures = alert_figures(firing(101, 102, 125, 140), [fault(100, 120, cluster)], HOUR_MS)
    assert (figures.faults_covered, figures.alerts_unrelated, figures.median_fire_delay_s) == (0, 1, None)
