"""The documents, the schema files and the code say the same."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from schemas import STREAMS, TOPICS, ErrorCode, RecordCodec, decode_record, encode, partition_of
from schemas import dead_letters as headers
from schemas.fields import fields_of
from schemas.generate import DIRECTORY, MESSAGES, difference, json_schema, main, schema_files, write

PAGE = (Path(__file__).parents[2] / "docs" / "wire-format.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"<!-- example: (\w+) -->\n```json\n(.*?)```", PAGE, re.DOTALL))
BY_NAME = {record.__name__: record for record in MESSAGES}


def section(title):
    return re.search(rf"^### {title}$(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE).group(1)


def cells(row):
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_every_message_has_an_example():
    assert set(EXAMPLES) == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_example_passes_its_json_schema_and_the_decoder(name):
    schema = json_schema(BY_NAME[name])
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(EXAMPLES[name]))
    decoded = decode_record(BY_NAME[name], EXAMPLES[name].encode())
    assert {k: v for k, v in json.loads(encode(decoded)).items() if v is not None} == {
        k: v for k, v in json.loads(EXAMPLES[name]).items() if v is not None
    }


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_an_example_of_a_stream_passes_its_codec(stream):
    text = EXAMPLES[stream.record.__name__]
    key = ">".join(json.loads(text)[name] for name in stream.key_fields)
    decoded = RecordCodec(stream).decode([key.encode()], [text.encode()])
    assert decoded.rejections == []
    assert decoded.keys == [key]


@pytest.mark.parametrize("name", BY_NAME)
def test_every_field_of_a_message_stands_in_its_table(name):
    told = set(re.findall(r"`(\w+)`", section(name)))
    header = {"v", "ts_ms", "node_id", "cluster", "region", "az"} if name in streams_records() else set()
    assert {field.name for field in fields_of(BY_NAME[name])} - header <= told


def streams_records():
    return {stream.record.__name__ for stream in STREAMS.values()}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_a_streams_table_numbers_the_model_inputs_and_their_codes(stream):
    rows = [cells(row) for row in re.findall(r"^\| *\d+ \|.*$", section(stream.record.__name__), re.MULTILINE)]
    assert [(int(row[0]), row[1].strip("`")) for row in rows] == list(enumerate(stream.features))
    for row in rows:
        codes = {text: int(number) for text, number in re.findall(r'`"(\w+)"` (\d)', row[3])}
        assert codes == stream.codes.get(row[1].strip("`"), {})


def test_the_topics_table_is_what_vigil_creates():
    table = re.search(r"## Topics\n(.*?)\nWhy these", PAGE, re.DOTALL).group(1)
    rows = {cells(row)[0].strip("`"): cells(row) for row in table.splitlines() if row.startswith("| `")}
    assert list(rows) == [topic.name for topic in TOPICS]
    for topic in TOPICS:
        _, key, _, partitions, retention, cleanup, largest = rows[topic.name]
        days = "for ever" if topic.retention_ms == -1 else f"{topic.retention_ms // 86_400_000} days"
        size = f"{topic.max_message_bytes // 1024**2} MiB"
        told = (key, int(partitions), retention, cleanup, largest)
        assert told == (topic.key, topic.partitions, days, "compact" if topic.compact else "delete", size)


def test_every_error_code_and_header_is_explained():
    table = PAGE.split("then the order of the quantiles")[1].split("## Producers")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE) == [code.value for code in ErrorCode]
    names = [
        value for value in vars(headers).values() if isinstance(value, str) and re.fullmatch(r"vigil-[\w-]+", value)
    ]
    assert len(names) == 11
    assert all(f"`{name}`" in PAGE for name in names)


def test_the_go_and_java_records_have_every_field_of_the_message():
    expected = [field.name for field in fields_of(BY_NAME["ConsensusMetrics"])]
    assert re.findall(r'json:"(\w+)', PAGE) == expected
    java = re.search(r"record ConsensusMetrics\((.*?)\)", PAGE, re.DOTALL).group(1)
    assert re.findall(r"(\w+)(?:,|$)", java) == expected


def test_the_reference_partition_is_right():
    assert f"crc32 etcd-a -->{2574993781}" in PAGE
    assert f"partition etcd-a 12 -->{partition_of('etcd-a', 'any', 12)}" in PAGE


def test_the_schema_files_are_current():
    assert difference() == ""
    assert sorted(path.name for path in DIRECTORY.glob("*.json")) == sorted(schema_files())


def test_schemas_are_generated_alike_each_time():
    assert schema_files() == schema_files()


def test_schemas_carry_units_limits_codes_and_what_is_required():
    schema = json_schema(BY_NAME["NodeMetrics"])
    assert schema["properties"]["cpu_usage"] | {"description": ""} == {
        "description": "",
        "examples": [23.5],
        "type": "number",
        "minimum": 0.0,
        "maximum": 100.0,
    }
    assert schema["properties"]["network_tier"]["x-codes"] == {"tier1": 0, "tier2": 1, "tier3": 2}
    assert schema["required"][:3] == ["v", "ts_ms", "node_id"]
    assert schema["x-ordered"] == ["latency_p50", "latency_p95", "latency_p99"]
    for field in BY_NAME["NodeMetrics"].__struct_fields__:
        described = schema["properties"][field]
        assert described.get("description") or described["anyOf"][0]["description"]


def test_the_check_fails_with_a_diff_when_a_file_is_stale_missing_or_left_over(tmp_path, capsys):
    write(tmp_path)
    assert main(["--check", "--directory", str(tmp_path)]) == 0
    (tmp_path / "anomaly.json").write_text("{}\n", encoding="utf-8")
    (tmp_path / "alert.json").unlink()
    (tmp_path / "gone.json").write_text("{}\n", encoding="utf-8")
    assert main(["--check", "--directory", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    for name in ("anomaly.json", "alert.json", "gone.json"):
        assert f"+++ {name} (message types)" in shown
    assert main(["--directory", str(tmp_path)]) == 0
    assert "gone.json" in difference(tmp_path)
    (tmp_path / "gone.json").unlink()
    assert difference(tmp_path) == ""
