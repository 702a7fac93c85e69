import json
import threading

import pytest
from prometheus_client import CollectorRegistry

from streams import StreamsConfigError
from streams.health import Health
from streams.http import HealthServer, Probe
from streams.lifecycle import Assigned, Failed, Lifecycle, Opened
from streams.statistics import SourceState
from streams.stopping import StopRequest

UP = SourceState(broker_up=True, lag={("t", 0): 5}, at=1.0)
DOWN = SourceState(broker_up=False, lag={}, at=1.0)
RUNNING = Lifecycle().after(Opened())[0].after(Assigned([("t", 0)]))[0]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_healthy_while_the_loop_turned_lately() -> None:
    clock = Clock()
    health = Health(stale_after_s=60, clock=clock)
    clock.now += 60
    assert health.healthy().ok
    clock.now += 1
    assert health.healthy().reasons == ("the loop has not turned for 61 s",)
    health.beat()
    assert health.healthy().ok


def test_ready_with_partitions_and_a_broker() -> None:
    probe = Health(stale_after_s=60).ready(RUNNING, UP)
    assert probe.ok
    assert json.loads(probe.body()) == {
        "status": "ok",
        "reasons": [],
        "phase": "running",
        "partitions": ["t[0]"],
        "lag_records": 5,
    }


def test_not_ready_while_windows_are_restored() -> None:
    probe = Health(stale_after_s=60).ready(RUNNING, UP, restoring=True)
    assert (probe.ok, probe.reasons) == (False, ("windows are being restored",))


def test_not_ready_says_every_reason() -> None:
    clock = Clock()
    health = Health(stale_after_s=60, clock=clock)
    health.waiting = "topics do not exist: t"
    clock.now += 100
    failed = Lifecycle().after(Failed("fenced"))[0]
    probe = health.ready(failed, DOWN)
    assert not probe.ok
    assert probe.reasons == (
        "topics do not exist: t",
        "the worker is failed: fenced",
        "no broker can be reached",
        "the loop has not turned for 100 s",
    )


def test_a_taken_port_is_an_error_that_names_the_setting() -> None:
    def serve(port: int) -> HealthServer:
        return HealthServer(
            "127.0.0.1", port, registry=CollectorRegistry(), healthy=lambda: Probe(True), ready=lambda: Probe(True)
        )

    first = serve(0)
    with pytest.raises(StreamsConfigError, match=r"set metrics\.port"):
        serve(first.address[1])
    first.close()


def test_a_stop_request_ends_the_first_wait_and_bounds_the_later_ones() -> None:
    stop = StopRequest(grace_s=0.05)
    assert not stop.requested
    assert not stop.overdue
    threading.Timer(0.01, stop.request).start()
    stop.pause(30)
    assert stop.requested
    stop.pause(30)
    stop.request()
    assert stop.overdue
