import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detectors.rounds import rounds


@given(st.lists(st.integers(0, 6), max_size=60))
def test_rounds_cover_the_batch_once_and_keep_each_nodes_order(nodes: list[int]) -> None:
    slots = np.array(nodes, dtype=np.int64)
    cut = list(rounds(slots))

    assert sorted(np.concatenate([*cut, np.empty(0, np.int64)]).tolist()) == list(range(len(nodes)))
    for part in cut:
        assert len(set(slots[part].tolist())) == len(part), "a node occurs twice in one round"
    for node in set(nodes):
        seen = [int(i) for part in cut for i in part if slots[i] == node]
        assert seen == sorted(seen)


def test_the_number_of_rounds_is_the_busiest_nodes_number_of_windows() -> None:
    assert len(list(rounds(np.array([4, 4, 4, 1, 2, 1], dtype=np.int64)))) == 3
    assert list(rounds(np.empty(0, dtype=np.int64))) == []
