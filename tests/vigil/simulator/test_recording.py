"""Simulations as files: the rows as published, the truth beside them."""

import gzip
import json
from pathlib import Path

import pytest

from features.recordings import read_columns, read_recording
from schemas.codec import RecordCodec
from schemas.streams import CONSENSUS, NODE
from vigil.simulator import (
    WHOLE_CLUSTER,
    ConsensusFleet,
    Fault,
    FaultPlan,
    NodeFleet,
    RecordingFormatError,
    Simulation,
    simulate_consensus,
    simulate_nodes,
    write_recording,
)

START = 1_760_000_000_000


@pytest.fixture(scope="module")
def consensus() -> Simulation:
    plan = FaultPlan((Fault(START + 60_000, START + 80_000, "queue_overflow", "sim-00", WHOLE_CLUSTER, 1.0),))
    return simulate_consensus(ConsensusFleet(clusters=2, members=3), 120, 1, START, plan)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "parquet"])
def test_a_recording_reads_back_as_the_records_that_were_simulated(
    consensus: Simulation, tmp_path: Path, ending: str
) -> None:
    written = write_recording(tmp_path / f"run.{ending}", consensus)
    assert [path.name for path in written] == [f"run.{ending}", "run.faults.json"]
    read = [(key, json.loads(value), ts_ms) for key, value, ts_ms in read_recording(written[0])]
    assert read == [(key, json.loads(value), ts_ms) for key, value, ts_ms in consensus.records()]


def test_labels_stand_beside_the_rows_with_the_recovery_left_open(consensus: Simulation, tmp_path: Path) -> None:
    path, faults = write_recording(tmp_path / "run.jsonl.gz", consensus)
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    struck = [row for row in rows if row["label"] == 1]
    assert {(row["cluster"], row["fault"], row["intensity"]) for row in struck} == {("sim-00", "queue_overflow", 1.0)}
    assert len(struck) == 20 * 3
    assert sum(row["label"] is None for row in rows) == 15 * 3
    assert all((row["split"] == "train") == (row["ts_ms"] < START + 60_000) for row in rows)
    assert json.loads(faults.read_bytes())[0]["target"] == WHOLE_CLUSTER


def test_the_same_simulation_gives_the_same_file(consensus: Simulation, tmp_path: Path) -> None:
    one, other = (write_recording(tmp_path / name / "run.jsonl.gz", consensus)[0] for name in _made(tmp_path))
    assert one.read_bytes() == other.read_bytes()


def _made(tmp_path: Path) -> list[str]:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    return ["one", "other"]


def test_node_recordings_come_with_the_incidents_people_reported(tmp_path: Path) -> None:
    simulation = simulate_nodes(NodeFleet(4), 1_440, 5, START, 2.0)
    written = write_recording(tmp_path / "fleet.parquet", simulation)
    assert [path.name for path in written] == ["fleet.parquet", "fleet.faults.json", "fleet.incidents.jsonl"]
    reported = [json.loads(line) for line in written[2].read_bytes().splitlines()]
    assert len(reported) == len(simulation.faults) > 3
    columns = read_columns(written[0], stream=NODE)
    assert columns.split is None
    assert columns.values.astype("float32").tolist() == simulation.matrix().tolist()


@pytest.mark.parametrize("stream", ["consensus", "node"])
def test_the_codec_accepts_every_simulated_record(stream: str) -> None:
    if stream == "consensus":
        simulation = simulate_consensus(ConsensusFleet(clusters=4), 400, 3, START, 60.0)
    else:
        simulation = simulate_nodes(NodeFleet(8), 400, 3, START, 3.0)
    records = list(simulation.records())
    codec = RecordCodec(CONSENSUS if stream == "consensus" else NODE)
    decoded = codec.decode([record.key for record in records], [record.value for record in records])
    assert not decoded.rejections
    assert decoded.rows.tolist() == simulation.matrix().tolist()
    assert decoded.keys == simulation.node_ids()


def test_another_ending_is_refused(consensus: Simulation, tmp_path: Path) -> None:
    with pytest.raises(RecordingFormatError, match=r"\.jsonl, \.jsonl\.gz or \.parquet"):
        write_recording(tmp_path / "run.csv", consensus)
