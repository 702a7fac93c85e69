"""Errors as one readable line with a code and a hint."""

import re
import sys

from rich.console import Console
from rich.markup import escape

from vigil.errors import VigilError

__all__ = ["INTERNAL_ERROR", "report"]

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
OURS = frozenset({"schemas", "features", "detectors", "streams", "vigil"})
UNREACHABLE = frozenset({"confluent_kafka", "cimpl", "redis"})


def report(error: Exception) -> int:
    """Print an error to stderr and return the exit code.

    Errors of our own packages are worded for people already; Kafka's and Redis' say what was refused; anything else is
    a fault of ours and says how to report it.
    """
    package = type(error).__module__.partition(".")[0]
    if isinstance(error, VigilError):
        return _say(error.code, error.message, error.hint, error.exit_code)
    if package in OURS:
        return _say(_code(error), str(error), "", 2)
    if package in UNREACHABLE:
        return _say(
            "service", f"{type(error).__name__}: {error}", "`vigil doctor` says what is wrong and how to fix it", 3
        )
    if isinstance(error, OSError):
        return _say("input", _os_error(error), "", 2)
    hint = "`vigil --debug ...` shows where; please report it with that output"
    return _say("internal", f"{type(error).__name__}: {error}", hint, INTERNAL_ERROR)


def _say(code: str, message: str, hint: str, exit_code: int) -> int:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error\\[{code}][/bold red] {escape(message)}")
    if hint:
        console.print(f"[bold]hint[/bold] {escape(hint)}")
    sys.stderr.flush()
    return exit_code


def _code(error: Exception) -> str:
    """Turn ``ArtefactError`` into ``artefact``, ``TopicsError`` into ``topics``."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def _os_error(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
