"""The little HTTP that the rig speaks with etcd: one request on one connection, and the two answers it reads."""

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["HOST", "Connection", "Counters", "GatewayError", "counters", "status"]

HOST: Final = "127.0.0.1"
METRIC: Final = re.compile(rb"^etcd_server_(\w+) ([0-9.e+]+)$", re.MULTILINE)


class GatewayError(OSError):
    """etcd answered with something that is no HTTP, or closed the connection."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What a member says about itself.

    Attributes:
        pending: proposals not yet committed, count now.
        committed: proposals committed since the log began.
        leader_changes: leader changes seen since the process began.
    """

    pending: int
    committed: int
    leader_changes: int


class Connection:
    """A connection to a member's client port that is kept for more than one request.

    Args:
        reader, writer: an open connection.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._kept = True

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect. Raises ``OSError`` where nothing listens."""
        return cls(*await asyncio.open_connection(HOST, port))

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send JSON; returns the status and the answer's body, empty where its length is not given.

        Raises:
            GatewayError: the connection closed or the answer is no HTTP.
        """
        head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        try:
            answer = await self._reader.readuntil(b"\r\n\r\n")
            code = int(answer.split(b" ", 2)[1])
            length = re.search(rb"(?i)^content-length: (\d+)", answer, re.MULTILINE)
            self._kept = length is not None
            return code, await self._reader.readexactly(int(length[1])) if length else b""
        except (asyncio.IncompleteReadError, IndexError, ValueError) as error:
            raise GatewayError(f"no answer to {path}: {error}") from error

    @property
    def reusable(self) -> bool:
        """Whether another request can go on it, as far as is known."""
        return self._kept and not self._writer.transport.is_closing() and not self._reader.at_eof()

    def close(self) -> None:
        """Close at once; what is on its way is lost."""
        self._writer.transport.abort()


async def status(port: int) -> dict[str, Any]:
    """Ask a member for its status (etcd's ``maintenance/status``). Raises ``OSError`` where it does not answer."""
    connection = await Connection.open(port)
    try:
        code, body = await connection.post("/v3/maintenance/status", b"{}")
    finally:
        connection.close()
    if code != 200:
        raise GatewayError(f"status {code} from port {port}")
    answer: dict[str, Any] = json.loads(body)
    return answer


async def counters(port: int) -> Counters:
    """Read a member's ``/metrics``. Raises ``OSError`` where it does not answer."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        # HTTP/1.0: the body is not cut into chunks and ends with the connection.
        writer.write(f"GET /metrics HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
        body = await reader.read(-1)
    finally:
        writer.transport.abort()
    found = {name.decode(): int(float(value)) for name, value in METRIC.findall(body)}
    try:
        return Counters(
            pending=found["proposals_pending"],
            committed=found["proposals_committed_total"],
            leader_changes=found["leader_changes_seen_total"],
        )
    except KeyError as error:
        raise GatewayError(f"/metrics of port {port} is without {error}") from error
