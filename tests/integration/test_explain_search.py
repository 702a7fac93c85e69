"""`vigil explain` finds committed anomalies by their names, and says clearly what it cannot do."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from explaining import by_detector, explain
from fleet_samples import Telemetry, consensus, message
from rig import PARTITIONS, Rig

from schemas.codec import encode
from schemas.outputs import Anomaly, alert_fingerprint
from streams.errors import AnomalyAmbiguousError
from vigil.cli.app import create_app
from vigil.errors import InputError


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
