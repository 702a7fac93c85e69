"""What Alertmanager is told, word by word; that it takes it is shown with a real one."""

from typing import Any

import pytest
from alert_samples import START_MS, flagged
from msgspec.structs import replace

from detectors.alerts import AlertPlane
from schemas.codec import encode
from schemas.controls import Silence, control_key, decode_control, matches
from schemas.outputs import Alert
from streams.alerting.alertmanager import Alertmanager, annotations_of, labels_of
from streams.alerting.alertmanager_silences import mirrored, silence_body
from streams.alerting.config import SinksConfig
from streams.alerting.controls import Controls

NOW_MS = START_MS + 60_000
CONFIG = SinksConfig(
    runbooks="https://wiki/", dashboard="https://grafana/?c={cluster}&n={node}&from={from_ms}&to={to_ms}"
)


def changes() -> list[Alert]:
    plane = AlertPlane()
    for second in range(4):
        plane.observe(flagged("n>0", second, kind="network_congestion"))
    return plane.advance(START_MS + 60_000)


FIRING, RESOLVED = changes()


def body(alertmanager: Alertmanager, *alerts: Alert) -> list[dict[str, Any]]:
    return alertmanager.body(alerts, NOW_MS)


def test_labels_say_which_alert_and_annotations_what_it_is() -> None:
    assert labels_of(FIRING) == {
        "alertname": "NetworkCongestion",
        "severity": "critical",
        "cluster": "etcd-a",
        "region": "lab",
        "node": "n>0",
        "kind": "network_congestion",
        "job": "vigil",
    }
    notes = annotations_of(FIRING, CONFIG)
    assert notes["summary"] == FIRING.summary
    assert "Score up to 4 times the threshold" in notes["description"]
    assert "latency_p99 88 (usually 7)" in notes["description"]
    assert notes["runbook_url"] == "https://wiki/docs/runbooks/network_congestion.md"
    assert notes["dashboard_url"] == (
        f"https://grafana/?c=etcd-a&n=n%3E0&from={START_MS - 300_000}&to={FIRING.updated_ms + 300_000}"
    )


def test_an_open_alert_ends_by_itself_and_one_that_is_over_ends_now() -> None:
    [opened] = body(Alertmanager("http://am:9093/", CONFIG), FIRING)
    assert (opened["startsAt"], opened["endsAt"]) == ("2027-01-15T08:00:00.000Z", "2027-01-15T08:06:00.000Z")
    [over] = body(Alertmanager("http://am:9093", CONFIG), RESOLVED)
    assert over["endsAt"] == "2027-01-15T08:01:00.000Z"


def test_an_alert_of_the_future_begins_now() -> None:
    late = replace(FIRING, started_ms=NOW_MS + 3_600_000)
    [opened] = body(Alertmanager("http://am", CONFIG), late)
    assert opened["startsAt"] == "2027-01-15T08:01:00.000Z"


def silence(**given: Any) -> Silence:
    times = {"starts_ms": START_MS, "ends_ms": START_MS + 3_600_000}
    return Silence(**{"id": "0f" * 16, "by": "kim", "comment": "new switch", **times, **given})


@pytest.mark.parametrize(
    ("given", "is_for"),
    [
        ({"cluster": "etcd-a"}, True),
        ({"cluster": "etcd-b"}, False),
        ({"cluster": "etcd-a", "severity": "warning"}, False),
        ({"node_id": "n>0", "kind": "network_congestion"}, True),
        ({"cluster": "etcd-a", "ends_ms": START_MS + 60_000}, False),
        ({"cluster": "etcd-a", "starts_ms": START_MS + 60_001}, False),
    ],
)
def test_a_silence_is_for_what_it_names_while_it_lasts(given: dict[str, Any], is_for: bool) -> None:
    assert matches(silence(**given), FIRING, NOW_MS) is is_for


def test_of_two_silences_the_one_that_lasts_longer_is_named() -> None:
    controls = Controls()
    for place, hours in enumerate((1, 3, 2)):
        one = silence(id=f"{place:032x}", cluster="etcd-a", ends_ms=START_MS + hours * 3_600_000)
        controls.put(control_key(one), one)
    held = controls.silence_of(FIRING, NOW_MS)
    assert held is not None
    assert held.id == f"{1:032x}"


def test_a_silence_is_found_again_in_alertmanager_by_its_own_id() -> None:
    made = silence(cluster="etcd-a")
    posted = silence_body(made, None)
    assert {one["name"]: one["value"] for one in posted["matchers"]} == {"cluster": "etcd-a", "job": "vigil"}
    listed = {**posted, "id": "am-1", "status": {"state": "active"}}
    stranger = {**listed, "id": "am-2", "comment": "of somebody else"}
    past = {**listed, "id": "am-3", "status": {"state": "expired"}}
    found = mirrored([stranger, listed, past])
    assert (found[made.id].id, found[made.id].ends_ms) == ("am-1", made.ends_ms)
    assert silence_body(made, "am-1")["id"] == "am-1"


def test_controls_survive_the_wire() -> None:
    made = silence(cluster="etcd-a", maintenance=True)
    assert decode_control(encode(made)) == made
