"""Free ports: outside the range that outgoing connections take theirs from, different, and free."""

import socket
from pathlib import Path

import pytest

from vigil import ports
from vigil.ports import HOST, free_ports, free_run


def test_ports_are_free_different_and_not_those_of_outgoing_connections() -> None:
    found = free_ports(200)
    assert len(set(found)) == 200
    first = int(ports.EPHEMERAL.read_text().split()[0]) if ports.EPHEMERAL.exists() else ports.USUAL_EPHEMERAL
    assert all(ports.LOWEST <= port < first for port in found)
    for port in found:
        with socket.socket() as one:
            one.bind((HOST, port))


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    start = free_run(3)
    monkeypatch.setattr(ports, "_given", set())
    monkeypatch.setattr(ports, "LOWEST", start)
    monkeypatch.setattr(ports, "_first_ephemeral", lambda: start + 3)
    with socket.socket() as taken:
        taken.bind((HOST, start + 1))
        assert {free_run(1), free_run(1)} == {start, start + 2}
        with pytest.raises(OSError, match="no 1 free ports"):
            free_run(1)
        with pytest.raises(OSError, match="no 2 free ports in a row"):
            free_run(2)


@pytest.mark.parametrize("text", ["", "words", "1024\t65535\n"])
def test_an_unreadable_or_unusable_range_means_the_usual_one(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "range").write_text(text)
    monkeypatch.setattr(ports, "EPHEMERAL", tmp_path / "range")
    assert free_run(1) < ports.USUAL_EPHEMERAL
    monkeypatch.setattr(ports, "EPHEMERAL", tmp_path / "missing")
    assert free_run(1) < ports.USUAL_EPHEMERAL
