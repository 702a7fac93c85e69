"""Free ports: outside the range that outgoing connections take theirs from, different, free, and nobody else's."""

import socket
import subprocess
import sys
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
    start = free_run(8)
    monkeypatch.setattr(ports, "_mine", ports._Mine())
    monkeypatch.setattr(ports, "LOWEST", start + 1)  # another block than the one it came from
    monkeypatch.setattr(ports, "_first_ephemeral", lambda: start + 5)
    with socket.socket() as taken:
        taken.bind((HOST, start + 2))
        assert [free_run(1), free_run(2)] == [start + 1, start + 3]
        with pytest.raises(OSError, match="no 1 free ports"):
            free_run(1)


@pytest.mark.skipif(sys.platform != "linux", reason="a block is leased by an abstract name")
def test_two_processes_are_given_ports_of_different_blocks() -> None:
    program = "import sys; from vigil.ports import free_ports; print(*free_ports(40)); sys.stdin.read()"
    others = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    try:
        told = [set(map(int, one.stdout.readline().split())) for one in others if one.stdout is not None]
    finally:
        for one in others:
            one.communicate()
    mine = set(free_ports(40))
    blocks = [{(port - ports.LOWEST) // ports.BLOCK for port in found} for found in [*told, mine]]
    assert sum(map(len, blocks)) == len(set().union(*blocks))


@pytest.mark.parametrize("text", ["", "words", "1024\t65535\n"])
def test_an_unreadable_or_unusable_range_means_the_usual_one(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "_mine", ports._Mine())
    (tmp_path / "range").write_text(text)
    monkeypatch.setattr(ports, "EPHEMERAL", tmp_path / "range")
    assert free_run(1) < ports.USUAL_EPHEMERAL
    monkeypatch.setattr(ports, "EPHEMERAL", tmp_path / "missing")
    assert free_run(1) < ports.USUAL_EPHEMERAL
