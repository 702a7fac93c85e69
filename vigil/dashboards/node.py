"""One node: its window, its score against the threshold, why, and the alerts of its cluster."""

from typing import Final

from vigil.dashboards.choices import CLUSTER, DETECTOR, HOME, PLACE, REGION, TIER
from vigil.dashboards.choices import NODE as NODE_CHOICE
from vigil.dashboards.fleet import RATIO, worst_nodes
from vigil.dashboards.grafana import REDIS, RUNBOOKS, Column, Dashboard, Json, Panel, script, steps
from vigil.dashboards.scripts import NOW, REASONS

__all__ = ["NODE"]

WINDOW_STEPS: Final = 30
_HISTORY: Final = "history:${detector}:${node}"
_OWN: Final = r"\$time|\$streamId|score|threshold|severity"
_CODES: Final = "network_tier|dwcp_mode|consensus_type"
_THIS: Final = (*PLACE, "${detector}", "${node}")


def _alerts(name: str, scope: str, colour: str) -> Json:
    """Mark the alerts of a scope, from their beginning to their end, with their sentence."""
    query = steps(f"alerts:history:{scope}").target
    used = {"time": "started_ms", "timeEnd": "ended_ms", "text": "summary", "tags": "tags", "title": "kind"}
    return {
        "name": name,
        "datasource": REDIS,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "target": {"refId": "Anno", **query},
        "mappings": {event: {"source": "field", "value": field} for event, field in used.items()},
    }


def _values(title: str, description: str, only: str, *, width: int, unit: str = "short") -> Panel:
    return Panel(
        title=title,
        description=description + " Shaded spans are the alerts of its cluster.",
        runbook="README",
        kind="timeseries",
        queries=[steps(_HISTORY)],
        width=width,
        height=8,
        unit=unit,
        only=only,
    )


_SCORE: Final = Panel(
    title="Score against threshold",
    description="A window above the red line is anomalous. Shaded spans are the alerts of its cluster. Steps are"
    " kept for"
    " every node of a small fleet and for anomalous nodes of a large one (redis.history_nodes).",
    runbook="unusual",
    kind="timeseries",
    queries=[steps(_HISTORY)],
    width=15,
    height=9,
    unit="none",
    only=r"^(\$time|score|threshold)$",
    low=0,
    overrides=[
        {
            "matcher": {"id": "byName", "options": "threshold"},
            "properties": [
                {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}},
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
                {"id": "custom.fillOpacity", "value": 0},
            ],
        },
        {
            "matcher": {"id": "byName", "options": "score"},
            "properties": [{"id": "custom.lineWidth", "value": 2}, {"id": "custom.showPoints", "value": "auto"}],
        },
    ],
)

_WINDOW: Final = Panel(
    title=f"The last {WINDOW_STEPS} steps, newest first",
    description="The window that the newest score is about, as the node sent it. Texts are their codes"
    " (docs/wire-format.md).",
    runbook="README",
    kind="table",
    queries=[steps(_HISTORY, newest=WINDOW_STEPS)],
    width=24,
    height=17,
    only=r"^(?!\$streamId).*$",
    overrides=[
        {
            "matcher": {"id": "byName", "options": "severity"},
            "properties": [
                {"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}},
                {
                    "id": "thresholds",
                    "value": {
                        "mode": "absolute",
                        "steps": [
                            {"value": level, "color": colour}
                            for level, colour in ((None, "green"), (1, "blue"), (2, "orange"), (3, "red"))
                        ],
                    },
                },
            ],
        }
    ],
)

_PAST: Final = Panel(
    title="Alerts of its cluster",
    description="What was told about this node's cluster, newest first, whether it is over or not.",
    runbook="README",
    kind="table",
    queries=[steps("alerts:history:cluster:${home}", newest=20)],
    width=14,
    height=8,
    columns={
        "started_ms": Column("Since", "dateTimeAsIso", 160),
        "ended_ms": Column("Until", "dateTimeAsIso", 160),
        "status": Column("State", width=80),
        "severity": Column("Severity", states=True, width=80),
        "kind": Column("Kind", link=f"{RUNBOOKS}${{__value.raw}}.md", width=150),
        "node": Column("Comes from", width=120),
        "summary": Column("What was wrong"),
    },
)

NODE: Final = Dashboard(
    uid="vigil-node",
    title="vigil / Node",
    description="One node: is it really unlike itself, in what, and since when. All of it comes from Redis.",
    variables=(DETECTOR, CLUSTER, REGION, TIER, NODE_CHOICE, HOME),
    annotations=(
        _alerts("Alerts of the cluster", "cluster:${home}", "red"),
        _alerts("Alerts of the node", "node:${node}", "orange"),
    ),
    start="now-3m",
    rows=[
        [
            Panel(
                title="$node now",
                description="The newest verdict: its state, how far its score is from the threshold (above 1 is"
                " anomalous), what"
                " its newest anomaly looked like, and when it last sent a step.",
                runbook="README",
                kind="stat",
                queries=[script(NOW, *_THIS)],
                width=24,
                height=4,
                columns={
                    "state": Column("state", states=True),
                    "ratio": Column("score ÷ threshold", "none", thresholds=RATIO),
                    "kind": Column("newest anomaly looked like"),
                    "seen": Column("newest step", "dateTimeFromNow"),
                    "tier": Column("tier"),
                    "region": Column("region"),
                },
            )
        ],
        [
            _SCORE,
            Panel(
                title="Why: parts of its newest anomaly",
                description="Which fields made the score, with what was measured and what is usual on this node."
                " One field far"
                " ahead names the trouble; many alike mean that the whole node changed.",
                runbook="unusual",
                kind="table",
                queries=[script(REASONS, *_THIS)],
                width=9,
                height=9,
                columns={
                    "feature": Column("Field"),
                    "share": Column("Share of the score", "percentunit", 160, thresholds=((None, "orange"),), most=1),
                    "value": Column("Measured", "short", 90),
                    "usual": Column("Usual", "short", 80),
                    "expected_low": Column("Expected from", "short", 110),
                    "expected_high": Column("to", "short", 80),
                },
            ),
        ],
        [
            _values(
                "Latency",
                "Half, 95 and 99 of 100 requests took no longer. All three together: everything is slow; p99"
                " alone: a few.",
                r"^(\$time|.*latency.*)$",
                width=12,
                unit="ms",
            ),
            _values(
                "Its other fields",
                "Everything else that the node sends, as it sends it; click a name below to see it alone.",
                rf"^(?!({_OWN}|{_CODES}|.*latency.*)$).*$|^\$time$",
                width=12,
            ),
        ],
        [_PAST, worst_nodes("Its cluster: are peers affected?", "${detector}", width=10, height=8, cluster="${home}")],
        [_WINDOW],
    ],
)
