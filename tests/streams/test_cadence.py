from collections.abc import Iterator

import pytest
import structlog
from fleet_samples import consensus, message
from structlog.testing import LogCapture

from schemas.codec import Decoded, RecordCodec
from schemas.streams import CONSENSUS
from streams.cadence import Cadence


def decoded(nodes: int, times: range) -> Decoded:
    messages = [
        message(consensus(f"n{node}", 0, ts_ms=1_750_000_000_000 + at)) for at in times for node in range(nodes)
    ]
    return RecordCodec(CONSENSUS).decode([each.key for each in messages], [each.value for each in messages])


@pytest.fixture
def logged() -> Iterator[LogCapture]:
    capture, before = LogCapture(), structlog.get_config()
    structlog.configure(processors=[capture])
    yield capture
    structlog.configure(**before)


def test_nodes_at_the_configured_rate_are_no_news(logged: LogCapture) -> None:
    cadence = Cadence("consensus", 1000)
    cadence.observe(decoded(5, range(0, 60_000, 1000)))
    assert cadence.interval_ms == 1000
    assert not cadence.mismatch
    assert logged.entries == []


@pytest.mark.parametrize("interval", [100, 2_000])
def test_another_rate_is_said_once_with_the_rate_and_the_setting_to_change(logged: LogCapture, interval: int) -> None:
    cadence = Cadence("consensus", 1000)
    for part in range(3):
        cadence.observe(decoded(5, range(part * 30 * interval, (part + 1) * 30 * interval, interval)))
    assert cadence.mismatch
    [entry] = logged.entries
    assert entry["observed_step_ms"] == interval
    assert entry["configured_step_ms"] == 1000
    assert entry["fix"] == f"set streams.consensus.step_ms to {interval}"
    assert ("never fill" in entry["effect"]) == (interval > 1000)


def test_it_is_said_again_after_ten_minutes(logged: LogCapture) -> None:
    cadence = Cadence("consensus", 1000)
    cadence.observe(decoded(5, range(0, 300_000, 10_000)))
    cadence.observe(decoded(5, range(300_000, 1_000_000, 10_000)))
    assert len(logged.entries) == 2


def test_a_few_steps_prove_nothing(logged: LogCapture) -> None:
    cadence = Cadence("consensus", 1000)
    cadence.observe(decoded(1, range(0, 600_000, 10_000)))
    assert cadence.interval_ms is None
    assert not cadence.mismatch
    assert logged.entries == []


def test_jitter_and_single_gaps_are_no_other_rate() -> None:
    cadence = Cadence("consensus", 1000)
    times = [1000 * step + (step * 37) % 400 for step in range(100) if step % 10]
    for at in times:
        cadence.observe(decoded(2, range(at, at + 1)))
    assert cadence.interval_ms is not None
    assert not cadence.mismatch
