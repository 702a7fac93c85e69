"""Each query of each panel and each rule, asked of real servers while fleets with faults run."""

import shutil
from pathlib import Path

import pytest

from benchmarks.dashboards.__main__ import measured
from benchmarks.dashboards.stage import live

LONGER = 3
NEEDED = ("prometheus", "prometheus-alertmanager", "redis-server")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        any(shutil.which(each) is None for each in NEEDED), reason=f"needs Debian's packages {', '.join(NEEDED)}"
    ),
]


def test_no_panel_is_empty_every_rule_finds_what_it_looks_at_and_each_dashboard_is_drawn(
    tmp_path: Path,
) -> None:
    with live() as running:
        found = measured(running, 75.0, tmp_path)
        for _ in range(LONGER):  # faults come at random: a panel about alerts is empty until there were some
            if not found["empty"]:
                break
            found = measured(running, 75.0, tmp_path)
    assert found["empty"] == []
    assert found["rules_wrong"] == []
    assert found["panels"] > 60
    assert found["rules"] > 25
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        *("vigil-fleet", "vigil-node", "vigil-pipeline", "vigil-quality", "vigil-reliability")
    }
