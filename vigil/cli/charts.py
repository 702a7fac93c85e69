"""Small plots of text, for a terminal or a pipe: values over steps, with the range that was expected."""

from collections.abc import Sequence
from math import isfinite, log10
from typing import Final, NamedTuple

from rich.text import Text

__all__ = ["Marks", "chart", "marks_for"]

HEIGHT: Final = 6
LABEL: Final = 9  # columns for numbers at the axis
WIDEST: Final = 66  # columns for steps: a chart fits in 80 columns
DECADES: Final = 1.5  # from so many on, positive numbers are drawn on a logarithmic axis

Numbers = Sequence[float | None]


class Marks(NamedTuple):
    """Characters of a chart: a usual value, an unusual one, the expected range, a level, the axis and its corner."""

    usual: str
    unusual: str
    expected: str
    level: str
    axis: str
    corner: str
    floor: str


UNICODE: Final = Marks("○", "●", "░", "┄", "│", "└", "─")
ASCII: Final = Marks("o", "X", ":", "-", "|", "+", "-")


def marks_for(encoding: str) -> Marks:
    """Choose characters that a terminal or file of this encoding can show."""
    try:
        "".join(UNICODE).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def chart(
    values: Numbers,
    *,
    unusual: Sequence[bool | None],
    low: Numbers = (),
    high: Numbers = (),
    level: float | None = None,
    ends: tuple[str, str] = ("", ""),
    marks: Marks = UNICODE,
) -> list[Text]:
    """Draw n values, the oldest at the left; lines of at most 80 columns.

    Args:
        values: n of them, ``None`` for none.
        unusual: which are to stand out.
        low, high: n each, the range that was expected; empty, or ``None``, where it is not known.
        level: a line across.
        ends: what stands under the first and the last value.
        marks: the characters.
    """
    shown = slice(max(0, len(values) - WIDEST), None)
    values, unusual, low, high = values[shown], unusual[shown], low[shown], high[shown]
    scale = _Scale.of([*values, *low, *high, level])
    width = 2 if 2 * len(values) <= WIDEST else 1
    rows = [[" "] * (width * len(values)) for _ in range(HEIGHT)]
    styles = [[""] * (width * len(values)) for _ in range(HEIGHT)]
    for i, (below, above) in enumerate(zip(low, high, strict=True)):
        if below is not None and above is not None:
            for row in range(scale.row(below), scale.row(above) + 1):
                for column in range(i * width, (i + 1) * width):
                    rows[row][column], styles[row][column] = marks.expected, "dim"
    if level is not None:
        rows[scale.row(level)] = [marks.level] * (width * len(values))
        styles[scale.row(level)] = ["dim"] * (width * len(values))
    for i, value in enumerate(values):
        if value is not None:
            row, out = scale.row(value), bool(unusual[i])
            rows[row][i * width] = marks.unusual if out else marks.usual
            styles[row][i * width] = "bold red" if out else ""
    return _lines(rows, styles, scale, ends, marks)


class _Scale(NamedTuple):
    """From a value to a row, 0 the lowest."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, given: Numbers) -> "_Scale":
        known = [each for each in given if each is not None and isfinite(each)] or [0.0]
        low, high = min(known), max(known)
        if low > 0 and log10(high / low) >= DECADES:
            return cls(low, high, logarithmic=True)
        return cls(low, high, logarithmic=False)

    def row(self, value: float) -> int:
        if self.high <= self.low:
            return 0
        share = (value - self.low) / (self.high - self.low)
        if self.logarithmic:
            share = log10(value / self.low) / log10(self.high / self.low)
        return min(HEIGHT - 1, max(0, round(share * (HEIGHT - 1))))


def _lines(
    rows: list[list[str]], styles: list[list[str]], scale: _Scale, ends: tuple[str, str], marks: Marks
) -> list[Text]:
    lines = []
    for row in reversed(range(HEIGHT)):
        at = f"{scale.high:.4g}" if row == HEIGHT - 1 else f"{scale.low:.4g}" if row == 0 else ""
        line = Text(f"{at:>{LABEL}} {marks.axis} ")
        for mark, style in zip(rows[row], styles[row], strict=True):
            line.append(mark, style or None)
        line.rstrip()
        lines.append(line)
    columns = len(rows[0])
    note = " logarithmic " if scale.logarithmic else " "
    lines.append(Text(f"{'':>{LABEL}} {marks.corner}{marks.floor * (columns + 1)}", style="dim"))
    between = f"{note:^{max(0, columns - len(ends[0]) - len(ends[1]))}}"
    lines.append(Text(f"{'':>{LABEL + 3}}{ends[0]}{between}{ends[1]}".rstrip(), style="dim"))
    return lines
