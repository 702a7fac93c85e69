"""The headers of dead letters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letters import MAX_TEXT_BYTES, DeadLetter, dead_letter_headers, read_dead_letter
from schemas.errors import ErrorCode, RecordError


def test_the_headers_say_what_was_wrong_and_where_the_record_is():
    headers = dead_letter_headers(
        ErrorCode.NOT_FINITE, "latency_p50 is nan: ü", "dwcp.metrics.node", 3, 2**40, timestamp_ms=17
    )
    assert headers == [
        ("vigil-error-code", b"not-finite"),
        ("vigil-error-text", "latency_p50 is nan: ü".encode()),
        ("vigil-topic", b"dwcp.metrics.node"),
        ("vigil-partition", b"3"),
        ("vigil-offset", b"1099511627776"),
        ("vigil-timestamp-ms", b"17"),
    ]


def test_the_records_own_headers_stay_in_front():
    headers = dead_letter_headers(ErrorCode.EMPTY, "x", "t", 0, 0, original=[("trace", b"1"), ("flag", None)])
    assert headers[:2] == [("trace", b"1"), ("flag", None)]
    assert len(headers) == 7


@given(
    st.sampled_from(ErrorCode),
    st.text(),
    st.text(st.characters(exclude_categories=("Cs",))),
    st.integers(0, 2**31),
    st.integers(0, 2**62),
    st.none() | st.integers(0, 2**62),
)
def test_what_is_written_can_be_read(code, text, topic, partition, offset, timestamp_ms):
    headers = dead_letter_headers(code, text, topic, partition, offset, timestamp_ms=timestamp_ms)
    letter = read_dead_letter(headers)
    assert letter == DeadLetter(code, letter.text, topic, partition, offset, timestamp_ms)
    if len(text) < 80 and text.isprintable():
        assert letter.text == text


@pytest.mark.parametrize("text", ["x" * 5_000, "é" * 5_000, "日" * 5_000, "\ud800" * 5_000])
def test_a_long_text_is_cut_between_characters(text):
    cut = dict(dead_letter_headers(ErrorCode.EMPTY, text, "t", 0, 0))["vigil-error-text"]
    assert MAX_TEXT_BYTES - 4 < len(cut) <= MAX_TEXT_BYTES
    assert cut.decode()


def test_a_dead_letter_sent_again_and_dead_again_tells_of_its_last_death():
    first = dead_letter_headers(ErrorCode.EMPTY, "first", "a", 0, 1)
    second = dead_letter_headers(ErrorCode.NOT_JSON, "second", "b", 2, 3, original=first)
    assert read_dead_letter(second) == DeadLetter(ErrorCode.NOT_JSON, "second", "b", 2, 3)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("vigil-error-code", b"bad-luck", "vigil-error-code is 'bad-luck'"),
        ("vigil-offset", b"minus one", "vigil-offset is 'minus one'"),
        ("vigil-partition", "٣".encode(), "vigil-partition"),
        ("vigil-topic", None, "vigil-topic is not there"),
    ],
)
def test_headers_that_are_not_vigils_are_refused_by_name(name, value, message):
    headers = [(n, value if n == name else v) for n, v in dead_letter_headers(ErrorCode.EMPTY, "x", "t", 0, 0)]
    with pytest.raises(RecordError, match=message):
        read_dead_letter(headers)
