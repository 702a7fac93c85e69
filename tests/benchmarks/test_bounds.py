import numpy as np
import pytest

from benchmarks.bounds import BATCH, batches_of, measure_stages
from benchmarks.speed.telemetry import Fleet, recordings

pytestmark = pytest.mark.skipif(not recordings(), reason="no recording of a cluster, here or in ../shared/data")


def test_every_stage_is_measured_alone_over_batches_of_one_partition_in_log_order() -> None:
    batches = list(batches_of(Fleet(25), steps=BATCH // 5))
    assert len(batches) >= 3
    for each in batches:
        assert len(each) == BATCH
        assert len(set(each.partitions.tolist())) == 1
        assert (np.diff(each.offsets) == 1).all()

    found = measure_stages(batches)

    assert list(found) == ["decode", "windows", "baselines", "score", "snapshots", "verdicts", "view"]
    assert found["decode"] > 0.1
    assert found["score"] > found["windows"], "scoring is most of the work; without windows there would be none"
