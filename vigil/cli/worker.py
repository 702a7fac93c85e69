"""`vigil worker`."""

import gc
import logging
import os
import sys
from dataclasses import replace
from typing import Annotated, Final, NoReturn

import structlog
import typer

from detectors.catalogue import load_detectors
from schemas.streams import Stream
from streams.worker import Worker, run
from vigil.allocator import keep_trimmed, limit_arenas
from vigil.assembly import enabled_streams, kafka_config, redis_config, worker_config
from vigil.cli.backlog import BacklogBar
from vigil.cli.options import ConfigOption, KafkaOption, RedisOption, SetOption, configured
from vigil.errors import SettingsError
from vigil.logs import configure_logs
from vigil.scorers import stream_scorer
from vigil.settings import Settings, StreamSettings

__all__ = ["command"]

CATCH_UP_BATCH: Final = 50_000  # records; a transaction's fixed cost counts less, and windows are scored in larger sets
COLLECT_AFTER: Final = (100_000, 20, 20)  # containers; a batch makes tens of thousands, and drops them by itself


def command(
    stream: Annotated[
        list[str] | None, typer.Option("--stream", help="Consume this stream only; repeat for more.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Stable name of this worker (kafka.group_instance_id).")
    ] = None,
    catch_up: Annotated[
        bool, typer.Option("--catch-up", help="Show a progress bar until the backlog is worked off, in larger batches.")
    ] = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Consume telemetry, score it, publish anomalies.

    Workers of one group share the partitions: start as many as you like, on as many machines. SIGTERM or Ctrl-C
    finishes the batch at hand, commits and leaves. /metrics, /healthz and /readyz are served on
    metrics.host and metrics.port. Exits with 1 when it cannot go on and must be started again.
    """
    limit_arenas()
    flags = {"kafka__bootstrap": kafka, "redis__url": redis, "kafka__group_instance_id": name}
    settings = configured(config, set_, **flags).settings
    configure_logs(settings.log.level, settings.log.format)
    log = structlog.get_logger("vigil.worker")
    scorers = [
        stream_scorer(one, own, load_detectors(one, own.detectors, own.artefacts))
        for one, own in _chosen(settings, stream).values()
    ]
    for scorer in scorers:
        models = [f"{detector.name} {detector.version}" for detector in scorer.detectors]
        log.info("stream", stream=scorer.stream.name, step_ms=scorer.step_ms, models=models)
    running = worker_config(settings)
    if catch_up:
        running = replace(running, batch_max=max(running.batch_max, CATCH_UP_BATCH))
    worker = Worker(scorers, running, kafka_config(settings), redis_config(settings))
    gc.freeze()  # what is loaded by now stays: collections need not look at it
    gc.set_threshold(*COLLECT_AFTER)
    keep_trimmed()
    with BacklogBar(shown=catch_up and sys.stderr.isatty()) as bar:
        worker.monitor.on_pace = bar.show
        status = run(worker)
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End the process as it is: taking the interpreter apart costs 0.2 s that whoever starts the next one waits."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _chosen(settings: Settings, names: list[str] | None) -> dict[str, tuple[Stream, StreamSettings]]:
    enabled = enabled_streams(settings)
    for name in names or ():
        if name not in enabled:
            raise SettingsError(
                f"--stream {name}: not among the enabled streams", hint=f"choose from {', '.join(enabled)}"
            )
    chosen = {name: one for name, one in enabled.items() if not names or name in names}
    if not chosen:
        raise SettingsError("no stream is enabled", hint="set streams.consensus.enabled = true")
    return chosen
