"""Every kind of fault and every alert about vigil itself has its page, and what the pages tell to run exists."""

import re
from pathlib import Path

import pytest

from detectors.alerts.summaries import KINDS, runbook
from vigil.cli.app import COMMANDS
from vigil.simulator import FAULT_KINDS, INCIDENT_KINDS

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs/runbooks").glob("*.md"))
RULES = "".join(path.read_text() for path in sorted((ROOT / "deploy/prometheus/rules").glob("*.yml")))


def test_every_kind_and_sign_has_its_own_page() -> None:
    assert {*FAULT_KINDS, *INCIDENT_KINDS} <= KINDS
    for sign in KINDS:
        assert runbook(sign) == f"docs/runbooks/{sign}.md"
        assert (ROOT / runbook(sign)).is_file(), sign
    assert runbook("of another build") == "docs/runbooks/unusual.md"


def test_every_page_that_a_rule_names_is_there() -> None:
    named = set(re.findall(r"runbooks/([\w-]+)\.md", RULES))
    assert named
    assert named <= {path.stem for path in PAGES}


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/runbooks/README.md").read_text()
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", index)) == {path.stem for path in PAGES} - {"README"}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_commands_and_links_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    for command in re.findall(r"(?:^|`)vigil ([a-z]+)", text, re.MULTILINE):
        assert command in {one.name for one in COMMANDS}, command
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (page.parent / target).exists(), target
