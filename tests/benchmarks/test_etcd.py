"""The rig that records etcd: its plan is the seed's, labels follow from faults, its network does what it says."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.etcd.__main__ import Setup, record
from benchmarks.etcd.clients import Clients, Second, bursts
from benchmarks.etcd.cluster import Cluster, EtcdError
from benchmarks.etcd.effects import effects, ordinary
from benchmarks.etcd.faults import STRENGTHS, Injected, Kind, Planned, label, plan, split
from benchmarks.etcd.gateway import HOST
from benchmarks.etcd.proxy import PeerNetwork
from benchmarks.etcd.recorder import faults_path
from benchmarks.waiting import wait_until
from features.recordings import read_columns, read_recording
from schemas.codec import decode_record
from schemas.metrics import ConsensusMetrics
from schemas.streams import CONSENSUS
from vigil.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "benchmarks/etcd/recordings"
needs_etcd = pytest.mark.skipif(shutil.which("etcd") is None, reason="no etcd on PATH: install Debian's etcd-server")


def test_the_same_seed_draws_the_same_faults_and_another_one_others() -> None:
    assert plan(1, 1800, "weak") == plan(1, 1800, "weak")
    assert plan(1, 1800, "weak") != plan(2, 1800, "weak")


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("seed", range(5))
def test_faults_come_after_a_quiet_beginning_and_with_quiet_between_them(seed: int, strength: str) -> None:
    faults = plan(seed, 1800, strength)
    least, most = STRENGTHS[strength]
    assert faults[0].begin_s > 0.4 * 1800
    assert faults[-1].begin_s + faults[-1].lasting_s + 25 <= 1800
    assert all(12 <= fault.lasting_s <= 30 and least <= fault.intensity <= most for fault in faults)
    gaps = [after.begin_s - before.begin_s - before.lasting_s for before, after in pairwise(faults)]
    assert min(gaps) > 24.99
    assert max(gaps) < 60.01
    assert {fault.kind for fault in faults[:7]} == {fault.kind for fault in faults[7:14]} == set(Kind)


@pytest.mark.parametrize(
    ("ts_ms", "expected"),
    [(10_000, 0), (10_001, 1), (20_000, 1), (20_999, 1), (21_000, None), (35_999, None), (36_000, 0)],
)
def test_a_second_is_labelled_by_the_faults_that_were_in_it(ts_ms: int, expected: int | None) -> None:
    fault = Injected(10_000, 20_000, Kind.PAUSE, "1", 0.3)
    assert label(ts_ms, [fault]) == (expected, fault if expected else None)


def test_a_fault_that_lasts_labels_all_that_comes_and_a_later_one_ends_a_recovery() -> None:
    first, second = Injected(0, 5_000, Kind.PAUSE, "1", 0.3), Injected(9_500, None, Kind.CRASH, "0", 0.5)
    assert label(9_000, [first, second]) == (None, None)
    assert label(10_000, [first, second]) == (1, second)
    assert label(99_000, [first, second]) == (1, second)


def test_the_first_two_fifths_are_for_training() -> None:
    assert [split(ts_ms, 1_000, 100) for ts_ms in (1_000, 40_000, 41_000, 100_000)] == [
        "train",
        "train",
        "test",
        "test",
    ]


def test_bursts_are_short_and_the_seed_s() -> None:
    drawn = list(bursts(3, 1_800))
    assert drawn == list(bursts(3, 1_800))
    assert 10 < len(drawn) < 40
    assert all(2 <= end - begin <= 5 and 1.4 <= factor <= 2.2 for begin, end, factor in drawn)


def test_quantiles_are_latencies_that_were_seen() -> None:
    seen = Second([float(i) for i in range(1, 101)], waiting=0)
    assert [seen.quantile(share) for share in (0.5, 0.95, 0.99)] == [50.0, 95.0, 99.0]
    assert Second([7.0], waiting=0).quantile(0.5) == 7.0


Scene = Callable[[PeerNetwork, int, int], Awaitable[None]]


def play(scene: Scene) -> None:
    """Run a scene with a network of two members: it gets the proxy's port of member 0 and that of the member behind it.

    Member 0 answers every line with the same line; who dials is member 1, whose id is ab.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
        finally:
            writer.transport.abort()

    async def run() -> None:
        member = await asyncio.start_server(answer, HOST, 0)
        port = member.sockets[0].getsockname()[1]
        proxies = free_ports(2)
        network = PeerNetwork({proxies[0]: port, proxies[1]: port})
        network.members = {b"cd": 0, b"ab": 1}
        await network.start()
        try:
            await scene(network, proxies[0], port)
        finally:
            await network.stop()
            member.close()
            await member.wait_closed()

    asyncio.run(run())


async def dial(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection as member 1 does, and read its header back."""
    reader, writer = await asyncio.open_connection(HOST, port)
    header = b"GET /raft/stream HTTP/1.1\r\nX-Server-From: ab\r\n\r\n"
    writer.write(header)
    assert await reader.readexactly(len(header)) == header
    return reader, writer


@pytest.mark.parametrize("slowed", [0, 1], ids=["the member behind the proxy", "the member that dialled"])
def test_what_is_sent_to_a_slow_member_comes_late_and_in_order(slowed: int) -> None:
    async def scene(network: PeerNetwork, proxy: int, _: int) -> None:
        reader, writer = await dial(proxy)
        network.slow(slowed, 0.2, jitter_s=0.1)
        began = time.monotonic()
        lines = [f"{i}\n".encode() for i in range(20)]
        for line in lines:
            writer.write(line)
            await writer.drain()
        assert [await reader.readline() for _ in lines] == lines
        assert time.monotonic() - began >= 0.2
        network.slow(slowed, 0.0)
        began = time.monotonic()
        writer.write(b"again\n")
        assert await reader.readline() == b"again\n"
        assert time.monotonic() - began < 0.2
        writer.close()

    play(scene)


@pytest.mark.parametrize("member", [0, 1], ids=["the member behind the proxy", "the member that dialled"])
def test_nothing_passes_a_cut_and_everything_passes_once_it_is_mended(member: int) -> None:
    async def scene(network: PeerNetwork, proxy: int, _: int) -> None:
        reader, writer = await dial(proxy)
        network.cut(member)
        writer.write(b"held back\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.2)
        network.mend(member)
        assert await asyncio.wait_for(reader.readline(), 10) == b"held back\n"
        writer.close()

    play(scene)


def test_connections_of_others_are_not_cut() -> None:
    async def scene(network: PeerNetwork, proxy: int, _: int) -> None:
        network.cut(1)
        reader, writer = await asyncio.open_connection(HOST, proxy)
        writer.write(b"GET / HTTP/1.1\n")
        assert await asyncio.wait_for(reader.readline(), 10) == b"GET / HTTP/1.1\n"
        writer.close()

    play(scene)


def test_a_dead_member_s_proxy_closes_the_connection() -> None:
    async def run() -> None:
        proxy, nobody = free_ports(2)
        network = PeerNetwork({proxy: nobody})
        await network.start()
        reader, writer = await asyncio.open_connection(HOST, proxy)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        await network.stop()

    asyncio.run(run())


def test_a_request_that_waits_counts_with_its_age_when_none_ended() -> None:
    async def scene(_: PeerNetwork, __: int, port: int) -> None:
        clients = Clients(port)
        # The member answers with the request, which is no HTTP answer: it waits for more of it.
        began = asyncio.get_running_loop().time()
        request = asyncio.create_task(clients.put(b"{}"))
        await asyncio.sleep(0)
        seen = clients.take()
        assert seen.waiting == 1
        assert len(seen.latencies_ms) == 1
        assert 0 <= seen.latencies_ms[0] <= 1_000 * (asyncio.get_running_loop().time() - began)
        await request
        assert clients.take() == Second([], 0)
        clients.close()

    play(scene)


def test_without_etcd_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EtcdError, match="etcd-server"):
        Cluster(tmp_path, 1)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds of a real cluster: a follower that is stopped for four of them, then delay into all members."""
    out = tmp_path_factory.mktemp("etcd") / "short.jsonl.gz"
    faults = [Planned(Kind.PAUSE, 10.2, 4.0, 1.0, 0.0), Planned(Kind.CONGESTION, 15.7, 4.0, 1.0, 0.9)]
    asyncio.run(record(Setup(out, "short", 20, 1, faults), Console(stderr=True)))
    return out


@needs_etcd
@pytest.mark.slow
def test_a_real_cluster_is_recorded_and_faults_show(recorded: Path) -> None:
    columns = read_columns(recorded, stream=CONSENSUS)
    assert np.all(columns.ts_ms % 1_000 == 0)
    assert 50 <= len(columns) <= 60
    assert columns.split is not None
    assert columns.label is not None
    assert np.all(columns.label[columns.split == "train"] == 0)
    usual = ordinary(recorded)
    assert usual["train"]["rows"] == np.sum(columns.split == "train")
    assert 20 < usual["train"]["median_proposals_committed"] < 120
    pause, congestion = effects(recorded)
    assert pause["rows_missing"] >= 3
    assert pause["fewest_active"] == 2
    assert pause["highest_p99"] > 3_000
    before, during = congestion["medians"]["latency_p50"]
    assert during > before + 80


@needs_etcd
@pytest.mark.slow
def test_sigterm_ends_it_with_all_that_it_started(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.etcd", str(tmp_path / "out.jsonl.gz"), "--minutes", "5"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (tmp_path / "out.jsonl.gz").exists() or process.poll() is not None, "the first record")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.faults.json", "out.jsonl.gz"]
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path) in _text(path)]
    assert left == []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.parametrize(("name", "count"), [("e", 18), ("f", 11), ("g", 10)])
def test_a_recording_is_valid_and_labelled_by_its_faults(name: str, count: int) -> None:
    path = RECORDINGS / f"consensus_etcd_{name}.jsonl.gz"
    columns = read_columns(path, stream=CONSENSUS)
    faults = [Injected(**{**fault, "kind": Kind(fault["kind"])}) for fault in json.loads(faults_path(path).read_text())]
    assert len(faults) == count
    assert len(set(columns.node_ids.tolist())) == 3
    assert np.isfinite(columns.values).all()
    assert columns.split is not None
    assert columns.label is not None
    expected = [label(ts_ms, faults)[0] for ts_ms in columns.ts_ms.tolist()]
    assert columns.label.tolist() == [-1 if each is None else each for each in expected]
    assert set(columns.label[columns.split == "train"].tolist()) == {0}
    for _, value, _ in read_recording(path):
        record = decode_record(ConsensusMetrics, value)
        assert record.latency_p50 <= record.latency_p95 <= record.latency_p99
