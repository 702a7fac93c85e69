"""Measure what `vigil explain` rests on: ``python -m benchmarks.replays [--steps N] [--search N] [--json]``.

How near a replay comes to the scores of a worker when no snapshot from before the anomaly is left: with what the
detector knows of the node later on, and with what it learns from an hour of telemetry. 18 simulated nodes, a fault
every ten minutes. ``--search``: anomalies that are looked through a second, on the embedded broker (it answers with all
it has at once: not more than 80,000).
"""

import argparse
import json
import time
from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import Producer

from detectors.catalogue import load_detectors
from detectors.scoring import StreamScorer
from schemas.codec import RecordCodec, encode
from schemas.outputs import Anomaly, anomaly_id
from schemas.streams import CONSENSUS
from schemas.topics import ANOMALIES
from streams import KafkaConfig, ensure_topics
from streams.anomaly_search import find_anomaly
from streams.spans import reading
from streams.topics import admin_client
from vigil.embedded import EmbeddedServers
from vigil.simulator import ConsensusFleet, simulate_consensus

START_MS: Final = 1_750_000_000_000
FAULT_EVERY_S: Final = 600.0
JUDGED: Final = 600  # steps whose scores are compared
SEEDED: Final = 120  # steps before them over which windows fill
LEARNED: Final = 3_600
LATER: Final = (0, 1_800, 7_200)  # steps after them that a later snapshot is from
BATCH: Final = 8_192

Scores = dict[tuple[str, int], tuple[float, bool]]


class Log:
    """A simulated log, fed to scorers by steps."""

    def __init__(self, steps: int, seed: int) -> None:
        simulated = simulate_consensus(ConsensusFleet(clusters=4), steps, seed, START_MS, FAULT_EVERY_S)
        self.records = list(simulated.records())
        self._times = np.array([each.ts_ms for each in self.records])
        self._codec = RecordCodec(CONSENSUS)

    def feed(self, scorer: StreamScorer, first: int, end: int, scores: Scores | None = None) -> None:
        """Give a scorer the steps from ``first`` to before ``end``; with ``scores``, note what it says of each."""
        places = np.flatnonzero((self._times >= START_MS + 1000 * first) & (self._times < START_MS + 1000 * end))
        for start in range(0, len(places), BATCH):
            part = places[start : start + BATCH].tolist()
            decoded = self._codec.decode([self.records[i].key for i in part], [self.records[i].value for i in part])
            partitions = np.zeros(len(decoded), np.int32)
            offsets = np.array(part, np.int64)[decoded.index]
            if scores is None:
                scorer.replay(decoded, partitions=partitions, offsets=offsets)
                continue
            [said] = scorer.process(decoded, topic="t", partitions=partitions, offsets=offsets).verdicts
            for place, score, flagged in zip(said.records, said.scores, said.flagged, strict=True):
                scores[decoded.keys[place], int(decoded.ts_ms[place])] = float(score), bool(flagged)


def fresh() -> StreamScorer:
    """Return the shipped detector with empty windows."""
    return StreamScorer(CONSENSUS, load_detectors(CONSENSUS))


def compared(worker: Scores, replayed: Scores) -> dict[str, Any]:
    """Compare the verdicts on the steps that a worker flagged."""
    flagged = [(worker[key][0], *replayed[key]) for key in worker if worker[key][1] and key in replayed]
    off = np.array([abs(score / was - 1.0) for was, score, _ in flagged])
    return {
        "anomalies": len(flagged),
        "anomalies_again": sum(again for _, _, again in flagged),
        "score_off_median": round(float(np.median(off)), 4),
        "score_off_p90": round(float(np.quantile(off, 0.9)), 4),
    }


def nearness(steps: int, seed: int) -> dict[str, Any]:
    """Replay the last steps before ``steps`` in each way."""
    log, worker = Log(steps + JUDGED + LATER[-1], seed), fresh()
    truth: Scores = {}
    log.feed(worker, 0, steps)
    log.feed(worker, steps, steps + JUDGED, truth)
    found: dict[str, Any] = {}
    reached = steps + JUDGED
    for later in LATER:
        log.feed(worker, reached, steps + JUDGED + later)
        reached = steps + JUDGED + later
        seeded, scores = fresh(), Scores()
        log.feed(seeded, steps - SEEDED, steps - SEEDED + 20)
        for key in {each.key.decode() for each in log.records}:
            ours, theirs = seeded.store.slot_of(0, key), worker.store.slot_of(0, key)
            if ours is not None and theirs is not None:
                seeded.store.state[ours] = worker.store.state[theirs]
        log.feed(seeded, steps - SEEDED + 20, steps + JUDGED, scores)
        found[f"known {later} steps later"] = compared(truth, scores)
    learning, scores = fresh(), Scores()
    log.feed(learning, steps - LEARNED, steps)
    log.feed(learning, steps, steps + JUDGED, scores)
    found[f"learned from {LEARNED} steps"] = compared(truth, scores)
    return found


def search(anomalies: int) -> dict[str, Any]:
    """Publish anomalies and look for one that is not there."""
    sample = msgspec.convert(
        {
            "id": "0" * 32,
            "ts_ms": START_MS,
            "node_id": "n",
            "cluster": "c",
            "detector": "consensus",
            "model_version": "consensus-0",
            "score": 9.0,
            "threshold": 3.0,
            "severity": "warning",
            "window_start_ms": START_MS - 29_000,
            "window_end_ms": START_MS,
            "contributions": [
                {"feature": f, "share": 0.2, "value": 1.5, "expected_low": 0.5, "expected_high": 1.0}
                for f in CONSENSUS.features[:5]
            ],
            "source": {"topic": CONSENSUS.topic, "partition": 0, "offset": 0},
        },
        Anomaly,
    )
    with EmbeddedServers() as servers:
        kafka = KafkaConfig(bootstrap=servers.bootstrap)
        ensure_topics(admin_client(kafka), [ANOMALIES], replication=1)
        producer = Producer({"bootstrap.servers": servers.bootstrap, "linger.ms": 20})
        for i in range(anomalies):
            node = f"node-{i % 1_000}"
            name = anomaly_id("consensus", node, START_MS + i)
            one = msgspec.structs.replace(sample, id=name, ts_ms=START_MS + i, node_id=node)
            producer.produce(ANOMALIES.name, encode(one), node)
            if i % 10_000 == 0:
                producer.flush()
        producer.flush()
        with reading(kafka, "explain") as reader:
            began = time.process_time()
            looked = find_anomaly(reader, ANOMALIES.name, "f" * 32, since_ms=None, say=lambda *_: None)
            spent = time.process_time() - began
    return {
        "anomalies": looked.records,
        "seconds": round(looked.seconds, 2),
        "a_second": round(looked.records / looked.seconds),
        "a_cpu_second": round(looked.records / spent),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=9_000, help="steps that the worker has seen before")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--search", type=int, default=0, metavar="N", help="look through so many anomalies instead")
    parser.add_argument("--json", action="store_true", help="on one line")
    asked = parser.parse_args()
    result = search(asked.search) if asked.search else nearness(asked.steps, asked.seed)
    print(json.dumps(result, indent=None if asked.json else 1))


if __name__ == "__main__":
    main()
