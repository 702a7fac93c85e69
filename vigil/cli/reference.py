"""Writes the reference in docs/ from the code: ``python -m vigil.cli.reference [--check]``.

docs/cli.md is made whole; in docs/configuration.md the part between two marks is.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from vigil.cli.app import COMMANDS, create_app
from vigil.settings import Settings, StreamSettings

__all__ = ["command_reference", "main", "setting_reference"]

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"
HEAD = """# Command line

Made from the code by `python -m vigil.cli.reference`; `vigil COMMAND --help` says the same.

Results go to stdout, everything else to stderr, so that `--json` can be piped. Errors are one line with a code and a
hint; `vigil --debug ...` adds the traceback.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a check found something wrong (`doctor`, `schema --check`, `explain`); or a worker must be started again |
| 2 | a setting, an argument or a file cannot be used |
| 3 | Kafka, Redis or the worker of the demo cannot be reached, or refused |
| 4 | the embedded servers are not installed or did not start |
| 70 | an internal error |
| 130 | stopped by Ctrl-C |
"""


def command_reference() -> str:
    """Make docs/cli.md."""
    root: Any = typer.main.get_command(create_app(everything=True))
    parts = [HEAD]
    for entry in COMMANDS:
        command = root.commands[entry.name]
        if entry.group:
            parts += [f"## vigil {entry.name}\n\n{entry.help}\n"]
            parts += [_command(f"vigil {entry.name} {name}", one, "###") for name, one in command.commands.items()]
        else:
            parts.append(_command(f"vigil {entry.name}", command, "##"))
    return "\n".join(parts)


def setting_reference() -> str:
    """Make the tables of docs/configuration.md."""
    return "\n".join(_section(name, field) for name, field in Settings.model_fields.items())


def files() -> dict[Path, str]:
    """Make the text of every file."""
    configuration = DOCS / "configuration.md"
    text = configuration.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return {
        DOCS / "cli.md": command_reference(),
        configuration: f"{before}{BEGIN}\n\n{setting_reference()}\n{END}{after}",
    }


def main() -> int:
    """Write the files, or with ``--check`` compare them; returns the exit status."""
    check = "--check" in sys.argv[1:]
    stale = [path for path, text in files().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            sys.stdout.write(f"{path} is stale: run python -m vigil.cli.reference and commit the result\n")
        else:
            path.write_text(files()[path], encoding="utf-8")
    return 1 if check and stale else 0


def _command(path: str, command: Any, level: str) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
    usage = " ".join([path, *("OPTIONS" for _ in options[:1]), *(_argument(one) for one in arguments)])
    rows = [f"| `{_argument(one)}` | {_cell(one.help)} | {_default(one)} |" for one in arguments]
    rows += [f"| `{_names(one)}` | {_cell(one.help)} | {_default(one)} |" for one in options]
    table = ["| argument or option | meaning | default |", "|---|---|---|", *rows, ""] if rows else []
    return "\n".join([f"{level} {path}", "", "```", usage, "```", "", inspect.cleandoc(command.help or ""), "", *table])


def _argument(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name.upper()).strip("[]")
    return name if parameter.required else f"[{name}]"


def _names(parameter: Any) -> str:
    return ", ".join(sorted(parameter.opts, key=len, reverse=True))


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required or value is None or value is False or callable(value) or value == ():
        return ""
    return f"`{getattr(value, 'value', value)}`"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _section(name: str, field: FieldInfo) -> str:
    own = name == "streams"
    model: Any = StreamSettings if own else field.annotation
    title = f"### `[{name}.NAME]`" if own else f"### `[{name}]`"
    rows = "\n".join(_setting(key, one) for key, one in _fields(model))
    purpose = inspect.cleandoc(model.__doc__ or "")
    return f"{title}\n\n{purpose}\n\n| setting | default | meaning |\n|---|---|---|\n{rows}\n"


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    yield from model.model_fields.items()


def _setting(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    return f"| `{name}` | {_value(default)} | {_cell(field.description)} |"


def _value(value: object) -> str:
    if value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[]`"
    if isinstance(value, Mapping):
        return "`{}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


if __name__ == "__main__":
    sys.exit(main())
