"""JSON Schema files from the message types: ``python -m schemas.generate [--check]``."""

import argparse
import difflib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from schemas.fields import fields_of, quantiles_of
from schemas.metrics import CompressionSample, ConsensusMetrics, Incident, LinkMetrics, NodeMetrics
from schemas.outputs import Alert, Anomaly, BandwidthForecast, CompressionDecision

MESSAGES: tuple[type[Struct], ...] = (
    ConsensusMetrics,
    NodeMetrics,
    LinkMetrics,
    CompressionSample,
    Incident,
    Anomaly,
    Alert,
    BandwidthForecast,
    CompressionDecision,
)
"""Every message that has a schema file, in the order of the wire contract."""

DIRECTORY = Path(__file__).parent / "jsonschema"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(record: type[Struct]) -> dict[str, Any]:
    """Make the JSON Schema (2020-12) of one message type, self-contained, keys in a fixed order.

    ``x-codes`` maps a field's texts to the numbers that stand for them in model inputs; ``x-ordered`` lists fields
    whose values must not decrease, which JSON Schema cannot say.
    """
    (reference,), definitions = msgspec.json.schema_components([record], ref_template="#/$defs/{name}")
    for definition in definitions.values():
        # The list of attributes behind a docstring's first paragraphs repeats what each property says.
        definition["description"] = re.sub(r"\s+", " ", definition["description"].split("Attributes:")[0]).strip()
    body = definitions.pop(reference["$ref"].rsplit("/", 1)[-1])
    schema: dict[str, Any] = {"$schema": _DIALECT, "$id": f"urn:vigil:schema:{_stem(record)}:1", **body}
    # A Struct's version has a default so that code need not repeat it; on the wire it is required.
    schema["required"] = ["v", *(name for name in schema["required"] if name != "v")]
    schema["properties"]["v"].pop("default", None)
    ordered = quantiles_of(fields_of(record))
    if ordered:
        schema["x-ordered"] = list(ordered)
    if definitions:
        schema["$defs"] = definitions
    return schema


def schema_files() -> dict[str, str]:
    """Make the text of every schema file, by file name."""
    return {f"{_stem(record)}.json": json.dumps(json_schema(record), indent=2) + "\n" for record in MESSAGES}


def write(directory: Path = DIRECTORY) -> list[Path]:
    """Write every schema file and return the paths. Raises ``OSError`` when the directory cannot be written."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in schema_files().items():
        path = directory / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def difference(directory: Path = DIRECTORY) -> str:
    """Compare the files in a directory with the message types: a unified diff, empty when they are current."""
    expected = schema_files()
    present = {path.name: path.read_text(encoding="utf-8") for path in sorted(directory.glob("*.json"))}
    lines: list[str] = []
    for name in sorted(expected.keys() | present.keys()):
        old = present.get(name, "").splitlines(keepends=True)
        new = expected.get(name, "").splitlines(keepends=True)
        lines += difflib.unified_diff(old, new, f"{name} (file)", f"{name} (message types)")
    return "".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the schema files, or with ``--check`` compare them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m schemas.generate", description="JSON Schema from message types")
    parser.add_argument("--check", action="store_true", help="change nothing; fail with a diff when a file is stale")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where the files are")
    options = parser.parse_args(arguments)
    if not options.check:
        for path in write(options.directory):
            sys.stdout.write(f"{path}\n")
        return 0
    stale = difference(options.directory)
    if stale:
        sys.stdout.write(
            f"{stale}\nThe schema files are stale: run python -m schemas.generate and commit the result.\n"
        )
        return 1
    return 0


def _stem(record: type[Struct]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", record.__name__).lower()


if __name__ == "__main__":
    sys.exit(main())
