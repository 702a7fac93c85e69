"""What a person says about alerts on the command line, as the messages that say it."""

import getpass
import re
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from schemas.controls import Acknowledgement, Feedback, Silence, Verdict
from schemas.outputs import Alert, Severity
from vigil.errors import InputError

__all__ = ["acknowledgement", "chosen", "duration_ms", "ended", "feedback_on", "person", "silence_for", "time_ms"]

UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
SHORTEST: Final = 4


def now_ms() -> int:
    """Return the wall clock, Unix epoch in milliseconds."""
    return time.time_ns() // 1_000_000


def person(name: str | None) -> str:
    """Return who speaks: the name given, else the user of this machine."""
    return name or getpass.getuser()


def duration_ms(text: str, option: str = "--for") -> int:
    """Read ``90s``, ``30m``, ``2h`` or ``1d``, the value of an option. Raises ``InputError``."""
    found = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if found is None or int(found[1]) == 0:
        raise InputError(f"{option} {text}: no duration", hint="give 90s, 30m, 2h or 1d")
    return int(found[1]) * UNITS[found[2]]


def time_ms(text: str) -> int:
    """Read a time as ISO 8601; UTC where it names no zone. Raises ``InputError``."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"--from {text}: no time", hint="give 2027-01-15T08:00:00+00:00") from None
    return round((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000)


def chosen(alerts: Sequence[Alert], name: str) -> Alert:
    """Choose the alert whose fingerprint begins so. Raises ``InputError`` when it is none or more than one."""
    found = [one for one in alerts if len(name) >= SHORTEST and one.fingerprint.startswith(name)]
    if len(found) != 1:
        many = f"{len(found)} alerts have a fingerprint that begins so" if found else "no such alert"
        raise InputError(f"{name}: {many}", hint="vigil alerts list --all names them; give its first 8 digits")
    return found[0]


def acknowledgement(alert: Alert, by: str, comment: str) -> Acknowledgement:
    """Say that somebody has an alert, as it is now."""
    return Acknowledgement(fingerprint=alert.fingerprint, change=alert.id, by=by, comment=comment, at_ms=now_ms())


def feedback_on(alert: Alert, verdict: Verdict, by: str, comment: str) -> Feedback:
    """Say what an alert was worth."""
    return Feedback(
        fingerprint=alert.fingerprint, node_id=alert.node_id, verdict=verdict, by=by, comment=comment, at_ms=now_ms()
    )


def silence_for(  # noqa: PLR0913 - one parameter an option
    *,
    cluster: str | None,
    node: str | None,
    kind: str | None,
    severity: Severity | None,
    starts_ms: int,
    lasting_ms: int,
    by: str,
    comment: str,
    maintenance: bool,
) -> Silence:
    """Make a silence. Raises ``InputError`` when it would silence everything."""
    if cluster is None and node is None and kind is None:
        raise InputError("a silence needs --cluster, --node or --kind", hint="everything cannot be silenced at once")
    return Silence(
        id=secrets.token_hex(16),
        cluster=cluster,
        node_id=node,
        kind=kind,
        severity=severity,
        starts_ms=starts_ms,
        ends_ms=starts_ms + lasting_ms,
        by=by,
        comment=comment,
        maintenance=maintenance,
    )


def ended(silences: Sequence[Silence], name: str, by: str) -> Silence:
    """End the silence whose id begins so, now. Raises ``InputError``."""
    found = [one for one in silences if len(name) >= SHORTEST and one.id.startswith(name) and one.ends_ms > now_ms()]
    if len(found) != 1:
        raise InputError(f"{name}: no silence, or more than one, begins so", hint="vigil alerts silences lists them")
    one = found[0]
    return Silence(
        id=one.id,
        cluster=one.cluster,
        node_id=one.node_id,
        kind=one.kind,
        severity=one.severity,
        starts_ms=min(one.starts_ms, now_ms()),
        ends_ms=now_ms(),
        by=one.by,
        comment=f"{one.comment} (ended by {by})".strip(),
        maintenance=one.maintenance,
    )
