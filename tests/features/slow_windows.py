"""The rules of docs/windows.md, one record at a time, as obvious as they can be written: what the store is held to."""

from dataclasses import dataclass, field

from features import StepStatus, WindowRules
from features.rules import SilenceRules


@dataclass
class Step:
    ts_ms: int
    row: tuple[float, ...]
    carried: bool


@dataclass
class Node:
    steps: list[Step] = field(default_factory=list)
    seen: int | None = None
    scored: int = 0  # stands for a detector's state: how many windows this node had
    alive: tuple[int, int] = (0, 0)  # how long one node, and two, had reported when this one last did
    silent: bool = False
    forgotten: bool = False


@dataclass
class Partition:
    nodes: dict[str, Node] = field(default_factory=dict)
    reached: dict[str, int] = field(default_factory=dict)
    watermark: int | None = None
    origin: int | None = None
    first: int = 0
    alive: tuple[int, int] = (0, 0)

    def advance(self, key: str, ts_ms: int, longest_jump_ms: int) -> None:
        before = self.first, self.watermark or 0
        self.reached[key] = max(self.reached.get(key, 0), ts_ms)
        times = sorted(self.reached.values())
        self.first = times[-1]
        if len(times) > 1:
            self.watermark = times[-2]
            if self.origin is None:
                self.origin = self.watermark
        moved = self.first - before[0], (self.watermark or 0) - before[1]
        one, two = (move if move <= longest_jump_ms else 0 for move in moved)
        self.alive = self.alive[0] + one, self.alive[1] + two

    def is_idle(self, node: Node, idle_ms: int) -> bool:
        if self.watermark is None or self.origin is None:
            return False
        return self.watermark - max(node.seen or 0, self.origin) > idle_ms


@dataclass
class Answer:
    status: StepStatus
    window: list[Step] | None = None
    scored: int = 0


class SlowWindows:
    def __init__(self, rules: WindowRules) -> None:
        self.rules = rules
        self.partitions: dict[int, Partition] = {}
        self.gaps = self.filled = self.restarts = self.created = self.forgotten = 0
        self.silence = SilenceRules.of(rules)
        self.silences: list[tuple[int, str, int]] = []  # record that told, key, last step
        self.returned: list[int] = []
        self.records = 0

    def append(self, partition: int, key: str, ts_ms: int, row: tuple[float, ...]) -> Answer:
        home = self.partitions.setdefault(partition, Partition())
        if self.rules.silence_ms and key in home.nodes:
            self.hear(home, key, ts_ms)
        answer = self.accept(home, key, ts_ms, row)
        home.nodes[key].alive = home.alive
        if self.rules.silence_ms:
            self.miss(home)
        self.records += 1
        self.silences.sort()
        return answer

    def hear(self, home: Partition, key: str, ts_ms: int) -> None:
        """A node's record shows how long it was silent before."""
        node, rules = home.nodes[key], self.silence
        if home.is_idle(node, self.rules.idle_ms):
            return
        others_lived = max(now - then for now, then in zip(home.alive, node.alive, strict=True)) >= rules.lived
        if node.silent:
            node.silent = False
            self.returned.append(self.records)
        elif (
            len(node.steps) >= rules.watched
            and ts_ms - node.steps[-1].ts_ms >= rules.silent
            and (others_lived or home.watermark is None)
        ):
            self.silences.append((self.records, key, node.steps[-1].ts_ms))
            self.returned.append(self.records)

    def miss(self, home: Partition) -> None:
        """What the others reported shows which nodes are missing."""
        for key, node in sorted(home.nodes.items()):
            if len(node.steps) < self.silence.watched or node.silent or node.forgotten:
                continue
            newest, watermark = node.steps[-1].ts_ms, home.watermark or 0
            one, two = (now - then for now, then in zip(home.alive, node.alive, strict=True))
            by_two = watermark - newest >= self.silence.told and two >= self.silence.silent
            by_one = home.first - newest >= 3 * self.silence.told and one >= 3 * self.silence.silent
            if by_two or by_one:
                node.silent = True
                self.silences.append((self.records, key, newest))
        for node in home.nodes.values():
            node.forgotten = home.is_idle(node, self.rules.idle_ms)

    def accept(self, home: Partition, key: str, ts_ms: int, row: tuple[float, ...]) -> Answer:
        node = home.nodes.get(key)
        if node and home.is_idle(node, self.rules.idle_ms):
            del home.nodes[key]
            self.forgotten += 1
            node = None
        home.advance(key, ts_ms, self.rules.longest_jump_ms)
        if node is None:
            node = home.nodes[key] = Node()
            self.created += 1
        if not node.steps or ts_ms > node.steps[-1].ts_ms:
            self.extend(node, ts_ms, row)
            last = len(node.steps) - 1
        else:
            if any(step.ts_ms == ts_ms and not step.carried for step in node.steps):
                return Answer(StepStatus.DUPLICATE)
            hole = self.hole(node, ts_ms)
            if hole is None:
                return Answer(StepStatus.LATE)
            self.fill(node, hole, ts_ms, row)
            last = hole
        node.seen = home.watermark
        answer = self.window(node, last)
        del node.steps[: -(self.rules.window + self.rules.late_steps)]
        return answer

    def extend(self, node: Node, ts_ms: int, row: tuple[float, ...]) -> None:
        if node.steps:
            newest = node.steps[-1]
            elapsed = ts_ms - newest.ts_ms
            distance = max(1, int(elapsed / self.rules.step_ms + 0.5))
            if distance > self.rules.gap_steps + 1:
                if elapsed > self.rules.resume_ms:
                    node.steps = []
                    self.restarts += 1
            else:
                for j in range(1, distance):
                    node.steps.append(Step(newest.ts_ms + j * elapsed // distance, newest.row, carried=True))
                    self.gaps += 1
        node.steps.append(Step(ts_ms, row, carried=False))

    def hole(self, node: Node, ts_ms: int) -> int | None:
        last = len(node.steps) - 1
        fitting = []
        for i in range(max(0, last - self.rules.late_steps), last):
            step = node.steps[i]
            older = i == 0 or node.steps[i - 1].ts_ms < ts_ms
            newer = ts_ms < node.steps[i + 1].ts_ms
            apart = abs(step.ts_ms - ts_ms)
            if step.carried and older and newer and apart <= self.rules.step_ms / 2:
                fitting.append((apart, i))
        return min(fitting)[1] if fitting else None

    def fill(self, node: Node, hole: int, ts_ms: int, row: tuple[float, ...]) -> None:
        node.steps[hole] = Step(ts_ms, row, carried=False)
        self.filled += 1
        for i in range(hole + 1, len(node.steps)):
            if not node.steps[i].carried:
                break
            node.steps[i] = Step(node.steps[i].ts_ms, row, carried=True)

    def window(self, node: Node, last: int) -> Answer:
        if last + 1 < self.rules.window:
            return Answer(StepStatus.WARMING)
        node.scored += 1
        return Answer(StepStatus.WINDOW, list(node.steps[last + 1 - self.rules.window : last + 1]), node.scored)

    def survivors(self) -> set[tuple[int, str]]:
        return {
            (number, key)
            for number, home in self.partitions.items()
            for key, node in home.nodes.items()
            if not home.is_idle(node, self.rules.idle_ms)
        }

    def evictions(self) -> int:
        held = sum(len(home.nodes) for home in self.partitions.values())
        return self.forgotten + held - len(self.survivors())
