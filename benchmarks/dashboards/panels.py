"""The dashboards in deploy/grafana: their variables and panels, with what each panel would draw."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.dashboards.sources import EMPTY_ARRAY, Frame, Json, Sources, Span, extracted, substituted

__all__ = ["FOLDER", "Annotation", "Drawn", "annotations", "chosen", "dashboards", "drawn"]

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A panel and what it draws: frames after its transformations, one list a query before them."""

    panel: Json
    title: str
    answers: list[list[Frame]]
    frames: list[Frame]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A span of time that is marked, Unix epoch in seconds."""

    start: float
    end: float
    text: str
    tags: str


def dashboards() -> list[Json]:
    """Read all of them, in the order of their names."""
    return [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]


def chosen(dashboard: Json, sources: Sources, preset: dict[str, str]) -> dict[str, str]:
    """Fill the variables from their queries, in order; what is preset stays.

    Raises:
        LookupError: a variable that has to have a value has nothing to choose from.
    """
    values: dict[str, str] = {}
    for variable in dashboard["templating"]["list"]:
        name = variable["name"]
        if variable["type"] == "constant":
            values[name] = preset.get(name, variable["query"])
            continue
        options = sources.custom(substituted(variable["query"], values)).fields["Value"]
        options = [str(one) for one in options if one != EMPTY_ARRAY]
        if not options:
            raise LookupError(f"{dashboard['uid']}: variable {name} has nothing to choose from")
        values[name] = preset.get(name, variable.get("allValue", options[0]))
    return values


def drawn(dashboard: Json, sources: Sources, variables: dict[str, str], span: Span) -> Iterator[Drawn]:
    """Ask every query of every panel."""
    for panel in dashboard["panels"]:
        answers = [sources.ask(target, variables, span) for target in panel["targets"]]
        frames = [frame for answer in answers for frame in answer]
        for step in panel["transformations"]:
            frames = [_transformed(frame, step) for frame in frames]
        yield Drawn(panel, substituted(panel["title"], variables), answers, frames)


def annotations(dashboard: Json, sources: Sources, variables: dict[str, str], span: Span) -> list[Annotation]:
    """Ask for the marks of a dashboard."""
    found = []
    for one in dashboard["annotations"]["list"]:
        target = {"datasource": one["datasource"], **one["target"]}
        names = {event: told["value"] for event, told in one["mappings"].items()}
        for frame in sources.ask(target, variables, span):
            columns = [frame.fields.get(names[each], []) for each in ("time", "timeEnd", "text", "tags")]
            found += [
                Annotation(at / 1000, end / 1000, str(text), str(tags))
                for at, end, text, tags in zip(*columns, strict=True)
            ]
    return found


def _transformed(frame: Frame, step: Json) -> Frame:
    options: Any = step["options"]
    if step["id"] == "extractFields":
        return extracted(frame)
    if step["id"] == "filterFieldsByName":
        include = options["include"]
        names = include.get("names")
        kept = {
            name: values
            for name, values in frame.fields.items()
            if (name in names if names is not None else re.search(include["pattern"], name))
        }
        return Frame(frame.name, kept, frame.labels)
    if step["id"] == "organize":
        order = options["indexByName"]
        return Frame(frame.name, dict(sorted(frame.fields.items(), key=lambda pair: order[pair[0]])), frame.labels)
    raise ValueError(f"transformation {step['id']} is not known here")
