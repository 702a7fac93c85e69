"""glibc's allocator, held to what a worker needs: few arenas, and what was freed goes back to the system.

A batch of columns is a few megabytes that come and go. glibc keeps what is freed for the next time, an arena a thread,
so that resident memory climbs for hours towards the highest that ever was needed at once.
"""

import ctypes
import threading
from typing import Final

ARENAS: Final = 2
M_ARENA_MAX: Final = -8  # malloc.h
EVERY_SECONDS: Final = 5.0


def limit_arenas() -> bool:
    """Let threads share ``ARENAS`` arenas; before any is started. Returns ``False`` where libc cannot do that."""
    mallopt = _libc("mallopt")
    return mallopt is not None and bool(mallopt(ctypes.c_int(M_ARENA_MAX), ctypes.c_int(ARENAS)))


def trim() -> bool:
    """Give freed memory back to the system; some milliseconds. Returns ``False`` where there was none, or no way to."""
    malloc_trim = _libc("malloc_trim")
    return malloc_trim is not None and bool(malloc_trim(ctypes.c_size_t(0)))


def keep_trimmed(every_seconds: float = EVERY_SECONDS) -> threading.Event:
    """Trim now and then, on a thread of its own, until the event that is returned is set."""
    enough = threading.Event()

    def run() -> None:
        while not enough.wait(every_seconds):
            trim()

    threading.Thread(target=run, name="allocator", daemon=True).start()
    return enough


def _libc(name: str) -> "ctypes._FuncPointer | None":
    """Return a function of the C library, ``None`` where it has no such (musl, macOS)."""
    return getattr(ctypes.CDLL(None), name, None)
