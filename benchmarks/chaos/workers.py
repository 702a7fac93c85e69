"""Worker processes by name, and what an orchestrator does: one that ends by itself is started again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

from benchmarks.chaos.servers import ServerError
from vigil.ports import free_ports

__all__ = ["WorkerProcesses"]

BACK_OFF_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.1
COMPILED: Final = Path(tempfile.gettempdir()) / "vigil-benchmarks-compiled"


@dataclass(slots=True)
class _Slot:
    """One name: its process, and whether there ought to be one."""

    process: "subprocess.Popen[bytes] | None" = None
    wanted: bool = True
    busy: bool = False
    back_at: float = 0.0
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class WorkerProcesses:
    """`vigil worker` processes with stable names.

    Args:
        directory: where their logs go.
        config: TOML file of settings for all.
        command: what runs one, without ``--name``.
    """

    def __init__(self, directory: Path, config: Path, command: Sequence[str] = ("-m", "vigil", "worker")) -> None:
        self._directory = directory
        self._command = [sys.executable, *command, "--config", str(config)]
        self._slots: dict[str, _Slot] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.exits: list[tuple[str, int]] = []
        """Names and statuses of those that ended by themselves."""
        self._thread = threading.Thread(target=self._supervise, name="orchestrator", daemon=True)

    def start(self, names: Sequence[str]) -> None:
        """Start workers, and the orchestrator."""
        for name in names:
            self.add(name)
        self._thread.start()

    def add(self, name: str) -> None:
        """Start one more."""
        with self._lock:
            slot = self._slots.setdefault(name, _Slot())
        slot.wanted = True
        self.run(name)

    def run(self, name: str) -> None:
        """Start the process of a name that has none."""
        slot = self._slots[name]
        with slot.lock:
            if self._closing.is_set() or (slot.process is not None and slot.process.poll() is None):
                return
            # With compiled modules, as an installed package has them.
            own = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
            environment = {**os.environ, **own, "PYTHONPYCACHEPREFIX": str(COMPILED)}
            [slot.port] = free_ports(1)
            flags = (f"kafka.client_id={name}", f"metrics.port={slot.port}")
            command = [*self._command, "--name", name, *(part for each in flags for part in ("--set", each))]
            with (self._directory / f"{name}.log").open("ab") as log:
                slot.process = subprocess.Popen(
                    command, stdout=log, stderr=log, env=environment, start_new_session=True
                )

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Send a signal; false when there is no such process now. SIGKILL waits for the end."""
        process = self._slots[name].process
        if process is None or process.poll() is not None:
            return False
        process.send_signal(number)
        if number is signal.SIGKILL:
            process.wait(30)
        return True

    def finish(self, name: str, timeout: float = 60) -> int | None:
        """End one with SIGTERM; returns its exit status, ``None`` when it had to be killed."""
        process = self._slots[name].process
        if process is None:
            return 0
        process.terminate()
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
            return None

    def succeed(self, name: str, timeout: float = 60) -> int:
        """Start a second process under a name, which takes it over; returns the first one's exit status."""
        slot = self._slots[name]
        first, slot.process = slot.process, None
        if first is None:
            raise ServerError(f"{name} does not run")
        self.run(name)
        return first.wait(timeout)

    def alive(self, name: str) -> bool:
        """Tell whether a process runs under this name."""
        process = self._slots[name].process
        return process is not None and process.poll() is None

    def ready(self, name: str) -> dict[str, Any]:
        """Return what a worker's `/readyz` says; empty when it does not answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self._slots[name].port}/readyz", timeout=5) as answer:
                return dict(json.load(answer))
        except HTTPError as error:  # it answers, and is not ready
            return dict(json.load(error))
        except OSError:
            return {}

    def metrics(self, name: str) -> dict[str, float]:
        """Return what a worker's `/metrics` says, by name with labels. Raises ``OSError`` when it does not answer."""
        with urlopen(f"http://127.0.0.1:{self._slots[name].port}/metrics", timeout=5) as answer:
            lines = [line.rpartition(" ") for line in answer.read().decode().splitlines() if not line.startswith("#")]
        return {metric: float(value) for metric, _, value in lines}

    def said(self, name: str, words: str) -> int:
        """Count the lines of a worker's log that hold these words."""
        with (self._directory / f"{name}.log").open(encoding="utf-8", errors="replace") as log:
            return sum(words in line for line in log)

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the events that a worker logged, of all its processes; what its Kafka client prints is left out."""
        with (self._directory / f"{name}.log").open(encoding="utf-8", errors="replace") as log:
            return [json.loads(line) for line in log if line.startswith("{")]

    def drop(self, name: str) -> None:
        """Want a name no more."""
        self._slots[name].wanted = False

    @property
    def names(self) -> list[str]:
        """Names that ought to run and that no fault is at work on."""
        with self._lock:
            return [name for name, slot in self._slots.items() if slot.wanted and not slot.busy]

    @property
    def count(self) -> int:
        """How many ought to run."""
        with self._lock:
            return sum(slot.wanted for slot in self._slots.values())

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Keep the orchestrator and other faults away from a name."""
        self._slots[name].busy = True
        try:
            yield
        finally:
            self._slots[name].busy = False

    def stop(self) -> Mapping[str, int | None]:
        """End all; returns exit statuses by name."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(10)
        for slot in self._slots.values():
            if slot.process is not None and slot.process.poll() is None:
                slot.process.send_signal(signal.SIGCONT)
        return {name: self.finish(name) for name in self._slots}

    def _supervise(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            with self._lock:
                slots = dict(self._slots)
            for name, slot in slots.items():
                if slot.wanted and not slot.busy and slot.process is not None and slot.process.poll() is not None:
                    self._start_again(name, slot)

    def _start_again(self, name: str, slot: _Slot) -> None:
        if slot.back_at == 0.0:
            status = slot.process.poll() if slot.process is not None else None
            self.exits.append((name, int(status or 0)))
            slot.back_at = time.monotonic() + BACK_OFF_SECONDS
        elif time.monotonic() >= slot.back_at:
            slot.back_at = 0.0
            self.run(name)
