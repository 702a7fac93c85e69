import io

from rich.console import Console

from streams.backlog import Pace
from vigil.cli.backlog import BacklogBar


def shown(*paces: Pace) -> str:
    out = io.StringIO()
    with BacklogBar(shown=True, console=Console(file=out, force_terminal=True, width=120)) as bar:
        for pace in paces:
            bar.show(pace)
    return out.getvalue()


def test_a_backlog_is_shown_with_its_pace_and_the_time_left() -> None:
    text = shown(Pace(900_000, 100_000, 50_000.0, 18.0, behind=True))
    assert "100000/1000000" in text
    assert "50,000 records/s, 18 s left" in text


def test_a_backlog_that_grows_promises_no_end() -> None:
    text = shown(Pace(900_000, 100_000, 50_000.0, float("inf"), behind=True))
    assert "50,000 records/s" in text
    assert "left" not in text


def test_without_a_backlog_there_is_no_bar() -> None:
    assert shown(Pace(10, 0, 5.0, 0.0, behind=False)) == ""


def test_the_bar_is_gone_when_the_backlog_is() -> None:
    text = shown(Pace(9_000, 1_000, 5_000.0, 2.0, behind=True), Pace(0, 0, 5_000.0, 0.0, behind=False))
    assert "catching up" in text
    assert text.rstrip().endswith("\x1b[2K"), "the line is cleared"
