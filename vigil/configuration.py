"""Reads the layers of settings, remembers where each value came from, and words what is wrong.

Layers, each over the one before: defaults, TOML file, environment, flags.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as UnreadableVariable

from vigil.errors import SettingsError
from vigil.settings import Settings, section_fields

__all__ = ["Configuration", "Row", "load_configuration"]

PREFIX = "VIGIL_"
DEFAULT_FILE = Path("vigil.toml")
CONFIG_VARIABLE = "VIGIL_CONFIG"
OWN_VARIABLES = frozenset({CONFIG_VARIABLE, "VIGIL_DEBUG"})
# Kubernetes puts such variables for every service into every container; a service named vigil-... is no setting.
KUBERNETES_VARIABLE = re.compile(
    r"VIGIL_.*(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)"
)
SECRET_NAME = re.compile(r"password|secret|token|(^|\.)ssl\.key\.pem$|jaas")
SECRET_FIELDS = frozenset(
    {("kafka", "sasl_password"), ("kafka", "ssl_key_password"), ("redis", "password"), ("alerts", "webhook_secret")}
)
STARS = "****"
# Where an address holds a password, also one that is written wrongly: before the last @, or as a parameter.
URL_PASSWORD = re.compile(r"(?<=:)(?!//).*(?=@)|(?<=password=)[^&]*")

Path_: TypeAlias = tuple[str, ...]


class Row(NamedTuple):
    """One setting as `vigil config show` prints it; ``value`` has stars for secrets."""

    name: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """Valid settings, and the origin of every value that is not the default."""

    settings: Settings
    origins: Mapping[Path_, str]

    def rows(self) -> list[Row]:
        """List every setting with its value and origin, secrets as stars."""
        leaves = _leaves(self.settings.model_dump(mode="python"), ())
        return [Row(".".join(path), _shown(path, value), self.origins.get(path, "default")) for path, value in leaves]


@dataclass(frozen=True, slots=True)
class _Layer:
    values: dict[str, Any]
    origins: dict[Path_, str]


def load_configuration(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Configuration:
    """Read and check all settings.

    Args:
        config: TOML file; ``VIGIL_CONFIG`` or ./vigil.toml, where there is one, when not given.
        overrides: values of flags by dotted name (``kafka.bootstrap``); ``None`` values are left out.

    Raises:
        SettingsError: a file cannot be read, or a setting is unknown or invalid.
    """
    merged: dict[str, Any] = {}
    origins: dict[Path_, str] = {}
    for layer in (_file_layer(config), _environment_layer(), _flag_layer(overrides or {})):
        merged = _merge(merged, layer.values)
        origins.update(layer.origins)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise _worded(error, origins) from error
    return Configuration(settings, origins)


def read_secret(value: SecretStr | None, file: Path | None, name: str) -> str | None:
    """Return a secret's text, from the environment or its file. Raises ``SettingsError`` when the file has none."""
    if file is None:
        return value.get_secret_value() if value is not None else None
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{name}_file = {file}: {error}", hint="name a readable file that holds the secret"
        ) from error
    if not text:
        raise SettingsError(f"{name}_file = {file}: the file is empty", hint="write the secret into it, on one line")
    return text


def _file_layer(config: Path | None) -> _Layer:
    named = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    if named is None and not DEFAULT_FILE.is_file():
        return _Layer({}, {})
    path = named or DEFAULT_FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        where = "--config" if config is not None else CONFIG_VARIABLE
        raise SettingsError(f"{where} {path}: {error.strerror}", hint="name a TOML file that exists") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}", hint="see docs/configuration.md for an example") from error
    for leaf, value in _leaves(values, ()):
        _refuse_secret(leaf, value, str(path))
    return _Layer(values, {leaf: str(path) for leaf, _ in _leaves(values, ())})


def _environment_layer() -> _Layer:
    try:
        values: dict[str, Any] = EnvSettingsSource(Settings)()
    except UnreadableVariable as error:
        raise SettingsError(
            f"an environment variable {PREFIX}... holds a table or list that is no JSON: {error.__cause__}",
            hint=f"give every setting a variable of its own, such as {PREFIX}KAFKA__BOOTSTRAP",
        ) from error
    properties = values.get("kafka", {}).get("properties")
    if isinstance(properties, dict):  # a variable's name cannot hold the dots of security.protocol
        values["kafka"]["properties"] = {name.replace("_", "."): value for name, value in properties.items()}
    _refuse_unknown_variables()
    return _Layer(values, {leaf: _variable(leaf) for leaf, _ in _leaves(values, ())})


def _flag_layer(overrides: Mapping[str, Any]) -> _Layer:
    values: dict[str, Any] = {}
    origins: dict[Path_, str] = {}
    for name, value in overrides.items():
        if value is None:
            continue
        path = _path(name)
        _refuse_secret(path, value, "a flag")
        nested: Any = value
        for part in reversed(path):
            nested = {part: nested}
        values = _merge(values, nested)
        origins[path] = "flag"
    return _Layer(values, origins)


def _path(name: str) -> Path_:
    """Split a dotted name; what follows ``kafka.properties.`` is one name with dots of its own."""
    head = "kafka.properties."
    if name.startswith(head):
        return ("kafka", "properties", name.removeprefix(head))
    return tuple(name.split("."))


def _leaves(values: Mapping[str, Any], prefix: Path_) -> Iterator[tuple[Path_, Any]]:
    for name, value in values.items():
        path = (*prefix, str(name))
        if isinstance(value, Mapping) and value and "codes" not in path:
            yield from _leaves(value, path)
        else:
            yield path, value


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _variable(path: Path_) -> str:
    """Name the environment variable that a value came from: its own, or a parent's that held JSON."""
    for end in range(len(path), 0, -1):
        name = PREFIX + "__".join(part.replace(".", "_") for part in path[:end]).upper()
        if any(name == variable.upper() for variable in os.environ):
            return name
    return PREFIX + "__".join(path).upper()


def _refuse_unknown_variables() -> None:
    for variable in os.environ:
        name = variable.upper()
        if not name.startswith(PREFIX) or name in OWN_VARIABLES or KUBERNETES_VARIABLE.fullmatch(name):
            continue
        section = name.removeprefix(PREFIX).partition("__")[0].lower()
        if section not in Settings.model_fields:
            raise SettingsError(
                f"environment variable {variable} is no setting",
                hint=_suggest_variable(name) or "`vigil config show` lists the settings; unset the variable",
            )


def _suggest_variable(name: str) -> str:
    known = [
        f"{PREFIX}{section}__{field}".upper()
        for section in Settings.model_fields
        if section != "streams"
        for field in section_fields(section)
    ]
    close = difflib.get_close_matches(name, [*known, *OWN_VARIABLES], n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else ""


def _is_secret(path: Path_) -> bool:
    if path in SECRET_FIELDS:
        return True
    return path[:2] == ("kafka", "properties") and SECRET_NAME.search(".".join(path[2:])) is not None


def _refuse_secret(path: Path_, value: object, origin: str) -> None:
    name = ".".join(path)
    in_url = path == ("redis", "url") and isinstance(value, str) and URL_PASSWORD.search(value) is not None
    if not (in_url or _is_secret(path)):
        return
    variable = PREFIX + "__".join(part.replace(".", "_") for part in path).upper()
    by_file = f"{name}_file, or " if path in SECRET_FIELDS else "redis.password_file, or " if in_url else ""
    raise SettingsError(
        f"{name} is a secret and must not stand in {origin}",
        hint=f"use {by_file}the environment variable {variable}",
    )


def _shown(path: Path_, value: object) -> Any:
    if isinstance(value, SecretStr) or (value is not None and _is_secret(path)):
        return STARS
    if path == ("redis", "url") and isinstance(value, str):
        return URL_PASSWORD.sub(STARS, value)
    if path[:2] == ("kafka", "properties") and isinstance(value, str) and len(path) == 2:
        return STARS  # no table: nobody knows what it holds
    if path in {("alerts", "webhooks"), ("alerts", "alertmanagers")}:
        addresses = value if isinstance(value, tuple | list) else [value]
        return [_without_secrets(str(address)) for address in addresses]
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _without_secrets(address: str) -> str:
    """Return an address without password and path: a webhook's path often is its secret."""
    return re.sub(r"(?<=[^/:])/(?!/).*", f"/{STARS}", URL_PASSWORD.sub(STARS, address))


def _worded(error: ValidationError, origins: Mapping[Path_, str]) -> SettingsError:
    """Word all mistakes at once, so that a file is mended in one go."""
    said = [_mistake(detail["loc"], detail, origins) for detail in error.errors(include_url=False)]
    hints = dict.fromkeys(hint for _, hint in said if hint)
    return SettingsError("; ".join(text for text, _ in said), hint="; ".join(hints))


def _mistake(location: Sequence[int | str], detail: Mapping[str, Any], origins: Mapping[Path_, str]) -> tuple[str, str]:
    path = tuple(str(part) for part in location)
    name = ".".join(path)
    origin = next(
        (o for leaf, o in origins.items() if leaf[: len(path)] == path or path[: len(leaf)] == leaf), "default"
    )
    if detail["type"] == "extra_forbidden":
        names = _names_beside(path)
        close = difflib.get_close_matches(path[-1], names, n=1, cutoff=0.5)
        return (
            f"{name} (from {origin}) is no setting",
            f"did you mean {'.'.join((*path[:-1], close[0]))}?"
            if close
            else (f"{'.'.join(path[:-1]) or 'the top level'} knows {', '.join(names)}"),
        )
    reason = str(detail["msg"]).removeprefix("Value error, ")
    value = "" if isinstance(detail["input"], Mapping | BaseModel) else f" = {_shown(path, detail['input'])!r}"
    return (
        f"{name}{value} (from {origin}): {reason[:1].lower()}{reason[1:]}",
        "docs/configuration.md says what each setting takes",
    )


def _names_beside(path: Path_) -> list[str]:
    if len(path) == 1:
        return list(Settings.model_fields)
    return list(section_fields(path[0])) if path[0] in Settings.model_fields else []
