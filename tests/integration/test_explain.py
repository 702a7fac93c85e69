"""`vigil explain`: what real workers published through a real broker, explained by what that broker still has."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from explaining import as_shipped, by_detector, explain, page, stricter, work
from fleet_samples import START_MS, Telemetry, consensus, message
from rig import PARTITIONS, Rig, lively_fleet

from detectors.catalogue import load_detectors
from schemas.codec import encode
from schemas.outputs import Anomaly, alert_fingerprint
from schemas.streams import CONSENSUS, NODE
from schemas.topics import STATE
from streams import StateConfig, ensure_topics
from streams.errors import AnomalyAmbiguousError
from vigil.cli.app import create_app
from vigil.errors import InputError
from vigil.scorers import stream_scorer
from vigil.settings import StreamSettings
from vigil.simulator import NodeFleet, simulate_nodes

STEPS = 240


@pytest.fixture(scope="module")
def told(bootstrap: str, redis_url: str) -> Rig:
    """A fleet with faults and silences that one worker scored; the tests only read."""
    rig = Rig(bootstrap, redis_url)
    rig.create_topics()
    messages = lively_fleet(4, STEPS)
    rig.produce(messages)
    work(rig, len(messages))
    return rig


def strongest(rig: Rig) -> Anomaly:
    return max(by_detector(rig, "consensus"), key=lambda each: each.score)


def expire(rig: Rig, before: dict[int, int]) -> None:
    """Let records before an offset of partitions expire."""
    wanted = [TopicPartition(rig.topic("consensus"), number, offset) for number, offset in before.items()]
    admin = rig.admin
    for future in admin.delete_records(wanted).values():
        future.result(20)


def compacted(rig: Rig) -> str:
    """Copy what compaction leaves of the state topic, the newest record of each key, to a topic of its own."""
    name = f"{rig.name}.compacted"
    ensure_topics(rig.admin, [msgspec.structs.replace(STATE, name=name, partitions=PARTITIONS)], replication=1)
    newest = {(each.partition(), each.key()): each for each in rig.read("state")}
    producer = Producer({"bootstrap.servers": rig.bootstrap, "enable.idempotence": True})
    for each in sorted(newest.values(), key=lambda one: one.offset() or 0):
        producer.produce(name, each.value(), each.key(), each.partition() or 0, headers=each.headers())
    assert producer.flush(20) == 0
    return name


def test_the_replayed_score_is_the_published_one_and_the_window_ends_with_its_record(told: Rig) -> None:
    anomaly = strongest(told)
    seen = explain(told, anomaly.id)
    assert msgspec.convert(seen["anomaly"], Anomaly) == anomaly
    replay, window = seen["replay"], seen["window"]
    assert (replay["status"], replay["score"], replay["flagged"]) == ("equal", anomaly.score, True)
    assert (replay["threshold"], replay["severity"], replay["kind"]) == (
        anomaly.threshold,
        anomaly.severity,
        anomaly.kind,
    )
    assert (replay["model"], replay["model_version"]) == ("configured", anomaly.model_version)
    assert replay["contributions"] == seen["anomaly"]["contributions"]
    assert (window["ts_ms"][0], window["ts_ms"][-1]) == (anomaly.window_start_ms, anomaly.window_end_ms)
    assert (window["scores"][-1], window["flagged"][-1]) == (anomaly.score, True)
    source = next(
        each
        for each in told.read("consensus")
        if (each.partition(), each.offset()) == (anomaly.source.partition, anomaly.source.offset)
    )
    record = msgspec.json.decode(source.value() or b"")
    values = {each["name"]: each["values"] for each in window["fields"]}
    assert set(values) == set(CONSENSUS.features)
    for name in ("latency_p99", "queue_depth", "active_nodes"):
        assert values[name][-1] == pytest.approx(record[name], rel=1e-6)
    assert seen["runbook"] == f"docs/runbooks/{anomaly.kind}.md"


def test_fields_that_made_the_score_come_first_with_what_was_expected(told: Rig) -> None:
    anomaly = strongest(told)
    fields = explain(told, anomaly.id)["window"]["fields"]
    made = [each.feature for each in anomaly.contributions]
    assert [each["name"] for each in fields[: len(made)]] == made
    assert [each["share"] for each in fields[: len(made)]] == [each.share for each in anomaly.contributions]
    assert all(each["share"] == 0 for each in fields[len(made) :])
    for field, one in zip(fields, anomaly.contributions, strict=False):
        assert field["expected_low"][-1] == pytest.approx(one.expected_low, abs=1e-4)
        assert field["expected_high"][-1] == pytest.approx(one.expected_high, abs=1e-4)
        assert field["expected_low"][-1] <= field["usual"][-1] <= field["expected_high"][-1]
        assert one.value is not None
        assert field["direction"] == ("up" if one.value > field["usual"][-1] else "down")
    unmeasured = next(each for each in fields if each["name"] == "network_tier")
    assert set(unmeasured["usual"]) == {None}


def test_the_scores_over_the_window_are_those_published_for_its_steps(told: Rig) -> None:
    anomaly = by_detector(told, "consensus")[-1]
    window = explain(told, anomaly.id)["window"]
    published = {each.ts_ms: each.score for each in by_detector(told, "consensus") if each.node_id == anomaly.node_id}
    compared = 0
    for at, score, flagged in zip(window["ts_ms"], window["scores"], window["flagged"], strict=True):
        assert score is not None
        assert flagged == (at in published)
        if at in published:
            assert score == published[at]
            compared += 1
    assert compared > 5


def test_anomalies_of_every_node_are_replayed_to_their_scores(told: Rig) -> None:
    last = dict([(each.node_id, each) for each in by_detector(told, "consensus")][-200:])
    assert len(last) > 3
    seen = {node: explain(told, each.id)["replay"] for node, each in last.items()}
    assert {node: (each["status"], each["score"]) for node, each in seen.items()} == {
        node: ("equal", each.score) for node, each in last.items()
    }
    assert {each["origin"] for each in seen.values()} <= {"snapshot", "beginning"}


def test_the_page_fits_80_columns_without_colours_and_says_what_is_wrong(
    told: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    anomaly = strongest(told)
    lines = page(told, anomaly.id, monkeypatch, "--fields", "2")
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in text
    for said in (anomaly.id, anomaly.node_id, anomaly.model_version, f"{anomaly.severity}: {anomaly.kind}"):
        assert said in text
    assert f"docs/runbooks/{anomaly.kind}.md" in text
    assert "equal: replayed" in text
    titles = [line.split()[0] for line in lines if " of the score" in line]
    assert titles == [each.feature for each in anomaly.contributions[:2]]
    window = explain(told, anomaly.id)["window"]
    out = [
        not low <= value <= high
        for field in window["fields"][:2]
        for value, low, high in zip(field["values"], field["expected_low"], field["expected_high"], strict=True)
    ]
    assert text.count("●") == sum(out) + sum(window["flagged"]) > 0


def test_another_model_judges_the_same_telemetry_side_by_side(
    told: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anomaly = strongest(told)
    folder = stricter(tmp_path / "strict", 1e6)
    replay = explain(told, anomaly.id, "--artefact", str(folder))["replay"]
    assert (replay["status"], replay["model"], replay["flagged"]) == ("another model", str(folder), False)
    assert replay["model_version"] != anomaly.model_version
    assert replay["threshold"] == pytest.approx(1e6 * anomaly.threshold)
    assert replay["severity"] is None
    lines = page(told, anomaly.id, monkeypatch, "--artefact", str(folder))
    assert any("an anomaly" in line and "no anomaly" in line for line in lines)
    assert any(anomaly.model_version in line and replay["model_version"] in line for line in lines)
    same = explain(told, anomaly.id, "--artefact", str(folder.parent / "strict"), "--warm-up", "all")["replay"]
    assert same == {**replay, "seconds": same["seconds"]}


def test_after_a_restart_the_replay_starts_from_a_snapshot_and_gives_the_same_score(rig: Rig) -> None:
    messages = lively_fleet(4, STEPS)
    half = len(messages) // 2
    rig.produce(messages[:half])
    work(rig, half)
    rig.produce(messages[half:])
    work(rig, len(messages) - half)
    anomaly = by_detector(rig, "consensus")[-1]
    replay = explain(rig, anomaly.id)["replay"]
    assert (replay["status"], replay["score"], replay["origin"]) == ("equal", anomaly.score, "snapshot")
    whole = explain(rig, anomaly.id, "--set", "state.enabled=false")["replay"]
    assert (whole["status"], whole["score"], whole["origin"]) == ("equal", anomaly.score, "beginning")
    assert replay["records"] < whole["records"]
    # Only the snapshot is left of what was before the restart, and it is enough.
    expire(rig, {anomaly.source.partition: whole["records"] - replay["records"]})
    left = explain(rig, anomaly.id)
    assert (left["replay"]["status"], left["replay"]["score"]) == ("equal", anomaly.score)
    lost = explain(rig, anomaly.id, "--set", "state.enabled=false")["replay"]
    assert (lost["status"], lost["origin"]) == ("approximate", "later")
    assert "--warm-up" in lost["reason"]


def test_where_only_later_snapshots_are_left_the_detector_knows_what_it_knows_by_now(rig: Rig) -> None:
    messages = lively_fleet(4, STEPS)
    rig.produce(messages)
    work(rig, len(messages))
    told = by_detector(rig, "consensus")
    middle = START_MS + 500 * STEPS
    anomaly = next(each for each in reversed(told) if each.ts_ms < middle)
    left = ("--set", f"state.topic={compacted(rig)}")
    whole = explain(rig, anomaly.id, *left)["replay"]
    assert (whole["status"], whole["origin"]) == ("equal", "beginning")
    expire(rig, {anomaly.source.partition: 5})
    seen = explain(rig, anomaly.id, *left)["replay"]
    assert (seen["status"], seen["origin"], seen["flagged"]) == ("approximate", "seeded", True)
    assert "no snapshot from before the anomaly any more" in seen["reason"]
    learned = explain(rig, anomaly.id, "--warm-up", "all", *left)["replay"]
    assert learned["origin"] == "later"
    assert seen["score"] != learned["score"] != anomaly.score


def test_telemetry_that_expired_is_said_and_what_was_recorded_is_shown(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = lively_fleet(4, STEPS)
    rig.produce(messages)
    work(rig, len(messages))
    anomaly = strongest(rig)
    expire(rig, {anomaly.source.partition: anomaly.source.offset - 40})
    few = explain(rig, anomaly.id, "--set", "state.enabled=false")
    assert (few["replay"]["status"], few["window"]) == ("impossible", None)
    assert "the window cannot be filled" in few["replay"]["reason"]
    expire(rig, {anomaly.source.partition: anomaly.source.offset + 1})
    seen = explain(rig, anomaly.id)
    assert (seen["replay"]["status"], seen["window"], seen["replay"]["score"]) == ("impossible", None, None)
    assert "expired" in seen["replay"]["reason"]
    assert f"keeps offset {anomaly.source.offset + 1} and later" in seen["replay"]["reason"]
    lines = page(rig, anomaly.id, monkeypatch, "--png", "unused.png")
    assert any(anomaly.contributions[0].feature in line for line in lines)
    assert any("impossible" in line for line in lines)
    assert not Path("unused.png").exists()


def test_the_worker_that_began_anew_in_between_is_not_what_is_replayed_from_the_beginning(rig: Rig) -> None:
    messages = lively_fleet(4, STEPS)
    half = len(messages) // 2
    rig.produce(messages[:half])
    work(rig, half)
    rig.produce(messages[half:])
    work(rig, len(messages) - half, state=StateConfig(enabled=False))
    anomaly = by_detector(rig, "consensus")[-1]
    seen = explain(rig, anomaly.id, "--set", "state.enabled=false", expect=1)["replay"]
    assert (seen["status"], seen["origin"]) == ("differs", "beginning")
    assert seen["score"] != anomaly.score


def test_an_id_that_is_not_there_is_an_error_that_says_where_was_looked(told: Rig) -> None:
    anomalies = len(told.read("anomalies"))
    with pytest.raises(InputError, match=f"looked at {anomalies} committed records") as caught:
        explain(told, "0" * 32)
    assert told.topic("anomalies") in caught.value.message
    assert f"{PARTITIONS} partitions, all that Kafka keeps" in caught.value.message
    assert caught.value.exit_code == 2
    with pytest.raises(InputError, match=r"published in the last 0\.5 h") as caught:
        explain(told, "0" * 32, "--since", "30m")
    assert "--since looks further back" in caught.value.hint
    with pytest.raises(InputError, match="no id of an anomaly"):
        explain(told, "latency")
    with pytest.raises(InputError, match="--since soon"):
        explain(told, "0" * 32, "--since", "soon")


def test_first_digits_and_the_fingerprint_of_an_alert_name_an_anomaly_too(told: Rig) -> None:
    anomaly = by_detector(told, "consensus")[0]
    assert explain(told, anomaly.id[:10])["anomaly"]["id"] == anomaly.id
    alert = alert_fingerprint(f"cluster:{anomaly.cluster}", anomaly.ts_ms)
    for name in (alert, alert[:10]):
        seen = explain(told, name)
        assert seen["search"]["alert"]
        assert seen["anomaly"]["id"] == anomaly.id


def test_digits_with_which_several_anomalies_begin_are_refused(rig: Rig) -> None:
    one = msgspec.structs.replace(_made_up(rig), id="ab" * 16)
    other = msgspec.structs.replace(one, id="abab" + "c" * 28, ts_ms=one.ts_ms + 1000)
    publish(rig, one, other, commit=True)
    with pytest.raises(AnomalyAmbiguousError, match="2 anomalies or alerts begin with abab"):
        explain(rig, "abab")
    assert explain(rig, "ababc")["anomaly"]["id"] == other.id


def test_the_newest_are_looked_at_first_and_not_further_back_than_asked(rig: Rig) -> None:
    now_ms = time.time_ns() // 1_000_000
    ages_h = {"aa": 72.0, "bb": 2.0, "cc": 0.0}
    for digits, age in ages_h.items():
        made = msgspec.structs.replace(_made_up(rig), id=digits * 16, ts_ms=1_750_000_000_000 + int(age))
        rig.produce_to(
            "anomalies", [Telemetry(b"n0", encode(made))], partition=0, timestamp=now_ms - int(3_600_000 * age)
        )
    looked = {digits: explain(rig, digits * 16)["search"]["records"] for digits in ages_h}
    assert looked == {"cc": 1, "bb": 2, "aa": 3}
    assert explain(rig, "bb" * 16, "--since", "3h")["search"]["records"] == 2
    with pytest.raises(InputError, match="looked at 2 committed records"):
        explain(rig, "aa" * 16, "--since", "2d")


def test_without_a_snapshot_as_much_telemetry_is_read_as_asked(rig: Rig) -> None:
    messages = lively_fleet(2, STEPS)
    half = len(messages) // 2
    now_ms = time.time_ns() // 1_000_000
    rig.produce(messages[:half], timestamp=now_ms - 7_200_000)
    before = len(rig.read("consensus"))
    rig.produce(messages[half:], timestamp=now_ms)
    work(rig, len(messages))
    anomaly = by_detector(rig, "consensus")[-1]
    number = anomaly.source.partition
    older = sum(each.partition() == number for each in rig.read("consensus") if each.timestamp()[1] < now_ms)
    assert 0 < older < before
    without = ("--set", "state.enabled=false", "--warm-up")
    seen = explain(rig, anomaly.id, *without, "30m")["replay"]
    assert (seen["origin"], seen["records"]) == ("later", anomaly.source.offset + 1 - older)
    assert (seen["status"], seen["flagged"]) == ("approximate", True)
    assert f"from offset {older}" in seen["reason"]
    assert seen["score"] == pytest.approx(anomaly.score, rel=0.9)
    for longer in ("3h", "all"):
        whole = explain(rig, anomaly.id, *without, longer)["replay"]
        assert (whole["origin"], whole["status"], whole["score"]) == ("beginning", "equal", anomaly.score)


def test_an_anomaly_of_a_transaction_that_was_not_committed_does_not_exist(rig: Rig) -> None:
    publish(rig, msgspec.structs.replace(_made_up(rig), id="dead" * 8), commit=False)
    with pytest.raises(InputError, match="looked at 0 committed records"):
        explain(rig, "dead" * 8)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"detector": "crystal_ball"}, "detector crystal_ball is none that this release can run"),
        ({"topic": "elsewhere"}, "topic elsewhere is that of no stream in these settings"),
        ({"offset": 5_000}, "is no record of n0: was the topic made anew since?"),
        ({"partition": 99}, "has no partition 99 any more"),
    ],
)
def test_what_cannot_be_replayed_is_said(rig: Rig, changes: dict[str, Any], reason: str) -> None:
    rig.produce([message(consensus("n0", step)) for step in range(5)])
    made = _made_up(rig)
    source = {name: value for name, value in changes.items() if name != "detector"}
    made = msgspec.structs.replace(
        made,
        id="be" * 16,
        detector=changes.get("detector", made.detector),
        source=msgspec.structs.replace(made.source, **source),
    )
    publish(rig, made, commit=True)
    seen = explain(rig, made.id)["replay"]
    assert seen["status"] == "impossible"
    assert reason in seen["reason"]


def _made_up(rig: Rig) -> Anomaly:
    """Some anomaly, of telemetry that need not be there."""
    return msgspec.convert(
        {
            "id": "00" * 16,
            "ts_ms": 1_750_000_000_000,
            "node_id": "n0",
            "detector": "consensus",
            "model_version": "consensus-unknown",
            "score": 9.0,
            "threshold": 3.0,
            "severity": "warning",
            "window_start_ms": 1_749_999_971_000,
            "window_end_ms": 1_750_000_000_000,
            "contributions": [],
            "source": {"topic": rig.topic("consensus"), "partition": 0, "offset": 0},
        },
        Anomaly,
    )


def publish(rig: Rig, *anomalies: Anomaly, commit: bool) -> None:
    producer = Producer({"bootstrap.servers": rig.bootstrap, "transactional.id": rig.name})
    producer.init_transactions(20)
    producer.begin_transaction()
    for each in anomalies:
        producer.produce(rig.topic("anomalies"), encode(each), each.node_id)
    producer.flush(20)
    if commit:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)


def test_a_model_that_is_nowhere_is_named_and_the_configured_one_judges(rig: Rig, tmp_path: Path) -> None:
    messages = lively_fleet(2, 120)
    rig.produce(messages)
    folder = stricter(tmp_path / "mild", 0.9)
    mild = stream_scorer(CONSENSUS, StreamSettings(), load_detectors(CONSENSUS, ["consensus"], folder))
    work(rig, len(messages), scorers=[mild])
    anomaly = by_detector(rig, "consensus")[-1]
    seen = explain(rig, anomaly.id)["replay"]
    assert (seen["status"], seen["model"]) == ("another model", "configured")
    assert f"{anomaly.model_version} is neither configured here nor shipped" in seen["reason"]
    given = explain(rig, anomaly.id, "--artefact", str(folder))["replay"]
    assert (given["status"], given["score"]) == ("equal", anomaly.score)
    configured = explain(rig, anomaly.id, "--set", f"streams.consensus.artefacts={folder}")["replay"]
    assert (configured["status"], configured["origin"]) == ("equal", "snapshot")


def test_a_silence_is_explained_by_the_rhythm_before_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = range(60, 80)
    messages = [
        message(consensus(f"n{node}", step)) for step in range(110) for node in range(12) if node or step not in silent
    ]
    rig.produce(messages)
    work(rig, len(messages))
    [anomaly] = by_detector(rig, "silence")
    seen = explain(rig, anomaly.id)
    silence = seen["silence"]
    assert (seen["window"], seen["replay"]["status"], seen["replay"]["score"]) == (None, "equal", anomaly.score)
    assert (silence["last_ms"], silence["told_ms"]) == (anomaly.window_start_ms, anomaly.ts_ms)
    assert (silence["limit_s"], silence["usual_gap_s"], silence["longest_gap_s"]) == (6.0, 1.0, 1.0)
    assert silence["back_ms"] == anomaly.window_start_ms + 21_000
    assert silence["steps_ms"][-1] == silence["last_ms"]
    assert silence["certain_by"] != "n0"
    assert silence["certain_ms"] >= anomaly.ts_ms
    lines = page(rig, anomaly.id, monkeypatch)
    assert max(map(len, lines)) <= 80
    assert any("a step every 1 s before" in " ".join(lines[i : i + 2]) for i in range(len(lines)))
    with pytest.raises(InputError, match="told by no artefact"):
        explain(rig, anomaly.id, "--artefact", "models/consensus")
    other = explain(rig, anomaly.id, "--set", "streams.consensus.silence_s=30")["replay"]
    assert (other["status"], other["flagged"]) == ("another model", False)


def test_an_anomaly_of_node_telemetry_is_replayed_to_its_score(rig: Rig) -> None:
    fleet = simulate_nodes(NodeFleet(6), 900, 5, 1_760_054_400_000, 4.0)
    messages = list(fleet.records())
    rig.produce(messages)  # type: ignore[arg-type]
    work(
        rig,
        len(messages),
        scorers=[as_shipped(NODE)],
        kafka={"topics": rig.kafka.topics | {"node": rig.topic("consensus")}},
    )
    anomaly = by_detector(rig, "reliability")[-1]
    seen = explain(rig, anomaly.id, stream="node")
    assert (seen["replay"]["status"], seen["replay"]["score"]) == ("equal", anomaly.score)
    first = seen["window"]["fields"][0]
    assert (first["name"], first["direction"]) == (anomaly.contributions[0].feature, anomaly.contributions[0].direction)
    assert first["usual"][-1] == pytest.approx(anomaly.contributions[0].usual)


def test_the_picture_is_one_of_the_right_size_with_something_on_it(told: Rig, tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    file = tmp_path / "why.png"
    explain(told, strongest(told).id, "--png", str(file), "--fields", "3")
    assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = image.imread(file)
    assert pixels.shape[:2] == (round(120 * (1.1 + 1.9 * 4)), 1320)
    rows = pixels[:, :, :3].reshape(pixels.shape[0], -1)
    red = (pixels[:, :, 0] > 0.7) & (pixels[:, :, 1] < 0.3) & (pixels[:, :, 2] < 0.3)
    assert rows.std() > 0.05
    assert red.sum() > 200, "threshold and unusual values are red"
    explain(told, by_detector(told, "silence")[0].id, "--png", str(file))
    assert image.imread(file).shape[:2] == (360, 1320)


def test_without_matplotlib_a_picture_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["explain", "0" * 32, "--png", str(tmp_path / "x.png"), "--kafka", "127.0.0.1:1"]
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="--png needs matplotlib") as caught:
        create_app(arguments)(args=arguments, standalone_mode=False)
    assert "vigil-dwcp[train]" in caught.value.hint


def test_a_folder_that_is_not_there_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    arguments = ["explain", "0" * 32, "--png", str(tmp_path / "gone" / "x.png"), "--kafka", "127.0.0.1:1"]
    with pytest.raises(InputError, match="no folder"):
        create_app(arguments)(args=arguments, standalone_mode=False)
