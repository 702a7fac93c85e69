"""A Faust agent: ``faust_agent.py BOOTSTRAP TOPIC RECORDS [table]``, windows in a dictionary or a table of its own."""

import logging
import sys

import faust
from work import FIELD, WINDOW, Work

bootstrap, topic_name, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
app = faust.App(
    f"faust-{topic_name}",
    broker=f"kafka://{bootstrap}",
    store="memory://",
    web_enabled=False,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
)
topic = app.topic(topic_name, value_serializer="json", key_serializer="raw")
work = Work(records)
DURABLE = sys.argv[4:] == ["table"]
table = app.Table("windows", default=list, partitions=12) if DURABLE else None


@app.agent(topic)
async def windows(stream):
    """Take one record after another."""
    async for record in stream:
        if table is None:
            work.one(record)
            continue
        window = [*table[record["node_id"]][1 - WINDOW :], record[FIELD]]
        table[record["node_id"]] = window
        work.total += sum(window) / len(window)
        work.count()


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    faust.Worker(app, loglevel="error", quiet=True, redirect_stdouts=False).execute_from_commandline()
