"""The network between workers and brokers: a TCP proxy a broker, which can be slow, cut, or a trap for one request.

It reads the frames that workers send (the request header: size, API key, API version, correlation id, client id), so
that a worker can be killed between two requests of one transaction.
"""

import asyncio
import contextlib
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["ADD_OFFSETS", "END_TRANSACTION", "PRODUCE", "SEND_OFFSETS", "Network", "Trap"]

HOST: Final = "127.0.0.1"
PRODUCE: Final = 0
ADD_OFFSETS: Final = 25
END_TRANSACTION: Final = 26
SEND_OFFSETS: Final = 28
CHUNK_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Trap:
    """What to wait for, once.

    Attributes:
        client: client id of the request.
        api: its API key.
        passes: whether the broker gets the request before ``sprung`` is called.
        sprung: called on the network's thread.
    """

    client: str
    api: int
    passes: bool
    sprung: Callable[[], None]


class Network:
    """Proxies on a thread of their own; all methods are for any thread.

    Args:
        routes: by port to listen on, the broker's port.
    """

    def __init__(self, routes: dict[int, int]) -> None:
        self._routes = routes
        self._delay_s = 0.0
        self._bytes_per_s = float("inf")
        self._traps: list[Trap] = []
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._loop.call_soon_threadsafe(self._open.set)
        for port, target in self._routes.items():
            self._call(self._listen(port, target)).result(10)

    def stop(self) -> None:
        """Close everything."""
        self._call(self._end()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def slow(self, delay_s: float, bytes_per_s: float) -> None:
        """Hold every chunk up for so long, and let no connection be faster than this; ``slow(0, inf)`` ends it."""
        self._delay_s, self._bytes_per_s = delay_s, bytes_per_s

    def cut(self) -> None:
        """Let nothing through, without a word to either side."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def mend(self) -> None:
        """Let everything through again."""
        self._loop.call_soon_threadsafe(self._open.set)

    def reset(self) -> None:
        """Close all connections."""
        self._loop.call_soon_threadsafe(self._close_all)

    def lay(self, trap: Trap) -> None:
        """Wait for a request."""
        self._loop.call_soon_threadsafe(self._traps.append, trap)

    def remove(self, trap: Trap) -> bool:
        """Wait no more; false when it has sprung."""

        async def remove() -> bool:
            found = trap in self._traps
            if found:
                self._traps.remove(trap)
            return found

        return bool(self._call(remove()).result(10))

    def _call(self, work: "Coroutine[Any, Any, Any]") -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _close_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for server in self._servers:
            server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, port: int, target: int) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                from_broker, to_broker = await asyncio.open_connection(HOST, target)
            except OSError:
                writer.transport.abort()
                return
            ends = {writer, to_broker}
            self._writers |= ends
            try:
                await asyncio.gather(self._requests(reader, to_broker), self._answers(from_broker, writer))
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # one side is gone, so the other goes too
            finally:
                self._writers -= ends
                for end in ends:
                    end.transport.abort()

        self._servers.append(await asyncio.start_server(connected, HOST, port))

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            size = await reader.readexactly(4)
            frame = size + await reader.readexactly(struct.unpack(">i", size)[0])
            trap = self._caught(frame)
            if trap is None or trap.passes:
                await self._pass(frame, writer)
            if trap is not None:
                trap.sprung()
            if trap is not None and not trap.passes:
                raise ConnectionResetError

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._pass(chunk, writer)
        raise ConnectionResetError

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        if self._delay_s:
            await asyncio.sleep(self._delay_s + len(data) / self._bytes_per_s)
        writer.write(data)
        await writer.drain()

    def _caught(self, frame: bytes) -> Trap | None:
        """Return the trap that this request springs, and remove it."""
        if not self._traps or len(frame) < 14:
            return None
        api, length = struct.unpack_from(">h", frame, 4)[0], struct.unpack_from(">h", frame, 12)[0]
        client = frame[14 : 14 + max(0, length)]
        for trap in self._traps:
            if trap.api == api and trap.client.encode() == client:
                with contextlib.suppress(ValueError):
                    self._traps.remove(trap)
                return trap
        return None
