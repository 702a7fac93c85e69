"""Every test here runs in an empty folder and without settings of whoever runs it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vigil.embedded import EmbeddedServers


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("VIGIL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """Kafka and Redis, shared by the tests; each makes topics of its own."""
    with EmbeddedServers() as running:
        yield running
