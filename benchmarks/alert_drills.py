"""What faults and load do to the alert service: ``python -m benchmarks.alert_drills [disturbed|storm ...]``.

``disturbed``: the service is killed again and again (``--kills``) while anomalies come, and Alertmanager is away for
minutes (``--away``). What it published, what Redis and Alertmanager have, what it posted, and what Alertmanager's own
receiver was paged with are compared with a service beside it that reads the same anomalies and is left alone.
``storm``: 100,000 anomalies of one second at once.
The first needs Apache Kafka (``--kafka HOST:PORT``, or the one beside the repository); Alertmanager is Debian's.
"""

import argparse
import json
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.alert_disturbed import SETTINGS, Plan, anomaly, disturbed, publish
from benchmarks.alert_stage import AlertReader, alert_stage
from benchmarks.alert_trials import storm
from benchmarks.waiting import PATIENCE_SECONDS, wait_until
from vigil.demo.stage import WorkerProcess

_STORM: Final = 100_000
_LATER_MS: Final = 3_600_000
_DRILLS: Final = ("disturbed", "storm")


def burst(anomalies: int, clusters: int, bootstrap: str | None) -> dict[str, Any]:
    """Publish a storm of one second before the service starts, and measure how it gets through."""
    log = storm(anomalies, clusters)
    with ExitStack() as stack:
        stage = stack.enter_context(alert_stage(bootstrap))
        stage.settings |= SETTINGS
        publish(stage, log)
        with AlertReader(stage.kafka).running() as reader:
            service = stage.alerts()
            stack.callback(service.stop)
            service.wait_until_ready(PATIENCE_SECONDS)
            wait_until(lambda: _taken(service) > 0, "the first anomaly")
            first, began, at_first = time.monotonic(), _cpu_seconds(service), _taken(service)
            wait_until(lambda: _taken(service) >= len(log), "the last anomaly", timeout=600)
            seconds, cpu = time.monotonic() - first, _cpu_seconds(service) - began
            publish(stage, [anomaly(f"late-{place}", 0, log[-1].ts_ms + _LATER_MS) for place in range(64)])
            wait_until(lambda: len({one.alert.cluster for one in reader.told}) >= clusters, "the alerts", timeout=300)
            peak = _peak_mib(service)
        opened = Counter(cluster for cluster, _ in {(one.alert.cluster, one.alert.fingerprint) for one in reader.told})
    return {
        "anomalies": len(log),
        "clusters": clusters,
        "alerts_a_cluster": max(opened.values()),
        "anomalies_a_second": round((len(log) - at_first) / seconds),
        "anomalies_a_cpu_second": round((len(log) - at_first) / cpu),
        "peak_mib": peak,
    }


def _taken(service: WorkerProcess) -> float:
    return service.counters().get("vigil_alerts_anomalies_total", 0.0)


def _peak_mib(service: WorkerProcess) -> int:
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


def _cpu_seconds(service: WorkerProcess) -> float:
    fields = Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    """Run the drills asked for, and print one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drills", nargs="*", choices=[*_DRILLS, []], help="all of them when none is named")
    parser.add_argument("--kills", type=int, default=20, help="of the disturbed service, at random times")
    parser.add_argument("--away", type=float, default=300.0, help="seconds that Alertmanager is away")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long anomalies come to the disturbed service")
    parser.add_argument("--anomalies", type=int, default=_STORM, help="of the storm")
    parser.add_argument("--clusters", type=int, default=20)
    parser.add_argument("--kafka", help="a broker's address")
    parser.add_argument("--embedded", action="store_true", help="on the embedded broker instead of Apache Kafka")
    parser.add_argument("--json", action="store_true", help="on one line")
    asked = parser.parse_args()
    drills = asked.drills or _DRILLS
    result: dict[str, Any] = {}
    if "disturbed" in drills:
        plan = Plan(asked.seconds, asked.kills, asked.away, asked.clusters)
        result["disturbed"] = disturbed(plan, asked.kafka, apache=not asked.embedded)
    if "storm" in drills:
        result["storm"] = burst(asked.anomalies, asked.clusters, asked.kafka)
    print(json.dumps(result, indent=None if asked.json else 1))


if __name__ == "__main__":
    main()
