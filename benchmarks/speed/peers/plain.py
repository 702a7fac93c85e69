"""A Python loop over the plain Kafka client: ``plain.py BOOTSTRAP TOPIC RECORDS``."""

import json
import sys

from confluent_kafka import Consumer
from work import Work

bootstrap, topic_name, records = sys.argv[1], sys.argv[2], int(sys.argv[3])


def main() -> None:
    """Run until the backlog is worked off."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"plain-{topic_name}", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic_name])
    work = Work(records)
    while work.done < records:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            work.one(json.loads(message.value()))
    consumer.close()


if __name__ == "__main__":
    main()
