"""`vigil top`: what a real worker wrote into a real Redis, as a person and a program see it."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fleet_samples import START_MS, fleet
from redis import Redis
from redis_servers import redis_server
from rich.console import Console
from rig import Rig

from schemas.codec import encode
from schemas.outputs import Alert, alert_fingerprint, alert_id
from streams.alerting.redis_alerts import OPEN, alert_key
from streams.fleet import FleetReader, Selection
from vigil.cli.app import create_app
from vigil.cli.top_screen import fleet_screen
from vigil.errors import ServiceError
from vigil.ports import free_run

FAULTS = {("n2", 44): 130.0, ("n3", 43): 60.0, ("n1", 35): 90.0}


def work(rig: Rig) -> None:
    messages = fleet(5, range(45), faults=FAULTS)
    rig.produce(messages)
    with rig.running() as thread:
        thread.wait_for_records(len(messages))


def open_alert(rig: Rig, cluster: str) -> Alert:
    fingerprint = alert_fingerprint(f"cluster:{cluster}", START_MS)
    alert = Alert(
        id=alert_id(fingerprint, 0),
        fingerprint=fingerprint,
        status="firing",
        severity="critical",
        detectors=("peak",),
        node_id="n2",
        cluster=cluster,
        region="eu-1",
        started_ms=START_MS,
        updated_ms=START_MS,
        peak_score=2.6,
        summary="n2: slow, commit latency p99 130 ms, usually 10, for 3 s; peers unaffected",
        contributions=(),
        anomaly_count=1,
        runbook="slow.md",
    )
    client, prefix = rig.client(), rig.redis.key_prefix
    client.set(f"{prefix}{alert_key(fingerprint)}", encode(alert))
    client.zadd(f"{prefix}{OPEN}", {fingerprint: START_MS})
    return alert


def words(rig: Rig, *more: str) -> list[str]:
    return ["top", "--once", "--redis", rig.redis_url, "--set", f"redis.key_prefix={rig.redis.key_prefix}", *more]


def look(rig: Rig, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    arguments = words(rig, "--json", *more)
    create_app(arguments)(args=arguments, standalone_mode=False)
    seen: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])  # the worker's log comes before
    return seen


def test_active_nodes_come_first_with_what_is_wrong(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    work(rig)
    seen = look(rig, capsys, "--rows", "4")
    assert [(one["node"], one["severity"]) for one in seen["worst"][:2]] == [("n2", "critical"), ("n3", "info")]
    assert seen["worst"][0]["score"] == 130.0
    [reason] = seen["worst"][0]["anomaly"]["contributions"]
    assert (reason["feature"], reason["value"]) == ("latency_p99", 130.0)
    assert len(seen["worst"]) == 4
    assert (seen["nodes"]["peak"], seen["active"]) == (5, {"critical": 1, "warning": 0, "info": 1})
    [worker] = seen["workers"]
    assert (worker["records"], worker["lag"]) == (225, 0)
    assert worker["records_per_second"] >= 0


def test_a_look_never_goes_over_all_keys(rig: Rig) -> None:
    work(rig)
    client, prefix = rig.client(), rig.redis.key_prefix
    names = set(client.zrange(f"{prefix}names", 0, -1))
    assert {name.partition(":")[0] for name in names} == {"worst", "worker"}
    assert "worst:peak" in names
    reader = FleetReader(client, prefix)
    calls = commands(client)
    seen = reader.read(Selection(cluster="alpha"), 20)
    assert (seen.nodes["peak"], len(seen.workers)) == (5, 1)
    done = {name for name, count in commands(client).items() if count > calls.get(name, 0)}
    assert "zrange" in done
    assert not done & {"scan", "keys"}


def commands(client: Redis) -> dict[str, int]:
    """How often Redis was asked what, so far."""
    if not (told := client.info("commandstats")):
        pytest.skip("this Redis does not count commands: install redis-server")
    return {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in told.items()}


def test_a_selection_leaves_out_other_nodes_and_alerts(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    work(rig)
    mine = open_alert(rig, "alpha")
    open_alert(rig, "beta")
    seen = look(rig, capsys, "--cluster", "alpha")
    assert [one["alert"]["fingerprint"] for one in seen["alerts"]] == [mine.fingerprint]
    assert len(seen["worst"]) == 5
    other = look(rig, capsys, "--region", "us-1")
    assert (other["worst"], other["alerts"], other["active"]["critical"]) == ([], [], 0)


@pytest.mark.parametrize("width", [50, 100, 160])
def test_no_line_is_wider_than_the_screen_and_the_worst_stays(rig: Rig, width: int) -> None:
    work(rig)
    open_alert(rig, "alpha")
    seen = FleetReader(rig.client(), rig.redis.key_prefix).read(Selection(), 20)
    console = Console(width=width, record=True, file=open(os.devnull, "w"), highlight=False)  # noqa: SIM115, PTH123
    console.print(fleet_screen(seen, [], width=width, height=20))
    console.file.close()
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert any("n2" in line and "critical" in line and "2.6 x" in line for line in lines)
    assert any("alpha" in line for line in lines) == (width >= 90)


def test_a_redis_that_is_away_is_a_clear_error() -> None:
    arguments = ["top", "--once", "--redis", "redis://127.0.0.1:1/0"]
    with pytest.raises(ServiceError, match="does not answer"):
        create_app(arguments)(args=arguments, standalone_mode=False)


def line_of(process: "subprocess.Popen[str]", stream: str) -> str:
    """Return the next line of a process, which must come within the time of a slow machine."""
    pipe = getattr(process, stream)
    ready, _, _ = select.select([pipe], [], [], 60)
    assert ready, f"nothing on {stream}"
    return str(pipe.readline())


def test_it_goes_on_when_redis_is_back(tmp_path: Path) -> None:
    port = free_run(1)
    command = [sys.executable, "-m", "vigil", "top", "--json", "--every", "0.2"]
    command += ["--redis", f"redis://127.0.0.1:{port}/0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with subprocess.Popen(command, env=environment, **options) as process:
        assert "does not answer" in line_of(process, "stderr")
        with redis_server(tmp_path, port):
            assert json.loads(line_of(process, "stdout"))["worst"] == []
            assert "Redis is back" in line_of(process, "stderr")
        assert "does not answer" in line_of(process, "stderr")
        process.terminate()
