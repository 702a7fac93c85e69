"""Ask every query of every dashboard panel, and every rule, of a real Prometheus and a real Redis.

    python -m benchmarks.dashboards [--seconds 240] [--pictures DIR] [--json]

Starts an embedded broker, Debian's redis-server, prometheus and prometheus-alertmanager, a worker and the alert
service; two simulated fleets with faults run for some minutes, a few records are broken, three alerts are judged. Then
each panel is asked what Grafana would ask. Status 1 when one has nothing to draw, or a rule cannot be evaluated.
``--pictures`` draws each dashboard from the same answers.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.alert_servers import ServerMissingError
from benchmarks.chaos.servers import ServerError
from benchmarks.dashboards.panels import Drawn, annotations, chosen, dashboards, drawn
from benchmarks.dashboards.rules import asked_rules
from benchmarks.dashboards.sources import Json, Sources, Span, is_empty
from benchmarks.dashboards.stage import Live, live
from benchmarks.waiting import wait_until

__all__ = ["measured"]

SCRAPE_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 15.0  # after the history, until rates are those of now
CONSENSUS_DETECTOR: Final = "consensus"
FRESH_SECONDS: Final = 60.0
HELD_SECONDS: Final = 20.0  # until feedback is in the metrics, and rules have looked at it


def measured(running: Live, seconds: float, pictures: Path | None = None) -> dict[str, Any]:
    """Let it run, then ask everything.

    Args:
        running: what is up.
        seconds: how long it runs before it is asked.
        pictures: folder for a PNG a dashboard; none when not given.

    Returns:
        ``panels`` asked, ``queries`` asked, ``empty`` panels as "dashboard: title", ``rules``, ``rules_wrong``.
    """
    began = time.time()
    time.sleep(max(0.0, seconds - HELD_SECONDS))
    running.break_records()
    alerts = sorted(running.opened(), key=lambda one: one["started_ms"])
    for alert, verdict in zip(alerts[-3:], ("real", "real", "noise"), strict=False):
        running.say("feedback", alert["fingerprint"], verdict)
    time.sleep(HELD_SECONDS)
    wait_until(lambda: _newest(running), "an alert of the last minute")
    alert = _newest(running)
    preset = {"prefix": running.prefix, "detector": CONSENSUS_DETECTOR, "node": alert["node_id"]}
    end = time.time()
    sources = Sources(running.prometheus, running.redis)
    panels = queries = 0
    empty: list[str] = []
    for dashboard in dashboards():
        variables = chosen(dashboard, sources, preset)
        span = Span(max(began + SETTLE_SECONDS, end - _shown(dashboard)), end, SCRAPE_SECONDS)
        answered = list(drawn(dashboard, sources, variables, span))
        for frame in (frame for one in answered for frame in one.frames):
            frame.name = frame.name.replace(f"{running.stage.kafka.group_id}.", "")  # topics of the stage's own
        panels += len(answered)
        queries += sum(len(one.answers) for one in answered)
        empty += [
            f"{dashboard['uid']}: {one.title}"
            for one in answered
            if is_empty(one.frames) or any(is_empty(answer) for answer in one.answers) or _blank(one)
        ]
        marks = annotations(dashboard, sources, variables, span)
        if dashboard["annotations"]["list"] and not marks:
            empty.append(f"{dashboard['uid']}: annotations")
        if pictures is not None:
            _draw(dashboard, answered, marks, span, pictures)
    rules = asked_rules(running.prometheus)
    wrong = [asdict(one) for one in rules if one.health != "ok" or one.empty]
    return {
        "panels": panels,
        "queries": queries,
        "empty": empty,
        "rules": len(rules),
        "rules_wrong": wrong,
        "rules_firing": [one.name for one in rules if one.firing],
    }


def _newest(running: Live) -> dict[str, Any]:
    """Return the newest alert, from which an engineer would come to a node; none when that is a minute old."""
    told = [one for one in running.opened() if CONSENSUS_DETECTOR in one["detectors"]]
    newest = max(told, key=lambda one: one["updated_ms"], default={"updated_ms": 0})
    return newest if newest["updated_ms"] > 1000 * (time.time() - FRESH_SECONDS) else {}


def _shown(dashboard: Json) -> float:
    """Return the seconds that a dashboard shows."""
    number, unit = dashboard["time"]["from"].removeprefix("now-")[:-1], dashboard["time"]["from"][-1]
    return float(number) * {"m": 60, "h": 3_600}[unit]


def _blank(one: Drawn) -> bool:
    """Whether a single value is none now, although it was one before."""
    newest = [frame.fields["value"][-1] for frame in one.frames if "value" in frame.fields]
    return one.panel["type"] == "stat" and any(value != value for value in newest)  # noqa: PLR0124 -- NaN


def _draw(dashboard: Json, answered: Any, marks: Any, span: Span, folder: Path) -> None:
    from benchmarks.dashboards.pictures import picture  # noqa: PLC0415 -- matplotlib only where it is wanted

    folder.mkdir(parents=True, exist_ok=True)
    picture(dashboard, answered, marks, span, folder / f"{dashboard['uid']}.png")


def main() -> int:
    """Run, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240.0, help="how long the fleets run before all is asked")
    parser.add_argument("--pictures", type=Path, help="draw each dashboard into this folder")
    parser.add_argument("--json", action="store_true", help="print one object on one line")
    asked = parser.parse_args()
    try:
        with live() as running:
            found = measured(running, asked.seconds, asked.pictures)
    except (ServerMissingError, ServerError) as error:
        print(f"benchmarks.dashboards: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=None if asked.json else 1))
    return 1 if found["empty"] or found["rules_wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
