"""Stands before the embedded broker, which answers a fetch at once, also when there is nothing to fetch.

Kafka lets a consumer that has read everything wait (``fetch.max.wait.ms``); the embedded broker does not, so each idle
consumer asks it tens of thousands of times a second and keeps two processors busy. Here an answer to a fetch that is,
byte for byte, one of the last on that connection is passed on a little later: it brings nothing new. (Of the last, for
clients ask for partitions in turn.) All else goes through as it comes, but for the broker's port in what it says of
itself, which becomes this one's.

A process of its own, of the standard library alone: ``python long_polls.py PORT BROKER_PORT``. It ends with its input.
"""

import asyncio
import struct
import sys
from collections import deque
from typing import Final

__all__ = ["main"]

HOST: Final = "127.0.0.1"
PAUSE_SECONDS: Final = 0.02
FETCH: Final = 1
ADDRESSED: Final = frozenset({3, 10, 60})  # Metadata, FindCoordinator, DescribeCluster: their answers name the broker
REMEMBERED: Final = 64
LONGEST: Final = 16_384  # bytes; a longer answer holds records
LIMIT: Final = 1 << 20


class _Link:
    """One client's connection, and its own to the broker."""

    def __init__(self, own_port: int, broker_port: int) -> None:
        host = HOST.encode()
        self._there = host + struct.pack(">i", broker_port)
        self._here = host + struct.pack(">i", own_port)
        self._asked: dict[bytes, int] = {}
        self._fetched: deque[bytes] = deque(maxlen=REMEMBERED)

    async def up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass requests on; what they ask for is in the first bytes: key, version, correlation id."""
        while True:
            size = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(size, "big"))
            key = int.from_bytes(body[:2], "big")
            if key == FETCH or key in ADDRESSED:
                self._asked[body[4:8]] = key
            writer.writelines((size, body))
            await writer.drain()

    async def down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass answers back, which begin with the correlation id."""
        while True:
            size = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(size, "big"))
            key = self._asked.pop(body[:4], None)
            if key == FETCH:
                await self._pause(body)
            elif key is not None:
                body = body.replace(self._there, self._here)
            writer.writelines((size, body))
            await writer.drain()

    async def _pause(self, body: bytes) -> None:
        """Wait when the answer to a fetch brings nothing new."""
        if len(body) > LONGEST:
            return
        answer = body[4:]
        if answer in self._fetched:
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            self._fetched.append(answer)


async def _serve(port: int, broker_port: int) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker_reader, broker_writer = await asyncio.open_connection(HOST, broker_port, limit=LIMIT)
        except OSError:  # not up yet, or not any more: the client tries again
            writer.close()
            return
        link = _Link(port, broker_port)
        ways = [
            asyncio.create_task(link.up(reader, broker_writer)),
            asyncio.create_task(link.down(broker_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)  # one side closed, the other is closed here
        for each in (writer, broker_writer):
            each.close()

    server = await asyncio.start_server(connect, HOST, port, limit=LIMIT, backlog=512)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)  # until whoever started it is gone
    server.close()


def main() -> None:
    """Run until the input ends."""
    port, broker_port = (int(word) for word in sys.argv[1:])
    asyncio.run(_serve(port, broker_port))


if __name__ == "__main__":
    main()
