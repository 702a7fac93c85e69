"""Options that several commands share, and how they become settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vigil.configuration import Configuration, load_configuration
from vigil.errors import SettingsError

__all__ = [
    "ConfigOption",
    "JsonOption",
    "KafkaOption",
    "RedisOption",
    "SeedOption",
    "SetOption",
    "configured",
    "names_of",
]

SETTINGS = "Settings"

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="TOML file; otherwise VIGIL_CONFIG, then ./vigil.toml.", rich_help_panel=SETTINGS
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="NAME=VALUE", help="Any setting, by its dotted name.", rich_help_panel=SETTINGS
    ),
]
KafkaOption = Annotated[
    str | None,
    typer.Option("--kafka", metavar="HOST:PORT", help="Kafka's address (kafka.bootstrap).", rich_help_panel=SETTINGS),
]
RedisOption = Annotated[
    str | None, typer.Option("--redis", metavar="URL", help="Redis' address (redis.url).", rich_help_panel=SETTINGS)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON to stdout, for programs.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same records.")]


def configured(config: Path | None = None, assignments: Sequence[str] | None = None, **flags: Any) -> Configuration:
    """Load the settings under the flags of a command.

    Args:
        config: ``--config``.
        assignments: ``--set`` values, ``NAME=VALUE``.
        flags: values of other flags, by setting with ``__`` for the dot; ``None`` when not given.
    """
    overrides: dict[str, Any] = {}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise SettingsError(f"--set {assignment}: not NAME=VALUE", hint="for example --set worker.batch_max=5000")
        overrides[name.strip()] = value
    overrides |= {name.replace("__", "."): value for name, value in flags.items() if value is not None}
    return load_configuration(config, overrides)


def names_of(text: str | None) -> tuple[str, ...] | None:
    """Split ``A,B,...``; ``None`` where nothing is named."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) or None if text else None
