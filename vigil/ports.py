"""Free ports for servers of our own, that nobody takes between the look and the bind.

A port that the kernel picks (bind to 0) lies in the range of which it gives local ports to outgoing connections too:
what is free at the look is somebody's connection a moment later, and the server that was to listen there cannot.
Ports below that range are only taken by servers that ask for them.
"""

import random
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["HOST", "free_ports", "free_run"]

HOST: Final = "127.0.0.1"
LOWEST: Final = 10_000
"""Below it live well-known servers."""
EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL_EPHEMERAL: Final = 32_768
"""Where the range for outgoing connections begins on Linux unless told otherwise (ip(7))."""
ATTEMPTS: Final = 1_000

_draw: Final = random.SystemRandom()
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Find ``count`` different ports that are free; none is given twice in the life of a process.

    Raises:
        OSError: when no free one was found.
    """
    return [free_run(1) for _ in range(count)]


def free_run(length: int) -> int:
    """Find the first of ``length`` free ports that follow each other. Raises ``OSError`` when there are none."""
    highest = _first_ephemeral() - length
    for _ in range(ATTEMPTS):
        run = range(first := _draw.randint(LOWEST, highest), first + length)
        if _given.isdisjoint(run) and _are_free(run):
            _given.update(run)
            return first
    raise OSError(f"no {length} free ports in a row between {LOWEST} and {highest} after {ATTEMPTS} tries")


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
