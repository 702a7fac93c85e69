"""The allocator's settings, tried in processes of their own: they are for good."""

import subprocess
import sys
import threading
import time

import pytest

from vigil import allocator

glibc = pytest.mark.skipif(allocator._libc("malloc_trim") is None, reason="the C library is not glibc")

FREED = """
import os
from vigil.allocator import limit_arenas, trim

def resident():
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

assert limit_arenas()
kept, freed = [], []
for number in range(400_000):  # too large for Python's own pools; one in a thousand keeps the heap from shrinking
    (freed if number % 1000 else kept).append(bytes(600))
full = resident()
freed.clear()
held = resident()
trim()
print(full, held, resident())
"""


@glibc
def test_what_was_freed_between_what_is_kept_goes_back_to_the_system() -> None:
    ran = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    full, held, trimmed = (int(value) for value in ran.stdout.split())

    assert full > 200e6
    assert held > 0.9 * full, "glibc keeps it"
    assert trimmed < 0.5 * full


@glibc
def test_trimming_goes_on_until_it_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed = threading.Semaphore(0)
    monkeypatch.setattr(allocator, "trim", trimmed.release)

    enough = allocator.keep_trimmed(every_seconds=0.001)
    assert all(trimmed.acquire(timeout=10) for _ in range(3))
    enough.set()

    deadline = time.monotonic() + 10
    while any(thread.name == "allocator" for thread in threading.enumerate()):
        assert time.monotonic() < deadline


def test_a_c_library_that_cannot_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_libc", lambda _name: None)
    assert (allocator.limit_arenas(), allocator.trim()) == (False, False)
