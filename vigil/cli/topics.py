"""`vigil topics create|list|describe`."""

from typing import Annotated

import msgspec
import typer
from rich.table import Table

from schemas.topics import Topic
from streams.topics import configured_topics, ensure_topics, fitted, paired
from vigil.assembly import enabled_streams, kafka_config
from vigil.cli.options import ConfigOption, JsonOption, KafkaOption, SetOption, configured
from vigil.cli.output import note, print_json, stdout
from vigil.doctor import broker_topics, quiet_admin

__all__ = ["app"]

app = typer.Typer()

DAY_MS = 86_400_000


@app.command("create")
def create(
    partitions: Annotated[
        int | None, typer.Option("--partitions", min=1, help="For every topic, instead of each one's own.")
    ] = None,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Create the topics that are missing; run it as often as you like.

    A topic that is there with other settings is named and left as it is, since changing it may cost data.
    """
    settings = configured(config, set_, kafka__bootstrap=kafka).settings
    broker = kafka_config(settings)
    there = broker_topics(broker)  # says at once when Kafka does not answer
    topics = [
        topic if partitions is None else msgspec.structs.replace(topic, partitions=partitions)
        for topic in configured_topics(broker)
    ]
    reads = [broker.topic(name, stream.topic) for name, (stream, _) in enabled_streams(settings).items()]
    anomalies = settings.topics.anomalies
    topics = paired(topics, settings.alerts.state_topic, anomalies, there.get(anomalies, 0))
    report = ensure_topics(
        quiet_admin(broker),
        fitted(topics, settings.state.topic, [there.get(name, 0) for name in reads]),
        replication=settings.topics.replication_factor,
    )
    if json:
        print_json({"created": report.created, "existing": report.existing, "differing": report.differing})
        return
    stdout.print(f"{len(report.created)} topics created, {len(report.existing)} there already")
    for name, sentences in report.differing.items():
        stdout.print(f"[yellow]{name}[/yellow] {', '.join(sentences)}: left as it is")


@app.command("list")
def list_(
    json: JsonOption = False, kafka: KafkaOption = None, config: ConfigOption = None, set_: SetOption = None
) -> None:
    """List vigil's topics and which of them exist."""
    broker = kafka_config(configured(config, set_, kafka__bootstrap=kafka).settings)
    there = broker_topics(broker)
    rows = [(topic.name, there.get(topic.name)) for topic in configured_topics(broker)]
    if json:
        print_json([{"topic": name, "exists": count is not None, "partitions": count} for name, count in rows])
        return
    table = Table("topic", "partitions", box=None, header_style="bold", pad_edge=False)
    for name, count in rows:
        table.add_row(name, "[red]missing[/red]" if count is None else str(count))
    stdout.print(table)
    if any(count is None for _, count in rows):
        note("create the missing ones: vigil topics create")


@app.command("describe")
def describe(json: JsonOption = False, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Say what each topic carries and how it is created; asks no broker."""
    topics = configured_topics(kafka_config(configured(config, set_).settings))
    if json:
        print_json(topics)
        return
    table = Table("topic", "key", "partitions", "kept", "carries", box=None, header_style="bold", pad_edge=False)
    for topic in topics:
        table.add_row(topic.name, topic.key, str(topic.partitions), _kept(topic), topic.carries)
    stdout.print(table)


def _kept(topic: Topic) -> str:
    days = "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms / DAY_MS:g} days"
    return f"{days}, newest of a key for ever" if topic.compact else days
