"""`vigil version`."""

import platform
from importlib.metadata import PackageNotFoundError, version

from rich.table import Table

from vigil import __version__
from vigil.cli.options import JsonOption
from vigil.cli.output import print_json, stdout

__all__ = ["command"]

PACKAGES = ("confluent-kafka", "numpy", "onnxruntime", "xgboost-cpu", "msgspec", "redis", "torch", "noida-db")


def command(json: JsonOption = False) -> None:
    """Print the versions of vigil and what it stands on."""
    versions: dict[str, str | None] = {"vigil": __version__, "python": platform.python_version()}
    versions |= {package: _version(package) for package in PACKAGES}
    if json:
        print_json(versions)
        return
    table = Table.grid(padding=(0, 2))
    for name, text in versions.items():
        table.add_row(name, text or "[dim]not installed[/dim]")
    stdout.print(table)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
