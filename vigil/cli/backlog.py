"""A progress bar of a worker that catches up."""

import math
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from streams.backlog import Pace

__all__ = ["BacklogBar"]


class BacklogBar:
    """Shows on stderr how far a backlog is worked off, and goes away when it is.

    Args:
        shown: whether to show anything at all.
        console: where; stderr when not given.
    """

    def __init__(self, *, shown: bool, console: Console | None = None) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        if shown:
            self._progress = Progress(
                TextColumn("catching up"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[pace]}"),
                console=console or Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> Self:
        """Show nothing yet: there may be no backlog."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()

    def show(self, pace: Pace) -> None:
        """Draw where the worker is; the bar appears with a backlog and disappears when it is worked off."""
        progress = self._progress
        if progress is None:
            return
        if self._task is None and pace.behind:
            self._task = progress.add_task("", total=pace.lag, pace="")
            progress.start()
        if self._task is None:
            return
        left = "" if math.isinf(pace.seconds_left) else f", {pace.seconds_left:,.0f} s left"
        said = f"{pace.records_per_second:,.0f} records/s{left}"
        progress.update(self._task, completed=pace.done, total=pace.done + pace.lag, pace=said)
        if not pace.behind:
            progress.stop()
            self._progress = None
