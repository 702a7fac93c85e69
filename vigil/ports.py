"""Free ports for servers of our own, that nobody takes between the look and the bind.

A port that the kernel picks (bind to 0) lies in the range of which it gives local ports to outgoing connections too:
what is free at the look is somebody's connection a moment later, and the server that was to listen there cannot.
Ports below that range are only taken by servers that ask for them. Those that vigil gives come from blocks that a
process has for itself: an abstract Unix socket, which is of one network namespace as ports are, says whose each is.
"""

import os
import random
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["HOST", "free_ports", "free_run"]

HOST: Final = "127.0.0.1"
LOWEST: Final = 10_000
"""Below it live well-known servers."""
BLOCK: Final = 64
"""Ports that a process has for itself at once, and most of a run."""
EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL_EPHEMERAL: Final = 32_768
"""Where the range for outgoing connections begins on Linux unless told otherwise (ip(7))."""


@dataclass(slots=True)
class _Mine:
    """What is left of the block that ports are given of now; each stays leased until the process ends."""

    process: int = 0
    ports: Sequence[int] = ()


_mine: Final = _Mine()


def free_ports(count: int) -> list[int]:
    """Find ``count`` different ports that are free; none is given twice in the life of a process, or to two processes.

    Raises:
        OSError: when no free one was found.
    """
    return [free_run(1) for _ in range(count)]


def free_run(length: int) -> int:
    """Find the first of ``length`` free ports, ``BLOCK`` at most, that follow each other.

    Raises:
        OSError: when there are none.
    """
    while True:
        if _mine.process != os.getpid() or len(_mine.ports) < length:
            _lease(length)
        run = _mine.ports[:length]
        free = _are_free(run)
        _mine.ports = _mine.ports[length if free else 1 :]
        if free:
            return run[0]


def _lease(length: int) -> None:
    """Take a block that no other process has. Raises ``OSError`` when all are taken."""
    _mine.process = os.getpid()  # in a fork the rest of the block is its parent's
    highest = _first_ephemeral()
    blocks = [range(first, min(first + BLOCK, highest)) for first in range(LOWEST, highest, BLOCK)]
    random.SystemRandom().shuffle(blocks)
    for block in blocks:
        if len(block) >= length and _leased(block[0]):
            _mine.ports = block
            return
    raise OSError(f"no {length} free ports in a row between {LOWEST} and {highest}")


def _leased(first: int) -> bool:
    """Lease the block that begins with a port until the process ends; false where it is somebody's."""
    if sys.platform != "linux":  # no abstract names: only the look protects
        return True
    lease = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lease.bind(f"\0vigil-ports-{first}")
    except OSError:
        lease.close()
        return False
    lease.detach()  # stays open, and nobody is to warn of that
    return True


def _first_ephemeral() -> int:
    try:
        first = int(EPHEMERAL.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):  # no Linux, or no /proc
        return USUAL_EPHEMERAL
    # A range that leaves no room below it: then a port of it is the best there is.
    return first if first > 2 * LOWEST else USUAL_EPHEMERAL


def _are_free(ports: Sequence[int]) -> bool:
    for port in ports:
        with socket.socket() as one:
            try:
                one.bind((HOST, port))
            except OSError:
                return False
    return True
