"""Recordings as records for Kafka and as columns."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.recordings import RecordingError, infer_step_ms, read_columns, read_recording
from schemas import CONSENSUS, RecordCodec, custom_stream

SHARED = Path(__file__).parents[3] / "shared" / "data"
LABELS = {"split": "test", "label": 1, "fault": "member_crash", "intensity": 0.5}


def step(place=0, node="n0", **fields):
    return {"v": 1, "ts_ms": 1_000 + place * 500, "node_id": node, "load": place / 4, "state": "up"} | fields


def write_lines(path, rows, end=b"\n"):
    content = b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + end for row in rows)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_parquet(path, rows):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = dict.fromkeys(name for row in rows for name in row)
    parquet.write_table(arrow.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_lines_without_labels_are_published_as_the_bytes_they_are(tmp_path, name):
    lines = [b'{ "v":1, "ts_ms":5, "node_id":"\xc3\xbc", "load":1e0 }\n', b"\n", b'{"v":1,"ts_ms":6.0,"node_id":"b"}']
    records = list(read_recording(write_lines(tmp_path / name, lines)))
    assert records == [("ü".encode(), lines[0].strip(), 5), (b"b", lines[2], 6)]


@pytest.mark.parametrize("write", [write_lines, write_parquet])
def test_labels_are_dropped_unless_asked_for(tmp_path, write):
    path = write(tmp_path / ("r.jsonl" if write is write_lines else "r.parquet"), [step() | LABELS])
    ((key, value, ts_ms),) = read_recording(path)
    assert (key, ts_ms, json.loads(value)) == (b"n0", 1_000, step())
    ((_, value, _),) = read_recording(path, labels=True)
    assert json.loads(value) == step() | LABELS


def test_a_missing_version_is_added_in_front(tmp_path):
    path = write_lines(tmp_path / "r.jsonl", [{"ts_ms": 5, "node_id": "a"}])
    assert [value for _, value, _ in read_recording(path)] == [b'{"v":1,"ts_ms":5,"node_id":"a"}']


def test_a_links_key_is_both_ids(tmp_path):
    path = write_lines(tmp_path / "r.jsonl", [step(peer_id="ams")])
    assert [key for key, _, _ in read_recording(path)] == [b"n0>ams"]
    assert read_columns(path).node_ids.tolist() == ["n0>ams"]


def test_lines_keep_the_files_order_and_parquet_comes_by_time(tmp_path):
    rows = [step(2), step(0), step(1, "n1"), step(1)]
    lines = write_lines(tmp_path / "r.jsonl", rows)
    table = write_parquet(tmp_path / "r.parquet", rows)
    assert [ts_ms for _, _, ts_ms in read_recording(lines)] == [2_000, 1_000, 1_500, 1_500]
    assert [(key, ts_ms) for key, _, ts_ms in read_recording(table)] == [
        (b"n0", 1_000),
        (b"n1", 1_500),
        (b"n0", 1_500),
        (b"n0", 2_000),
    ]


def test_nulls_and_nan_of_a_table_are_missing_fields(tmp_path):
    rows = [step(load=float("nan"), zone=None, flag=True), step(1, zone="a", flag=None)]
    values = [json.loads(value) for _, value, _ in read_recording(write_parquet(tmp_path / "r.parquet", rows))]
    assert values == [
        {"v": 1, "ts_ms": 1_000, "node_id": "n0", "state": "up", "flag": True},
        {"v": 1, "ts_ms": 1_500, "node_id": "n0", "load": 0.25, "state": "up", "zone": "a"},
    ]


def test_a_table_with_dictionary_columns_reads_like_one_with_texts(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    nodes = arrow.array(["b", "a", "b"]).dictionary_encode()
    table = arrow.table({"ts_ms": [1, 2, 3], "node_id": nodes, "x": arrow.array([0.1, 0.2, 0.3], arrow.float32())})
    parquet.write_table(table, tmp_path / "r.parquet")
    assert [key for key, _, _ in read_recording(tmp_path / "r.parquet")] == [b"b", b"a", b"b"]
    columns = read_columns(tmp_path / "r.parquet")
    assert columns.node_ids.tolist() == ["b", "a", "b"]
    np.testing.assert_array_equal(columns.values[:, 0], np.array([0.1, 0.2, 0.3], np.float32).astype(np.float64))


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_columns_are_every_number_that_is_neither_header_nor_label(tmp_path, name):
    rows = [step(0, extra=7) | LABELS, step(1, "n1", cluster="c") | LABELS | {"label": None, "split": "train"}, step(2)]
    columns = read_columns((write_lines if name == "r.jsonl" else write_parquet)(tmp_path / name, rows))
    assert columns.fields == ("load", "extra")
    assert len(columns) == 3
    np.testing.assert_array_equal(columns.values, [[0.0, 7.0], [0.25, np.nan], [0.5, np.nan]])
    assert columns.node_ids.tolist() == ["n0", "n1", "n0"]
    assert columns.ts_ms.tolist() == [1_000, 1_500, 2_000]
    assert columns.split.tolist() == ["test", "train", ""]
    assert columns.label.tolist() == [1, -1, -1]
    assert columns.clusters.tolist() == ["", "c", ""]


def test_columns_of_a_stream_are_its_features_with_codes(tmp_path):
    stream = custom_stream("mine", "t", ["state", "load"], 500, codes={"state": {"up": 3, "down": 9}})
    path = write_lines(tmp_path / "r.jsonl", [step(), step(1, state="down")])
    columns = read_columns(path, stream=stream)
    assert columns.fields == ("state", "load")
    assert columns.values.tolist() == [[3.0, 0.0], [9.0, 0.25]]
    assert columns.split is None
    assert columns.label is None


def test_fields_can_be_chosen_and_ordered(tmp_path):
    path = write_lines(tmp_path / "r.jsonl", [step(a=1, b=2)])
    assert read_columns(path, ["b", "a"]).values.tolist() == [[2.0, 1.0]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([b"{}\n"], "line 1: node_id is None"),
        ([step(), b'\n{"node_id":"a","ts_ms":"noon"}\n'], "line 3: ts_ms is 'noon'"),
        ([step(), b'{"node_id":\n'], "line 2: .*one JSON object"),
        ([b"[1]\n"], "line 1: .*one JSON object"),
        ([b'{"a":"\xff"}\n'], "line 1: .*one JSON object"),
        ([b"[" * 100_000], "line 1: .*one JSON object"),
        ([b'{"a":' * 100_000], "line 1: .*one JSON object"),
        ([b" " * (16 * 1024 * 1024 + 1)], "line 1 is longer"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, rows, message):
    path = write_lines(tmp_path / "r.jsonl", rows)
    with pytest.raises(RecordingError, match=message):
        list(read_recording(path))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    whole = write_lines(tmp_path / "r.jsonl.gz", [step(place) for place in range(2_000)]).read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "no.jsonl.gz").write_bytes(b"plain text")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really PAR1")
    for name, message in [
        ("cut.jsonl.gz", r"cut\.jsonl\.gz, behind line \d+: .*whole"),
        ("no.jsonl.gz", "behind line 0: Not a gzipped file"),
        ("missing.jsonl", "behind line 0: .*No such file"),
        ("r.csv", r"ends in \.csv: give a \.jsonl"),
        ("bad.parquet", "whole, readable Parquet file"),
        ("missing.parquet", "whole, readable Parquet file"),
    ]:
        with pytest.raises(RecordingError, match=message):
            list(read_recording(tmp_path / name))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RecordingError, match=r"pip install 'vigil-dwcp\[train\]'"):
        read_columns(tmp_path / "r.parquet")


@pytest.mark.parametrize(
    ("rows", "fields", "message"),
    [
        ([], None, "has no rows"),
        ([{"ts_ms": 1, "x": 2}], None, "node_id is missing"),
        ([step(), {"node_id": "a", "load": 1}], None, "ts_ms is missing"),
        ([step(state=None, load=None)], None, "has no field of numbers"),
        ([step()], ["load", "lod"], "has no field lod: it has v, ts_ms, node_id, load, state"),
        ([step()], ["state"], "state holds something that is no number"),
    ],
)
def test_columns_that_cannot_be_made_are_named(tmp_path, rows, fields, message):
    with pytest.raises(RecordingError, match=message):
        read_columns(write_lines(tmp_path / "r.jsonl", rows), fields)


def test_a_text_that_is_no_code_is_named(tmp_path):
    stream = custom_stream("mine", "t", ["state"], 500, codes={"state": {"up": 3}})
    path = write_lines(tmp_path / "r.jsonl", [step(state="ajar")])
    with pytest.raises(RecordingError, match="state is 'ajar': its texts are up"):
        read_columns(path, stream=stream)


@given(st.permutations(range(12)), st.integers(1, 90_000))
def test_the_step_is_inferred_per_node_whatever_the_order(order, step_ms):
    ts_ms = np.array([place // 3 * step_ms + place % 3 * 7 for place in order], dtype=np.int64)
    assert infer_step_ms(ts_ms, [f"n{place % 3}" for place in order]) == step_ms


def test_a_few_gaps_and_repeats_do_not_move_the_step():
    ts_ms = np.array([0, 1_000, 1_000, 2_000, 3_001, 9_000, 10_000], dtype=np.int64)
    assert infer_step_ms(ts_ms, ["a"] * 7) == 1_000


def test_no_node_with_two_steps_has_no_step():
    assert infer_step_ms(np.array([1, 2], dtype=np.int64), ["a", "b"]) == 0
    assert infer_step_ms(np.array([], dtype=np.int64), []) == 0


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not beside the repository")
@pytest.mark.parametrize(
    ("name", "stream", "rows", "step_ms"),
    [("consensus_etcd_a.jsonl.gz", CONSENSUS, 5_623, 1_000), ("skab_valve1.parquet", None, 18_160, 1_000)],
)
def test_the_shared_recordings_read_alike_as_records_and_as_columns(name, stream, rows, step_ms):
    columns = read_columns(SHARED / name, stream=stream)
    assert len(columns) == rows
    assert infer_step_ms(columns.ts_ms, columns.node_ids) == step_ms
    keys, values, _ = zip(*read_recording(SHARED / name), strict=True)
    codec = RecordCodec(stream or custom_stream("recorded", "t", columns.fields, step_ms))
    decoded = codec.decode(keys, values)
    assert decoded.rejections == []
    order = np.argsort(columns.ts_ms, kind="stable") if name.endswith(".parquet") else np.arange(rows)
    np.testing.assert_array_equal(decoded.rows, columns.values[order].astype(np.float32))
    assert decoded.keys == columns.node_ids[order].tolist()
