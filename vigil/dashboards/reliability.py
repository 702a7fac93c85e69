"""Reliability: which nodes are in an incident or close to one, and how sure that is."""

from typing import Final

from vigil.dashboards.choices import CLUSTER, PLACE, REGION, TIER
from vigil.dashboards.fleet import worst_nodes
from vigil.dashboards.grafana import Dashboard, Panel, coloured, prom, script
from vigil.dashboards.scripts import TIERS

__all__ = ["RELIABILITY"]

_DETECTOR: Final = "reliability"


def _quantile(share: float, name: str) -> Panel:
    return Panel(
        title=f"{name} of nodes are below",
        description="The probability of an incident, now or within 30 minutes, that this share of the fleet does"
        " not pass.",
        runbook="README",
        kind="stat",
        queries=[prom(f"histogram_quantile({share}, sum by (le) (rate(vigil_reliability_score_bucket[5m])))")],
        width=4,
        height=4,
        unit="percentunit",
        thresholds=((None, "green"), (0.5, "orange"), (0.8, "red")),
    )


RELIABILITY: Final = Dashboard(
    uid="vigil-reliability",
    title="vigil / Reliability",
    description="The probability that a node is in an incident or within 30 minutes of one, as the reliability"
    " detector"
    " says it.",
    variables=(CLUSTER, REGION, TIER),
    rows=[
        [
            _quantile(0.5, "Half"),
            _quantile(0.9, "90 %"),
            _quantile(0.99, "99 %"),
            Panel(
                title="Nodes with a window",
                description="Nodes that the detector can judge. It needs 30 steps of a node.",
                runbook="vigil-cold-windows",
                kind="stat",
                queries=[prom('sum(vigil_windows_held{stream="node"})')],
                width=4,
                height=4,
            ),
            Panel(
                title="Silent nodes",
                description="Nodes of this stream that have stopped reporting: nothing is known of them.",
                runbook="member_down",
                kind="stat",
                queries=[prom('sum(vigil_silent_nodes{stream="node"})')],
                width=4,
                height=4,
                thresholds=((None, "green"), (1, "orange")),
            ),
            Panel(
                title="Flagged in the time shown",
                description="Windows that it flagged in the time chosen above, of all nodes together.",
                runbook="unusual",
                kind="stat",
                queries=[prom('sum(increase(dwcp_anomalies_detected_total{detector="reliability"}[$__range]))')],
                width=4,
                height=4,
                thresholds=((None, "green"), (1, "orange")),
            ),
        ],
        [
            worst_nodes("Nodes most likely to fail", _DETECTOR, width=12),
            Panel(
                title="Probability of an incident, whole fleet",
                description="Each column is a moment, each row a band of probability; the darker, the more nodes."
                " Healthy is a"
                " dark band at the bottom; a patch at the top is nodes in trouble.",
                runbook="unusual",
                kind="heatmap",
                queries=[
                    prom(
                        "sum by (le) (increase(vigil_reliability_score_bucket[2m]))",
                        "{{le}}",
                        kind="heatmap",
                    )
                ],
                width=12,
                height=9,
                unit="none",
            ),
        ],
        [
            Panel(
                title="Nodes by tier and state, now",
                description="How many nodes of each tier are normal or anomalous by this detector. Filtered by"
                " the choices"
                " above.",
                runbook="README",
                kind="barchart",
                queries=[script(TIERS, *PLACE, _DETECTOR)],
                width=8,
                height=8,
                stacked=True,
                overrides=coloured(),
            ),
            Panel(
                title="Probability, quantiles of the fleet",
                description="The same as above over time. 99 % that rises alone is a few nodes; half that rises"
                " is everybody:"
                " look for something that they share.",
                runbook="dependency_outage",
                kind="timeseries",
                queries=[
                    prom(
                        f"histogram_quantile({share}, sum by (le) (rate(vigil_reliability_score_bucket[5m])))",
                        name,
                    )
                    for share, name in ((0.5, "half"), (0.9, "90 %"), (0.99, "99 %"))
                ],
                width=8,
                height=8,
                unit="percentunit",
                low=0,
                high=1,
            ),
            Panel(
                title="Alerts opened, by likely cause",
                description="How many alerts were opened in the time shown, by what they looked like.",
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
        ],
    ],
)
