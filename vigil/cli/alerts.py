"""`vigil alerts run`."""

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated

import typer

from vigil.assembly import alerting_config, kafka_config
from vigil.cli.options import ConfigOption, KafkaOption, RedisOption, SetOption, configured
from vigil.errors import SettingsError
from vigil.logs import configure_logs

__all__ = ["app"]

app = typer.Typer()


@app.command("run")
def run(
    name: Annotated[
        str | None, typer.Option("--name", help="Stable name of this instance; unique, as kafka.group_instance_id.")
    ] = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Read anomalies, publish alerts, tell Alertmanager and webhooks.

    Instances of one group share the clusters; one is enough for thousands of anomalies a second. SIGTERM or Ctrl-C
    writes what was collected and leaves. /metrics, /healthz and /readyz are served on metrics.host and alerts.port.
    Exits with 1 when it cannot go on and must be started again.
    """
    if find_spec("faust") is None:
        raise SettingsError("the alert service needs Faust", hint="pip install 'vigil-dwcp[alerts]'")
    settings = configured(config, set_, kafka__bootstrap=kafka, redis__url=redis).settings
    configure_logs(settings.log.level, settings.log.format)
    logging.getLogger("faust").setLevel(logging.WARNING)
    service = import_module("streams.alerting.service")  # Faust is slow to import: --help does without
    broker, alerting = kafka_config(settings), alerting_config(settings, name)
    raise typer.Exit(service.run(lambda: service.AlertService(broker, alerting)))
