"""`vigil evaluate`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from vigil.cli.figures import fault_free_table, figure_table, generator_table, plain_results, reliability_table
from vigil.cli.options import JsonOption, names_of
from vigil.cli.output import note, print_json, stdout, with_progress
from vigil.comparison import compare_on_generator, compare_reliability
from vigil.errors import InputError
from vigil.evaluation import Choice, Evaluated, evaluate_file
from vigil.fault_free import SEED, FaultFree, measure_fault_free
from vigil.progress import Say

__all__ = ["command"]

DETECTORS = ("consensus", "autoencoder", "reliability")


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    detector: Annotated[str, typer.Argument(help="consensus, autoencoder or reliability.")],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Labelled recordings: .jsonl, .jsonl.gz or .parquet.")
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Fit on each file's train part first.")] = False,
    artefact: Annotated[
        Path | None, typer.Option("--artefact", help="Measure this trained artefact, not the shipped one.")
    ] = None,
    fields: Annotated[
        str | None, typer.Option("--fields", metavar="A,B,...", help="Columns to look at; all of numbers otherwise.")
    ] = None,
    step_ms: Annotated[
        int | None, typer.Option("--step-ms", min=1, help="Time between two steps; told from the file otherwise.")
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option("--false-alarms", min=0.001, help="With --fit: false alarms a node-day to aim at."),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="With autoencoder --fit: most epochs.")] = 40,
    incidents: Annotated[
        Path | None, typer.Option("--incidents", help="With reliability: reported incidents, a JSON object a line.")
    ] = None,
    generator: Annotated[
        bool, typer.Option("--generator", help="Measure on the reference generator; takes no file.")
    ] = False,
    windows: Annotated[int, typer.Option("--windows", min=100, help="With --generator: test windows.")] = 20_000,
    fault_free: Annotated[
        float | None,
        typer.Option(
            "--fault-free", metavar="DAYS", min=0.001, help="Count false alarms in a simulation of so long; no file."
        ),
    ] = None,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="With --fault-free: nodes to simulate.")] = 30,
    seed: Annotated[int, typer.Option("--seed", min=0, help="With --fault-free: of the simulation.")] = SEED,
    report: Annotated[
        Path | None, typer.Option("--report", help="Folder for plots and a report (extra `train`).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure a detector on labelled recordings, beside simple baselines fitted on the same rows.

    Test rows alone are measured, without point adjustment: by row (average precision, VUS-PR, ROC AUC, and figures at
    the threshold) and by event (seen, delay, false alarms a node-day). docs/evaluation explains every figure. Without
    --fit the shipped artefact is measured as it is.
    """
    made = [name for name, given in (("--generator", generator), ("--fault-free", fault_free is not None)) if given]
    _check(detector, files or [], made, fit=fit, incidents=incidents)
    if fault_free is not None:
        _fault_free(FaultFree(detector, fault_free, nodes, seed, artefact), json=json)
    elif generator:
        _generator(windows, json=json)
    elif detector == "reliability":
        work = partial(compare_reliability, incidents=incidents, artefact=artefact, fit=fit, false_alarms=false_alarms)
        _reliability(files or [], work, report, json=json)
    else:
        choice = Choice(detector, fit, artefact, names_of(fields) or (), step_ms, false_alarms, epochs)
        _evaluate(files or [], choice, report, json=json)


def _evaluate(files: list[Path], choice: Choice, report: Path | None, *, json: bool) -> None:
    results: list[dict[str, Any]] = []
    reports: list[tuple[str, list[Path]]] = []
    for file in files:
        found = with_progress(partial(evaluate_file, file, choice), quiet=json)
        results += found.results
        if not json:
            stdout.print(figure_table(found.recording.name, list(found.results)))
        if report is not None:
            reports.append((file.name, _report(found, report)))
    if json:
        print_json({"results": plain_results(results)})
    for name, made in reports:
        note(f"{name}: {', '.join(str(path) for path in made)}")


def _report(found: Evaluated, folder: Path) -> list[Path]:
    from detectors.evaluation.report import write_report  # noqa: PLC0415 - matplotlib comes with it

    return write_report(found.recording, found.scored, found.results, found.explained, folder)


def _reliability(
    files: list[Path], work: Callable[..., list[dict[str, Any]]], report: Path | None, *, json: bool
) -> None:
    for file in files:
        results = with_progress(partial(_compared, work, file), quiet=json)
        if json:
            print_json({"results": plain_results(results)})
        else:
            stdout.print(reliability_table(file.name, results))
        if report is not None:
            from detectors.reliability.report import write_plots  # noqa: PLC0415 - matplotlib comes with it

            made = write_plots(results, report, f"{file.name.split('.')[0]}-reliability")
            note(f"{file.name}: {', '.join(str(path) for path in made)}")


def _compared(work: Callable[..., list[dict[str, Any]]], file: Path, say: Say) -> list[dict[str, Any]]:
    return work(file, say=say)


def _generator(windows: int, *, json: bool) -> None:
    results = with_progress(partial(compare_on_generator, windows), quiet=json)
    if json:
        print_json({"results": plain_results(results)})
    else:
        stdout.print(generator_table(results))


def _fault_free(wanted: FaultFree, *, json: bool) -> None:
    result = with_progress(partial(measure_fault_free, wanted), quiet=json)
    if json:
        print_json({"results": [result]})
    else:
        stdout.print(fault_free_table(result))


def _check(detector: str, files: list[Path], made: list[str], *, fit: bool, incidents: Path | None) -> None:
    if detector not in DETECTORS:
        raise InputError(f"no detector is called {detector!r}", hint=f"choose from {', '.join(DETECTORS)}")
    if len(made) > 1:
        raise InputError(f"{' and '.join(made)} are two measurements", hint="give one of them")
    if made and (files or detector == "reliability"):
        raise InputError(f"{made[0]} makes its own consensus rows", hint=f"vigil evaluate consensus {made[0]}")
    if made == ["--fault-free"] and fit:
        raise InputError("--fault-free measures a trained artefact", hint="leave --fit out, or give --artefact DIR")
    if not made and not files:
        raise InputError("nothing to measure on", hint=f"vigil evaluate {detector} RECORDING --fit")
    if incidents is not None and detector != "reliability":
        raise InputError("--incidents is for reliability", hint="consensus recordings have labels in the file")
    if detector == "reliability" and len(files) > 1:
        raise InputError("one recording belongs to --incidents", hint="give one FILE")
