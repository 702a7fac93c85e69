"""What the alert service needs to know, as plain frozen values; ``vigil.settings`` builds them."""

from dataclasses import dataclass, field
from typing import Literal

from streams.errors import StreamsConfigError

__all__ = ["AlertingConfig", "SinksConfig"]


@dataclass(frozen=True, slots=True)
class SinksConfig:
    """Who is told of alerts, beside the topic.

    Attributes:
        alertmanagers: base addresses; each is told everything, so a highly available pair is two of them.
        webhooks: addresses that each change of an alert is posted to.
        webhook_secret: key of the signature; no signature when ``None``.
        resend_s: an open alert is told to Alertmanager again after so long.
        expire_s: and ends there by itself when it was not told again for so long.
        timeout_s: longest wait for an answer.
        retry_s: longest wait before an unreachable sink is tried again; the first waits are shorter.
        mirror_silences: whether Alertmanager gets vigil's silences.
        runbooks: put in front of an alert's runbook to make its link.
        dashboard: link with ``{cluster}``, ``{node}``, ``{from_ms}`` and ``{to_ms}`` in it; no link when empty.
    """

    alertmanagers: tuple[str, ...] = ()
    webhooks: tuple[str, ...] = ()
    webhook_secret: bytes | None = field(default=None, repr=False)
    resend_s: float = 60.0
    expire_s: float = 300.0
    timeout_s: float = 10.0
    retry_s: float = 30.0
    mirror_silences: bool = True
    runbooks: str = ""
    dashboard: str = ""

    def __post_init__(self) -> None:
        if not 0 < 2 * self.resend_s <= self.expire_s:
            raise StreamsConfigError(
                f"alerts.resend_s is {self.resend_s:g} and expire_s {self.expire_s:g}: an alert has to be told again "
                "twice before it ends by itself, give expire_s at least twice resend_s"
            )


@dataclass(frozen=True, slots=True)
class AlertingConfig:
    """How the alert service runs.

    Attributes:
        group_id: consumer group of its instances; sinks have groups named after it.
        instance: stable name of this instance, as ``KafkaConfig.group_instance_id``.
        clock: what event time is taken from, see ``streams.alerting.clocks``.
        hold_back_s: event time is held back by so much, so that anomalies of other nodes arrive before it passes.
        tick_s: how often the clock is read.
        batch_max: most anomalies taken together.
        linger_s: how long they are collected.
        telemetry: topics that the workers read, for the clock.
        worker_group: the workers' consumer group, for the clock.
        stall_s: telemetry that nobody reads holds event time up for so long at most.
        request_s: a record that Kafka does not take for so long ends the service.
        sinks: who is told.
        http_host, http_port: where metrics and health are served; no server when the port is ``None``.
        healthy_s: ``/healthz`` fails when the service stood still for so long.
        stuck_exit_s: the service ends without its partitions after so long in which Kafka answers; 0 for never.
    """

    group_id: str = "vigil-alerts"
    instance: str | None = None
    clock: Literal["telemetry", "anomalies", "wall"] = "telemetry"
    hold_back_s: float = 2.0
    tick_s: float = 0.5
    batch_max: int = 10_000
    linger_s: float = 0.1
    telemetry: tuple[str, ...] = ()
    worker_group: str = "vigil"
    stall_s: float = 60.0
    request_s: float = 120.0
    sinks: SinksConfig = SinksConfig()
    http_host: str = "127.0.0.1"
    http_port: int | None = 9465
    healthy_s: float = 60.0
    stuck_exit_s: float = 300.0
