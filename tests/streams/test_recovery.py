"""Windows and detector states come back from committed state alone, and verdicts are those of an undisturbed run."""

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from state_log import KeptByKafka, Reader, everything, random_log, undisturbed

from streams import StateConfig

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def live_through(kafka: KeptByKafka, random: Random, config: StateConfig, *, trouble: float) -> int:
    """Two workers share the partitions until all is committed, with crashes and moves; returns how many there were."""
    events = 0
    owners = dict.fromkeys(kafka.logs, 0)
    workers = [Reader(kafka, config), Reader(kafka, config)]
    for partition, owner in owners.items():
        workers[owner].take(partition)
    while any(kafka.offsets.get(p, 0) < len(log) for p, log in kafka.logs.items()):
        owner = random.randrange(2)
        batch = workers[owner].read(random, random.choice([1, 2, 5, 20]))
        if random.random() >= trouble:
            if batch.offsets:
                kafka.commit(batch)
            continue
        events += 1
        if batch.offsets and random.random() < 0.5:
            kafka.commit(batch)
            partition = random.choice(list(owners))
            workers[owners[partition]].give_up(partition)
            owners[partition] = random.randrange(2)
            workers[owners[partition]].take(partition, behind=random.choice([0, 0, 1, 3]))
        else:
            workers[owner] = Reader(kafka, config)
            for partition in [p for p, one in owners.items() if one == owner]:
                workers[owner].take(partition, behind=random.choice([0, 0, 1, 3]))
    return events


@settings(PATIENT, max_examples=120)
@given(
    random=st.randoms(use_true_random=True),
    every=st.integers(1, 6),
    replay=st.sampled_from([1, 3, 10, 1000]),
    size=st.integers(0, 150),
)
def test_crashes_and_moves_anywhere_change_no_verdict(random: Random, every: int, replay: int, size: int) -> None:
    logs = {0: random_log(random, size), 1: random_log(random, size // 2)}
    kafka = KeptByKafka(logs)
    live_through(kafka, random, StateConfig(every_steps=every, replay_records=replay), trouble=0.3)
    assert everything(kafka.anomalies) == everything(undisturbed(logs))
