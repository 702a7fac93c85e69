"""A recording can be sent as real nodes would send it, and everything that goes wrong is known."""

import random
from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import RecordCodec
from schemas.streams import CONSENSUS, NODE, Stream
from vigil.disturbance import Disturbance, disturbed
from vigil.errors import InputError
from vigil.malformed import KINDS, break_record
from vigil.simulator import ConsensusFleet, NodeFleet, SimulatedRecord, simulate_consensus, simulate_nodes

START_MS = 1_760_000_000_000

CONSENSUS_RECORDS = list(simulate_consensus(ConsensusFleet(clusters=2, members=3), 200, 1, START_MS).records())
NODE_RECORDS = list(simulate_nodes(NodeFleet(nodes=3), 20, 1, START_MS, 0.0).records())


@pytest.mark.parametrize(("stream", "records"), [(CONSENSUS, CONSENSUS_RECORDS), (NODE, NODE_RECORDS)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_record_is_rejected_with_the_code_of_its_kind(
    kind: str, stream: Stream, records: list[SimulatedRecord]
) -> None:
    rng = random.Random(3)
    for key, value, _ in records[:20]:
        broken = break_record(key, value, kind, rng)
        decoded = RecordCodec(stream).decode([broken.key], [broken.value])
        assert [rejection.code for rejection in decoded.rejections] == [broken.code]


def test_records_break_in_more_than_twelve_ways_and_codes() -> None:
    assert len(KINDS) >= 20
    assert len({kind.code for kind in KINDS.values()}) >= 14


def test_without_disturbance_records_pass_as_they_are() -> None:
    sent = list(disturbed(CONSENSUS_RECORDS, Disturbance()))
    assert [(one.key, one.value, one.ts_ms) for one in sent] == [tuple(record) for record in CONSENSUS_RECORDS]
    assert {one.kind for one in sent} == {""}


@settings(max_examples=25, deadline=None)
@given(
    disorder_s=st.floats(0, 5),
    duplicates=st.floats(0, 1),
    missing=st.floats(0, 1),
    malformed=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_every_record_is_accounted_for_and_none_is_held_up_for_longer(
    disorder_s: float, duplicates: float, missing: float, malformed: float, seed: int
) -> None:
    how = Disturbance(disorder_s, duplicates, missing, malformed, seed=seed)
    sent = list(disturbed(CONSENSUS_RECORDS[:200], how))
    assert [one.send_ms for one in sent] == sorted(one.send_ms for one in sent)
    first = {"duplicate": 2.0}
    assert all(0 <= one.send_ms - one.ts_ms <= first.get(one.kind, 1.0) * disorder_s * 1000 + 1e-3 for one in sent)
    originals = Counter((one.node, one.ts_ms) for one in sent if one.kind != "duplicate")
    assert max(originals.values(), default=1) == 1
    assert set(originals) <= {(key, ts_ms) for key, _, ts_ms in CONSENSUS_RECORDS[:200]}
    good = {(one.key, one.value) for one in sent if not one.kind}
    assert {(one.key, one.value) for one in sent if one.kind == "duplicate"} <= good
    assert all((one.code is not None) == (one.kind in KINDS) for one in sent)


def test_the_shares_are_those_asked_for() -> None:
    sent = list(disturbed(CONSENSUS_RECORDS, Disturbance(3.0, 0.1, 0.2, 0.3, seed=5)))
    total = len(CONSENSUS_RECORDS)
    kinds = Counter("broken" if one.kind in KINDS else one.kind for one in sent)
    assert kinds["broken"] == pytest.approx(0.3 * total, rel=0.15)
    assert total - kinds["broken"] - kinds[""] == pytest.approx(0.2 * total, rel=0.15)
    assert kinds["duplicate"] == pytest.approx(0.1 * kinds[""], rel=0.3)
    assert {one.kind for one in sent} >= set(KINDS)


def test_records_really_arrive_out_of_order() -> None:
    sent = list(disturbed(CONSENSUS_RECORDS, Disturbance(3.0, seed=2)))
    own = [one.ts_ms for one in sent if one.node == CONSENSUS_RECORDS[0].key]
    late = sum(later < earlier for earlier, later in pairwise(own))
    assert late > 0.2 * len(own)
    assert sorted(own) == [record.ts_ms for record in CONSENSUS_RECORDS if record.key == CONSENSUS_RECORDS[0].key]


def test_only_the_nodes_named_suffer() -> None:
    victim = CONSENSUS_RECORDS[0].key
    sent = list(disturbed(CONSENSUS_RECORDS, Disturbance(3.0, 0.5, 0.2, 0.3, frozenset({victim}), seed=2)))
    untouched = [(one.key, one.value) for one in sent if one.node != victim]
    assert untouched == [(key, value) for key, value, _ in CONSENSUS_RECORDS if key != victim]
    assert {one.node for one in sent if one.kind} == {victim}


def test_the_same_seed_does_the_same() -> None:
    runs = [list(disturbed(CONSENSUS_RECORDS, Disturbance(2.0, 0.1, 0.1, 0.1, seed=seed))) for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("field", ["duplicates", "missing", "malformed"])
def test_a_share_above_one_is_refused(field: str) -> None:
    with pytest.raises(InputError, match=f"--{field} 1.5: not a probability"):
        Disturbance(**{field: 1.5})


def test_breaking_keeps_the_records_bytes_where_the_key_is_at_fault() -> None:
    key, value, _ = CONSENSUS_RECORDS[0]
    broken = break_record(key, value, "key-missing", random.Random(0))
    assert (broken.key, broken.value) == (None, value)
    assert msgspec.json.decode(value)["node_id"] == key.decode()
