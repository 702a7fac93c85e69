"""The drills, short: killed again and again on Apache Kafka, and a recording through worker and service."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.alert_drills import crashes
from benchmarks.alert_servers import ServerMissingError
from benchmarks.alerts import measured
from vigil.labelled import read_faults

RECORDING = Path(__file__).resolve().parents[3] / "shared" / "data" / "consensus_etcd_d.jsonl.gz"

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(1_800)]


def installed(drill: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return drill()
    except ServerMissingError as error:
        pytest.skip(str(error))


def test_a_service_that_is_killed_again_and_again_publishes_the_alerts_of_an_undisturbed_one() -> None:
    found = installed(lambda: crashes(3, None))
    assert found["changes_expected"] > 300
    # A kill may cost the last anomaly of a partition, see docs/evaluation/alerts.md: a change then counts one less.
    assert found["changes_missing"] <= 3
    assert found["posts_repeated"] == 0


@pytest.mark.shared
def test_the_alerts_of_a_recording_are_those_of_the_core_measured_offline() -> None:
    if not RECORDING.is_file():
        pytest.skip(f"no recording beside the repository ({RECORDING} is missing)")
    found = measured(RECORDING, read_faults(RECORDING), speed=60.0)
    assert (found["alerts_opened"], found["faults_covered"], found["alerts_unrelated"]) == (8, 8, 0)
    assert found["median_fire_delay_s"] <= 5
    assert found["median_resolve_delay_s"] <= 45
    assert (found["open_at_the_end"], found["repeats"]) == (0, 0)
