"""Feedback moves the level from which a node opens alerts, within bounds."""

from alert_samples import START_MS, flagged, silent

from detectors.alerts import AlertPlane
from detectors.alerts.feedback import HIGHEST, levels
from schemas.controls import Feedback, Verdict
from schemas.outputs import Alert, Anomaly, alert_fingerprint


def said(*verdicts: Verdict, node: str = "n0") -> list[Feedback]:
    return [
        Feedback(
            fingerprint=alert_fingerprint("cluster:a", START_MS + place),
            node_id=node,
            verdict=verdict,
            by="kim",
            comment="",
            at_ms=START_MS,
        )
        for place, verdict in enumerate(verdicts)
    ]


def alerts(anomalies: list[Anomaly], feedback: list[Feedback]) -> list[Alert]:
    plane = AlertPlane()
    plane.levels = levels(feedback)
    for anomaly in anomalies:
        plane.observe(anomaly)
    return plane.advance(START_MS + 1_000_000)


def test_noise_raises_a_nodes_level_real_takes_it_back_and_both_stay_within_bounds() -> None:
    assert levels(said("noise")) == {"n0": 1.25}
    assert levels(said("noise", "real")) == {}
    assert levels(said("real", "real")) == {}
    assert levels(said("expected")) == {"n0": 1.1}
    assert levels(said(*["noise"] * 50)) == {"n0": HIGHEST}
    assert levels([*said("noise"), *said("noise", node="n1")]) == {"n0": 1.25, "n1": 1.25}


def test_weak_anomalies_of_a_noisy_node_open_nothing_strong_ones_and_other_nodes_do() -> None:
    noisy = said("noise", "noise")
    weak = [flagged("n0", second, ratio=1.5) for second in range(5)]
    assert alerts(weak, [])
    assert not alerts(weak, noisy)
    assert alerts([flagged("n0", second, ratio=1.6) for second in range(5)], noisy)
    assert alerts([flagged("n1", second, ratio=1.5) for second in range(5)], noisy)


def test_a_silence_is_told_whatever_the_level() -> None:
    assert alerts([silent("n0", 5)], said(*["noise"] * 50))


def test_an_acknowledgement_of_an_earlier_change_is_none() -> None:
    plane = AlertPlane()
    for second in range(3):
        plane.observe(flagged("n0", second, severity="warning"))
    [first] = plane.advance(START_MS + 3_000)
    for second in range(3, 6):
        plane.observe(flagged("n0", second))
    [worse] = plane.advance(START_MS + 6_000)
    assert not plane.acknowledge(first.fingerprint, first.id)
    assert plane.acknowledge(first.fingerprint, worse.id)
    assert plane.touched()
