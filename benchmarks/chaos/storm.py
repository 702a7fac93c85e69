"""Throws planned faults at a world: lanes overlap, the faults of one lane come one after the other."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from benchmarks.chaos.faults import Fault, Kind, Lane
from benchmarks.chaos.network import ADD_OFFSETS, END_TRANSACTION, PRODUCE, SEND_OFFSETS, Trap
from benchmarks.chaos.servers import ServerError
from benchmarks.chaos.world import World
from benchmarks.waiting import wait_until

__all__ = ["Storm"]

TRAP_SECONDS: Final = 20.0
LEAST_WORKERS: Final = 2
MOST_WORKERS: Final = 5
# Between which requests of a transaction a worker dies: the request, and whether the broker gets it.
PLACES: Final = (
    (PRODUCE, True),
    (ADD_OFFSETS, True),
    (SEND_OFFSETS, True),
    (END_TRANSACTION, False),
    (END_TRANSACTION, True),
)


class _Turnstile:
    """Many may pass at a time, or one alone."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._inside, self._waiting = 0, 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._change:
            self._change.wait_for(lambda: not self._waiting)
            self._inside += 1
        try:
            yield
        finally:
            with self._change:
                self._inside -= 1
                self._change.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._change:
            self._waiting += 1
            self._change.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._change:
                self._waiting -= 1
                self._change.notify_all()


class Storm:
    """Runs a plan.

    Args:
        world: at which.
        faults: the plan.
        done: told of each fault that is over.
    """

    def __init__(self, world: World, faults: Sequence[Fault], done: Callable[[Fault], None]) -> None:
        self._world, self._faults, self._done = world, faults, done
        self._gate = _Turnstile()
        self._lock = threading.Lock()
        self._added = 0
        self._errors: list[BaseException] = []
        self.counts: Counter[Kind] = Counter()
        self.takeover_seconds: list[float] = []
        self._acts: dict[Kind, Callable[[Fault], None]] = {
            Kind.KILL: self._kill,
            Kind.KILL_IN_TRANSACTION: self._kill_in_transaction,
            Kind.STOP: self._stop,
            Kind.RESTART: self._restart,
            Kind.ADD: self._add,
            Kind.REMOVE: self._remove,
            Kind.TAKEOVER: self._take_over,
            Kind.BROKER_RESTART: lambda fault: self._broker(fault, signal.SIGTERM),
            Kind.BROKER_KILL: lambda fault: self._broker(fault, signal.SIGKILL),
            Kind.REDIS_WIPE: self._wipe,
            Kind.REFUSED: self._refuse,
            Kind.SLOW: self._slow,
            Kind.CUT: self._cut,
            Kind.RESET: self._reset,
        }

    def run(self) -> None:
        """Throw all of them; raises the first thing that went wrong in the harness itself."""
        lanes = [(lane, [fault for fault in self._faults if fault.lane is lane]) for lane in Lane]
        threads = [threading.Thread(target=self._run_lane, args=lane, daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _run_lane(self, lane: Lane, faults: Sequence[Fault]) -> None:
        try:
            for place, fault in enumerate(faults):
                # What is measured alone is spread over the run.
                time.sleep(fault.pause if lane is not Lane.ALL else 15.0 * (place > 0) + 5.0)
                with self._gate.alone() if lane is Lane.ALL else self._gate.shared():
                    self._acts[fault.kind](fault)
                self.counts[fault.kind] += 1
                self._done(fault)
        except BaseException as error:  # noqa: BLE001 -- raised again by run
            self._errors.append(error)

    def _victim(self, fault: Fault) -> str:
        names = sorted(self._world.workers.names)
        return names[int(fault.chance[0] * len(names)) % len(names)]

    def _kill(self, fault: Fault) -> None:
        workers, name = self._world.workers, self._victim(fault)
        with workers.held(name):
            workers.signal(name, signal.SIGKILL)
            time.sleep(fault.between(0.1, 2.5, 1))
            workers.run(name)

    def _kill_in_transaction(self, fault: Fault) -> None:
        world, name = self._world, self._victim(fault)
        if world.network is None:
            raise ServerError("no proxy to look into transactions with")
        sprung = threading.Event()

        def kill() -> None:
            world.workers.signal(name, signal.SIGKILL)
            sprung.set()

        api, passes = PLACES[int(fault.chance[1] * len(PLACES)) % len(PLACES)]
        with world.workers.held(name):
            world.workers.run(name)
            trap = Trap(name, api, passes, kill)
            world.network.lay(trap)
            # A worker that has no partitions begins no transaction: then it dies without.
            if not sprung.wait(TRAP_SECONDS) and world.network.remove(trap):
                world.workers.signal(name, signal.SIGKILL)
            time.sleep(fault.between(0.1, 2.5, 2))
            world.workers.run(name)

    def _stop(self, fault: Fault) -> None:
        workers, name = self._world.workers, self._victim(fault)
        with workers.held(name):
            if workers.signal(name, signal.SIGSTOP):
                time.sleep(self._world.setup.session_ms / 1000 + fault.between(1.0, 4.0, 1))
                workers.signal(name, signal.SIGCONT)

    def _restart(self, fault: Fault) -> None:
        workers, name = self._world.workers, self._victim(fault)
        with workers.held(name):
            workers.finish(name)
            workers.run(name)

    def _add(self, fault: Fault) -> None:
        if self._world.workers.count >= MOST_WORKERS:
            self._remove(fault)
            return
        with self._lock:
            self._added += 1
            name = f"added-{self._added}"
        self._world.workers.add(name)

    def _remove(self, fault: Fault) -> None:
        workers = self._world.workers
        if workers.count <= LEAST_WORKERS:
            self._add(fault)
            return
        name = self._victim(fault)
        workers.drop(name)
        workers.finish(name)

    def _take_over(self, _: Fault) -> None:
        """SIGKILL, and nobody comes back in time: until each of its partitions goes on."""
        world, workers = self._world, self._world.workers
        world.calm()
        name, mine = next((name, mine) for name in sorted(workers.names) if (mine := world.partitions_of(name)))
        with workers.held(name):
            workers.signal(name, signal.SIGKILL)
            began, before = time.monotonic(), world.committed()
            wait_until(lambda: world.beyond(before, mine), "the partitions of a killed worker to go on")
            self.takeover_seconds.append(round(time.monotonic() - began, 2))
            workers.run(name)

    def _broker(self, fault: Fault, number: signal.Signals) -> None:
        cluster = self._world.cluster
        if cluster is None:
            raise ServerError("no brokers of the harness's own")
        wait_until(cluster.whole, "the brokers to be whole")
        broker = cluster.brokers[int(fault.chance[0] * len(cluster.brokers)) % len(cluster.brokers)]
        broker.stop(number)
        time.sleep(fault.between(0.0, 8.0, 1))
        broker.start()
        wait_until(cluster.whole, "the brokers to be whole again")

    def _wipe(self, fault: Fault) -> None:
        self._world.redis.kill()
        time.sleep(fault.between(0.2, 5.0, 1))
        self._world.redis.start()

    def _refuse(self, fault: Fault) -> None:
        """No topic takes anything for a while: more replicas must be in sync than there are."""
        role = "anomalies" if fault.chance[0] < 0.7 else "state"
        setting = "min.insync.replicas"
        self._configure(role, setting, "5", AlterConfigOpType.SET)
        time.sleep(fault.between(2.0, 12.0, 1))
        self._configure(role, setting, None, AlterConfigOpType.DELETE)

    def _configure(self, role: str, name: str, value: str | None, how: AlterConfigOpType) -> None:
        entry = ConfigEntry(name, value, incremental_operation=how)
        resource = ConfigResource(ResourceType.TOPIC, self._world.kafka.topics[role], incremental_configs=[entry])

        def changed() -> bool:
            try:
                for future in self._world.admin.incremental_alter_configs([resource], request_timeout=10).values():
                    future.result(15)
            except KafkaException:
                return False
            return True

        wait_until(changed, f"{name} of {role}")

    def _slow(self, fault: Fault) -> None:
        if self._world.network is not None:
            self._world.network.slow(fault.between(0.02, 0.3, 1), fault.between(50_000, 500_000, 2))
            time.sleep(fault.between(4.0, 12.0, 3))
            self._world.network.slow(0.0, float("inf"))

    def _cut(self, fault: Fault) -> None:
        if self._world.network is not None:
            self._world.network.cut()
            time.sleep(fault.between(1.0, 14.0, 1))
            self._world.network.mend()

    def _reset(self, fault: Fault) -> None:
        if self._world.network is not None:
            for _ in range(1 + int(3 * fault.chance[0])):
                self._world.network.reset()
                time.sleep(fault.between(0.1, 1.0, 1))
