import json

import msgspec
import pytest

from benchmarks.run import fallen, ratios, table
from benchmarks.speed.end_to_end import Mark, rate_between
from benchmarks.speed.telemetry import START_MS, Fleet, recordings
from schemas.codec import RecordCodec
from schemas.streams import CONSENSUS
from schemas.topics import partition_of

pytestmark = pytest.mark.skipif(not recordings(), reason="no recording of a cluster, here or in ../shared/data")


def test_a_fleet_tells_recorded_values_that_the_codec_takes() -> None:
    keys, values, partitions = zip(*Fleet(20).steps(0, 5), strict=True)
    decoded = RecordCodec(CONSENSUS).decode(keys, values)
    assert len(decoded) == 100
    assert not decoded.rejections
    assert set(decoded.ts_ms.tolist()) == {START_MS + 1000 * step for step in range(5)}
    assert len(set(decoded.keys)) == 20
    assert all(
        partition == partition_of(cluster, "", 12)
        for partition, cluster in zip(partitions, decoded.clusters, strict=True)
    )


def test_the_same_seed_tells_the_same() -> None:
    assert list(Fleet(7, seed=3).steps(2, 4)) == list(Fleet(7, seed=3).steps(2, 4))
    assert list(Fleet(7, seed=3).steps(2, 4)) != list(Fleet(7, seed=4).steps(2, 4))


def test_nothing_of_a_fault_is_in_it() -> None:
    record = msgspec.json.decode(Fleet(1).value(0, 0, START_MS))
    assert not {"label", "fault", "intensity", "split"} & record.keys()


def test_rates_are_between_two_marks() -> None:
    found = rate_between(Mark(10.0, 1.0, 1_000, 0), Mark(14.0, 3.0, 21_000, 0))
    assert found == {
        "records": 20_000,
        "records_per_second": 5_000.0,
        "records_per_cpu_second": 10_000.0,
        "cpu_us_per_record": pytest.approx(100.0),
    }


RUN = {
    "machine": {"cores": 2},
    "scoring": {"ratio": 250.0, "verdicts_equal": True},
    "end_to_end": {"vigil": 60_000.0, "ratios": {"faust": 20.0}},
}


def test_a_ratio_that_fell_by_more_than_a_fifth_is_said() -> None:
    slower = json.loads(json.dumps(RUN))
    slower["scoring"]["ratio"] = 199.0
    slower["end_to_end"]["ratios"]["faust"] = 16.1
    assert fallen(slower, RUN) == ["scoring: 199.00, was 250.00"]
    assert fallen(RUN, RUN) == []
    assert ratios(RUN) == {"scoring": 250.0, "end_to_end.faust": 20.0}


def test_parts_that_were_not_measured_are_not_compared() -> None:
    assert fallen({"machine": {}}, RUN) == []


def test_the_table_has_every_figure() -> None:
    text = "\n".join(table(RUN))
    assert "ratios.faust" in text
    assert "verdicts_equal" in text
