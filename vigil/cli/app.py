"""The list of commands. ``vigil --help`` is answered from this list alone, so that it costs no heavy import."""

import importlib
import os
from collections.abc import Callable, Iterable
from typing import Annotated, Any, NamedTuple, cast

import typer

__all__ = ["COMMANDS", "Command", "create_app"]

START, WORK, DATA, MODELS, CARE = "Start here", "Run", "Telemetry in", "Models", "Set up and check"

EPILOG = """
[bold]See it work, nothing to set up[/bold]

  vigil demo

[bold]Your own Kafka: make the topics, then run as many workers as you like[/bold]

  vigil topics create --kafka broker:9092

  vigil worker --kafka broker:9092 --redis redis://cache:6379/0

[bold]A file, no Kafka[/bold]

  vigil score recording.jsonl.gz

Exit codes: 0 done, 1 check failed, 2 wrong setting, argument or file,
3 Kafka or Redis unreachable, 4 embedded servers, 70 internal, 130 Ctrl-C.
"""


class Command(NamedTuple):
    """One entry of ``vigil --help``; ``group`` entries have commands of their own."""

    name: str
    module: str
    panel: str
    help: str
    group: bool = False


COMMANDS = (
    Command(
        "demo", "vigil.cli.demo", START, "See it work: a simulated fleet with faults, found live, in under a minute."
    ),
    Command(
        "doctor", "vigil.cli.doctor", START, "Check Kafka, Redis, topics and models, and say how to fix what is wrong."
    ),
    Command("worker", "vigil.cli.worker", WORK, "Consume telemetry, score it, publish anomalies. Run one or many."),
    Command("alerts", "vigil.cli.alerts", WORK, "Make alerts of anomalies and tell who is on call.", group=True),
    Command("top", "vigil.cli.top", WORK, "Watch the fleet live: worst nodes, open alerts, rates, lag."),
    Command(
        "explain", "vigil.cli.explain", WORK, "Show why an anomaly was said: its window against what was expected."
    ),
    Command("score", "vigil.cli.score", WORK, "Score a recording offline, by the worker's own code path."),
    Command("replay", "vigil.cli.replay", DATA, "Publish a recording to Kafka, in real time, faster or flat out."),
    Command("simulate", "vigil.cli.simulate", DATA, "Publish or record a simulated fleet with labelled faults."),
    Command("train", "vigil.cli.train", MODELS, "Train a detector on your own telemetry.", group=True),
    Command("evaluate", "vigil.cli.evaluate", MODELS, "Measure a detector on labelled recordings, beside baselines."),
    Command("topics", "vigil.cli.topics", CARE, "Create, list and describe the Kafka topics.", group=True),
    Command("state", "vigil.cli.state", CARE, "Make a lost view in Redis right again from Kafka.", group=True),
    Command("tune", "vigil.cli.tune", CARE, "Which settings make a worker fastest on this machine."),
    Command("capacity", "vigil.cli.capacity", CARE, "How many workers a fleet takes, and whether it fits here."),
    Command(
        "config", "vigil.cli.config", CARE, "Show the settings with where each came from, or check them.", group=True
    ),
    Command("schema", "vigil.cli.schema", CARE, "Print the JSON Schema of a message."),
    Command("version", "vigil.cli.version", CARE, "Print the versions of vigil and what it stands on."),
)


def create_app(arguments: Iterable[str] = (), *, everything: bool = False) -> typer.Typer:
    """Build the application; only commands named in ``arguments`` are imported, the others are listed.

    Args:
        arguments: the command line.
        everything: import all commands (for the reference and for shell completion).
    """
    words = set(arguments)
    everything = everything or "_VIGIL_COMPLETE" in os.environ
    app = typer.Typer(
        name="vigil",
        help="Streaming anomaly detection for distributed-systems telemetry: Kafka in, explained verdicts out.",
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for command in COMMANDS:
        _add(app, command, load=everything or command.name in words)
    return app


def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors (also: VIGIL_DEBUG=1).")] = False,
) -> None:
    """Streaming anomaly detection for distributed-systems telemetry: Kafka in, explained verdicts out."""
    del debug  # read by vigil.__main__, which also sees errors from before this runs


def _add(app: typer.Typer, command: Command, *, load: bool) -> None:
    if command.group:
        group = cast("typer.Typer", importlib.import_module(command.module).app) if load else _listed_group()
        app.add_typer(group, name=command.name, help=command.help, rich_help_panel=command.panel, no_args_is_help=True)
        return
    function = cast("Callable[..., Any]", importlib.import_module(command.module).command) if load else _listed
    text = f"{command.help}\n\n{_details(function)}" if load else command.help
    app.command(command.name, help=text, rich_help_panel=command.panel)(function)


def _details(function: Callable[..., Any]) -> str:
    """Return a command's docstring after its first line, which stands in the list already."""
    return (function.__doc__ or "").partition("\n\n")[2]


def _listed() -> None:
    """Stand in for a command that is listed and not run."""


def _listed_group() -> typer.Typer:
    group = typer.Typer()
    group.command("-")(_listed)
    return group
