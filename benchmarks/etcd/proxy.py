"""The network between members: a TCP proxy before each member's peer port, which can delay and hold back bytes.

Raft messages travel both ways over connections that either side may have opened. Each connection names the member that
opened it (etcd's header ``X-Server-From``), so bytes are treated by who sends and who receives them, whoever dialled.
"""

import asyncio
import random
import re
from collections import deque
from collections.abc import Mapping
from typing import Final, TypeAlias, cast

__all__ = ["PeerNetwork"]

HOST: Final = "127.0.0.1"
SENDER: Final = re.compile(rb"(?i)\r\nX-Server-From: ([0-9a-f]+)\r\n")
HEADER_BYTES: Final = 8_192
HELD_BYTES: Final = 1 << 20
"""A direction that holds back more than this stops reading."""
NOBODY: Final = -1

Party: TypeAlias = int | bytes
"""A member by its number, or by its id: connections are opened before anyone knows whose id it is."""


class PeerNetwork:
    """Proxies of all members, on the running event loop.

    Args:
        routes: by port to listen on, the port of the member behind it; members are numbered in this order.
        seed: of the jitter.
    """

    def __init__(self, routes: Mapping[int, int], seed: int = 0) -> None:
        self._routes = dict(routes)
        self._rng = random.Random(seed)
        self._servers: list[asyncio.Server] = []
        self._delays: dict[int, tuple[float, float]] = {}
        self._cut: set[int] = set()
        self.members: dict[bytes, int] = {}
        """Number of a member by the id that it puts into its requests: hexadecimal, lower case."""
        self.directions: set[Direction] = set()

    async def start(self) -> None:
        """Listen. Raises ``OSError`` when a port is taken."""
        loop = asyncio.get_running_loop()
        for number, (port, target) in enumerate(self._routes.items()):

            def accept(number: int = number, target: int = target) -> asyncio.Protocol:
                return _Dialler(self, number, target)

            self._servers.append(await loop.create_server(accept, HOST, port))

    async def stop(self) -> None:
        """Close everything."""
        for server in self._servers:
            server.close()
        for direction in list(self.directions):
            direction.abort()
        for server in self._servers:
            await server.wait_closed()

    def slow(self, member: int, delay_s: float, jitter_s: float = 0.0) -> None:
        """Hold up all that is sent to a member from now on: by the delay and up to the jitter; 0 ends it."""
        if delay_s or jitter_s:
            self._delays[member] = (delay_s, jitter_s)
        else:
            self._delays.pop(member, None)

    def cut(self, member: int) -> None:
        """Let nothing through to or from a member, without a word to either side."""
        self._cut.add(member)

    def mend(self, member: int) -> None:
        """Let everything through again, what was held back first."""
        self._cut.discard(member)
        for direction in list(self.directions):
            direction.flush()

    def is_cut(self, source: Party, target: Party) -> bool:
        """Tell whether bytes from one party to another are held back."""
        return bool(self._cut) and (self._number(source) in self._cut or self._number(target) in self._cut)

    def draw_delay(self, target: Party) -> float:
        """Draw how long the next bytes to a party are held up, seconds."""
        delay, jitter = self._delays.get(self._number(target), (0.0, 0.0)) if self._delays else (0.0, 0.0)
        return delay + jitter * self._rng.random() if delay or jitter else 0.0

    def _number(self, party: Party) -> int:
        """Return a member's number, or ``NOBODY``."""
        return self.members.get(party, NOBODY) if isinstance(party, bytes) else party


class Direction:
    """One direction of one connection: bytes leave in order, late or not at all.

    Args:
        network: which conditions hold.
        reading, writing: the ends.
    """

    def __init__(self, network: PeerNetwork, reading: asyncio.Transport, writing: asyncio.Transport) -> None:
        self._network = network
        self._reading = reading
        self._writing = writing
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self.source: Party = NOBODY
        self.target: Party = NOBODY
        network.directions.add(self)

    def send(self, data: bytes) -> None:
        """Pass bytes on, now or later; to who has closed, never."""
        if self._writing.is_closing():
            return
        delay = self._network.draw_delay(self.target)
        if not delay and not self._waiting and not self._network.is_cut(self.source, self.target):
            self._writing.write(data)
            return
        latest = self._waiting[-1][0] if self._waiting else 0.0
        self._waiting.append((max(latest, self._loop.time() + delay), data))
        self._held += len(data)
        if self._held > HELD_BYTES and not self._ended:
            self._reading.pause_reading()
        self.flush()

    def end(self) -> None:
        """Close the writing end behind what is still waiting: no more comes."""
        self._ended = True
        self.flush()

    def abort(self) -> None:
        """Close both ends at once."""
        self._network.directions.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        self._reading.abort()
        self._writing.abort()

    def flush(self) -> None:
        """Write what is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._network.is_cut(self.source, self.target):
            return
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            data = self._waiting.popleft()[1]
            self._held -= len(data)
            if not self._writing.is_closing():
                self._writing.write(data)
        if self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0], self.flush)
        elif self._ended:
            self._network.directions.discard(self)
            self._writing.close()
        if self._held <= HELD_BYTES and not self._ended:
            self._reading.resume_reading()


class _End(asyncio.Protocol):
    """One end of a connection; ``out`` is set once the other end stands."""

    out: Direction | None = None

    def data_received(self, data: bytes) -> None:
        if self.out is not None:
            self.out.send(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.out is not None:
            self.out.end()


class _Dialler(_End):
    """The end of the member that opened the connection; it opens the one to the member behind the proxy."""

    def __init__(self, network: PeerNetwork, number: int, port: int) -> None:
        self._network = network
        self._number = number
        self._port = port
        self._head: bytes | None = b""
        self._back: Direction | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        dialled = cast("asyncio.Transport", transport)
        dialled.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._open(dialled))

    async def _open(self, dialled: asyncio.Transport) -> None:
        far = _End()
        try:
            member, _ = await asyncio.get_running_loop().create_connection(lambda: far, HOST, self._port)
        except OSError:
            dialled.abort()  # nobody is there: the dialler learns it as it would without a proxy
            return
        self.out = Direction(self._network, dialled, member)
        self.out.target = self._number
        self._back = far.out = Direction(self._network, member, dialled)
        self._back.source = self._number
        if dialled.is_closing():
            self.out.abort()
            self._back.abort()
        else:
            dialled.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._head is not None and self.out is not None and self._back is not None:
            self._head += data
            found = SENDER.search(self._head)
            if found:
                self.out.source = self._back.target = found[1]
            if found or b"\r\n\r\n" in self._head or len(self._head) > HEADER_BYTES:
                self._head = None
        super().data_received(data)
