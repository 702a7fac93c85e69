from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import DeadLetterLimits, StreamsConfigError
from streams.limits import LimitWatch

P = ("metrics", 0)


def observe(watch: LimitWatch, bad: list[bool]) -> str | None:
    return watch.observe(P, np.array(bad, dtype=np.bool_))


@given(
    bad=st.lists(st.booleans(), min_size=1, max_size=200), sizes=st.lists(st.integers(1, 30)), most=st.integers(1, 8)
)
def test_the_run_limit_is_passed_exactly_when_the_log_holds_a_longer_run(
    bad: list[bool], sizes: list[int], most: int
) -> None:
    watch = LimitWatch(DeadLetterLimits(max_run=most, ratio_records=10_000))
    passed, at = False, 0
    for size in [*sizes, 200]:
        if at < len(bad):
            passed |= observe(watch, bad[at : at + size]) is not None
        at += size
    assert passed == (max((len(list(run)) for kind, run in groupby(bad) if kind), default=0) > most)


def test_a_share_above_the_limit_among_the_newest_records_is_told_with_its_figures() -> None:
    watch = LimitWatch(DeadLetterLimits(max_ratio=0.5, ratio_records=100, max_run=1000))
    assert observe(watch, [True, False] * 50) is None
    assert observe(watch, [True, True, False] * 34) == (
        "metrics [0]: 68 of the newest 102 records are unusable (67%, limit 50%)"
    )


def test_nothing_is_judged_before_enough_records_were_seen() -> None:
    watch = LimitWatch(DeadLetterLimits(max_ratio=0.5, ratio_records=100, max_run=1000))
    assert observe(watch, [True] * 99) is None
    assert observe(watch, [True]) is not None


def test_old_records_stop_counting() -> None:
    watch = LimitWatch(DeadLetterLimits(max_ratio=0.5, ratio_records=100, max_run=1000))
    assert observe(watch, [True] * 50 + [False] * 50) is None
    assert observe(watch, [False] * 100) is None
    assert observe(watch, [True] * 49 + [False] * 51) is None


def test_partitions_are_watched_apart_and_forgotten_when_they_go() -> None:
    watch = LimitWatch(DeadLetterLimits(max_run=10))
    assert observe(watch, [True] * 8) is None
    assert watch.observe(("metrics", 1), np.ones(8, np.bool_)) is None
    watch.forget(P)
    assert observe(watch, [True] * 8) is None
    assert watch.observe(("metrics", 1), np.ones(8, np.bool_)) == (
        "metrics [1]: 16 records in a row are unusable (limit 10)"
    )


@pytest.mark.parametrize("wrong", [{"max_ratio": 0}, {"max_ratio": 1.1}, {"ratio_records": 0}, {"max_run": 0}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(StreamsConfigError, match="dead-letter"):
        DeadLetterLimits(**wrong)  # type: ignore[arg-type]
