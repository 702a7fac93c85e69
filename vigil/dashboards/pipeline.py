"""Pipeline health: is vigil itself well. From Kafka to whoever is told, in the order of the way."""

from typing import Final

from vigil.dashboards.grafana import Column, Dashboard, Panel, Threshold, prom

__all__ = ["PIPELINE"]

_DEAD: Final = "rate(vigil_dead_letters_total[$__rate_interval])"
_UP: Final[tuple[Threshold, ...]] = ((None, "red"), (1, "green"))


def _stat(title: str, description: str, runbook: str, expr: str, legend: str = "", **looks: object) -> Panel:
    made: dict[str, object] = {"width": 4, "height": 4, **looks}
    return Panel(
        title=title,
        description=description,
        runbook=runbook,
        kind="stat",
        queries=[prom(expr, legend)],
        **made,  # type: ignore[arg-type]
    )


def _lines(title: str, description: str, runbook: str, *queries: tuple[str, str], **looks: object) -> Panel:
    made: dict[str, object] = {"width": 8, "height": 8, "low": 0, **looks}
    asked = [prom(expr, legend) for expr, legend in queries]
    return Panel(
        title=title,
        description=description,
        runbook=runbook,
        kind="timeseries",
        queries=asked,
        **made,  # type: ignore[arg-type]
    )


_STATES: Final = (
    _stat(
        "Workers up",
        "Workers that answer Prometheus. Others take over what a missing one had.",
        "vigil-down",
        'sum(up{job="vigil-worker"})',
        thresholds=_UP,
    ),
    _stat(
        "Alert services up",
        "Alert services that answer. With none nobody is paged.",
        "vigil-down",
        'sum(up{job="vigil-alerts"})',
        thresholds=_UP,
    ),
    _stat(
        "Behind by",
        "How long the slowest worker needs to catch up at its pace of now.",
        "vigil-behind",
        "max(vigil_backlog_seconds)",
        unit="s",
        thresholds=((None, "green"), (60, "orange"), (600, "red")),
    ),
    _stat(
        "Stuck partitions",
        "Partitions with unread records of which nothing is committed. Must be 0.",
        "vigil-stuck",
        "sum(vigil_stuck_partitions)",
        thresholds=((None, "green"), (1, "red")),
    ),
    _stat(
        "Alerts decided up to",
        "Age of the event time up to which alerts are decided. They open and end as late as that.",
        "vigil-alerts-behind",
        "time() - max(vigil_alerts_event_time_seconds > 0)",
        unit="s",
        thresholds=((None, "green"), (120, "red")),
    ),
    _stat(
        "Redis",
        "Whether the last write of every worker to the live view went well. Dashboards and `vigil top` are old"
        " otherwise.",
        "vigil-view-late",
        "min(vigil_redis_up)",
        thresholds=_UP,
        options={"graphMode": "none", "textMode": "value"},
    ),
)

PIPELINE: Final = Dashboard(
    uid="vigil-pipeline",
    title="vigil / Pipeline health",
    description="Is vigil itself well: reading, scoring, writing, deciding, telling.",
    rows=[
        _STATES,
        [
            _lines(
                "Records a second, by topic",
                "What is read and committed. A topic that falls to 0 has lost its producers.",
                "vigil-blind",
                ("topic:dwcp_metrics_processed:rate1m", "{{topic}}"),
                unit="wps",
            ),
            _lines(
                "Unread records, by topic",
                "Committed records that no worker has read yet. A saw is normal; a slope is a worker that cannot"
                " keep up.",
                "vigil-behind",
                ("topic:vigil_consumer_lag_records:sum", "{{topic}}"),
            ),
            _lines(
                "Worst partitions (unread records)",
                "The five partitions with most unread records. One alone: a hot key or a stuck partition; all:"
                " too few workers.",
                "vigil-stuck",
                ("topk(5, sum by (topic, partition) (vigil_consumer_lag_records))", "{{topic}} {{partition}}"),
            ),
        ],
        [
            _lines(
                "Where a worker's time goes",
                "Seconds in a second, by stage; together about 1. Without much idle left a worker is at its end.",
                "vigil-behind",
                ("stage:vigil_stage_seconds:rate5m", "{{stage}}"),
                stacked=True,
                unit="percentunit",
            ),
            Panel(
                title="Records in a batch",
                description="Large batches mean that records wait; worker.batch_max is the top.",
                runbook="vigil-behind",
                kind="heatmap",
                queries=[
                    prom(
                        "sum by (le) (increase(vigil_batch_records_bucket[$__rate_interval]))", "{{le}}", kind="heatmap"
                    )
                ],
                width=8,
                height=8,
            ),
            _lines(
                "Transactions a second, by end",
                "Only committed is good. Aborted ones are tried again: nothing is lost, verdicts are late.",
                "vigil-transactions-aborted",
                ("sum by (result) (rate(vigil_transactions_total[$__rate_interval]))", "{{result}}"),
                unit="cps",
            ),
        ],
        [
            _lines(
                "Records that cannot be used, a second",
                "Dead letters by topic and code; the code is explained in docs/wire-format.md. A producer was"
                " changed, or lies.",
                "vigil-deaf",
                (
                    f"sum by (topic, code) ({_DEAD}) > 0 or sum by (topic) ({_DEAD})",
                    "{{topic}} {{code}}",
                ),
                unit="cps",
            ),
            _lines(
                "Steps a second, by what became of them",
                "window: scored. warming: too few steps yet. late, duplicate: producers repeat or lag.",
                "vigil-cold-windows",
                ("sum by (status) (rate(vigil_steps_total[$__rate_interval]))", "{{status}}"),
                unit="cps",
                stacked=True,
            ),
            _lines(
                "Windows held",
                "Nodes with a window in memory, by stream and worker. A fall to 0 that comes back is a restart.",
                "vigil-cold-windows",
                ("sum by (stream, instance) (vigil_windows_held)", "{{stream}} {{instance}}"),
            ),
        ],
        [
            _lines(
                "Writes to Redis a second",
                "By result. Failed ones wait and are made good when Redis is back.",
                "vigil-view-late",
                ("sum by (result) (rate(vigil_redis_flushes_total[$__rate_interval]))", "{{result}}"),
                unit="cps",
            ),
            _lines(
                "Nodes that wait for Redis",
                "Newest verdicts that are not in Redis yet. Near 0 is good; growing means that Redis is away or"
                " too slow.",
                "vigil-view-late",
                ("sum by (instance) (vigil_redis_waiting_nodes)", "{{instance}}"),
            ),
            _lines(
                "Alerts told a second, by sink",
                "ok: taken. away: tried again. refused: it does not want it, look at its answer. silenced: by"
                " your word.",
                "vigil-sink-failing",
                (
                    "sum by (sink, result) (rate(vigil_alerts_deliveries_total[$__rate_interval]))",
                    "{{sink}} {{result}}",
                ),
                unit="cps",
            ),
        ],
        [
            _lines(
                "Alerts that wait for a sink",
                "Alerts whose newest state a sink has not taken. Above 0 for long: people may not be paged.",
                "vigil-sink-failing",
                ("sum by (sink) (vigil_alerts_waiting)", "{{sink}}"),
            ),
            _lines(
                "Processors and memory",
                "Cores used, and resident memory in GB, of each process.",
                "vigil-behind",
                ('rate(process_cpu_seconds_total{job=~"vigil-.*"}[$__rate_interval])', "{{instance}} cores"),
                ('process_resident_memory_bytes{job=~"vigil-.*"} / 1e9', "{{instance}} GB"),
            ),
            Panel(
                title="Who works",
                description="Workers and their groups; two groups read everything twice.",
                runbook="vigil-down",
                kind="table",
                queries=[prom("sum by (name, group, instance) (vigil_worker_info)", kind="table")],
                width=8,
                height=8,
                columns={"name": Column("Worker"), "group": Column("Group"), "instance": Column("Where")},
            ),
        ],
    ],
)
