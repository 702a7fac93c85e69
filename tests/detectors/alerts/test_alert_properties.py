"""What holds for any anomalies, in any order, however time is cut."""

from collections import Counter
from itertools import pairwise

import msgspec
from alert_samples import LATENCY, MISSING, START_MS, flagged, silent
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.alerts import AlertPlane, Policy
from detectors.alerts.causes import EXPLAINS
from detectors.alerts.plane import scope_name
from detectors.alerts.state import Scope
from schemas.codec import encode
from schemas.outputs import Alert, Anomaly

END_MS = START_MS + 10_000_000
DISORDER_MS = 2_000

ANOMALY = st.builds(
    flagged,
    st.sampled_from(["n0", "n1", "n2"]),
    st.integers(0, 200),
    cluster=st.sampled_from(["etcd-a", "etcd-b", None]),
    severity=st.sampled_from(["info", "warning", "critical"]),
    kind=st.sampled_from([None, None, "network_congestion", "leader_election_storm", "quorum_loss"]),
    ratio=st.floats(1.0, 100.0),
    why=st.sampled_from([LATENCY, MISSING]),
)
SILENCE = st.builds(silent, st.sampled_from(["n0", "n1", "n2"]), st.integers(0, 200))
LOG = st.lists(ANOMALY | ANOMALY | ANOMALY | SILENCE, max_size=120).map(
    # A node belongs to one cluster, and has one verdict of a detector a step.
    lambda found: [*{(one.node_id, one.cluster, one.detector, one.ts_ms): renamed(one) for one in found}.values()]
)


def renamed(one: Anomaly) -> Anomaly:
    node = f"{one.cluster or 'alone'}-{one.node_id}"
    return msgspec.structs.replace(flagged(node, 0), **{**msgspec.structs.asdict(one), "node_id": node, "id": uid(one)})


def uid(one: Anomaly) -> str:
    return flagged(f"{one.cluster or 'alone'}-{one.node_id}", (one.ts_ms - START_MS) / 1000, detector=one.detector).id


def at_once(log: list[Anomaly]) -> list[Alert]:
    plane = AlertPlane()
    for anomaly in log:
        plane.observe(anomaly)
    return plane.advance(END_MS)


def per_scope(changes: list[Alert]) -> dict[str, list[bytes]]:
    ordered: dict[str, list[bytes]] = {}
    for change in changes:
        ordered.setdefault(change.fingerprint, []).append(encode(change))
    return ordered


@given(LOG, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_within_the_disorder_and_cuts_of_time_make_no_difference(log: list[Anomaly], random) -> None:  # type: ignore[no-untyped-def]
    arrived = sorted(log, key=lambda one: one.ts_ms + random.uniform(0, DISORDER_MS))
    plane, changes, newest = AlertPlane(), [], START_MS
    for anomaly in arrived:
        plane.observe(anomaly)
        if random.random() < 0.2:
            plane.observe(anomaly)
        newest = max(newest, anomaly.ts_ms)
        if random.random() < 0.5:
            changes += plane.advance(newest - DISORDER_MS)
    changes += plane.advance(END_MS)
    assert per_scope(changes) == per_scope(at_once(log))


@given(LOG)
@settings(deadline=None)
def test_every_firing_is_resolved_and_a_fingerprint_is_open_once(log: list[Anomaly]) -> None:
    changes = at_once(log)
    assert max(Counter(change.id for change in changes).values(), default=1) == 1
    open_now: dict[tuple[str | None, str], str] = {}
    for change in changes:
        where = (change.cluster, "" if change.cluster else change.node_id)
        if change.status == "firing":
            assert open_now.setdefault(where, change.fingerprint) == change.fingerprint
        else:
            assert open_now.pop(where) == change.fingerprint
            assert change.ended_ms is not None
            assert change.started_ms <= change.ended_ms <= change.updated_ms
    assert not open_now


@given(LOG)
@settings(deadline=None)
def test_severity_and_counts_never_fall_while_an_alert_lives(log: list[Anomaly]) -> None:
    lives: dict[str, list[Alert]] = {}
    for change in at_once(log):
        lives.setdefault(change.fingerprint, []).append(change)
    for life in lives.values():
        for before, after in pairwise(life):
            assert before.anomaly_count <= after.anomaly_count
            assert before.peak_score <= after.peak_score
            assert ["info", "warning", "critical"].index(before.severity) <= ["info", "warning", "critical"].index(
                after.severity
            )


@given(LOG, st.integers(0, 200))
@settings(deadline=None)
def test_what_was_stored_and_restored_goes_on_as_if_nothing_had_been(log: list[Anomaly], second: int) -> None:
    cut = START_MS + second * 1000
    first, then = AlertPlane(), AlertPlane()
    for anomaly in log:
        if anomaly.ts_ms <= cut:
            first.observe(anomaly)
    changes = first.advance(cut)
    for scope in first.scopes():
        then.restore(msgspec.json.decode(encode(scope), type=Scope))
    for anomaly in log:  # those applied come again, as after a crash
        then.observe(anomaly)
    changes += then.advance(END_MS)
    assert per_scope(changes) == per_scope(at_once(log))


@given(LOG, st.lists(st.integers(0, 250), max_size=6))
@settings(deadline=None)
def test_storing_only_what_was_touched_is_enough_to_go_on_after_any_number_of_crashes(
    log: list[Anomaly], crashes: list[int]
) -> None:
    plane, stored, changes = AlertPlane(), dict[str, bytes](), list[Alert]()
    came: list[Anomaly] = []
    for second in sorted(crashes):
        newest = START_MS + second * 1000 + DISORDER_MS
        for anomaly in [one for one in log if one.ts_ms <= newest and one not in came]:
            plane.observe(anomaly)
            came.append(anomaly)
        changes += plane.advance(newest - DISORDER_MS)
        for name in plane.touched():
            scope = plane.scope(name)
            stored.pop(name, None)
            if scope is not None:
                stored[name] = encode(scope)
        plane = AlertPlane()
        back = {name: msgspec.json.decode(value, type=Scope) for name, value in stored.items()}
        decided = {name: scope.now_ms for name, scope in back.items()}
        for scope in back.values():
            plane.restore(scope)
        for anomaly in came:
            if anomaly.ts_ms > decided.get(scope_name(anomaly), 0):
                plane.observe(anomaly)
    for anomaly in log:
        if anomaly not in came:
            plane.observe(anomaly)
    changes += plane.advance(END_MS)
    assert per_scope(changes) == per_scope(at_once(log))


@given(st.integers(1, 3_000), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_a_storm_is_one_alert_a_cluster_in_bounded_memory(nodes: int, seconds: int) -> None:
    policy = Policy(members=8, undecided=16)
    plane = AlertPlane(policy)
    for place in range(nodes):
        plane.observe(flagged(f"n{place}", place % seconds, ratio=1.0 + place % 7))
        plane.observe(flagged(f"n{place}", place % seconds + 1, ratio=1.0 + place % 7))
    changes = plane.advance(START_MS + seconds * 1000)
    [scope] = plane.scopes()
    assert len(scope.newest) <= 2 * policy.members
    assert all(len(one.members) <= policy.members for one in (scope.alert, scope.burst) if one is not None)
    assert len({change.fingerprint for change in changes + plane.advance(END_MS)}) <= 1


def test_causes_are_a_partial_order() -> None:
    for cause, effects in EXPLAINS.items():
        assert cause not in effects
        assert all(EXPLAINS.get(effect, frozenset()) <= effects for effect in effects)
