"""Three etcd members on loopback, each behind a proxy of the rig, in a folder of their own."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.etcd.gateway import HOST, status
from benchmarks.etcd.proxy import PeerNetwork
from vigil.ports import free_ports

__all__ = ["Cluster", "EtcdError", "Member"]

MEMBERS: Final = 3
PATIENCE_SECONDS: Final = 60.0
STATUS_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.05


class EtcdError(Exception):
    """The cluster cannot be started or does not come back: the message says what to do."""


class Member:
    """One etcd process, which can be stopped, killed and started again with the data that it has.

    Args:
        number: from 0.
        directory: data goes to a folder there, the log beside it.
        ports: for clients, for peers, and the proxy's, which peers are told to use.
        initial: every member's ``name=URL``.
    """

    def __init__(self, number: int, directory: Path, ports: tuple[int, int, int], initial: str) -> None:
        self.number = number
        self.port = ports[0]
        self._log = directory / f"n{number}.log"
        self._process: subprocess.Popen[bytes] | None = None
        client, peer = (f"http://{HOST}:{port}" for port in ports[:2])
        self._command = ["etcd", "--name", f"n{number}", "--data-dir", str(directory / f"n{number}")]
        self._command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        self._command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", f"http://{HOST}:{ports[2]}"]
        self._command += ["--initial-cluster", initial, "--logger", "zap", "--log-level", "warn"]

    @property
    def running(self) -> bool:
        """Whether there is a process, stopped or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process. Its group is its own, so that Ctrl-C ends the rig first and the rig ends it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, process_group=0)

    def kill(self) -> None:
        """End the process at once, as a crash does, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Stop the process where it stands."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stopped process go on."""
        self._signal(signal.SIGCONT)

    def last_words(self) -> str:
        """Return the last line of the log."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return lines[-1] if lines else "the log is empty"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


class Cluster:
    """Members and the network between them.

    Args:
        directory: for data and logs.
        seed: of the network's jitter.

    Raises:
        EtcdError: etcd is not installed.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        if shutil.which("etcd") is None:
            raise EtcdError("no etcd on PATH: install Debian's etcd-server, or etcd 3.4 or later from etcd.io")
        ports = free_ports(3 * MEMBERS)
        client, peer, proxy = (ports[MEMBERS * i : MEMBERS * (i + 1)] for i in range(3))
        initial = ",".join(f"n{i}=http://{HOST}:{port}" for i, port in enumerate(proxy))
        self.network = PeerNetwork(dict(zip(proxy, peer, strict=True)), seed)
        self.members = [Member(i, directory, (client[i], peer[i], proxy[i]), initial) for i in range(MEMBERS)]

    async def start(self) -> None:
        """Start all, and wait until they have a leader. Raises ``EtcdError`` when they do not in a minute."""
        await self.network.start()
        for member in self.members:
            member.start()
        for member in self.members:
            await self.wait_for(member)
            header = (await status(member.port))["header"]
            self.network.members[f"{int(header['member_id']):x}".encode()] = member.number

    async def stop(self) -> None:
        """End all at once."""
        for member in self.members:
            member.kill()
        await self.network.stop()

    async def wait_for(self, member: Member) -> None:
        """Wait until a member serves and knows a leader. Raises ``EtcdError`` when it does not in a minute."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while await self._leader_of(member) is None:
            if not member.running or loop.time() > deadline:
                raise EtcdError(f"member {member.number} does not come up: {member.last_words()}")
            await asyncio.sleep(POLL_SECONDS)

    async def leader(self) -> Member | None:
        """Find the member that leads the newest term any member knows; ``None`` while there is none."""
        found = [each for each in await asyncio.gather(*map(self._leader_of, self.members)) if each is not None]
        return self.members[max(found)[1]] if found else None

    async def _leader_of(self, member: Member) -> tuple[int, int] | None:
        """Ask a member for term and leader."""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(STATUS_SECONDS):
                answer = await status(member.port)
            leader = f"{int(answer.get('leader', 0)):x}".encode()
            if leader != b"0":
                return int(answer["raftTerm"]), self.network.members.get(leader, member.number)
        return None
