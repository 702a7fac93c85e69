"""Charts of text fit a terminal, put values where they belong, and do without colours and Unicode."""

import pytest

from vigil.cli.charts import ASCII, UNICODE, chart, marks_for


def drawn(values: list[float | None], **options: object) -> list[str]:
    unusual = options.pop("unusual", [False] * len(values))
    return [line.plain for line in chart(values, unusual=unusual, **options)]  # type: ignore[arg-type]


def test_larger_values_are_higher_and_the_axis_names_both_ends() -> None:
    lines = drawn([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    columns = [next(i for i, line in enumerate(lines[:6]) if line[12 + 2 * step :][:1] == "○") for step in range(6)]
    assert columns == [5, 4, 3, 2, 1, 0]
    assert lines[0].split()[0] == "5"
    assert lines[5].split()[0] == "0"


def test_what_was_expected_is_shaded_and_an_unusual_value_stands_out() -> None:
    lines = drawn([1.0, 9.0], unusual=[False, True], low=[0.0, 0.0], high=[2.0, 2.0], marks=ASCII)
    assert "X" in lines[0]
    assert ":" not in lines[0]
    assert lines[5].split("| ")[1] == "::::"
    assert lines[4].split("| ")[1] == "o:::"


def test_a_level_goes_across_and_a_step_without_a_value_is_left_out() -> None:
    lines = drawn([1.0, None, 3.0], level=2.0)
    [across] = [line for line in lines if "┄" in line]
    assert across.count("┄") == 6
    assert sum(line.count("○") for line in lines) == 2


def test_values_of_several_decades_are_on_a_logarithmic_axis() -> None:
    lines = drawn([1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0])
    assert [line[12:].find("○") for line in lines[:6]] == [10, 8, 6, 4, 2, 0]
    assert "logarithmic" in lines[-1]
    assert "logarithmic" not in drawn([0.0, 100_000.0])[-1]


@pytest.mark.parametrize("count", [1, 2, 30, 33, 34, 66, 500])
def test_no_chart_is_wider_than_80_columns(count: int) -> None:
    lines = drawn(
        [float(i) for i in range(1, count + 1)], low=[0.5] * count, high=[2.0] * count, ends=("12:00:00", "12:00:30")
    )
    assert max(map(len, lines)) <= 80
    assert sum(line.count("○") for line in lines) == min(count, 66)


def test_a_flat_line_is_drawn() -> None:
    lines = drawn([3.0, 3.0])
    assert lines[5].split("│ ")[1] == "○ ○"


@pytest.mark.parametrize(("encoding", "marks"), [("utf-8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII)])
def test_marks_are_those_that_the_encoding_has(encoding: str, marks: object) -> None:
    assert marks_for(encoding) is marks
