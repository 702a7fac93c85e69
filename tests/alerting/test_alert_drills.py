"""The drills, short: a service killed again and again, and a recording through worker and service."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.alert_disturbed import Plan, disturbed
from benchmarks.alert_servers import ServerMissingError
from benchmarks.alerts import measured
from vigil.labelled import read_faults

RECORDING = Path(__file__).resolve().parents[3] / "shared" / "data" / "consensus_etcd_d.jsonl.gz"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.integration,
    pytest.mark.timeout(1_800),
    pytest.mark.xdist_group("alert drills"),  # one drill for all
]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """A service killed three times and without Alertmanager for ten seconds, beside one that is left alone."""
    try:
        return disturbed(Plan(seconds=60, kills=3, away=10, clusters=12, speed=2), apache=False)
    except ServerMissingError as error:
        pytest.skip(str(error))


def test_a_service_that_is_killed_again_and_again_publishes_the_alerts_of_one_left_alone(found: dict[str, Any]) -> None:
    assert found["changes_expected"] > 20
    assert found["equal"]
    assert not found["repeats_with_other_bytes"]
    assert (found["redis_equal"], found["alertmanager_equal"]) == (True, True)


def test_nobody_is_paged_twice_or_never_by_kills_and_an_alertmanager_that_was_away(found: dict[str, Any]) -> None:
    assert found["pages_expected"] > 20
    assert (found["pages_twice"], found["pages_extra"], found["pages_missing"]) == (0, 0, 0)
    assert found["pages_end_equal"]


def test_a_kill_repeats_no_more_than_the_post_that_was_under_way(found: dict[str, Any]) -> None:
    assert found["posts"] > 20
    assert found["posts_repeated"] <= found["kills"]
    assert not found["posts_repeated_with_other_bytes"]
    assert found["posts_end_equal"]


@pytest.mark.shared
def test_the_alerts_of_a_recording_are_those_of_the_core_measured_offline() -> None:
    if not RECORDING.is_file():
        pytest.skip(f"no recording beside the repository ({RECORDING} is missing)")
    found = measured(RECORDING, read_faults(RECORDING), speed=60.0)
    assert (found["alerts_opened"], found["faults_covered"], found["alerts_unrelated"]) == (8, 8, 0)
    assert found["median_fire_delay_s"] <= 5
    assert found["median_resolve_delay_s"] <= 45
    assert (found["open_at_the_end"], found["repeats"]) == (0, 0)
