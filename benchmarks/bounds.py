"""Where the machine's bound lies: each stage of the hot path measured alone, against the whole worker.

``python -m benchmarks.bounds [--nodes N] [--records N] [--json]``. CPU time a record on one core. The stages run over
same batches one after the other, each over all of them before the next begins, so that each has the caches to itself,
and nothing around it can make it faster. The whole worker works the same fleet's backlog off, Kafka to Kafka and Redis.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, cast

import msgspec
import numpy as np
from confluent_kafka import Consumer
from threadpoolctl import threadpool_info

from benchmarks.chaos.servers import LAUNCHER
from benchmarks.speed.growth import WARM_STEPS, measure_fleet
from benchmarks.speed.servers import Servers, serve
from benchmarks.speed.telemetry import START_MS, Fleet, produce
from benchmarks.topics import PARTITIONS, own_topics
from detectors.catalogue import load_detectors
from detectors.protocol import StatefulDetector
from detectors.scoring import StreamScorer, Verdicts
from schemas.codec import Decoded, RecordCodec
from schemas.streams import CONSENSUS
from streams.config import StateConfig
from streams.records import Records, by_topic
from streams.verdict_columns import VerdictColumns, joined, verdict_columns

__all__ = ["measure_bounds", "measure_consume", "measure_stages"]

BATCH: Final = 10_000
T = TypeVar("T")


def measure_stages(batches: list[Records]) -> dict[str, float]:
    """Measure decoding, windows, baselines, scores, snapshots and verdicts alone, CPU microseconds a record.

    Args:
        batches: of one partition each; windows fill over the first ones, which are not timed.
    """
    detector = cast("StatefulDetector", load_detectors(CONSENSUS)[0])
    store, codec = StreamScorer(CONSENSUS, [detector]).store, RecordCodec(CONSENSUS)
    found: dict[str, float] = {}
    decoded = _timed(found, "decode", [lambda one=one: codec.decode(one.keys, one.values) for one in batches])

    def append(one: Records, good: Decoded) -> Any:
        labels = list(zip(good.clusters, good.regions, strict=True))
        partitions, offsets = one.partitions[good.index], one.offsets[good.index]
        return store.append(partitions, good.keys, good.ts_ms, good.rows, offsets=offsets, labels=labels)

    pairs = list(zip(batches, decoded, strict=True))
    appended = _timed(found, "windows", [lambda pair=pair: append(*pair) for pair in pairs])
    state = np.zeros((store.capacity, detector.state_width), np.float32)
    windows = [each.windows for each in appended]
    before = _timed(
        found, "baselines", [lambda each=each: detector.advance(each, state, each.slots) for each in windows]
    )
    scored = list(zip(windows, before, strict=True))
    scores = _timed(found, "score", [lambda pair=pair: detector.score(*pair) for pair in scored])
    every = StateConfig().every_steps
    slots = [each.slots[::every] for each in windows]
    _timed(found, "snapshots", [lambda some=some: store.snapshot_each(some) for some in slots])

    def told(good: Decoded, each: Any, own: Any) -> list[VerdictColumns]:
        labels = list(zip(good.clusters, good.regions, strict=True))
        verdicts = Verdicts(detector.name, "", 1.0, each.records, own, np.zeros(len(own), np.bool_))
        return joined([verdict_columns(CONSENSUS, good, verdicts, [], labels)])

    zipped = list(zip(decoded, windows, scores, strict=True))
    columns = _timed(found, "verdicts", [lambda three=three: told(*three) for three in zipped])
    _timed(found, "view", [lambda one=one: _rows(one) for one in columns])
    return found


def _rows(columns: list[VerdictColumns]) -> bytes:
    """Encode what Redis is told; sending it is the socket's."""
    return msgspec.json.encode([(each.about, each.rows()) for each in columns])


def _timed(found: dict[str, float], name: str, works: list[Callable[[], T]]) -> list[T]:
    results, costs = [], []
    for work in works:
        began = time.process_time()
        results.append(work())
        costs.append(time.process_time() - began)
    timed = costs[len(costs) // 2 :]  # windows are full by then
    found[name] = 1e6 * statistics.median(timed) / BATCH
    return results


def measure_consume(servers: Servers, topic: str, records: int) -> float:
    """Read a backlog into columns and do nothing with it, CPU microseconds a record of the whole process."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers.bootstrap,
            "group.id": f"bounds-{topic}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    done, began, first = 0, 0.0, 0
    while done < records:
        messages = [each for each in consumer.consume(BATCH, 0.5) if each.error() is None]
        if messages:
            by_topic(messages)
            done += len(messages)
            if not first:  # joining the group is no part of it
                first, began = done, time.process_time()
    used = time.process_time() - began
    consumer.close()
    return 1e6 * used / (done - first)


def batches_of(fleet: Fleet, steps: int) -> Iterator[Records]:
    """Yield a fleet's records as a worker that is behind reads them: a partition at a time."""
    for number in range(PARTITIONS):
        nodes = [node for node in range(fleet.nodes) if fleet.partitions[node] == number]
        records = [
            (fleet.keys[node], fleet.value(node, step, START_MS + 1000 * step))
            for step in range(steps)
            for node in nodes
        ]
        for start in range(0, len(records) - BATCH + 1, BATCH):
            part = records[start : start + BATCH]
            offsets = np.arange(start, start + BATCH, dtype=np.int64)
            yield Records(
                CONSENSUS.topic,
                np.full(BATCH, number, np.int32),
                offsets,
                [key for key, _ in part],
                [value for _, value in part],
            )


def measure_bounds(servers: Servers, nodes: int, records: int) -> dict[str, Any]:
    """Measure the stages alone and the whole worker, see the top of this file."""
    steps = WARM_STEPS + -(-records // nodes)
    found = measure_stages(list(batches_of(Fleet(nodes), steps)))
    with own_topics(servers.bootstrap) as kafka:
        topic = kafka.topics["consensus"]
        count = produce(servers.bootstrap, topic, Fleet(nodes).steps(0, steps))
        found = {"consume": measure_consume(servers, topic, count), **found}
    whole = measure_fleet(servers, nodes, records)
    total = sum(found.values())
    return {
        "kernels": sorted({each["architecture"] for each in threadpool_info() if each["user_api"] == "blas"}),
        "nodes": nodes,
        "stages_us": found,
        "sum_us": total,
        "worker_us": whole["cpu_us_per_record"],
        "ratio": whole["cpu_us_per_record"] / total,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2_000)
    parser.add_argument("--records", type=int, default=300_000, help="to measure, besides those that fill the windows")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--no-kafka", action="store_true", help="only the stages that need no broker")
    options = parser.parse_args()
    if options.no_kafka:
        steps = WARM_STEPS + -(-options.records // options.nodes)
        found: dict[str, Any] = {"stages_us": measure_stages(list(batches_of(Fleet(options.nodes), steps)))}
    else:
        with serve("apache" if LAUNCHER.is_file() else "embedded") as servers:
            found = measure_bounds(servers, options.nodes, options.records)
    if options.json:
        print(json.dumps(found))
        return
    for name, cost in found["stages_us"].items():
        print(f"{name:12} {cost:6.2f} us")
    if "ratio" in found:
        print(f"{'sum':12} {found['sum_us']:6.2f} us")
        print(f"{'worker':12} {found['worker_us']:6.2f} us: {found['ratio']:.2f} times")


if __name__ == "__main__":
    main()
