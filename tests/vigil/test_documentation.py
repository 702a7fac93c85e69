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
