"""A store comes back from its bytes exactly as it was, or not at all."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from window_logs import FEATURES, PATIENT, STEP_MS, Record, Run, logs, store_of, window_rules

from features import SnapshotError, StepStatus, Watermark, WindowRules, WindowStore
from features.snapshots import _digest, _Payload

START_MS = 1_700_000_000_000


def restored_run(run: Run, rules: WindowRules) -> Run:
    again = Run(store_of(rules))
    for partition in run.store.partitions:
        again.store.restore(run.store.snapshot_partition(partition))
    return again


@settings(PATIENT, max_examples=150)
@given(data=st.data(), rules=window_rules(), log=logs())
def test_a_restored_store_goes_on_as_the_first_would_have(
    data: st.DataObject, rules: WindowRules, log: list[Record]
) -> None:
    cut = data.draw(st.integers(0, len(log)))
    run = Run(store_of(rules))
    run.feed(log[:cut])
    again = restored_run(run, rules)
    assert again.nodes() == run.nodes()
    for partition in run.store.partitions:
        assert again.store.snapshot_partition(partition) == restored_run(again, rules).store.snapshot_partition(
            partition
        )
        assert again.store.watermark(partition) == run.store.watermark(partition)
    before = len(run.seen)
    run.feed(log[cut:])
    again.feed(log[cut:])
    assert again.seen == run.seen[before:]
    assert again.nodes() == run.nodes()


@settings(PATIENT, max_examples=150)
@given(data=st.data(), rules=window_rules(), log=logs())
def test_snapshots_of_different_ages_and_a_replay_from_the_oldest_give_the_same_windows(
    data: st.DataObject, rules: WindowRules, log: list[Record]
) -> None:
    """Each node is saved when its turn comes; the log is replayed from before the first of them."""
    log = [record for record in log if record.partition == 0]
    begin = data.draw(st.integers(0, len(log)))
    end = data.draw(st.integers(begin, len(log)))
    run = Run(store_of(rules))
    run.feed(log[:begin], first_offset=0)
    mark = run.store.watermark(0)
    saved = dict(zip([key for _, key in sorted(run.nodes())], snapshots(run), strict=True))
    run.evicted.clear()
    for offset in range(begin, end):
        run.feed(log[offset : offset + 1], first_offset=offset)
        for _, key in run.evicted:
            [saved[key]] = run.store.snapshot_forgotten(0, [key], offset)
        run.evicted.clear()
        slot = run.store.slot_of(0, log[offset].key)
        if slot is not None and data.draw(st.booleans()):
            [saved[log[offset].key]] = run.store.snapshot_each([slot])
    again = Run(store_of(rules))
    if mark is not None:
        again.store.set_watermark(0, mark)
    again.store.restore_each(list(saved.values()))
    again.feed(log[begin:end], first_offset=begin)
    assert again.store.watermark(0) == run.store.watermark(0)
    run.feed(log[end:], first_offset=end)
    again.feed(log[end:], first_offset=end)
    assert again.seen[end - begin :] == run.seen[end:]
    assert again.nodes() == run.nodes()


def snapshots(run: Run) -> list[bytes]:
    slots = [run.store.slot_of(partition, key) for partition, key in sorted(run.nodes())]
    return run.store.snapshot_each([slot for slot in slots if slot is not None])


def small_store(**changes: int) -> WindowStore:
    sizes = {"window": 3, "step_ms": STEP_MS, "late_steps": 2, "idle_ms": 1000, "state_width": 2} | changes
    return WindowStore(FEATURES, **sizes)


def filled_store() -> WindowStore:
    store = small_store()
    keys = ["a", "b", "a", "b", "a", "a"]
    ts_ms = START_MS + STEP_MS * np.array([0, 0, 1, 1, 2, 4])
    store.append(np.zeros(6, np.int32), keys, ts_ms, np.arange(12, dtype=np.float32).reshape(6, 2))
    store.state[store.slots_of(0)] = [[1.5, 2.5], [3.5, 4.5]]
    return store


def test_nodes_saved_one_by_one_equal_nodes_saved_alone() -> None:
    store = filled_store()
    assert store.snapshot_each(store.slots_of(0)) == [store.snapshot([slot]) for slot in store.slots_of(0).tolist()]


def test_a_snapshot_carries_detector_state_to_another_store() -> None:
    store, other = filled_store(), small_store(capacity=1)
    slots = other.restore(store.snapshot(store.slots_of(0)))
    assert {other.key_of(slot): other.state[slot].tolist() for slot in slots.tolist()} == {
        "a": [1.5, 2.5],
        "b": [3.5, 4.5],
    }


def test_restoring_a_node_twice_replaces_it() -> None:
    store = filled_store()
    snapshot = store.snapshot_partition(0)
    store.append(np.zeros(1, np.int32), ["a"], np.array([START_MS + 5 * STEP_MS]), np.ones((1, 2), np.float32))
    store.restore(snapshot)
    assert len(store) == 2
    assert store.snapshot_partition(0) == snapshot


def test_nodes_restored_together_equal_nodes_restored_one_by_one() -> None:
    store, together, one_by_one = filled_store(), small_store(), small_store()
    snapshots = store.snapshot_each(store.slots_of(0))
    slots = together.restore_each(snapshots)
    assert [together.key_of(slot) for slot in slots.tolist()] == ["a", "b"]
    for snapshot in snapshots:
        one_by_one.restore(snapshot)
    assert together.snapshot_partition(0) == one_by_one.snapshot_partition(0) != small_store().snapshot_partition(0)
    assert len(small_store().restore_each([])) == 0


def test_one_damaged_snapshot_or_one_node_twice_restores_nothing() -> None:
    store, other = filled_store(), small_store()
    first, second = store.snapshot_each(store.slots_of(0))
    with pytest.raises(SnapshotError, match="checksum does not match"):
        other.restore_each([first, second[:-1]])
    with pytest.raises(SnapshotError, match="keys must be given once"):
        other.restore_each([first, second, first])
    assert len(other) == 0


def test_every_shortened_snapshot_is_refused() -> None:
    snapshot = filled_store().snapshot_partition(0)
    for length in range(len(snapshot)):
        with pytest.raises(SnapshotError):
            small_store().restore(snapshot[:length])


def test_every_flipped_bit_is_refused_and_changes_nothing() -> None:
    store = filled_store()
    snapshot = store.snapshot_partition(0)
    for bit in range(8 * len(snapshot)):
        damaged = bytearray(snapshot)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SnapshotError):
            store.restore(bytes(damaged))
    assert store.snapshot_partition(0) == snapshot


@given(noise=st.binary(max_size=200), header=st.booleans())
def test_noise_is_refused_even_under_a_valid_checksum(noise: bytes, header: bool) -> None:
    snapshot = b"VGLW\x02" + _digest(noise) + noise if header else noise
    with pytest.raises(SnapshotError):
        small_store().restore(snapshot)


def forged(**changes: object) -> bytes:
    snapshot = filled_store().snapshot_partition(0)
    payload = msgspec.msgpack.decode(snapshot[21:], type=_Payload)
    body = msgspec.msgpack.encode(msgspec.structs.replace(payload, **changes))
    return snapshot[:5] + _digest(body) + body


def int64s(*values: int) -> bytes:
    return np.array(values, "<i8").tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": ["a", "a"]}, "keys must be given once"),
        ({"keys": ["a", ""]}, "keys must not be empty"),
        ({"keys": ["a"]}, "count has 8 bytes, 4 are needed"),
        ({"partition": np.array([0, -1], "<i4").tobytes()}, "partition must not be negative"),
        ({"count": np.array([6, 1], "<i4").tobytes()}, r"count must be in 0\.\.5, found 1\.\.6"),
        ({"count": np.array([-1, 5], "<i4").tobytes()}, r"count must be in 0\.\.5, found -1\.\.5"),
        ({"count": np.array([0, 5], "<i4").tobytes()}, "stamps has 56 bytes, 40 are needed"),
        (
            {"count": np.array([5, 0], "<i4").tobytes(), "stamps": int64s(2, 4, 6, 8, 10), "rows": b"\0" * 40},
            "a node without steps must have an applied offset",
        ),
        ({"seen": int64s(-1, 0)}, "seen must be a time"),
        ({"seen": int64s(2**62, 0)}, "seen must be a time"),
        ({"applied": int64s(-2, 0)}, "applied must be -1 or an offset"),
        ({"stamps": int64s(2, 4, 6, 9, 8, 2, 4)}, "stamps must increase"),
        ({"stamps": int64s(2, 4, 6, 8, 11, 2, 4)}, "stamps must end with a real step"),
        ({"stamps": int64s(0, 4, 6, 8, 10, 2, 4)}, "stamps must be times"),
        ({"rows": b"1234"}, "rows has 4 bytes, 56 are needed"),
        ({"state": b""}, "state has 0 bytes, 16 are needed"),
        ({"alive": int64s(0, 0, -1, 0)}, "alive must be spans of time"),
        ({"alive": int64s(0, 0)}, "alive has 16 bytes, 32 are needed"),
        ({"labels": [("one", None)]}, "1 labels, 2 are needed"),
        ({"mark": (0, "a", 5, 6, 6, 0, 0)}, "cannot have the watermark"),
        ({"mark": (-1, "a", 6, 5, 5, 0, 0)}, "cannot have the watermark"),
        ({"mark": (0, "a", 6, 5, 0, 0, 0)}, "cannot have the watermark"),
        ({"mark": (0, "", 6, 5, 5, 0, 0)}, "cannot have the watermark"),
        ({"mark": (0, "a", 6, 5, 5, 0, -1)}, "cannot have the watermark"),
    ],
)
def test_contents_that_no_store_could_have_are_refused_by_name(changes: dict[str, object], message: str) -> None:
    store = small_store()
    with pytest.raises(SnapshotError, match=message):
        store.restore(forged(**changes))
    assert len(store) == 0


def test_an_untouched_forgery_is_accepted_so_that_the_refusals_mean_something() -> None:
    assert len(small_store().restore(forged())) == 2


@pytest.mark.parametrize("setting", ["window", "step_ms", "late_steps", "state_width"])
def test_a_snapshot_of_other_settings_is_refused_by_the_settings_name(setting: str) -> None:
    with pytest.raises(SnapshotError, match=f"made with {setting}="):
        small_store(**{setting: 7}).restore(filled_store().snapshot_partition(0))


def test_a_snapshot_of_another_version_is_refused() -> None:
    snapshot = filled_store().snapshot_partition(0)
    with pytest.raises(SnapshotError, match="version 1, this program reads 2"):
        small_store().restore(snapshot[:4] + b"\x01" + snapshot[5:])


def test_an_impossible_watermark_is_refused() -> None:
    with pytest.raises(SnapshotError, match="partition 0 cannot have the watermark"):
        small_store().set_watermark(0, Watermark("a", 1, 2, 1))


def test_a_free_slot_cannot_be_saved() -> None:
    with pytest.raises(KeyError, match="slot 0 holds no node"):
        small_store().snapshot([0])


def test_a_replay_does_not_bring_back_a_node_that_was_forgotten() -> None:
    """A repeated step came before "x" was forgotten; alone it would look like the first of a new node."""
    log = [
        Record(0, "x", START_MS, (1.0, 1.0)),
        Record(0, "a", START_MS, (2.0, 2.0)),
        Record(0, "b", START_MS, (2.0, 2.0)),
    ]
    log += [Record(0, key, START_MS + 900, (3.0, 3.0)) for key in "ab"]
    log += [Record(0, "x", START_MS, (4.0, 4.0))]
    log += [Record(0, key, START_MS + 1800, (5.0, 5.0)) for key in "ab"]
    run = Run(store_of(small_store().rules))
    for offset, record in enumerate(log):
        run.feed([record], first_offset=offset)
    assert run.evicted == [(0, "x")]
    [forgotten] = run.store.snapshot_forgotten(0, ["x"], applied=7)
    again = Run(store_of(small_store().rules))
    [slot] = again.store.restore(forgotten)
    assert again.store.steps_held([slot]).tolist() == [0]
    mark = Watermark("a", START_MS + 900, START_MS + 900, START_MS)
    again.store.set_watermark(0, mark)
    again.feed(log[5:], first_offset=5)
    assert [seen.status for seen in again.seen] == [StepStatus.APPLIED, StepStatus.WARMING, StepStatus.WARMING]
    assert again.store.watermark(0) == run.store.watermark(0)
    later = Record(0, "x", START_MS + 100, (6.0, 6.0))
    run.feed([later], first_offset=8)
    again.feed([later], first_offset=8)
    assert again.seen[-1] == run.seen[-1]
    assert "x" in {key for _, key in again.nodes()}


def test_records_that_a_restored_node_contains_are_skipped_and_new_ones_are_not() -> None:
    store, again = small_store(), small_store()
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    ts_ms = START_MS + STEP_MS * np.arange(4)
    partitions, keys, offsets = np.zeros(4, np.int32), ["a"] * 4, np.array([10, 12, 14, 16])
    store.append(partitions[:3], keys[:3], ts_ms[:3], rows[:3], offsets=offsets[:3])
    again.restore(store.snapshot(store.slots_of(0)))
    appended = again.append(partitions, keys, ts_ms, rows, offsets=offsets)
    assert appended.status.tolist() == [StepStatus.APPLIED] * 3 + [StepStatus.WINDOW]
    assert appended.windows.tensor().tolist() == [rows[1:].tolist()]
