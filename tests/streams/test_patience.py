"""How long a worker waits for Kafka while windows are restored."""

import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import WorkerFatal
from streams.patience import Patience
from streams.stopping import StopRequest


class Broker:
    """Raises an error for some seconds, then answers."""

    def __init__(self, code: int, seconds: float) -> None:
        self.code, self.until, self.calls = code, time.monotonic() + seconds, 0

    def answer(self) -> str:
        self.calls += 1
        if time.monotonic() < self.until:
            time.sleep(0.02)
            raise KafkaException(KafkaError(self.code, "in a test"))
        return "here"


@pytest.mark.parametrize("code", [KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT])
def test_the_time_in_which_no_broker_answers_does_not_count(code: int) -> None:
    broker = Broker(code, 1.5)
    patience = Patience("a topic", 0.6, stop=StopRequest(1.0), alive=lambda: None)

    assert patience.until_done("call", broker.answer) == "here"
    assert broker.calls > 3


def test_what_goes_wrong_with_a_broker_there_counts_also_after_an_outage() -> None:
    away, odd = Broker(KafkaError._TRANSPORT, 0.8), Broker(KafkaError.REQUEST_TIMED_OUT, 60)
    patience = Patience("a topic", 0.6, stop=StopRequest(1.0), alive=lambda: None)
    patience.until_done("first", away.answer)

    began = time.monotonic()
    with pytest.raises(WorkerFatal, match=r"second: windows could not be restored within 0\.6 s"):
        patience.until_done("second", odd.answer)
    assert time.monotonic() - began < 2.0


def test_a_refusal_is_not_waited_for() -> None:
    refusing = Broker(KafkaError.TOPIC_AUTHORIZATION_FAILED, 60)
    with pytest.raises(WorkerFatal, match="Kafka refuses a topic"):
        Patience("a topic", 60, stop=StopRequest(1.0), alive=lambda: None).until_done("call", refusing.answer)
    assert refusing.calls == 1
