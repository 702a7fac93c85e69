"""`vigil alerts run|list|show|ack|silence|silences|unsilence|feedback`."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import typer
from redis import Redis

from schemas.controls import Control, Silence
from streams.alerting.controls import Controls
from streams.alerting.desk import known_alerts, known_controls, open_alerts, publish_control
from streams.redis_client import redis_client
from vigil.assembly import alerting_config, kafka_config, redis_config, view_config
from vigil.cli.alert_tables import alert_page, alert_table, described, silence_table
from vigil.cli.options import ConfigOption, JsonOption, KafkaOption, RedisOption, SetOption, configured
from vigil.cli.output import note, print_json, stdout
from vigil.errors import SettingsError
from vigil.logs import configure_logs
from vigil.saying import acknowledgement, chosen, duration_ms, ended, feedback_on, now_ms, person, silence_for, time_ms
from vigil.settings import Settings

__all__ = ["app"]

app = typer.Typer()

ByOption = Annotated[str | None, typer.Option("--by", help="Who you are; the user of this machine otherwise.")]
CommentOption = Annotated[str, typer.Option("--comment", "-m", help="Why; others read it.")]
AlertArgument = Annotated[str, typer.Argument(help="Fingerprint of the alert; its first digits are enough.")]


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
    running = import_module("streams.alerting.running")  # Faust is slow to import: --help does without
    broker, alerting, view = kafka_config(settings), alerting_config(settings, name), redis_config(settings)
    raise typer.Exit(running.run(lambda: running.AlertService(broker, alerting, view)))


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over, for redis.ttl_s.")] = False,
    json: JsonOption = False,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """List the open alerts, with who has them and what silences them."""
    with _view(configured(config, set_, redis__url=redis).settings) as (client, prefix):
        alerts = known_alerts(client, prefix) if everything else open_alerts(client, prefix)
        controls = known_controls(client, prefix)
    rows = [described(one, controls, now_ms()) for one in alerts]
    if json:
        print_json(rows)
        return
    stdout.print(alert_table(rows))
    if not rows:
        note("no open alert" if not everything else "no alert")


@app.command("show")
def show(
    alert: AlertArgument,
    json: JsonOption = False,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show all that is known of one alert."""
    with _view(configured(config, set_, redis__url=redis).settings) as (client, prefix):
        row = described(chosen(known_alerts(client, prefix), alert), known_controls(client, prefix), now_ms())
    if json:
        print_json(row)
        return
    stdout.print(alert_page(row))


@app.command("ack")
def ack(  # noqa: PLR0913, PLR0917 - one parameter an option
    alert: AlertArgument,
    comment: CommentOption = "",
    by: ByOption = None,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Say that you have an alert: nothing more is told of it but a worse severity and its end."""
    settings = configured(config, set_, kafka__bootstrap=kafka, redis__url=redis).settings
    with _view(settings) as (client, prefix):
        found = chosen(open_alerts(client, prefix), alert)
    _say(settings, acknowledgement(found, person(by), comment), f"you have {found.fingerprint[:8]}", json=json)


@app.command("feedback")
def feedback(  # noqa: PLR0913, PLR0917 - one parameter an option
    alert: AlertArgument,
    verdict: Annotated[Literal["real", "noise", "expected"], typer.Argument(help="What the alert was worth.")],
    comment: CommentOption = "",
    by: ByOption = None,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Say what an alert was worth; it moves the level from which its node opens alerts, within bounds.

    Noise and expected raise the level, real takes that back; 1 (the detector's threshold) to 3 times.
    """
    settings = configured(config, set_, kafka__bootstrap=kafka, redis__url=redis).settings
    with _view(settings) as (client, prefix):
        found, controls = chosen(known_alerts(client, prefix), alert), known_controls(client, prefix)
    said = feedback_on(found, verdict, person(by), comment)
    before = controls.levels().get(found.node_id, 1.0)
    controls.put(f"feedback:{found.fingerprint}", said)
    after = controls.levels().get(found.node_id, 1.0)
    moved = f"{found.node_id} opens alerts from {after:g} times the threshold (before: {before:g}; bounds: 1 to 3)"
    _say(settings, said, moved, json=json, level=after, level_before=before)


@app.command("silence")
def silence(  # noqa: PLR0913, PLR0917 - one parameter an option
    cluster: Annotated[str | None, typer.Option("--cluster", help="Alerts of this cluster.")] = None,
    node: Annotated[str | None, typer.Option("--node", help="Alerts that name this node.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Alerts of this likely cause.")] = None,
    severity: Annotated[
        Literal["info", "warning", "critical"] | None, typer.Option("--severity", help="Alerts of this severity.")
    ] = None,
    lasting: Annotated[str, typer.Option("--for", metavar="DURATION", help="How long: 90s, 30m, 2h, 1d.")] = "1h",
    begins: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From when, ISO 8601; now otherwise.")
    ] = None,
    maintenance: Annotated[bool, typer.Option("--maintenance", help="It is planned work.")] = False,
    comment: CommentOption = "",
    by: ByOption = None,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Tell nobody of some alerts for a while; they are published and listed all the same.

    Alertmanager gets the silence too (alerts.mirror_silences).
    """
    made = silence_for(
        cluster=cluster,
        node=node,
        kind=kind,
        severity=severity,
        starts_ms=now_ms() if begins is None else time_ms(begins),
        lasting_ms=duration_ms(lasting),
        by=person(by),
        comment=comment,
        maintenance=maintenance,
    )
    settings = configured(config, set_, kafka__bootstrap=kafka).settings
    _say(
        settings, made, f"silence {made.id[:8]} for {lasting}; end it: vigil alerts unsilence {made.id[:8]}", json=json
    )


@app.command("silences")
def silences(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    json: JsonOption = False,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """List the silences that hold now or will."""
    with _view(configured(config, set_, redis__url=redis).settings) as (client, prefix):
        found = _silences(known_controls(client, prefix), everything=everything)
    if json:
        print_json(found)
        return
    stdout.print(silence_table(found))


@app.command("unsilence")
def unsilence(
    silence: Annotated[str, typer.Argument(help="Id of the silence; its first digits are enough.")],
    by: ByOption = None,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """End a silence before its time; whoever still has to be told of an alert is told."""
    settings = configured(config, set_, kafka__bootstrap=kafka, redis__url=redis).settings
    with _view(settings) as (client, prefix):
        over = ended(_silences(known_controls(client, prefix), everything=False), silence, person(by))
    _say(settings, over, f"silence {over.id[:8]} is over", json=json)


@contextmanager
def _view(settings: Settings) -> Iterator[tuple[Redis, str]]:
    """Give a client of the Redis with the view of alerts, and the prefix of its keys."""
    config = view_config(settings)
    with redis_client(config) as client:
        yield client, config.key_prefix


def _silences(controls: Controls, *, everything: bool) -> list[Silence]:
    return sorted(
        (one for one in controls.silences() if everything or one.ends_ms > now_ms()), key=lambda one: one.ends_ms
    )


def _say(settings: Settings, control: Control, done: str, *, json: bool, **more: Any) -> None:
    publish_control(kafka_config(settings), settings.alerts.controls_topic, control)
    if json:
        print_json({"control": control, **more})
    else:
        stdout.print(done)
