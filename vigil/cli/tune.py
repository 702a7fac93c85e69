"""`vigil tune`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from vigil.cli.options import JsonOption
from vigil.cli.output import print_json, stdout, with_progress
from vigil.errors import InputError
from vigil.tuning import Tuned, as_environment, tune

__all__ = ["command"]

NAMES = {"OPENBLAS_CORETYPE": "kernels", "VIGIL_WORKER__BATCH_MAX": "worker.batch_max"}


def command(
    write: Annotated[
        Path | None, typer.Option("--write", help="Write what was found as an environment file.", dir_okay=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure which settings make a worker fastest on this machine.

    Scores a simulated fleet with the shipped models and the worker's own code, in processes of their own, for each
    choice that was found to matter: the kernels that matrix products use, and the largest batch. CPU time counts, not
    the clock, so that a busy machine may be measured. A value is recommended where it is at least 5 % better than what
    is there. Kernels other than the machine's own change scores in their seventh digit: give all workers of a group
    the same.

    Use the file of --write as systemd's EnvironmentFile, a container's env_file, or with `set -a; . FILE`.
    """
    if write is not None and not write.parent.is_dir():
        raise InputError(f"--write {write}: there is no directory {write.parent}", hint="make it first")
    found = with_progress(tune, quiet=json)
    if write is not None:
        write.write_text(as_environment(found), encoding="utf-8")
    if json:
        print_json(found)
        return
    stdout.print(_table(found))
    if not found.environment:
        stdout.print("Nothing beats what is set already.")
        return
    stdout.print(f"{found.before:.2f} us of CPU a record as things are, {found.after:.2f} with:")
    for name, value in found.environment.items():
        stdout.print(f"  {name}={value}")


def _table(found: Tuned) -> Table:
    table = Table("setting", "value", "CPU us a record", "", box=None)
    for choice in found.choices:
        for value, cost in choice.microseconds.items():
            mark = "use this" if value == choice.chosen and value else ""
            table.add_row(NAMES[choice.variable], value or "as it is", f"{cost:.2f}", mark)
    return table
