"""What people say about alerts: silences, acknowledgements, feedback. Topic ``vigil.alerts.controls``, vigil's own."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from schemas.outputs import Alert, Id, LinkOrNode, Severity
from schemas.quantities import Name, TimeMs

__all__ = ["Acknowledgement", "Control", "Feedback", "Silence", "Verdict", "control_key", "decode_control", "matches"]

Person: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
Comment: TypeAlias = Annotated[str, Meta(max_length=1000)]
Verdict: TypeAlias = Literal["real", "noise", "expected"]


class Silence(Struct, frozen=True, kw_only=True, tag_field="type", tag="silence"):
    """Nobody is told of matching alerts for a while; of the wall clock, as people speak of it. Also maintenance.

    Attributes:
        id: which.
        cluster, node_id, kind, severity: what an alert has to be; ``None`` matches all. At least one is given.
        starts_ms, ends_ms: from when until when, Unix epoch in milliseconds. One that is ended early is written again.
        by, comment: who and why.
        maintenance: whether it was planned.
    """

    id: Id
    cluster: Name | None = None
    node_id: LinkOrNode | None = None
    kind: Name | None = None
    severity: Severity | None = None
    starts_ms: TimeMs
    ends_ms: TimeMs
    by: Person
    comment: Comment
    maintenance: bool = False


class Acknowledgement(Struct, frozen=True, kw_only=True, tag_field="type", tag="acknowledgement"):
    """Somebody has an alert.

    Attributes:
        fingerprint: the alert.
        change: id of the change that was seen: what changed since is told all the same.
        by, comment, at_ms: who, why, when.
    """

    fingerprint: Id
    change: Id
    by: Person
    comment: Comment
    at_ms: TimeMs


class Feedback(Struct, frozen=True, kw_only=True, tag_field="type", tag="feedback"):
    """What an alert was worth.

    Attributes:
        fingerprint: the alert; the newest feedback on it counts.
        node_id: whom it named.
        verdict: "real", "noise", or "expected" (work that was known).
        by, comment, at_ms: who, why, when.
    """

    fingerprint: Id
    node_id: LinkOrNode
    verdict: Verdict
    by: Person
    comment: Comment
    at_ms: TimeMs


Control: TypeAlias = Silence | Acknowledgement | Feedback

_DECODER = msgspec.json.Decoder(Control)


def decode_control(value: bytes) -> Control:
    """Decode one. Raises ``msgspec.MsgspecError``."""
    control: Control = _DECODER.decode(value)
    return control


def control_key(control: Control) -> str:
    """Key of a control's record; the newest of a key counts."""
    if isinstance(control, Silence):
        return f"silence:{control.id}"
    return f"{type(control).__name__.lower()}:{control.fingerprint}"


def matches(silence: Silence, alert: Alert, now_ms: int) -> bool:
    """Whether a silence is for an alert at a time of the wall clock."""
    wanted = (
        (silence.cluster, alert.cluster),
        (silence.node_id, alert.node_id),
        (silence.kind, alert.kind),
        (silence.severity, alert.severity),
    )
    return silence.starts_ms <= now_ms < silence.ends_ms and all(want in {None, has} for want, has in wanted)
