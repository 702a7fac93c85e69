"""The times and levels that decide when an alert opens, how long it stays, and how much is remembered of it."""

from dataclasses import dataclass, fields
from typing import Final

from schemas.outputs import Severity

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
"""Least first; a level is a place in it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How alerts behave. All times are event time, milliseconds.

    Attributes:
        open_at: least severity that opens an alert; anything that a detector flags keeps an open one open.
        confirm_ms: a member has to be flagged at two of its steps within this time before a severity counts.
        hold_ms: how long nothing may be flagged before an alert is resolved; doubled at each return, to ``reopen_ms``.
        reopen_ms: how long after its newest anomaly an alert is remembered: what comes back by then is the same alert.
        flapping_ms: the same once it has come back: what did so once is likely to do so again.
        explain_ms: shortest time before an open alert is told again because its likely cause looks different now.
        forget_ms: how long a scope without an alert is kept, so that repeated anomalies are recognised.
        members: members of one scope that are looked at one by one; others are only counted.
        undecided: anomalies of one scope and second that wait for their time; the mildest beyond are only counted.
        undecided_s: seconds of one scope for which anomalies may wait; those furthest ahead are only counted.
    """

    open_at: Severity = "warning"
    confirm_ms: int = 5_000
    hold_ms: int = 15_000
    reopen_ms: int = 42_000
    flapping_ms: int = 300_000
    explain_ms: int = 5_000
    forget_ms: int = 600_000
    members: int = 128
    undecided: int = 256
    undecided_s: int = 120

    def __post_init__(self) -> None:
        """Raise ``ValueError`` when a setting is out of range."""
        if self.open_at not in SEVERITIES:
            raise ValueError(f"open_at is {self.open_at!r}: give one of {', '.join(SEVERITIES)}")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name != "open_at" and value < 1:
                raise ValueError(f"{each.name} is {value}: give at least 1")
        if self.reopen_ms < self.hold_ms:
            raise ValueError(f"reopen_ms {self.reopen_ms} is less than hold_ms {self.hold_ms}: give at least that")
        if self.flapping_ms < self.reopen_ms:
            raise ValueError(
                f"flapping_ms {self.flapping_ms} is less than reopen_ms {self.reopen_ms}: give that or more"
            )
        if self.hold_ms < self.confirm_ms:
            raise ValueError(f"hold_ms {self.hold_ms} is less than confirm_ms {self.confirm_ms}: an alert would flap")
