"""The chaos run can be trusted: its plan is the seed's, its check sees every difference, its traps spring once."""

import socket
import struct
import threading
from collections import Counter

import pytest
from fleet_samples import fleet, offline

from benchmarks.chaos.faults import LANES, Kind, plan
from benchmarks.chaos.group import _generation, _partition
from benchmarks.chaos.network import END_TRANSACTION, SEND_OFFSETS, Network, Trap
from benchmarks.chaos.verdicts import Comparison, compare_anomalies
from vigil.ports import free_ports

EXPECTED = {each.id: each for each in offline(fleet(3, range(40), faults={("n1", 35): 90.0, ("n2", 36): 70.0}))}


def test_the_same_seed_draws_the_same_faults_and_another_one_others() -> None:
    assert plan(60, 1) == plan(60, 1)
    assert plan(60, 1) != plan(60, 2)


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_fault_comes_where_there_is_room(seed: int) -> None:
    counts = Counter(fault.kind for fault in plan(60, seed))
    assert set(counts) == set(Kind)
    assert counts[Kind.KILL_IN_TRANSACTION] + counts[Kind.KILL] > 60 / 5


def test_faults_of_brokers_and_network_are_left_out_where_they_are_not_the_harness_s_own() -> None:
    kinds = {fault.kind for fault in plan(100, 1, own=False)}
    assert kinds == {kind for kind, share in LANES.items() if not share.own}
    assert Kind.KILL in kinds
    assert Kind.BROKER_KILL not in kinds


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    found = Comparison()
    compare_anomalies(EXPECTED, EXPECTED.values(), found)
    assert len(EXPECTED) == 6
    assert found.clean


def test_a_verdict_that_is_lost_repeated_changed_or_made_up_is_found() -> None:
    first, second, third, *_ = EXPECTED.values()
    published = [each for each in EXPECTED.values() if each.id != first.id] + [second]
    published[published.index(third)] = type(third)(**{**_fields(third), "score": third.score + 1e-9})
    published.append(type(third)(**{**_fields(third), "id": "0" * 32}))
    found = Comparison()
    compare_anomalies(EXPECTED, published, found)
    assert [first.id in each for each in found.lost] == [True]
    assert [second.id in each for each in found.repeated] == [True]
    assert [third.id in each for each in found.changed] == [True, False]
    assert found.changed[1].startswith("never expected")
    assert not found.clean


def _fields(one: object) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__struct_fields__}  # type: ignore[attr-defined]


def request(api: int, client: str) -> bytes:
    body = struct.pack(">hhih", api, 3, 7, len(client)) + client.encode() + b"the rest"
    return struct.pack(">i", len(body)) + body


class Broker(threading.Thread):
    """Takes one connection and what it sends."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._server = socket.create_server(("127.0.0.1", port))
        self.received = b""

    def run(self) -> None:
        connection, _ = self._server.accept()
        with connection, self._server:
            while chunk := connection.recv(1000):
                self.received += chunk


@pytest.mark.parametrize("passes", [True, False])
def test_a_trap_springs_at_one_request_of_one_client_before_or_after_the_broker_has_it(passes: bool) -> None:
    near, far = free_ports(2)
    broker, sprung = Broker(far), threading.Event()
    broker.start()
    network = Network({near: far})
    network.start()
    trap = Trap("worker-1", END_TRANSACTION, passes, sprung.set)
    network.lay(trap)
    others = [request(SEND_OFFSETS, "worker-1"), request(END_TRANSACTION, "worker-2")]
    with socket.create_connection(("127.0.0.1", near)) as worker:
        worker.sendall(b"".join(others) + request(END_TRANSACTION, "worker-1"))
        assert sprung.wait(10)
        assert not network.remove(trap), "it has sprung"
        network.reset()
        broker.join(10)
    network.stop()
    assert broker.received == b"".join(others) + (request(END_TRANSACTION, "worker-1") if passes else b"")


def test_a_group_is_looked_for_in_the_partition_that_kafka_keeps_it_in() -> None:
    assert _partition("chaos-9cdf3e", 8) == 5  # as Apache Kafka's coordinator logged it


def test_the_generation_is_read_from_what_kafka_wrote_about_the_group() -> None:
    key = struct.pack(">hh", 2, 5) + b"vigil"
    value = struct.pack(">hh", 3, 8) + b"consumer" + struct.pack(">i", 17) + b"..."
    assert _generation(key, value, "vigil") == 17
    assert _generation(key, value, "another") is None
    assert _generation(key, b"", "vigil") is None, "the group is gone"
    offset = struct.pack(">hh", 1, 5) + b"vigil" + struct.pack(">h", 1) + b"t" + struct.pack(">i", 0)
    assert _generation(offset, value, "vigil") is None
