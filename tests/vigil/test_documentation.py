"""The reference in docs/ says what the code does."""

import re
import tomllib
from pathlib import Path

import pytest

from vigil.cli.app import COMMANDS
from vigil.cli.reference import files
from vigil.configuration import load_configuration

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", list(files()), ids=lambda path: path.name)
def test_the_reference_is_current(path: Path) -> None:
    assert path.read_text() == files()[path], "run python -m vigil.cli.reference"


def test_the_readme_names_only_commands_there_are() -> None:
    names = {command.name for command in COMMANDS}
    text = (ROOT / "README.md").read_text()
    used = set(re.findall(r"^(?:\$ )?vigil ([a-z]+)", text, re.MULTILINE))
    assert used
    assert used <= names


@pytest.mark.parametrize(("page", "least"), [("configuration", 3), ("your-own-telemetry", 1)])
def test_the_examples_of_settings_are_valid(page: str, least: int) -> None:
    text = (ROOT / f"docs/{page}.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= least
    for example in examples:
        tomllib.loads(example)
        Path("example.toml").write_text(example)
        load_configuration(Path("example.toml"))


@pytest.mark.parametrize("page", ["README.md", "docs/your-own-telemetry.md"])
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def failures() -> list[str]:
    """The rows of the page on failures, without the heads of its tables."""
    lines = (ROOT / "docs/operations/failures.md").read_text().splitlines()
    return [line for line in lines if line.startswith("| ") and not line.startswith("| failure |")]


def test_each_failure_names_tests_and_faults_that_there_are() -> None:
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    faults = set(re.findall(r"^\| (`.*?`) \|", (ROOT / "docs/operations/chaos.md").read_text(), re.MULTILINE))
    known = tests | {name for cell in faults for name in re.findall(r"`(\w+)`", cell)}
    assert len(failures()) > 30
    for row in failures():
        cells = row.strip("| ").split(" | ")
        named = re.findall(r"`(\w+)`", cells[-1])
        assert len(cells) == 5, row
        assert named, f"nothing shows: {cells[0]}"
        assert set(named) <= known, f"{cells[0]}: {sorted(set(named) - known)}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs/operations").glob("*.md")), ids=lambda path: path.name)
def test_every_link_of_the_operations_pages_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert page.parent.joinpath(target).exists(), target
