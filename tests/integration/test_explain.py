"""`vigil explain`: what real workers published through a real broker, and why, by what that broker still has."""

from pathlib import Path

import msgspec
import pytest
from explaining import as_shipped, by_detector, explain, page, stricter, strongest, work
from fleet_samples import consensus, message
from rig import Rig, lively_fleet

from detectors.catalogue import load_detectors
from schemas.outputs import Anomaly
from schemas.streams import CONSENSUS, NODE
from vigil.errors import InputError
from vigil.scorers import stream_scorer
from vigil.settings import StreamSettings
from vigil.simulator import NodeFleet, simulate_nodes

STEPS = 240


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
