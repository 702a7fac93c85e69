"""`vigil schema`."""

import sys
from typing import Annotated

import typer

from schemas.generate import DIRECTORY, difference, schema_files, write
from vigil.cli.output import note
from vigil.errors import CheckError, InputError

__all__ = ["command"]


def command(
    name: Annotated[str | None, typer.Argument(help="Message, such as consensus-metrics; all names otherwise.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Fail when the files are not current.")] = False,
    write_: Annotated[bool, typer.Option("--write", help="Write the files beside the code.")] = False,
) -> None:
    """Print the JSON Schema of a message.

    The schemas are made from the message types themselves; --check and --write keep the files in schemas/jsonschema.
    """
    if check:
        stale = difference()
        if stale:
            sys.stdout.write(stale)
            raise CheckError("the schema files are not current", hint="vigil schema --write, then commit them")
        note(f"{len(schema_files())} schema files are current")
    elif write_:
        note(f"{len(write())} schema files written to {DIRECTORY}")
    else:
        sys.stdout.write(_text(name))


def _text(name: str | None) -> str:
    files = {file.removesuffix(".json"): text for file, text in schema_files().items()}
    if name is None:
        return "".join(f"{one}\n" for one in files)
    if name not in files:
        raise InputError(f"no message is called {name!r}", hint=f"choose from {', '.join(files)}")
    return files[name]
