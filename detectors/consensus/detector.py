"""The statistical detector of consensus telemetry: every node against its own baseline, in three ways at once."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import ArtefactError, Metadata, read_artefact, write_artefact
from detectors.consensus.bursts import lasting
from detectors.consensus.encoding import FILE, decode_model, encode_model
from detectors.consensus.kinds import RECENT, UNKNOWN, Named, columns_of, name_kinds, strengths
from detectors.consensus.model import ConsensusModel, Floats
from detectors.consensus.movement import move
from detectors.consensus.parts import TILE
from detectors.consensus.reasons import ranked
from detectors.consensus.views import LONGER
from detectors.protocol import Expected, NodeState, Scores
from detectors.rounds import rounds
from detectors.tiles import apply_tiled
from features.batch import WindowBatch
from schemas.outputs import Contribution

FLAGGED_TILE: Final = 8  # windows that are explained: a batch holds few of them
ROWS_TILE: Final = 256
BAND_SCALES: Final = 2.0  # expected band: location +- this many scales
TRAIN_AGAIN: Final = "train it again"
NO_LASTING: Final = {"threshold": math.inf, "power": 1.0}  # of a model that is being fitted


class ConsensusDetector:
    """Scores a window by how far its newest steps are from what this node usually shows.

    Steps are measured against the node's own slow baseline (``BaselineRule``). Three parts look at them: the distances
    to the nearest normal ten steps and twenty steps, and the errors of a forecast. Their surprises are averaged; the
    score is the exponential of that: 1 at the median of normal telemetry, e at its 99th percentile; a trouble that
    lasts raises it (``bursts``). State: one baseline a node.
    """

    name: str = "consensus"

    def __init__(self, model: ConsensusModel, metadata: Metadata) -> None:
        """Bind a model to the metadata it was trained or loaded with."""
        self.model = model
        self.metadata = metadata
        self.version = metadata.model_version
        self.fields = metadata.fields
        self.window = metadata.window
        self.threshold = metadata.threshold.value
        levels = metadata.parameters.get("levels", [self.threshold, self.threshold])
        self.levels = (float(levels[0]), float(levels[1]))
        self.sudden_threshold = max(float(metadata.parameters.get("sudden_threshold", 0.0)), self.threshold)
        lasting = metadata.parameters.get("lasting", NO_LASTING)
        self.lasting_threshold, self.lasting_power = _positive(lasting["threshold"]), _positive(lasting["power"])
        self.state_width = model.rule.state_width

    def prime(self, keys: Sequence[str]) -> NodeState:
        """Return the states that nodes begin with: settled for those that training knew, blank for others.

        Args:
            keys: n node ids.

        Returns:
            float32 (n, state_width).
        """
        state = np.zeros((len(keys), self.state_width), dtype=np.float32)
        for place, key in enumerate(keys):
            if key in self.model.known:
                state[place] = self.model.rule.known(*self.model.known[key])
        return state

    def advance(self, windows: WindowBatch, state: NodeState, node: NDArray[np.int64]) -> NodeState:
        """Move the baselines; see ``StatefulDetector.advance``."""
        rule, newest = self.model.rule, self._transformed(windows.last())
        before = np.empty((len(windows), self.state_width), dtype=np.float32)
        count = np.bincount(node, minlength=len(state))
        calm = rule.goes_on(state, count)
        mine = np.flatnonzero(calm[node])
        if len(mine):
            chosen, some = np.unique(node[mine], return_inverse=True)
            states = state[chosen]
            before[mine] = move(rule, states, newest[mine], some, count[chosen])
            state[chosen] = states
        others = np.flatnonzero(~calm[node])
        for some in rounds(node[others]):
            part = others[some]
            before[part] = self._one_step(windows, state, node[part], part, newest[part])
        return before

    def score(self, windows: WindowBatch, before: NodeState | None = None) -> Scores:
        """Score windows; see ``Detector.score``."""
        if not len(windows):
            return np.empty(0)
        found = self._by_model(self._score_tile, windows.latest(LONGER), before)
        scores, strained = found[:, 0], np.flatnonzero(found[:, 1])
        if len(strained):  # few: only these are looked at over all their steps
            some = windows.take(strained), None if before is None else before[strained]
            times = self._by_model(self._lasting_tile, *some) / self.lasting_threshold
            as_rare = self.threshold * np.maximum(times, 1.0) ** self.lasting_power
            scores[strained] = np.where(times > 1.0, np.maximum(scores[strained], as_rare), scores[strained])
        return scores

    def confirm(self, windows: WindowBatch, before: NodeState | None = None) -> NDArray[np.bool_]:
        """Say which high scores are borne out, see ``bursts`` and ``Confirming.confirm``."""
        if not len(windows):
            return np.empty(0, dtype=np.bool_)
        passed = self._by_model(self._readings_tile, windows, before) > self.reading_thresholds
        return np.asarray(passed.any(axis=1), dtype=np.bool_)

    @property
    def reading_thresholds(self) -> tuple[float, float, float]:
        """What bears a high score out, a reading."""
        return self.sudden_threshold, self.threshold, self.lasting_threshold

    def readings(self, windows: WindowBatch, before: NodeState) -> Floats:
        """Return what the thresholds are fitted on, float64 (n, 3): sudden, sustained and lasting, see ``bursts``."""
        return self._by_model(self._readings_tile, windows, before)

    def worst_step(self, windows: WindowBatch, before: NodeState | None = None) -> Scores:
        """Return how far the worst step of each window is from normal by itself, float64 (n,), a squared distance.

        A score is about now: older steps fade. This is about the whole window, each of its steps alike: for windows
        that come one by one, without a stream in which every step was once the newest.

        Args:
            windows: n windows.
            before: as for ``score``.
        """
        if not len(windows):
            return np.empty(0)
        return self._by_model(self._worst_step_tile, windows, before)

    def views(self, windows: WindowBatch, before: NodeState) -> dict[str, Floats]:
        """Return what ``score`` measures, see ``ConsensusModel.views``: the input of fitting."""
        return self.model.views(*self._measured(windows, before))

    def shares(self, windows: WindowBatch, before: NodeState | None = None) -> Floats:
        """Return each feature's share of each score, float64 (n, F), at least one window; see ``NodeModel.shares``."""
        return self._by_model(self._shares_tile, windows, before, size=FLAGGED_TILE)

    def contributions(self, windows: WindowBatch, before: NodeState | None = None) -> list[tuple[Contribution, ...]]:
        """Say which features made each score and what was expected of them; see ``Detector.contributions``."""
        if not len(windows):
            return []
        shares = self.shares(windows, before)
        window, state = self._measured(windows, before)
        low, _, high = self._band(state)
        values = self._telling(windows, np.abs(self.model.rule.relative(window, state)))
        names = [self.fields[int(column)] for column in self.model.columns]
        return [ranked(names, *row) for row in zip(shares, values, low, high, strict=True)]

    def expected(self, windows: WindowBatch, before: NodeState | None = None) -> Expected:
        """Say what was expected of each step: all are measured against one baseline; see ``Expecting.expected``."""
        bands = self._band(self._given(before))
        found = np.full((3, len(windows), self.window, len(self.fields)), np.nan)
        found[..., self.model.columns] = np.stack(bands)[:, :, None, :]
        return Expected(*found)

    def classify(self, windows: WindowBatch, before: NodeState | None = None) -> list[Named]:
        """Tell the class of each anomaly where its fields and its course allow it; see ``Classifier.classify``."""
        strength = self.kind_strengths(windows, before)
        return [UNKNOWN] * len(windows) if strength is None else name_kinds(strength)

    def kind_strengths(self, windows: WindowBatch, before: NodeState | None = None) -> Floats | None:
        """Return how well each of ``kinds.KINDS`` fits, float64 (n, kinds); ``None`` without the consensus fields."""
        columns = self.model.columns
        places = columns_of([self.fields[int(column)] for column in columns])
        if places is None or self.window < RECENT:
            return None
        window, state = self._measured(windows, before)
        raw = windows.tensor()[:, -RECENT:, columns[places]].astype(np.float64)
        relative = self.model.rule.relative(window, state)[:, -RECENT:, places]
        usual = self.model.restored(self.model.rule.split(state)[0])[:, places]
        return strengths(raw, relative, usual)

    def save(self, directory: Path) -> None:
        """Write the artefact; see ``Detector.save``."""
        self.metadata = write_artefact(directory, self.metadata, {FILE: encode_model(self.model)})
        self.version = self.metadata.model_version

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read an artefact back; see ``Detector.load``."""
        artefact = read_artefact(directory, cls.name)
        model, metadata = decode_model(directory, artefact.file(FILE)), artefact.metadata
        if not np.all((model.columns >= 0) & (model.columns < len(metadata.fields))):
            raise ArtefactError(directory, f"its model takes more fields than its {len(metadata.fields)}", TRAIN_AGAIN)
        try:
            return cls(model, metadata)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ArtefactError(directory, f"its parameters cannot be used ({error!r})"[:300], TRAIN_AGAIN) from error

    def _band(self, state: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the lower end, the middle and the upper end of what is expected, float64 (n, F) each."""
        location, scale = self.model.rule.split(state)
        low, usual, high = (self.model.restored(location + side * BAND_SCALES * scale) for side in (-1.0, 0.0, 1.0))
        return low, usual, high

    def _telling(self, windows: WindowBatch, strayed: Floats) -> NDArray[np.float32]:
        """Return the value that tells a person most, float32 (n, F).

        That is the newest one where it is out of its band, else the one of the window that strayed furthest: a fault of
        some seconds ago is why the score is still high.

        Args:
            windows: n windows.
            strayed: float64 (n, window, F), how far each step is from the baseline, in scales.
        """
        place = np.where(strayed[:, -1] > BAND_SCALES, self.window - 1, np.argmax(strayed, axis=1))
        cells = windows.tensor()[:, :, self.model.columns]
        return np.take_along_axis(cells, place[:, None, :], axis=1)[:, 0]

    def _transformed(self, rows: NDArray[np.float32]) -> Floats:
        """Return raw rows (n, all features) on the scale they are measured on, float64 (n, F)."""
        return np.asarray(apply_tiled(self.model.transformed, rows, ROWS_TILE), dtype=np.float64)

    def _measured(self, windows: WindowBatch, before: NodeState | None) -> tuple[Floats, Floats]:
        """Return the transformed windows, float64 (n, window, F), and the states, float64 (n, state_width)."""
        return self._transformed_windows(windows), self._given(before)

    def _transformed_windows(self, windows: WindowBatch) -> Floats:
        rows = self._transformed(windows.tensor().reshape(-1, windows.features))
        return rows.reshape(len(windows), self.window, len(self.model.columns))

    def _given(self, before: NodeState | None) -> Floats:
        if before is None:
            raise ValueError("the consensus detector keeps a baseline a node: give it the states that advance returned")
        return before.astype(np.float64)

    def _one_step(
        self, windows: WindowBatch, state: NodeState, node: NDArray[np.int64], part: NDArray[np.int64], newest: Floats
    ) -> NodeState:
        """Move the baselines of some nodes by a step each; some begin here, or afresh. Returns those before it."""
        now = state[node].astype(np.float64)
        self._restart(now, now[:, 1] == 0.0, windows, part)
        before = now.astype(np.float32)
        moved, due = self.model.rule.moved(before.astype(np.float64), newest)
        self._restart(moved, due, windows, part)
        # What is kept is float32, so that a restored node goes on exactly as one that was never away.
        state[node] = moved
        return before

    def _restart(self, state: Floats, due: NDArray[np.bool_], windows: WindowBatch, part: NDArray[np.int64]) -> None:
        """Let the baselines that are due start from their windows, each keeping its model."""
        if due.any():
            started = self._transformed_windows(windows.take(part[due]))
            state[due, 1:] = self.model.rule.start(started)[:, 1:]

    def _by_model(
        self,
        tile: Callable[[int, Floats, Floats], Floats],
        windows: WindowBatch,
        before: NodeState | None,
        *,
        size: int = TILE,
    ) -> Floats:
        """Apply a function of transformed windows and their states, in tiles of ``size`` windows and one model each.

        See ``tiles.apply_tiled`` for why. Windows are gathered and transformed a tile at a time: what is measured fits
        the processor's cache.
        """
        state = self._given(before)
        numbers = state[:, 0]
        # By place in memory: windows that share steps follow each other.
        order = np.lexsort((windows.ends, numbers))
        rows, columns = windows.rows, self.model.columns
        shared = len(rows) <= windows.length * len(windows)  # else most rows are of no window that is asked for
        used = np.ascontiguousarray(rows[:, columns]) if shared else rows
        ages = np.arange(windows.length - 1, -1, -1)[:, None]
        models, starts = np.unique(numbers[order], return_index=True)
        results: list[Floats] = []
        for number, part in zip(models.tolist(), np.split(order, starts[1:]), strict=True):
            for start in range(0, len(part), size):
                chosen = part[start : start + size]
                padded = np.resize(chosen, size)
                # Step by step in memory: a step of all windows, then the next, so that loops are long.
                cells = used.take(windows.ends[padded] - ages, axis=0)
                steps = self.model.scaled(cells if shared else cells.take(columns, axis=2))
                results.append(tile(int(number), steps.swapaxes(0, 1), state[padded])[: len(chosen)])
        found = np.concatenate(results)
        result = np.empty_like(found)
        result[order] = found
        return result

    def _score_tile(self, number: int, window: Floats, state: Floats) -> Floats:
        """Return scores, and whether a lasting trouble may raise them, float64 (n, 2)."""
        relative = self.model.rule.relative(window, state)
        scores = self.model.scores(number, self.model.views_of(relative))
        return np.stack([scores, self.model.strained(number, relative, self.lasting_threshold)], axis=1)

    def _lasting_tile(self, number: int, window: Floats, state: Floats) -> Floats:
        return lasting(self.model.steps_alone(number, window, state), window.shape[2])

    def _shares_tile(self, number: int, window: Floats, state: Floats) -> Floats:
        return self.model.shares(number, self.model.views(window, state))

    def _readings_tile(self, number: int, window: Floats, state: Floats) -> Floats:
        return self.model.readings(number, window, state)

    def _worst_step_tile(self, number: int, window: Floats, state: Floats) -> Floats:
        return np.asarray(self.model.steps_alone(number, window, state).max(axis=1), dtype=np.float64)


def _positive(value: Any) -> float:
    number = float(value)
    if not number > 0.0:
        raise ValueError(f"{number} is not greater than 0")
    return number
