"""vigil's silences in Alertmanager's words."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from schemas.controls import Silence

__all__ = ["Mirrored", "mirrored", "silence_body", "utc"]

MARK: Final = re.compile(r"\[vigil ([0-9a-f]{32})\]$")


class Mirrored(NamedTuple):
    """A silence of vigil's that Alertmanager has: its id there, and when it ends (Unix epoch, milliseconds)."""

    id: str
    ends_ms: int


def mirrored(silences: Iterable[Mapping[str, Any]]) -> dict[str, Mirrored]:
    """Find vigil's silences that are not over among those that Alertmanager lists, by vigil's id."""
    found = {}
    for one in silences:
        mark = MARK.search(str(one["comment"]))
        if mark is not None and one["status"]["state"] != "expired":
            ends = datetime.fromisoformat(str(one["endsAt"]))
            found[mark.group(1)] = Mirrored(str(one["id"]), round(ends.timestamp() * 1000))
    return found


def silence_body(silence: Silence, known_as: str | None) -> dict[str, Any]:
    """Return what is posted to make a silence, or to change the one that is known there."""
    labels = {
        "cluster": silence.cluster,
        "node": silence.node_id,
        "kind": silence.kind,
        "severity": silence.severity,
        "job": "vigil",
    }
    body = {
        "matchers": [
            {"name": name, "value": value, "isRegex": False, "isEqual": True}
            for name, value in labels.items()
            if value is not None
        ],
        "startsAt": utc(silence.starts_ms),
        "endsAt": utc(silence.ends_ms),
        "createdBy": silence.by,
        "comment": f"{silence.comment} [vigil {silence.id}]".strip(),
    }
    return body if known_as is None else {**body, "id": known_as}


def utc(milliseconds: int) -> str:
    """Write a time as Alertmanager does: RFC 3339, UTC, milliseconds."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
