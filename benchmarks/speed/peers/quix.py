"""quix-streams: ``quix.py BOOTSTRAP TOPIC RECORDS [own]``, windows in a dictionary, or its own sliding ones."""

import logging
import sys
import tempfile
from datetime import timedelta

from quixstreams import Application
from work import FIELD, WINDOW, Work

bootstrap, topic_name, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
work = Work(records)


def main() -> None:
    """Run until the parent ends it."""
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"quix-{len(sys.argv)}-{topic_name}",
        auto_offset_reset="earliest",
        loglevel=logging.ERROR,
        state_dir=tempfile.mkdtemp(),
    )
    frame = app.dataframe(app.topic(topic_name, value_deserializer="json"))
    if sys.argv[4:] == ["own"]:
        frame = frame.apply(lambda record: record[FIELD])
        frame = frame.sliding_window(duration_ms=timedelta(seconds=WINDOW), grace_ms=timedelta(seconds=5)).mean()
        frame.current().update(lambda _: work.count())
    else:
        frame.apply(work.one)
    app.run()


if __name__ == "__main__":
    main()
