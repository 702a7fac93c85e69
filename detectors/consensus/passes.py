"""Passes of a recording through windows, rounds and baselines, as in the worker: what a fit learns from.

A pass learns the fleet's scales and model and a model of each node that has enough steps of its own, or reads what a
model says of steps that it has not seen.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import Metadata, ThresholdFit, data_hash, library_versions
from detectors.consensus.baseline import BaselineRule
from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.learn import NormalViews, average, learn_model, moments
from detectors.consensus.model import ConsensusModel, Floats
from detectors.offline import NEVER_MS, advance_states
from detectors.protocol import NodeState
from features.batch import WindowBatch
from features.windows import WindowStore
from schemas.streams import RESUME_STEPS

CHUNK: Final = 8192
MAX_FLEET_VIEWS: Final = 100_000
MAX_OWN_VIEWS: Final = 10_000
MAX_KNOWN_NODES: Final = 64
MIN_KNOWN_STEPS: Final = 200
MIN_LOG_SCALE: Final = 0.005  # a count that never moved: any change of it is news, and weighs accordingly
MIN_EVENT_SCALE: Final = 0.05  # a count of events that hardly ever happen: one of them is news, ten times less
MOSTLY: Final = 0.99
NOT_YET: Final = ThresholdFit(1e12, "none yet")  # while fitting, no step is anomalous
Progress = Callable[[int, int], None]


class FitError(ValueError):
    """The recording cannot carry a model: no usable steps, or none with a whole window."""


@dataclass(frozen=True, slots=True)
class FitSettings:
    """What a user may choose.

    Attributes:
        false_alarms_per_node_day: what the threshold aims at.
        step_ms: nominal milliseconds between a node's steps.
        window: steps in a window.
        know_nodes: give each node of the recording a model of its own, when they are at most ``MAX_KNOWN_NODES``; other
            nodes are scored by the fleet's model.
    """

    false_alarms_per_node_day: float = 1.0
    step_ms: int = 1000
    window: int = 30
    know_nodes: bool = True


@dataclass(frozen=True, slots=True)
class NormalSteps:
    """Normal telemetry to fit on, in log order.

    Attributes:
        fields: names of the features.
        keys: n node ids.
        ts_ms: int64 (n,), event time.
        rows: float32 (n, len(fields)).
        used: indices of the features that the detector looks at; codes of modes and types do not belong.
        log: for each used feature, whether it is measured on a log1p scale (non-negative counts and latencies).
    """

    fields: tuple[str, ...]
    keys: Sequence[str]
    ts_ms: NDArray[np.int64]
    rows: NDArray[np.float32]
    used: tuple[int, ...]
    log: tuple[bool, ...]

    def take(self, chosen: NDArray[np.bool_]) -> "NormalSteps":
        """Return the chosen steps."""
        keys = np.asarray(self.keys)[chosen].tolist()
        return replace(self, keys=keys, ts_ms=self.ts_ms[chosen], rows=self.rows[chosen])


def know(nodes: int, settings: FitSettings) -> bool:
    """Return whether nodes get models of their own."""
    return settings.know_nodes and nodes <= MAX_KNOWN_NODES


def fleet_scale(values: Floats, keys: Sequence[str], log: NDArray[np.bool_]) -> Floats:
    """Return each feature's within-node standard deviation, root mean square over the nodes.

    Args:
        values: float64 (n, F), transformed.
        keys: n node ids.
        log: bool (F,), features on a log1p scale; their scale is at least ``MIN_LOG_SCALE``, or ``MIN_EVENT_SCALE``
            where they are zero mostly (leader changes). Others: at least a thousandth of their overall deviation;
            ``MIN_LOG_SCALE`` where they never move.
    """
    _, node = np.unique(np.asarray(keys), return_inverse=True)
    count = np.bincount(node)[:, None]
    mean = np.stack([np.bincount(node, column) for column in values.T], axis=1) / count
    square = np.stack([np.bincount(node, column) for column in ((values - mean[node]) ** 2).T], axis=1) / count
    scale = np.sqrt(np.mean(square, axis=0))
    overall = np.std(values, axis=0)
    least_log = np.where(np.mean(values == 0.0, axis=0) > MOSTLY, MIN_EVENT_SCALE, MIN_LOG_SCALE)
    least = np.where(log, least_log, np.where(overall > 0.0, 1e-3 * overall, MIN_LOG_SCALE))
    return np.asarray(np.maximum(scale, least), dtype=np.float64)


class Passes:
    """Passes over recordings, with their common progress."""

    def __init__(self, settings: FitSettings, total: int, progress: Progress) -> None:
        self._settings = settings
        self._total = total
        self._progress = progress
        self._done = 0

    def learn(self, steps: NormalSteps) -> ConsensusModel:
        """Learn the fleet's scales and model, and a model of each node that is to be known."""
        columns, log = np.array(steps.used, dtype=np.int64), np.array(steps.log, dtype=np.bool_)
        blank = ConsensusModel(columns, log, BaselineRule(np.ones(len(columns))))
        values = blank.transformed(steps.rows)
        model = replace(blank, rule=BaselineRule(fleet_scale(values, steps.keys, log)))
        names, node = np.unique(np.asarray(steps.keys), return_inverse=True)
        models = [learn_model(self._fleet_views(model, steps))]
        known: dict[str, tuple[int, Floats]] = {}
        if know(len(names), self._settings):
            places = np.flatnonzero(np.bincount(node) >= MIN_KNOWN_STEPS).tolist()
            location = {place: values[node == place].mean(axis=0) for place in places}
            usual = [moments(self._own_views(model, steps.take(node == place), location[place])) for place in places]
            for place in places:
                own = self._own_views(model, steps.take(node == place), location[place])
                models.append(learn_model(own, average(usual)))
                known[str(names[place])] = (len(models) - 1, location[place])
        return replace(model, models=tuple(models), known=known)

    def readings(self, model: ConsensusModel, steps: NormalSteps, chosen: NDArray[np.bool_]) -> list[Floats]:
        """Return each node's readings of the chosen steps in order, float64 (n_i, 3).

        See ``ConsensusDetector.readings``. All steps of their nodes go through windows and baselines, so that the first
        chosen ones have whole windows behind them.
        """
        _, node = np.unique(np.asarray(steps.keys), return_inverse=True)
        theirs = np.isin(node, node[chosen])
        steps, chosen = steps.take(theirs), chosen[theirs]
        draft = ConsensusDetector(model, metadata_of(steps, self._settings, NOT_YET, {}))
        slots, readings = [], []
        for start, windows, before in self._advanced(draft, steps):
            kept = np.flatnonzero(chosen[start + windows.records])
            if len(kept):
                slots.append(windows.slots[kept])
                readings.append(draft.readings(windows.take(kept), before[kept]))
        if not slots:
            return []
        slot, found = np.concatenate(slots), np.concatenate(readings)
        return [found[slot == each] for each in np.unique(slot)]

    def _fleet_views(self, model: ConsensusModel, steps: NormalSteps) -> NormalViews:
        """Return views of all nodes as one that nobody knows has them, thinned to a bounded number."""
        draft = ConsensusDetector(model, metadata_of(steps, self._settings, NOT_YET, {}))
        stride = max(1, len(steps.rows) // MAX_FLEET_VIEWS)
        parts: list[NormalViews] = []
        for _, windows, before in self._advanced(draft, steps):
            order = windows.end_ms() // self._settings.step_ms
            # Nodes take turns, so that a thinned fleet keeps all of them.
            keep = np.flatnonzero((order + windows.slots) % stride == 0)
            views = draft.views(windows.take(keep), before[keep])
            parts.append(NormalViews(windows.slots[keep], order[keep], views))
        return self._joined(parts)

    def _own_views(self, model: ConsensusModel, steps: NormalSteps, location: Floats) -> NormalViews:
        """Return the views of one node against its settled baseline."""
        draft = ConsensusDetector(model, metadata_of(steps, self._settings, NOT_YET, {}))
        settled = model.rule.known(1, location).astype(np.float32)
        stride = max(1, len(steps.rows) // MAX_OWN_VIEWS)
        parts: list[NormalViews] = []
        for _, _, windows in self._windows(steps, 0, weight=0):
            order = windows.end_ms() // self._settings.step_ms
            kept = windows.take(np.flatnonzero(order % stride == 0))
            views = draft.views(kept, np.tile(settled, (len(kept), 1)))
            parts.append(NormalViews(kept.slots, kept.end_ms() // self._settings.step_ms, views))
        return replace(self._joined(parts), stride=stride)

    def _advanced(self, draft: ConsensusDetector, steps: NormalSteps) -> Iterator[tuple[int, WindowBatch, NodeState]]:
        """Yield windows with the step that record 0 is and the states before them, as the worker has them."""
        for start, store, windows in self._windows(steps, draft.state_width):
            before = advance_states(draft, store, windows)
            if before is not None:
                yield start, windows, before

    def _joined(self, parts: Sequence[NormalViews]) -> NormalViews:
        if not sum(len(part.node) for part in parts):
            raise FitError(
                f"no node has {self._settings.window} steps in a row: give a longer recording, or check step_ms"
            )
        names = parts[0].views
        return NormalViews(
            np.concatenate([part.node for part in parts]),
            np.concatenate([part.order for part in parts]),
            {name: np.concatenate([part.views[name] for part in parts]) for name in names},
        )

    def _windows(
        self, steps: NormalSteps, state_width: int, weight: int = 1
    ) -> Iterator[tuple[int, WindowStore, WindowBatch]]:
        store = WindowStore(
            len(steps.fields),
            window=self._settings.window,
            step_ms=self._settings.step_ms,
            idle_ms=NEVER_MS,
            state_width=state_width,
            resume_ms=RESUME_STEPS * self._settings.step_ms,
        )
        for start in range(0, len(steps.rows), CHUNK):
            part = slice(start, start + CHUNK)
            nobody = np.zeros(len(steps.rows[part]), dtype=np.int32)
            yield start, store, store.append(nobody, steps.keys[part], steps.ts_ms[part], steps.rows[part]).windows
            self._done += weight * len(nobody)
            self._progress(min(self._done, self._total), self._total)


def metadata_of(
    steps: NormalSteps, settings: FitSettings, threshold: ThresholdFit, parameters: dict[str, Any]
) -> Metadata:
    """Return what an artefact says of itself."""
    training = {
        "data_sha256": data_hash(steps.ts_ms, steps.rows),
        "steps": len(steps.rows),
        "nodes": len(set(steps.keys)),
        **asdict(settings),
    }
    return Metadata(
        detector=ConsensusDetector.name,
        fields=steps.fields,
        window=settings.window,
        threshold=threshold,
        parameters=parameters,
        training=training,
        versions=library_versions("numpy"),
    )
