"""docs/operations/metrics.md lists the metrics that a worker has, each one and no other."""

import re
from pathlib import Path

import pytest
from fleet_samples import PeakDetector, scorer
from prometheus_client import CollectorRegistry

from streams import Processor, WorkerConfig
from streams.lifecycle import Assigned, Lifecycle, Opened
from streams.monitor import Monitor
from streams.statistics import SourceState

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations" / "metrics.md"


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    held = Lifecycle().after(Opened())[0].after(Assigned([("t", 0)]))[0]
    source = SourceState(broker_up=True, lag={("t", 0): 7, ("t", 1): 9}, at=1.0)
    Monitor(
        WorkerConfig(http_port=None),
        made,
        Processor({"t": scorer()}),
        lifecycle=lambda: held,
        source=lambda: source,
    )
    return made


def names(registry: CollectorRegistry) -> set[str]:
    suffix = {"counter": "_total", "info": "_info"}
    return {each.name + suffix.get(each.type, "") for each in registry.collect() if not each.name.startswith("process")}


def test_the_page_lists_each_metric_and_no_other(registry: CollectorRegistry) -> None:
    listed = set(re.findall(r"`((?:vigil|dwcp)_[a-z_]+)`", PAGE.read_text(encoding="utf-8")))
    assert listed - {"vigil_redis_up"} == names(registry)


def test_lag_is_that_of_the_partitions_held(registry: CollectorRegistry) -> None:
    assert registry.get_sample_value("vigil_consumer_lag_records", {"topic": "t", "partition": "0"}) == 7
    assert registry.get_sample_value("vigil_consumer_lag_records", {"topic": "t", "partition": "1"}) is None


def test_the_models_in_use_are_named(registry: CollectorRegistry) -> None:
    labels = {"stream": "consensus", "detector": PeakDetector.name, "model_version": PeakDetector.version}
    assert registry.get_sample_value("vigil_model_info", labels) == 1
