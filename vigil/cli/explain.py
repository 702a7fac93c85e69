"""`vigil explain`."""

import re
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from detectors.evaluation.plots import ReportError
from vigil.assembly import kafka_config
from vigil.cli.charts import marks_for
from vigil.cli.explain_page import explanation_page
from vigil.cli.options import ConfigOption, JsonOption, KafkaOption, SetOption, configured
from vigil.cli.output import note, print_json, stdout, with_progress
from vigil.doctor import broker_topics
from vigil.errors import InputError
from vigil.explaining.figures import Explanation
from vigil.explaining.run import explain
from vigil.saying import SHORTEST, duration_ms, now_ms

__all__ = ["command"]

DIFFERS = 1


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    anomaly: Annotated[
        str, typer.Argument(help="Id of the anomaly, or fingerprint of an alert; the first digits are enough.")
    ],
    artefact: Annotated[
        Path | None, typer.Option("--artefact", help="Folder of a model to judge by instead of the one recorded.")
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Draw it to this file as well (extra `train`).")] = None,
    fields: Annotated[int, typer.Option("--fields", min=0, max=100, help="Most fields to draw.")] = 4,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="DURATION", help="Look back this far: 30m, 2h, 7d; all that is kept otherwise."
        ),
    ] = None,
    warm_up: Annotated[
        str | None,
        typer.Option(
            "--warm-up",
            metavar="DURATION|all",
            help="Learn from this much telemetry (2h, all) where no snapshot from before it is left.",
        ),
    ] = None,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show why an anomaly was said: its window against what was expected, and its score again.

    The anomaly is looked for on Kafka (the newest hour first), its telemetry is replayed through the model it names,
    from a snapshot that a worker saved where one is left, and the score is compared with the one recorded. With
    --artefact another model judges the same telemetry, side by side. Nothing is written to Kafka or Redis. Run it with
    the workers' settings. With --json all figures are one object.

    Exits with 1 when nothing is missing and the model that the anomaly names gives another score, with 2 when there is
    no such anomaly. Telemetry that expired is said; what was recorded is shown all the same.
    """
    name = _digits(anomaly)
    since_ms = None if since is None else now_ms() - duration_ms(since, "--since")
    if png is not None:
        _check_picture(png)
    settings = configured(config, set_, kafka__bootstrap=kafka).settings
    broker_topics(kafka_config(settings))  # says at once when Kafka does not answer
    explained = with_progress(
        lambda say: explain(
            settings, name, artefact=artefact, since_ms=since_ms, warm_up_ms=_warm_up_ms(warm_up), say=say
        ),
        quiet=json,
    )
    if json:
        print_json(explained)
    else:
        for part in explanation_page(explained, fields=fields, marks=marks_for(stdout.encoding)):
            stdout.print(part)
    if png is not None:
        _draw(explained, png, fields)
    if explained.replay.status == "differs":
        raise typer.Exit(DIFFERS)


def _digits(name: str) -> str:
    name = name.strip().lower()
    if re.fullmatch(rf"[0-9a-f]{{{SHORTEST},32}}", name) is None:
        raise InputError(
            f"{name}: no id of an anomaly", hint=f"an id is 32 hexadecimal digits; give the first {SHORTEST} or more"
        )
    return name


def _warm_up_ms(text: str | None) -> int | None:
    if text == "all":
        return now_ms()  # since 1970
    return None if text is None else duration_ms(text, "--warm-up")


def _check_picture(path: Path) -> None:
    """Fail before anything is read where the picture could not be made."""
    try:
        import_module("vigil.explaining.plots").picture_class()
    except ReportError as error:
        raise InputError("--png needs matplotlib", hint="pip install 'vigil-dwcp[train]'") from error
    if not path.absolute().parent.is_dir():
        raise InputError(f"--png {path}: no folder {path.parent}", hint="make the folder, or name another file")


def _draw(explained: Explanation, path: Path, fields: int) -> None:
    if explained.window is None and explained.silence is None:
        note(f"{path} was not drawn: there is no telemetry to draw")
        return
    import_module("vigil.explaining.plots").draw_explanation(explained, path, fields=fields)
    note(f"drawn: {path}")
