"""Publishes the scenario: the history flat out, the live part at a pace a person can watch."""

import threading
import time
from types import TracebackType
from typing import Final, Self

from streams.config import KafkaConfig
from streams.kafka import client_properties
from vigil.demo.scenario import Scenario
from vigil.publisher import Publisher

__all__ = ["Pump"]

LONGEST_WAIT: Final = 0.1


class Pump:
    """Sends on a thread of its own.

    The history comes first; the live part begins when ``begin_live`` is called, so that the worker has caught up.

    Args:
        scenario: what to send.
        kafka: with the demo's topics.
        live_seconds: wall time of the live part.
    """

    def __init__(self, scenario: Scenario, kafka: KafkaConfig, live_seconds: float) -> None:
        self.sent = 0
        self.event_ms: dict[str, int] = {}
        self.history_sent = threading.Event()
        self.done = threading.Event()
        self.error: Exception | None = None
        self._scenario = scenario
        self._kafka = kafka
        self._live_seconds = live_seconds
        self._live = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)

    def begin_live(self) -> None:
        """Let the live part begin."""
        self._live.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._live.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            properties = client_properties(self._kafka, "producer")
            with (
                Publisher(self._kafka.topics["consensus"], properties) as consensus,
                Publisher(self._kafka.topics["node"], properties) as node,
            ):
                self._send({"consensus": consensus, "node": node})
            self.done.set()
        except Exception as error:  # noqa: BLE001 - carried to the main thread, which raises it
            self.error = error

    def _send(self, publishers: dict[str, Publisher]) -> None:
        began: float | None = None
        for one in self._scenario.sent():
            if one.due >= 0 and began is None:
                for publisher in publishers.values():
                    publisher.flush()
                self.history_sent.set()
                self._live.wait()
                began = time.monotonic()
            if began is not None:
                self._wait(began + one.due * self._live_seconds)
            if self._stop.is_set():
                return
            publishers[one.stream].send(one.key, one.value, node=one.node)
            self.sent += 1
            self.event_ms[one.stream] = one.ts_ms

    def _wait(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            time.sleep(min(left, LONGEST_WAIT))
