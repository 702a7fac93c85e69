"""An explanation as a page of a terminal: what was said, why, whether it can be said again, and the window drawn."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from schemas.outputs import Anomaly, Contribution
from vigil.cli.anomalies import STYLES, reason
from vigil.cli.charts import Marks, chart
from vigil.explaining.figures import Explanation, FieldFigures, SilenceFigures, WindowFigures

__all__ = ["explanation_page"]

STATUS: Final = {
    "equal": "green",
    "approximate": "yellow",
    "differs": "bold red",
    "another model": "yellow",
    "impossible": "yellow",
}
SHOWN_GAPS: Final = 30


def explanation_page(explained: Explanation, *, fields: int, marks: Marks) -> Iterator[RenderableType]:
    """Yield the parts of the page, no line wider than 80 columns.

    Args:
        explained: what to show.
        fields: how many fields to draw, those that made the score first.
        marks: characters of the charts.
    """
    yield _facts(explained)
    if explained.anomaly.contributions or explained.window is not None:
        yield from ("", _contributions(explained))
    if explained.replay.status in {"approximate", "differs", "another model"}:
        yield from ("", _verdicts(explained))
    if explained.silence is not None:
        yield from ("", *_silence_chart(explained.silence, marks))
    if explained.window is not None:
        yield from ("", *_score_chart(explained, explained.window, marks))
        for field in explained.window.fields[:fields]:
            yield from ("", *_field_chart(field, explained.window, marks))


def _facts(explained: Explanation) -> Table:
    one, replay = explained.anomaly, explained.replay
    page = Table(box=None, show_header=False, pad_edge=False)
    page.add_column(style="bold", no_wrap=True)
    page.add_column(max_width=68)
    kind = f": {one.kind}" if one.kind else ""
    sure = f" (confidence {one.confidence:.0%})" if one.confidence is not None else ""
    facts = {
        "anomaly": Text(one.id + (", with which the alert began" if explained.search.alert else "")),
        "node": Text(_place(one)),
        "time": Text(f"{_time(one.ts_ms)} UTC, event time"),
        "severity": Text(f"{one.severity}{kind}{sure}", STYLES.get(one.severity, "")),
        "score": Text(_score(one, explained.silence)),
        "detector": Text(f"{one.detector}, model {one.model_version}"),
        "expected": Text(_ahead(one)),
        "why": Text(_why(one, explained.silence)),
        "replay": Text.assemble((replay.status, STATUS[replay.status]), f": {replay.reason}"),
        "runbook": Text(explained.runbook),
    }
    for name, value in facts.items():
        if value:
            page.add_row(name, value)
    return page


def _place(one: Anomaly) -> str:
    where = [f"{name} {value}" for name, value in (("cluster", one.cluster), ("region", one.region)) if value]
    return ", ".join([one.node_id, *where])


def _score(one: Anomaly, silence: SilenceFigures | None) -> str:
    if silence is not None:
        return f"{one.score:g} s without a step; up to {one.threshold:g} s are no anomaly"
    if one.threshold > 0:
        return f"{one.score:.4g}, {one.score / one.threshold:.3g} times the threshold of {one.threshold:.4g}"
    return f"{one.score:.4g}, threshold {one.threshold:.4g}"


def _ahead(one: Anomaly) -> str:
    if one.expected_in_minutes is None:
        return ""
    low, high = one.expected_in_minutes
    return f"the incident is expected in {low:.0f} to {high:.0f} minutes"


def _why(one: Anomaly, silence: SilenceFigures | None) -> str:
    if silence is None:
        return reason(one.contributions)
    said = [f"last seen {_clock(silence.last_ms)}"]
    if silence.usual_gap_s is not None:
        said.append(f"a step every {silence.usual_gap_s:.3g} s before, {silence.longest_gap_s:.3g} s at the longest")
    if silence.certain_by is not None and silence.certain_ms is not None:
        said.append(f"certain at {_clock(silence.certain_ms)} when {silence.certain_by} reported")
    back = f"back at {_clock(silence.back_ms)}" if silence.back_ms is not None else "not back"
    return "; ".join([*said, f"{back}, as far as {_clock(silence.reached_ms)}"])


def _contributions(explained: Explanation) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("field", "value", "expected", "usual", "", "share"):
        table.add_column(column, justify="left" if column in {"field", ""} else "right", no_wrap=column != "field")
    by_name = {} if explained.window is None else {each.name: each for each in explained.window.fields}
    for one in explained.anomaly.contributions:
        field = by_name.get(one.feature)
        usual = one.usual if one.usual is not None or field is None else field.usual[-1]
        way = one.direction or (field.direction if field is not None else None)
        band = ""
        if one.expected_low is not None and one.expected_high is not None:
            band = f"{one.expected_low:.4g} to {one.expected_high:.4g}"
        table.add_row(Text(one.feature), _number(one.value), band, _number(usual), way or "", _share(one.share))
    return table


def _verdicts(explained: Explanation) -> Table:
    one, replay = explained.anomaly, explained.replay
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("verdict", style="bold", no_wrap=True)
    table.add_column("as recorded", max_width=32)
    table.add_column(f"replayed ({replay.model})" if len(replay.model or "") < 20 else "replayed", max_width=32)
    rows = {
        "model": (one.model_version, replay.model_version or ""),
        "score": (_number(one.score), _number(replay.score)),
        "threshold": (_number(one.threshold), _number(replay.threshold)),
        "is": ("an anomaly", "an anomaly" if replay.flagged else "no anomaly"),
        "severity": (one.severity, replay.severity or ""),
        "kind": (one.kind or "", replay.kind or ""),
        "first": (_first(one.contributions), _first(replay.contributions)),
    }
    for name, (recorded, replayed) in rows.items():
        if recorded or replayed:
            table.add_row(name, Text(recorded), Text(replayed))
    return table


def _score_chart(explained: Explanation, window: WindowFigures, marks: Marks) -> Iterator[RenderableType]:
    replay = explained.replay
    yield Text.assemble(("score", "bold"), f" by {replay.model_version}, threshold {_number(replay.threshold)}")
    yield from chart(
        window.scores, unusual=window.flagged, level=replay.threshold, ends=_ends(window.ts_ms), marks=marks
    )


def _field_chart(field: FieldFigures, window: WindowFigures, marks: Marks) -> Iterator[RenderableType]:
    said = "made none of the score"
    if field.share > 0:
        said = f"{_share(field.share)} of the score" + (f", {field.direction}" if field.direction else "")
    yield Text.assemble((field.name, "bold"), f" {said}")
    out = [
        low is not None and high is not None and not low <= value <= high
        for value, low, high in zip(field.values, field.expected_low, field.expected_high, strict=True)
    ]
    values = [None if gap else value for value, gap in zip(field.values, window.carried, strict=True)]
    yield from chart(
        values,
        unusual=out,
        low=field.expected_low,
        high=field.expected_high,
        ends=_ends(window.ts_ms),
        marks=marks,
    )


def _silence_chart(silence: SilenceFigures, marks: Marks) -> Iterator[RenderableType]:
    gaps = [(after - before) / 1000 for before, after in pairwise(silence.steps_ms)][-SHOWN_GAPS:]
    until = silence.reached_ms if silence.back_ms is None else silence.back_ms
    gaps.append(max(silence.told_ms, until) / 1000 - silence.last_ms / 1000)
    yield Text.assemble(
        ("seconds from step to step", "bold"), f", the last one the silence; limit {silence.limit_s:g} s"
    )
    yield from chart(
        gaps,
        unusual=[gap > silence.limit_s for gap in gaps],
        level=silence.limit_s,
        ends=(_clock(silence.steps_ms[-len(gaps)]) if len(silence.steps_ms) >= len(gaps) else "", "silence"),
        marks=marks,
    )


def _ends(times: Sequence[int]) -> tuple[str, str]:
    return _clock(times[0]), _clock(times[-1])


def _first(contributions: Sequence[Contribution]) -> str:
    return ", ".join(f"{each.feature} {_share(each.share)}" for each in contributions[:2])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "< 1%"


def _clock(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%H:%M:%S")


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
