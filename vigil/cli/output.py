"""Where a command prints: results to stdout, everything for people's eyes alone to stderr."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vigil.progress import Say

__all__ = ["note", "print_json", "progress_bar", "stderr", "stdout", "with_progress"]

T = TypeVar("T")
WIDE = 160  # columns for a file or a pipe, where nobody's window is too narrow

stdout = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
stderr = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one value as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Tell the person something that is no result."""
    stderr.print(text, style="dim", soft_wrap=True, markup=False)


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


def with_progress(work: Callable[[Say], T], *, quiet: bool) -> T:
    """Do work that tells its stages and how far they are, under a progress bar, and return what it returns."""
    with progress_bar(quiet=quiet) as bar:
        task = bar.add_task("", total=None, rate="")

        def say(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total or None)

        return work(say)
