import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.consensus.baseline import BaselineRule
from detectors.consensus.movement import move
from detectors.rounds import rounds

FEATURES = 3
RULE = BaselineRule(np.array([0.1, 0.5, 2.0]), memory=60, settle=45, relearn=400)


def step_by_step(state: np.ndarray, steps: np.ndarray, node: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    state, before = state.copy(), np.empty((len(node), RULE.state_width), np.float32)
    for part in rounds(node):
        before[part] = state[node[part]]
        state[node[part]], due = RULE.moved(before[part].astype(np.float64), steps[part])
        assert not due.any()
    return state, before


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), nodes=st.integers(1, 9), many=st.integers(1, 120))
def test_many_steps_at_once_move_baselines_as_one_step_after_another_to_the_bit(
    seed: int, nodes: int, many: int
) -> None:
    drawn = np.random.default_rng(seed)
    started = RULE.start(drawn.normal(size=(nodes, 30, FEATURES)) * RULE.scale + 2.0).astype(np.float32)
    node = np.concatenate([np.arange(nodes), drawn.integers(0, nodes, many)])
    drawn.shuffle(node)
    # Some are far off, so that what counts far steps moves as well.
    steps = drawn.normal(size=(len(node), FEATURES)) * RULE.scale * drawn.choice([1.0, 30.0], (len(node), 1)) + 2.0

    wanted, wanted_before = step_by_step(started, steps, node)
    found = started.copy()
    before = move(RULE, found, steps, node, np.bincount(node, minlength=nodes))

    assert found.tobytes() == wanted.tobytes()
    assert before.tobytes() == wanted_before.tobytes()
    assert (wanted[:, 1] > 30).all()


def test_a_baseline_that_begins_or_may_begin_afresh_does_not_simply_go_on() -> None:
    state = np.zeros((3, RULE.state_width), np.float32)
    state[1:, 1] = 30.0
    state[2, 2] = RULE.relearn - 5
    assert RULE.goes_on(state, np.array([1, 400, 5])).tolist() == [False, True, True]
    assert RULE.goes_on(state, np.array([1, 401, 6])).tolist() == [False, False, False]
