"""Fleet overview: is anything wrong, where, and since when."""

from typing import Final

from vigil.dashboards.choices import CLUSTER, DETECTOR, PLACE, REGION, TIER
from vigil.dashboards.grafana import RUNBOOKS, Column, Dashboard, Panel, coloured, prom, script
from vigil.dashboards.scripts import ACTIVE, CLUSTERS, NODES, OPEN_ALERTS

__all__ = ["FLEET", "RATIO", "TO_NODE", "open_alerts", "worst_nodes"]

TO_NODE: Final = (
    "/d/vigil-node?var-detector=${__data.fields.detector}&var-cluster=*&var-node=${__data.fields.node}"
    "&${__url_time_range}"
)
RATIO: Final = ((None, "green"), (0.7, "yellow"), (1.0, "orange"), (3.0, "red"))
_TO_CLUSTER: Final = "/d/vigil-fleet?var-cluster=${__data.fields.cluster}&${__url_time_range}"


def worst_nodes(title: str, detector: str, *, width: int, height: int = 9, cluster: str = PLACE[0]) -> Panel:
    """Make the table of the worst nodes by a detector."""
    place = (cluster, *PLACE[1:])
    return Panel(
        title=title,
        description="The nodes that are furthest from normal now, worst first, one line each. Score ÷ threshold"
        " above 1"
        " is anomalous; the name opens the node. Filtered by the choices above.",
        runbook="README",
        kind="table",
        queries=[script(NODES, *place, detector, "25")],
        width=width,
        height=height,
        columns={
            "state": Column("State", states=True, width=80),
            "node": Column("Node", link=TO_NODE),
            "cluster": Column("Cluster", link=_TO_CLUSTER),
            "ratio": Column("Score ÷ threshold", "none", 150, thresholds=RATIO, most=3),
            "kind": Column("Looks like", link=f"{RUNBOOKS}${{__value.raw}}.md"),
            "seen": Column("Newest step", "dateTimeFromNow", 130),
            "detector": Column("Detector", hidden=True),
        },
    )


def open_alerts(*, width: int, height: int = 9) -> Panel:
    """Make the table of open alerts."""
    return Panel(
        title="Open alerts",
        description="One line a problem, newest first: what is wrong in one sentence, since when, and who has it."
        " Empty"
        " is good. The kind opens its runbook, the node its window.",
        runbook="README",
        kind="table",
        queries=[script(OPEN_ALERTS, *PLACE)],
        width=width,
        height=height,
        columns={
            "severity": Column("Severity", states=True, width=80),
            "since": Column("Since", "dateTimeFromNow", 120),
            "node": Column("Where it comes from", link=TO_NODE, width=150),
            "kind": Column("Kind", link=f"{RUNBOOKS}${{__value.raw}}.md", width=160),
            "summary": Column("What is wrong"),
            "who": Column("Has it", width=80),
            "detector": Column("Detector", hidden=True),
        },
    )


_STATES: Final = (
    Panel(
        title="Open alerts",
        description="Problems that somebody should look at now, in the whole fleet. 0 is good.",
        runbook="README",
        kind="stat",
        queries=[prom("sum(vigil_alerts_open)")],
        width=4,
        height=4,
        thresholds=((None, "green"), (1, "orange"), (5, "red")),
    ),
    Panel(
        title="Anomalous nodes",
        description="Nodes whose newest window is anomalous, by severity. Short single ones are common and open"
        " no alert."
        " Filtered by the choices above.",
        runbook="unusual",
        kind="stat",
        queries=[script(ACTIVE, *PLACE)],
        width=6,
        height=4,
        columns={
            "critical": Column("critical", thresholds=((None, "green"), (1, "red"))),
            "warning": Column("warning", thresholds=((None, "green"), (1, "orange"))),
            "info": Column("info", thresholds=((None, "green"), (1, "blue"))),
        },
    ),
    Panel(
        title="Silent nodes",
        description="Nodes that used to report and do not. Each is either down or cut off.",
        runbook="member_down",
        kind="stat",
        queries=[prom("sum(vigil_silent_nodes)")],
        width=3,
        height=4,
        thresholds=((None, "green"), (1, "orange")),
    ),
    Panel(
        title="Nodes watched",
        description="Nodes with a window in memory, by stream. A drop means that producers or a worker are gone.",
        runbook="vigil-blind",
        kind="stat",
        queries=[prom("sum by (stream) (vigil_windows_held)", "{{stream}}")],
        width=4,
        height=4,
    ),
    Panel(
        title="Records a second",
        description="Telemetry that is read and scored. 0 means that nothing is watched.",
        runbook="vigil-blind",
        kind="stat",
        queries=[prom("sum(topic:dwcp_metrics_processed:rate1m)")],
        width=4,
        height=4,
        unit="wps",
        thresholds=((None, "red"), (0.01, "green")),
    ),
    Panel(
        title="Behind by",
        description="How long the slowest worker needs to catch up. Alerts are late by about as much.",
        runbook="vigil-behind",
        kind="stat",
        queries=[prom("max(vigil_backlog_seconds)")],
        width=3,
        height=4,
        unit="s",
        thresholds=((None, "green"), (60, "orange"), (600, "red")),
    ),
)

FLEET: Final = Dashboard(
    uid="vigil-fleet",
    title="vigil / Fleet overview",
    description="Is anything wrong, where, and since when. Tables follow the choices of cluster, region and tier;"
    " what"
    " is drawn over time is of the whole fleet.",
    variables=(DETECTOR, CLUSTER, REGION, TIER),
    rows=[
        _STATES,
        [open_alerts(width=14), worst_nodes("Worst nodes", "${detector}", width=10)],
        [
            Panel(
                title="Scores of the whole fleet (score ÷ threshold)",
                description="Each column is a moment, each row a band of scores; the darker, the more windows. A"
                " fault is a"
                " patch above 1. A band that creeps up towards 1 over days is drift: look at what changed.",
                runbook="unusual",
                kind="heatmap",
                queries=[
                    prom(
                        'sum by (le) (increase(vigil_score_ratio_bucket{detector="$detector"}[$__rate_interval]))',
                        "{{le}}",
                        kind="heatmap",
                    )
                ],
                width=14,
                height=9,
                unit="none",
            ),
            Panel(
                title="Clusters by their worst node",
                description="How far the worst node of each cluster is from its threshold, and how many of its"
                " members are"
                " anomalous: one is a node's trouble, all are the cluster's.",
                runbook="README",
                kind="table",
                queries=[script(CLUSTERS, *PLACE, "${detector}")],
                width=10,
                height=9,
                columns={
                    "cluster": Column("Cluster", link=_TO_CLUSTER),
                    "worst": Column("Worst score ÷ threshold", "none", 200, thresholds=RATIO, most=3),
                    "anomalous": Column("Anomalous members", width=150),
                    "node": Column("Worst node"),
                },
            ),
        ],
        [
            Panel(
                title="Open alerts over time",
                description="How many problems were open at once, by severity.",
                runbook="README",
                kind="timeseries",
                queries=[prom("sum by (severity) (vigil_alerts_open)", "{{severity}}")],
                width=8,
                height=8,
                stacked=True,
                low=0,
                overrides=coloured(),
            ),
            Panel(
                title="Anomalies a second",
                description="Windows flagged, by detector and severity. Steady noise here with no alert is a"
                " threshold that"
                " is too low for some node: give feedback on its alerts.",
                runbook="unusual",
                kind="timeseries",
                queries=[
                    prom(
                        "sum by (detector, severity) (rate(dwcp_anomalies_detected_total[$__rate_interval]))",
                        "{{detector}} {{severity}}",
                    )
                ],
                width=8,
                height=8,
                unit="cps",
                low=0,
            ),
            Panel(
                title="Score quantiles of the fleet (score ÷ threshold)",
                description="Half of all windows, nine of ten, and 99 of 100 are below these lines. The dashed"
                " line is where"
                " flagging begins.",
                runbook="unusual",
                kind="timeseries",
                queries=[
                    prom(
                        f"histogram_quantile({q}, sum by (le)"
                        ' (rate(vigil_score_ratio_bucket{detector="$detector"}[$__rate_interval])))',
                        name,
                    )
                    for q, name in ((0.5, "half"), (0.9, "90 %"), (0.99, "99 %"))
                ],
                width=8,
                height=8,
                unit="none",
                thresholds=((None, "green"), (1, "red")),
                log=True,
            ),
        ],
    ],
)
