"""Draws what each kind of fault looks like, for docs/runbooks: fields, and the score against its threshold.

    python -m benchmarks.runbook_plots [--out DIR] [--only KIND ...]

Kinds that were injected into a real etcd cluster come from benchmarks/etcd/recordings, the others from the simulator,
the same each time. Scores are the shipped detectors', by the code path of the worker; what came before the fault is
scored too, so that baselines are those of a running system.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.small_png import save_small
from detectors.catalogue import load_detectors
from detectors.offline import Steps, score_steps
from features.recordings import read_recording
from schemas.codec import RecordCodec
from schemas.streams import CONSENSUS, NODE, Stream
from vigil.simulator import ConsensusFleet, Fault, FaultPlan, NodeFleet, simulate_consensus, simulate_nodes

__all__ = ["SCENES", "Scene", "draw"]

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "docs" / "images" / "runbooks"
RECORDINGS: Final = ROOT / "benchmarks" / "etcd" / "recordings"
START_MS: Final = 1_760_000_000_000
MINUTE_MS: Final = 60_000
SEED: Final = 7
COLOURS: Final = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#bcbd22")
_LOWEST: Final = 1e-3
Records = list[tuple[bytes, bytes, int]]


@dataclass(frozen=True, slots=True)
class Played:
    """Telemetry and its fault.

    Attributes:
        records: key, value, event time.
        stream: what they are.
        start_ms, end_ms: of the fault.
        nodes: those that are drawn; all when empty.
        source: where it comes from, for the title.
    """

    records: Records
    stream: Stream
    start_ms: int
    end_ms: int
    nodes: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Scene:
    """A kind of fault, and how it is shown.

    Attributes:
        fields: drawn above the score.
        play: makes the telemetry.
        before_s, after_s: shown around the fault, seconds.
    """

    fields: tuple[str, ...]
    play: Callable[[], Played]
    before_s: float = 30.0
    after_s: float = 40.0


def _recorded(name: str, kind: str, intensity: float) -> Callable[[], Played]:
    """Take the fault of a kind and intensity out of a recording."""

    def play() -> Played:
        told = msgspec.json.decode((RECORDINGS / f"consensus_etcd_{name}.faults.json").read_bytes())
        place = next(i for i, one in enumerate(told) if one["kind"] == kind and round(one["intensity"], 3) == intensity)
        start_ms, end_ms = told[place]["start_ms"], told[place]["end_ms"]
        until = told[place + 1]["start_ms"] - 2_000 if place + 1 < len(told) else end_ms + 2 * MINUTE_MS
        path = RECORDINGS / f"consensus_etcd_{name}.jsonl.gz"
        records = [record for record in read_recording(path) if record[2] < until]
        source = f"recorded etcd cluster, intensity {intensity:g}"
        return Played(records, CONSENSUS, start_ms, end_ms, (), source)

    return play


def _consensus(kind: str, intensity: float = 1.0) -> Callable[[], Played]:
    def play() -> Played:
        fleet = ConsensusFleet(clusters=1, members=5, name="sim")
        [(cluster, members)] = fleet.layout.items()
        start = START_MS + 15 * MINUTE_MS
        target = "cluster" if kind == "quorum_loss" else sorted(members)[2]
        fault = Fault(start, start + 30_000, kind, cluster, target, intensity)
        simulation = simulate_consensus(fleet, 17 * 60, SEED, START_MS, FaultPlan((fault,)))
        words = f"simulated, intensity {intensity:g}"
        return Played(list(simulation.records()), CONSENSUS, fault.start_ms, fault.end_ms, (), words)

    return play


def _node(kind: str) -> Callable[[], Played]:
    def play() -> Played:
        fleet = NodeFleet(nodes=8, name="node")
        node, other = list(fleet.layout)[3], list(fleet.layout)[5]
        start = START_MS + 400 * MINUTE_MS
        fault = Fault(start, start + 60 * MINUTE_MS, kind, fleet.layout[node], node, 1.0)
        simulation = simulate_nodes(fleet, 560, SEED, START_MS, [fault])
        [found] = simulation.faults
        records = list(simulation.records())
        return Played(records, NODE, found.start_ms, found.end_ms, (node, other), "simulated, and a peer")

    return play


def _incident(*fields: str) -> Callable[[str], Scene]:
    return lambda kind: Scene(fields, _node(kind), 5_400.0, 3_000.0)


SCENES: Final[dict[str, Scene]] = {
    "network_congestion": Scene(("latency_p50", "latency_p99"), _recorded("e", "network_congestion", 0.901)),
    "leader_election_storm": Scene(("leader_changes", "latency_p99"), _recorded("i", "leader_election_storm", 0.903)),
    "queue_overflow": Scene(("proposals_committed", "latency_p99"), _recorded("i", "queue_overflow", 0.874)),
    "member_down": Scene(("active_nodes", "proposals_committed"), _recorded("e", "member_crash", 0.889)),
    "leader_changed": Scene(("leader_changes", "latency_p99"), _recorded("e", "partition_leader", 0.982)),
    "slow": Scene(("latency_p50", "latency_p99"), _recorded("i", "cpu_contention", 0.866)),
    "unusual": Scene(("proposals_committed", "latency_p99"), _recorded("i", "follower_pause", 0.977)),
    "peer_missing": Scene(("active_nodes", "latency_p99"), _recorded("f", "member_crash", 0.464)),
    "byzantine_attack": Scene(("proposals_committed", "proposals_pending"), _consensus("byzantine_attack")),
    "own_count": Scene(("proposals_committed", "latency_p99"), _consensus("byzantine_attack", 0.3)),
    "quorum_loss": Scene(("active_nodes", "proposals_committed"), _consensus("quorum_loss")),
    "network_degradation": _incident("packet_loss_rate", "latency_p99")("network_degradation"),
    "disk_degradation": _incident("disk_io", "latency_p99")("disk_degradation"),
    "overload": _incident("cpu_usage", "latency_p99")("overload"),
    "memory_leak": _incident("memory_usage", "error_rate")("memory_leak"),
    "sudden_crash": _incident("availability_score", "health_check_failures")("sudden_crash"),
    "gray_failure": _incident("error_rate", "latency_p99")("gray_failure"),
    "dependency_outage": _incident("timeout_rate", "error_rate")("dependency_outage"),
}
"""By kind, as the runbooks are named."""


def draw(kind: str, path: Path) -> None:
    """Draw one kind to a PNG."""
    scene = SCENES[kind]
    played = scene.play()
    decoded = RecordCodec(played.stream).decode([one[0] for one in played.records], [one[1] for one in played.records])
    [detector] = load_detectors(played.stream)
    scored = score_steps(detector, Steps(decoded.keys, decoded.ts_ms, decoded.rows, played.stream.step_ms))
    unit = 1_000 if played.stream is CONSENSUS else MINUTE_MS
    x = (decoded.ts_ms - played.start_ms) / unit
    low, high = -1_000 * scene.before_s / unit, (played.end_ms - played.start_ms + 1_000 * scene.after_s) / unit
    figure = Figure(figsize=(8.4, 4.6), dpi=90, layout="constrained")
    axes = list(figure.subplots(len(scene.fields) + 1, 1, sharex=True))
    keys = np.array(decoded.keys)
    names = played.nodes or tuple(sorted(set(decoded.keys)))
    for name, colour in zip(names, COLOURS, strict=False):
        mine = (keys == name) & (x >= low) & (x <= high)
        values = [decoded.rows[mine, played.stream.features.index(field)] for field in scene.fields]
        _node_lines(axes, x[mine], [*values, np.maximum(scored.scores[mine], _LOWEST)], name, colour)
        flagged = mine & scored.flagged
        axes[-1].plot(x[flagged], np.maximum(scored.scores[flagged], _LOWEST), "o", markersize=2.6, color=colour)
    _finish(axes, scene.fields, float(detector.threshold), (0, (played.end_ms - played.start_ms) / unit), (low, high))
    axes[0].set_title(f"{kind}, {played.source}", fontsize=8.5, loc="left")
    said = "seconds" if unit == 1_000 else "minutes"
    axes[-1].set_xlabel(f"{said} since the fault began; it is shaded, dots are flagged windows", fontsize=8)
    save_small(figure, path, colours=48)


def _node_lines(
    axes: Sequence[Any], x: NDArray[np.float64], rows: Sequence[NDArray[Any]], name: str, colour: str
) -> None:
    for axis, values in zip(axes, rows, strict=True):
        axis.plot(x, values, linewidth=1.1, color=colour, label=name)


def _finish(
    axes: Sequence[Any], fields: Sequence[str], threshold: float, fault: tuple[float, float], shown: tuple[float, float]
) -> None:
    for axis, label in zip(axes, (*fields, "score"), strict=True):
        axis.axvspan(*fault, color="tab:red", alpha=0.10, linewidth=0)
        axis.set_ylabel(label, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(color="#e6e6e6", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_yscale("log")
    axes[-1].axhline(threshold, color="tab:red", linewidth=1, linestyle="--")
    axes[-1].text(shown[0], threshold, " threshold", color="tab:red", fontsize=7, va="bottom")
    axes[-1].set_xlim(*shown)
    axes[0].legend(fontsize=7, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=5, frameon=False, borderaxespad=0.1)


def main() -> None:
    """Draw all, or some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures (docs/images/runbooks)")
    parser.add_argument("--only", nargs="+", choices=sorted(SCENES), metavar="KIND", help="these kinds alone")
    asked = parser.parse_args()
    for kind in asked.only or SCENES:
        path = asked.out / f"{kind}.png"
        draw(kind, path)
        print(f"{path}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
