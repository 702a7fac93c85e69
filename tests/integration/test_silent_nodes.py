"""A node that stops reporting, through a real broker: told once through restarts, shown while it lasts."""

from fleet_samples import START_MS, Telemetry, consensus, message, offline, verdicts
from rig import Rig, wait_until

# In every partition there is a node beside these that vouches for the time.
SILENT = {"n2": range(40, 60), "n6": range(50, 57), "n7": range(45, 200)}


def fleet_with_silences(steps: range) -> list[Telemetry]:
    return [
        message(consensus(f"n{node}", step))
        for step in steps
        for node in range(12)
        if step not in SILENT.get(f"n{node}", ())
    ]


def test_each_silence_is_told_once_through_restarts_and_as_offline(rig: Rig) -> None:
    steps = [range(44), range(44, 49), range(49, 58), range(58, 130)]
    for part in map(fleet_with_silences, steps):
        rig.produce(part)
        with rig.running(batch_max=40) as thread:
            thread.wait_for_records(len(part))
    found = rig.anomalies()
    assert [(each.detector, each.kind, each.severity) for each in found] == [("silence", "member_down", "critical")] * 3
    assert {each.node_id: each.ts_ms - START_MS for each in found} == {"n2": 46_000, "n6": 56_000, "n7": 51_000}
    assert {each.cluster for each in found} == {"alpha"}
    assert verdicts(found) == verdicts(offline(fleet_with_silences(range(130))))
    sources = {(each.partition(), each.offset()): each.value() for each in rig.read("consensus")}
    last = [message(consensus(node, step)).value for node, step in (("n2", 39), ("n6", 49), ("n7", 44))]
    assert {sources[each.source.partition, each.source.offset] for each in found} == set(last)


def test_the_view_shows_who_is_silent_until_the_node_is_back(bootstrap: str, redis_url: str) -> None:
    rig = Rig(bootstrap, redis_url)
    client, active = rig.client(), f"{rig.name}:active:critical"
    before, after = fleet_with_silences(range(58)), fleet_with_silences(range(58, 61))
    rig.create_topics(partitions=1)
    rig.produce(before)
    with rig.running() as thread:
        thread.wait_for_records(len(before))
        wait_until(lambda: set(client.zrange(active, 0, -1)) == {"silence:n2", "silence:n7"}, "two silent nodes")
        silent = {"stream": "consensus"}
        assert thread.worker.registry.get_sample_value("vigil_silent_nodes", silent) == 2
        rig.produce(after)
        thread.wait_for_records(len(before) + len(after))
        wait_until(lambda: set(client.zrange(active, 0, -1)) == {"silence:n7"}, "one silent node")
        assert thread.worker.registry.get_sample_value("vigil_silent_nodes", silent) == 1
    assert client.hget(f"{rig.name}:verdict:silence:n2", "severity") == ""
    assert client.hget(f"{rig.name}:verdict:silence:n2", "anomaly_severity") == "critical"
