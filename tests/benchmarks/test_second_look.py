"""The benchmark's way of flagging is the detector's, and it tells ways apart."""

import json
from pathlib import Path

import pytest

from benchmarks.second_look import TRIED, counted, followed, main
from detectors.consensus.bursts import SHARES
from vigil.evaluation import Choice, evaluate_file

RECORDING = Path(__file__).resolve().parents[2] / "benchmarks/etcd/recordings/consensus_etcd_h.jsonl.gz"


def test_the_shipped_shares_give_what_the_detector_itself_gives() -> None:
    found, (evaluated, *_) = (
        counted(followed(RECORDING), SHARES),
        evaluate_file(RECORDING, Choice("consensus", fit=True)).results,
    )

    assert (found["seen"], found["faults"]) == (evaluated["events_seen"], evaluated["events"])
    assert (found["false_rows"], found["of_rows"]) == (evaluated["false_positive_rows"], evaluated["label_0_rows"])
    assert found["median_delay_s"] == pytest.approx(evaluated["median_delay_s"])


def test_every_way_is_printed_and_how_near_each_fault_came(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(RECORDING), "--faults", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    ways, faults = [one for one in lines if "shares" in one], [one for one in lines if "reached" in one]
    assert [tuple(one["shares"]) for one in ways] == list(TRIED)
    assert len({one["seen"] for one in ways}) > 1
    assert len(faults) == ways[0]["faults"]
    assert all(len(one["reached"]) == 3 for one in faults)
