"""`vigil state rebuild`."""

import typer

from streams.rebuild import rebuild_view
from vigil.assembly import kafka_config, view_config
from vigil.cli.options import ConfigOption, JsonOption, KafkaOption, RedisOption, SetOption, configured
from vigil.cli.output import print_json, stdout, with_progress
from vigil.doctor import broker_topics

__all__ = ["app"]

app = typer.Typer()


@app.callback()
def _group() -> None:
    """Keep ``rebuild`` a command of its own although it is the only one."""


@app.command("rebuild")
def rebuild(
    json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Write each node's newest anomaly into a Redis that lost its data.

    Anomalies are read from Kafka, as far back as redis.ttl_s. Verdicts are not in Kafka: running workers write each
    node's with its next step, and who is silent, whether or not this command runs. So nothing is shown as active by
    it. What is newer in Redis stays; workers may run meanwhile, and it may run as often as you like.
    """
    settings = configured(config, set_, kafka__bootstrap=kafka, redis__url=redis).settings
    broker, view = kafka_config(settings), view_config(settings)
    broker_topics(broker)  # says at once when Kafka does not answer
    done = with_progress(lambda say: rebuild_view(broker, view, say=say), quiet=json)
    if json:
        print_json(done)
        return
    stdout.print(
        f"{done.anomalies:,} anomalies read, the newest of {done.nodes:,} nodes written in {done.seconds:.1f} s"
        + (f"; {done.unreadable:,} records were no anomalies" if done.unreadable else "")
    )
