"""Where a command prints: results to stdout, everything for people's eyes alone to stderr."""

import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["note", "print_json", "progress_bar", "stderr", "stdout"]

WIDE = 160  # columns for a file or a pipe, where nobody's window is too narrow

stdout = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
stderr = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one value as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Tell the person something that is no result."""
    stderr.print(text, style="dim", soft_wrap=True)


def progress_bar(*, quiet: bool = False) -> Progress:
    """Make a progress bar on stderr; it shows on a terminal only, and never when ``quiet``."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=stderr,
        disable=quiet or not stderr.is_terminal,
        transient=True,
    )
