"""Settings of the alert service."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from vigil.setting_types import Names, Section, TopicName

__all__ = ["AlertSettings"]


class AlertSettings(Section):
    """How `vigil alerts run` makes alerts of anomalies, and whom it tells."""

    group_id: str = Field(default="vigil-alerts", min_length=1, description="Consumer group of its instances.")
    state_topic: TopicName = Field(
        default="vigil.alerts.state", description="What it remembers; as many partitions as the anomalies."
    )
    controls_topic: TopicName = Field(
        default="vigil.alerts.controls", description="Silences, acknowledgements and feedback."
    )
    clock: Literal["telemetry", "anomalies", "wall"] = Field(
        default="telemetry",
        description="Event time is that of the telemetry scored, of the newest anomaly, or this machine's.",
    )
    hold_back_s: float = Field(
        default=2.0, ge=0, le=600, description="Anomalies of other nodes may come later by so much, event seconds."
    )
    tick_s: float = Field(default=0.5, gt=0, le=60, description="How often event time is looked at, seconds.")
    batch_max: int = Field(default=10_000, ge=1, le=100_000, description="Most anomalies taken together.")
    linger_s: float = Field(default=0.1, ge=0, le=10, description="How long to collect them, seconds.")
    stall_s: float = Field(
        default=60.0, gt=0, description="Telemetry that no worker scores holds event time up for so long, seconds."
    )
    port: int = Field(
        default=9465, ge=0, le=65535, description="Port of its `/metrics`; `metrics.host` is the address."
    )
    alertmanagers: Names = Field(
        default=(), description="Addresses of Alertmanager, such as `http://am-1:9093`; all of a pair."
    )
    webhooks: Names = Field(default=(), description="Addresses to post each change of an alert to.")
    webhook_secret: SecretStr | None = Field(
        default=None, description="Key of the posts' signature; only as an environment variable."
    )
    webhook_secret_file: Path | None = Field(default=None, description="File that holds it.")
    resend_s: float = Field(
        default=60.0, gt=0, description="An open alert is told to Alertmanager again after so long, seconds."
    )
    expire_s: float = Field(
        default=300.0, gt=0, description="It ends there by itself when it was not told again for so long, seconds."
    )
    timeout_s: float = Field(default=10.0, gt=0, le=300, description="Longest wait for a sink's answer, seconds.")
    retry_s: float = Field(
        default=30.0, gt=0, le=3600, description="Longest wait before an unreachable sink is tried again, seconds."
    )
    mirror_silences: bool = Field(default=True, description="Give Alertmanager the silences of `vigil alerts silence`.")
    runbooks: str = Field(
        default="", description="Put in front of an alert's runbook for its link, such as `https://wiki/vigil/`."
    )
    dashboard: str = Field(
        default="", description="Link to a dashboard, with `{cluster}`, `{node}`, `{from_ms}`, `{to_ms}` in it."
    )

    @field_validator("alertmanagers", "webhooks")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            parts = urlsplit(address)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError("an address is http://host:port or https://host:port")
            if parts.username is not None:
                raise ValueError("an address holds no user and password: sign posts by webhook_secret, or use a proxy")
        return value

    @model_validator(mode="after")
    def _told_in_time(self) -> Self:
        if self.webhook_secret is not None and self.webhook_secret_file is not None:
            raise ValueError("give webhook_secret or webhook_secret_file, not both")
        if self.expire_s < 2 * self.resend_s:
            raise ValueError("expire_s is less than twice resend_s: alerts would end in between")
        return self
