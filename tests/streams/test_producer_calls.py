import threading

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams import WorkerFatal
from streams.calls import AbortableError, FencedError, HungError, RetriableError, classified, within


def failing(code: int, **flags: bool) -> None:
    raise KafkaException(KafkaError(code, "why", **flags))


@pytest.mark.parametrize(
    ("code", "flags", "expected"),
    [
        (KafkaError._TRANSPORT, {"retriable": True}, RetriableError),
        (KafkaError._TIMED_OUT, {}, RetriableError),
        (KafkaError.ILLEGAL_GENERATION, {"txn_requires_abort": True}, AbortableError),
        (KafkaError._TRANSPORT, {"retriable": True, "txn_requires_abort": True}, AbortableError),
        (KafkaError._FENCED, {"fatal": True}, FencedError),
        (KafkaError.PRODUCER_FENCED, {"fatal": True}, FencedError),
        (KafkaError.INVALID_TXN_STATE, {"fatal": True}, FencedError),
        (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, {"fatal": True}, WorkerFatal),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, {}, WorkerFatal),
    ],
)
def test_an_error_comes_back_as_what_may_be_done_about_it(
    code: int, flags: dict[str, bool], expected: type[Exception]
) -> None:
    with pytest.raises(expected, match="why"):
        classified(lambda: failing(code, **flags))


def test_a_result_passes_through() -> None:
    assert classified(lambda: 5) == 5
    assert within(5, lambda: "answer") == "answer"


def test_what_a_bounded_call_raises_is_raised_here() -> None:
    with pytest.raises(KeyError, match="k"):
        within(5, lambda: {}["k"])


def test_a_call_that_does_not_come_back_ends_in_time() -> None:
    release = threading.Event()
    with pytest.raises(HungError, match="no answer within"):
        within(0.05, release.wait)
    release.set()
