"""Replay a recording through a real worker and a real alert service, and measure the alerts that come out.

    python -m benchmarks.alerts RECORDING.jsonl.gz --faults FILE.faults.json --speed 20 --json

Starts an embedded broker, or uses ``--kafka HOST:PORT``. Behind the recording comes its first minute again, so that
event time goes on and the last alert can end. Times are event time, as the alerts carry it, with the hold-back that
they wait for; ``publish_lag_s`` is what comes on top on the wall clock: from the moment at which telemetry of that time
was sent to the moment at which the alert could be read.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import msgspec

from benchmarks.alert_stage import AlertReader, alert_stage
from detectors.evaluation.alerts import DISORDER_MS, alert_figures
from detectors.evaluation.events import Fault
from streams.kafka import client_properties
from vigil.demo.stage import WorkerProcess
from vigil.labelled import read_faults
from vigil.publisher import Publisher
from vigil.recordings import open_recording
from vigil.replay import Pace, rebased, replay

_DRAIN_SECONDS: Final = 180.0
_READY_SECONDS: Final = 180.0
_LOOK_SECONDS: Final = 0.1
_AGAIN_MS: Final = 60_000
_TICK_SECONDS: Final = 2.0  # event time between two looks at the clock


def measured(path: Path, faults: list[Fault], *, speed: float, bootstrap: str | None = None) -> dict[str, Any]:
    """Replay a recording and measure its alerts.

    Args:
        path: the recording.
        faults: what was injected.
        speed: event seconds a second.
        bootstrap: a broker's address; an embedded one when ``None``.

    Returns:
        The figures of ``alert_figures``; ``speed``, ``records``, ``changes``, ``open_at_the_end``, ``publish_lag_s``
        (median and 95th percentile, wall clock), ``summaries`` of what fired.
    """
    opened = open_recording(path)
    records = list(opened.records)
    first_ms, span_ms = records[0][2], records[-1][2] - records[0][2]
    again = [one for one in records if one[2] < first_ms + _AGAIN_MS]
    records += rebased(again, records[-1][2] + opened.step_ms)
    with alert_stage(bootstrap) as stage:
        stage.settings |= {"alerts.tick_s": f"{max(0.1, min(0.5, _TICK_SECONDS / speed)):g}", "alerts.linger_s": "0.05"}
        worker, service = stage.worker(), stage.alerts()
        try:
            worker.wait_until_ready(_READY_SECONDS)
            service.wait_until_ready(_READY_SECONDS)
            with AlertReader(stage.kafka).running() as reader:
                target = stage.kafka.topic(opened.stream.name, opened.stream.topic)
                with Publisher(target, client_properties(stage.kafka, "producer")) as publisher:
                    began = time.monotonic()
                    replay(records, publisher, pace=Pace(speed))
                _drain(service, records[-1][2] - DISORDER_MS - opened.step_ms)
                told = list(reader.told)
                changes = reader.changes()
        finally:
            service.stop()
            worker.stop()
    lags = [one.at - began - (one.alert.updated_ms + DISORDER_MS - first_ms) / 1000 / speed for one in told]
    newest = {change.fingerprint: change.status for change in changes}
    return {
        **asdict(alert_figures(changes, faults, span_ms)),
        "speed": speed,
        "records": len(records),
        "changes": len(changes),
        "repeats": len(told) - len(changes),
        "open_at_the_end": list(newest.values()).count("firing"),
        "publish_lag_s": _spread(lags),
        "summaries": [change.summary for change in changes if change.status == "firing"],
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    return {"median": round(median(seconds), 3), "p95": round(quantiles(seconds, n=20)[-1], 3)}


def _drain(service: WorkerProcess, until_ms: int) -> None:
    """Wait until all that was sent is decided."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while service.counters().get("vigil_alerts_event_time_seconds", 0.0) * 1000 < until_ms:
        service.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"event time did not reach {until_ms} within {_DRAIN_SECONDS:g} s")
        time.sleep(_LOOK_SECONDS)


def main() -> None:
    """Measure, and print one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--faults", type=Path, help="JSON array of faults; NAME.faults.json beside it when not given")
    parser.add_argument("--speed", type=float, default=20.0, help="event seconds a second")
    parser.add_argument("--kafka", help="a broker's address, instead of an embedded one")
    parser.add_argument("--json", action="store_true", help="on one line")
    asked = parser.parse_args()
    faults = (
        read_faults(asked.recording)
        if asked.faults is None
        else msgspec.json.decode(asked.faults.read_bytes(), type=list[Fault])
    )
    result = measured(asked.recording, faults, speed=asked.speed, bootstrap=asked.kafka)
    print(json.dumps(result, indent=None if asked.json else 1))


if __name__ == "__main__":
    main()
