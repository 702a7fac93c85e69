"""Alerts of a whole fleet: puts anomalies in order of event time, whatever order they come in, and scopes apart."""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import msgspec

from detectors.alerts.causes import MEMBER_DOWN, sign_of
from detectors.alerts.evidence import ratio
from detectors.alerts.machine import acknowledge, advance, apply, fingerprint
from detectors.alerts.policy import SEVERITIES, Policy
from detectors.alerts.state import OPEN, Phase, Scope
from schemas.outputs import Alert, Anomaly, alert_id

_SLOT_MS: Final = 1_000

Order = tuple[int, int, float, str, str]
Slots = dict[int, dict[str, Anomaly]]


class Placed(Protocol):
    """Whatever says of which node it is, and of which cluster."""

    @property
    def node_id(self) -> str:
        """Node id, or a link's key."""
        ...

    @property
    def cluster(self) -> str | None:
        """Cluster, where it has one."""
        ...


def scope_name(anomaly: Placed) -> str:
    """Name what an anomaly's alert is of: its cluster, or the node alone."""
    return f"node:{anomaly.node_id}" if anomaly.cluster is None else f"cluster:{anomaly.cluster}"


class AlertPlane:
    """Anomalies and event time in, changes of alerts out.

    The changes are a function of the anomalies that were observed before their time passed: neither the order in which
    they came nor how often time was advanced makes a difference. An anomaly observed after its time has passed counts
    as of now; the same anomaly observed again does not count.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        """Make a plane without alerts; ``policy`` is the default one when ``None``."""
        self.policy = policy or Policy()
        self.levels: Mapping[str, float] = {}
        """From what score by threshold on a node's anomalies open an alert or make it worse; 1 where it has none."""
        self.overflow = 0
        """Anomalies that were only counted: more came at once than ``Policy.undecided`` allows."""
        self._scopes: dict[str, Scope] = {}
        self._waiting: dict[str, Slots] = {}
        self._touched: set[str] = set()
        self._now_ms = 0

    def observe(self, anomaly: Anomaly) -> None:
        """Take in an anomaly; it is decided when its time passes."""
        slots = self._waiting.setdefault(scope_name(anomaly), {})
        slot = slots.setdefault(anomaly.ts_ms // _SLOT_MS, {})
        slot[anomaly.id] = anomaly
        if len(slot) >= 2 * self.policy.undecided:
            self._trim(slot)
        if len(slots) > self.policy.undecided_s:
            self.overflow += len(slots.pop(max(slots)))

    def advance(self, to_ms: int) -> list[Alert]:
        """Let event time pass to ``to_ms`` (epoch, milliseconds; never backwards) and return what changed, in order.

        Changes are in order of ``updated_ms``, then of fingerprint and number.
        """
        before, self._now_ms = self._now_ms, max(self._now_ms, to_ms)
        changes: list[Alert] = []
        for name in [*self._waiting]:
            scope = self._scopes.get(name)
            if scope is None:
                scope = self._scopes[name] = Scope(name, now_ms=before)
            for anomaly in self._due(name):
                self._touched.add(name)
                changes += apply(scope, self.policy, self._weighed(anomaly))
        for name, scope in self._scopes.items():
            phase = scope.phase
            changes += advance(scope, self.policy, self._now_ms)
            if scope.phase is not phase:
                self._touched.add(name)
        self._forget()
        return sorted(changes, key=lambda alert: (alert.updated_ms, alert.fingerprint))

    def acknowledge(self, name: str, change: str | None = None) -> bool:
        """Say that a person has the alert with this fingerprint.

        Args:
            name: the fingerprint.
            change: id of the newest change that the person knew; any when ``None``.

        Returns:
            Whether it is firing, and nothing was told of it since.
        """
        for scope in self._scopes.values():
            if scope.phase not in OPEN or scope.told is None or fingerprint(scope) != name:
                continue
            if change in {None, alert_id(name, scope.told.changes - 1)} and acknowledge(scope):
                self._touched.add(scope.name)
                return True
        return False

    def scopes(self) -> Iterator[Scope]:
        """Yield what was decided of each scope; waiting anomalies are not in it."""
        yield from self._scopes.values()

    def touched(self) -> list[str]:
        """Name, in order, the scopes of which something was decided since the last call."""
        names, self._touched = sorted(self._touched), set()
        return names

    def scope(self, name: str) -> Scope | None:
        """Return what was decided of a scope; ``None`` when nothing is remembered. Encode it before going on."""
        return self._scopes.get(name)

    def restore(self, scope: Scope) -> None:
        """Put back what was stored. Anomalies that are newer than its event time and had come have to come again.

        Event time is each scope's own until time is advanced: what was not stored in time with others comes again.
        """
        self._scopes[scope.name] = scope

    def _weighed(self, anomaly: Anomaly) -> Anomaly:
        """Let an anomaly below its node's level keep alerts open and no more."""
        level = self.levels.get(anomaly.node_id)
        if level is None or ratio(anomaly) >= level or sign_of(anomaly) == MEMBER_DOWN:
            return anomaly
        return msgspec.structs.replace(anomaly, severity=SEVERITIES[0])

    def _due(self, name: str) -> list[Anomaly]:
        slots = self._waiting[name]
        past = [place for place in slots if place * _SLOT_MS <= self._now_ms]
        due: list[Anomaly] = []
        for place in past:
            slot = slots[place]
            self._trim(slot)
            ready = [anomaly for anomaly in slot.values() if anomaly.ts_ms <= self._now_ms]
            for anomaly in ready:
                del slot[anomaly.id]
            if not slot:
                del slots[place]
            due += ready
        if not slots:
            del self._waiting[name]
        return sorted(due, key=_order)

    def _trim(self, slot: dict[str, Anomaly]) -> None:
        """Keep the worst of a second."""
        beyond = sorted(slot.values(), key=lambda anomaly: _order(anomaly)[1:])[self.policy.undecided :]
        for anomaly in beyond:
            del slot[anomaly.id]
        self.overflow += len(beyond)

    def _forget(self) -> None:
        gone = [
            name
            for name, scope in self._scopes.items()
            if scope.phase is Phase.QUIET
            and name not in self._waiting
            and self._now_ms - max(scope.newest.values(), default=0) > self.policy.forget_ms
        ]
        for name in gone:
            del self._scopes[name]
            self._touched.add(name)


def _order(anomaly: Anomaly) -> Order:
    """Order of event time, the worst of one time first; what an anomaly says decides, not where it came from."""
    return (anomaly.ts_ms, -SEVERITIES.index(anomaly.severity), -ratio(anomaly), anomaly.node_id, anomaly.detector)
