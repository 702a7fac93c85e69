"""What an anomaly is a sign of, and which sign explains which: who a cluster's trouble is likely to come from."""

from collections.abc import Collection, Mapping
from math import log
from typing import Final

from detectors.alerts.state import Member
from schemas.outputs import Anomaly

PEER_MISSING: Final = "peer_missing"
SLOW: Final = "slow"
OWN_COUNT: Final = "own_count"
LEADER_CHANGED: Final = "leader_changed"
UNUSUAL: Final = "unusual"
MEMBER_DOWN: Final = "member_down"
LIAR: Final = "byzantine_attack"

_CLEARLY: Final = 1.5
_SIGN_OF_FEATURE: Final[Mapping[str, str]] = {
    "active_nodes": PEER_MISSING,
    "latency_p50": SLOW,
    "latency_p95": SLOW,
    "latency_p99": SLOW,
    "proposals_committed": OWN_COUNT,
    "leader_changes": LEADER_CHANGED,
}
_DIRECTLY: Final[Mapping[str, tuple[str, ...]]] = {
    MEMBER_DOWN: (PEER_MISSING, "quorum_loss"),
    "quorum_loss": ("leader_election_storm", PEER_MISSING),
    LIAR: ("leader_election_storm", OWN_COUNT),
    PEER_MISSING: (SLOW, UNUSUAL),
    "leader_election_storm": (LEADER_CHANGED,),
    "network_congestion": (SLOW, UNUSUAL),
    "queue_overflow": (SLOW, UNUSUAL, OWN_COUNT),
    LEADER_CHANGED: (SLOW, UNUSUAL),
    OWN_COUNT: (SLOW, UNUSUAL),
}
_KNOWN: Final = frozenset(_DIRECTLY) - {OWN_COUNT, LEADER_CHANGED}


def _closure() -> dict[str, frozenset[str]]:
    explained: dict[str, frozenset[str]] = {}

    def reach(sign: str) -> frozenset[str]:
        if sign not in explained:
            direct = _DIRECTLY.get(sign, ())
            explained[sign] = frozenset(direct).union(*(reach(one) for one in direct))
        return explained[sign]

    for sign in _DIRECTLY:
        reach(sign)
    return explained


EXPLAINS: Final[Mapping[str, frozenset[str]]] = _closure()
"""The partial order: every sign that a sign explains, through others as well."""


def sign_of(anomaly: Anomaly) -> str:
    """Tell what an anomaly is a sign of: its kind, or else what its first contribution stands for."""
    if anomaly.kind is not None:
        return anomaly.kind
    if anomaly.contributions:
        return _SIGN_OF_FEATURE.get(anomaly.contributions[0].feature, UNUSUAL)
    return UNUSUAL


def count_departs(anomaly: Anomaly) -> float:
    """How far a member's own count of commits is from usual, as a natural logarithm without sign; 0 when not told."""
    for each in anomaly.contributions:
        if each.feature == "proposals_committed" and each.value is not None and each.expected_low is not None:
            usual = (each.expected_low + (each.expected_high or each.expected_low)) / 2
            return abs(log((max(each.value, 0.0) + 1) / (max(usual, 0.0) + 1)))
    return 0.0


def sign_of_member(member: Member) -> str:
    """Tell what a member's anomalies are a sign of.

    A silence outweighs all; a kind what has none, when at least a third of the anomalies have it; otherwise the most.
    """
    if MEMBER_DOWN in member.signs:
        return MEMBER_DOWN
    enough = sum(member.signs.values()) / 3
    votes = {sign: count for sign, count in member.signs.items() if sign in _KNOWN and count >= enough}
    votes = votes or member.signs
    return min(votes, key=lambda sign: (-votes[sign], sign))


def are_related(one: str, other: str) -> bool:
    """Whether two signs may be of one fault: the same, or one explains the other."""
    return one == other or other in EXPLAINS.get(one, ()) or one in EXPLAINS.get(other, ())


def diagnose(members: Collection[Member]) -> tuple[str, Member]:
    """Choose what a scope's trouble is, and the member that it is likely to come from.

    Of the signs that no other sign explains: a silence, or else the one of most anomalies. Of the members that show it:
    the one furthest above its threshold, then the earliest. A liar is the one whose own count departs most, whatever
    it shows itself.

    Raises:
        ValueError: there is no member.
    """
    if not members:
        raise ValueError("trouble without members has no origin")
    votes: dict[str, int] = {}
    for member in members:
        sign = sign_of_member(member)
        votes[sign] = votes.get(sign, 0) + sum(member.signs.values())
    explained = frozenset[str]().union(*(EXPLAINS.get(sign, frozenset()) for sign in votes))
    sign = min(votes.keys() - explained, key=lambda one: (one != MEMBER_DOWN, -votes[one], one))
    showing = [member for member in members if sign_of_member(member) == sign]
    if sign == LIAR:
        departing = max(member.departs for member in members)
        showing = [member for member in members if member.departs == departing]
    return sign, min(showing, key=lambda member: (-member.peak, member.first_ms, member.node_id))


def stands_out(sign: str, origin: Member, named: Member) -> bool:
    """Whether a sign points to ``origin`` so much more than to ``named`` that it is worth saying."""
    if sign == LIAR:
        return origin.departs > _CLEARLY * named.departs
    return origin.peak > _CLEARLY * named.peak
