"""A Faust agent: ``faust_agent.py BOOTSTRAP TOPIC RECORDS``."""

import logging
import sys

import faust
from work import Work

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


@app.agent(topic)
async def windows(stream):
    """Take one record after another."""
    async for record in stream:
        work.one(record)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    faust.Worker(app, loglevel="error", quiet=True, redirect_stdouts=False).execute_from_commandline()
