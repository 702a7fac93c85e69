"""Detection quality: can alerts be trusted. What people say about them, how many there are, how late they come."""

from typing import Final

from vigil.dashboards.grafana import Column, Dashboard, Panel, coloured, prom

__all__ = ["QUALITY"]

_NODE_DAYS: Final = "(sum_over_time(sum(vigil_windows_held)[$__range:30s]) / 2880)"
_SAID: Final = ("real", "expected", "noise")


def _delay(name: str, metric: str) -> list[tuple[str, str]]:
    return [
        (f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket[$__rate_interval])))", f"{name}, {words}")
        for share, words in ((0.5, "half"), (0.95, "95 %"))
    ]


def _mean_delay(title: str, description: str, metric: str, runbook: str) -> Panel:
    return Panel(
        title=title,
        description=description,
        runbook=runbook,
        kind="stat",
        queries=[prom(f"histogram_quantile(0.5, sum by (le) (increase({metric}_bucket[$__range])))", kind="instant")],
        width=4,
        height=4,
        unit="s",
        thresholds=((None, "green"), (30, "orange"), (120, "red")),
    )


_STATES: Final = (
    Panel(
        title="False alarms a node-day",
        description="Alerts that people called noise, by node-days watched in the time shown. It is as good as"
        " the feedback:"
        " say what each alert was worth with `vigil alerts feedback`.",
        runbook="unusual",
        kind="stat",
        queries=[
            prom(
                f'sum(clamp_min(delta(vigil_alerts_feedback{{verdict="noise"}}[$__range]), 0)) / {_NODE_DAYS}',
                kind="instant",
            )
        ],
        width=4,
        height=4,
        unit="none",
        thresholds=((None, "green"), (0.1, "orange"), (1, "red")),
        options={"graphMode": "none"},
    ),
    Panel(
        title="Alerts a node-day",
        description="All alerts opened, by node-days watched in the time shown: the most that can have been false.",
        runbook="README",
        kind="stat",
        queries=[prom(f"sum(increase(vigil_alerts_opened_total[$__range])) / {_NODE_DAYS}", kind="instant")],
        width=4,
        height=4,
        unit="none",
        options={"graphMode": "none"},
    ),
    Panel(
        title="Called real",
        description="Of the alerts that somebody judged, the share that was real. Below a half, people stop looking.",
        runbook="unusual",
        kind="stat",
        queries=[prom('sum(vigil_alerts_feedback{verdict="real"}) / (sum(vigil_alerts_feedback) > 0)')],
        width=4,
        height=4,
        unit="percentunit",
        thresholds=((None, "red"), (0.5, "orange"), (0.8, "green")),
    ),
    _mean_delay(
        "Detected after",
        "Half of all anomalies are in Kafka this long after their event time, or sooner. Large while a worker"
        " catches up.",
        "dwcp_anomaly_detection_latency_seconds",
        "vigil-behind",
    ),
    _mean_delay(
        "Alert opened after",
        "Half of all alerts opened this long after their first anomaly, of event time: what makes sure that it is"
        " no burst.",
        "vigil_alerts_open_delay_seconds",
        "vigil-alerts-behind",
    ),
    _mean_delay(
        "Alert lasted",
        "Half of the alerts that are over lasted no longer. Seconds for most of them are alerts that nobody could"
        " act on.",
        "vigil_alerts_duration_seconds",
        "README",
    ),
)

QUALITY: Final = Dashboard(
    uid="vigil-quality",
    title="vigil / Detection quality",
    description="Can alerts be trusted: how many are false, how late they come, and what people said of them.",
    start="now-6h",
    rows=[
        _STATES,
        [
            Panel(
                title="What people said of alerts",
                description="Alerts judged so far. Noise and expected raise the level from which that node opens"
                " alerts, real"
                " takes it back.",
                runbook="unusual",
                kind="timeseries",
                queries=[prom("sum by (verdict) (vigil_alerts_feedback)", "{{verdict}}")],
                width=8,
                height=8,
                stacked=True,
                low=0,
                overrides=[
                    {
                        "matcher": {"id": "byName", "options": said},
                        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
                    }
                    for said, colour in zip(_SAID, ("green", "blue", "red"), strict=True)
                ],
            ),
            Panel(
                title="Alerts opened, by likely cause",
                description="In the time shown. One cause far ahead is either a real weakness of the fleet or a"
                " rule that is too"
                " eager: read its runbook.",
                runbook="README",
                kind="bargauge",
                queries=[
                    prom(
                        "sort_desc(round(sum by (kind) (increase(vigil_alerts_opened_total[$__range]))) > 0)",
                        "{{kind}}",
                        kind="instant",
                    )
                ],
                width=8,
                height=8,
                thresholds=((None, "blue"),),
                low=0,
            ),
            Panel(
                title="Anomalies read, by what became of them",
                description="What the alert service read: taken, read before (a repeat after a crash),"
                " unreadable, or only counted"
                " because too many came at once.",
                runbook="vigil-alerts-behind",
                kind="timeseries",
                queries=[
                    prom("sum by (outcome) (rate(vigil_alerts_anomalies_total[$__rate_interval]))", "{{outcome}}")
                ],
                width=8,
                height=8,
                unit="cps",
                low=0,
            ),
        ],
        [
            Panel(
                title="Delay: event time to anomaly, first anomaly to alert",
                description="Where the time goes before somebody is told. Detection that grows: workers are"
                " behind. Opening that"
                " grows: event time stands still, or a level was raised by feedback.",
                runbook="vigil-behind",
                kind="timeseries",
                queries=[
                    prom(expr, name)
                    for expr, name in (
                        *_delay("detected", "dwcp_anomaly_detection_latency_seconds"),
                        *_delay("opened", "vigil_alerts_open_delay_seconds"),
                    )
                ],
                width=12,
                height=8,
                unit="s",
                low=0,
            ),
            Panel(
                title="How long alerts last",
                description="Each row a length of time, the darker the more alerts ended after it. A dark bottom"
                " is flapping.",
                runbook="README",
                kind="heatmap",
                queries=[
                    prom(
                        "sum by (le) (increase(vigil_alerts_duration_seconds_bucket[$__rate_interval]))",
                        "{{le}}",
                        kind="heatmap",
                    )
                ],
                width=12,
                height=8,
                unit="s",
            ),
        ],
        [
            Panel(
                title="Windows flagged, of those scored",
                description="By detector. 1 % is one window of a hundred: a good deal for a machine, far too many"
                " for people; alerts"
                " are what people see.",
                runbook="unusual",
                kind="timeseries",
                queries=[
                    prom(
                        "sum by (detector) (rate(dwcp_anomalies_detected_total[$__rate_interval]))"
                        " / sum by (detector) (rate(vigil_windows_scored_total[$__rate_interval]))",
                        "{{detector}}",
                    )
                ],
                width=8,
                height=8,
                unit="percentunit",
                low=0,
            ),
            Panel(
                title="Changes of alerts published",
                description="Opened, grown worse, ended. Many more changes than alerts are alerts that flap.",
                runbook="README",
                kind="timeseries",
                queries=[
                    prom(
                        "sum by (severity) (rate(vigil_alerts_changes_total[$__rate_interval])) * 3600", "{{severity}}"
                    )
                ],
                width=8,
                height=8,
                low=0,
                overrides=coloured(),
            ),
            Panel(
                title="Models in use",
                description="Which version of which model judges what. Two versions of one are a rollout that is"
                " not finished.",
                runbook="README",
                kind="table",
                queries=[prom("sum by (stream, detector, model_version) (vigil_model_info)", kind="table")],
                width=8,
                height=8,
                columns={
                    "stream": Column("Stream"),
                    "detector": Column("Detector"),
                    "model_version": Column("Version"),
                    "Value": Column("Workers", "none", 90),
                },
            ),
        ],
    ],
)
