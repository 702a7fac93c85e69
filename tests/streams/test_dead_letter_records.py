from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letters import read_dead_letter
from schemas.errors import ErrorCode
from streams.dead_letters import ENVELOPE_BYTES, DeadLetter, dead_letter_record


def letter(key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...] = ()) -> DeadLetter:
    return DeadLetter("metrics", 3, 17, key, value, ErrorCode.NOT_JSON, "no JSON", headers, 1_750_000_000_000)


def test_key_and_value_stay_as_they_are_and_the_headers_say_what_was_wrong() -> None:
    record = dead_letter_record(letter(b"k\xff", b"\x00v"), "dead", max_bytes=1024)
    assert (record.topic, record.key, record.value) == ("dead", b"k\xff", b"\x00v")
    said = read_dead_letter(
        [(name, bytes(value or b"", "utf8") if isinstance(value, str) else value) for name, value in record.headers]
    )
    assert (said.code, said.text, said.topic, said.partition, said.offset, said.timestamp_ms) == (
        ErrorCode.NOT_JSON,
        "no JSON",
        "metrics",
        3,
        17,
        1_750_000_000_000,
    )
    assert "vigil-value-bytes" not in dict(record.headers)


def test_a_tombstone_without_key_stays_one() -> None:
    record = dead_letter_record(letter(None, None), "dead", max_bytes=1024)
    assert (record.key, record.value) == (None, None)


def test_a_long_value_is_cut_and_its_size_and_hash_are_told() -> None:
    value = bytes(5000)
    record = dead_letter_record(letter(b"key", value), "dead", max_bytes=1024)
    headers = dict(record.headers)
    assert record.key == b"key"
    assert record.value == value[: 1024 - 3]
    assert headers["vigil-value-bytes"] == b"5000"
    assert headers["vigil-value-sha256"] == sha256(value).hexdigest().encode()
    assert "vigil-key-bytes" not in headers


def test_a_long_key_is_cut_too_but_never_to_less_than_half_the_room() -> None:
    key = b"k" * 3000
    record = dead_letter_record(letter(key, b"value"), "dead", max_bytes=1024)
    headers = dict(record.headers)
    assert record.key == key[:512]
    assert record.value == b"value"
    assert headers["vigil-key-bytes"] == b"3000"
    assert headers["vigil-key-sha256"] == sha256(key).hexdigest().encode()


def test_the_records_own_headers_stay_in_front() -> None:
    own = (("trace", b"1"), ("trace", None))
    record = dead_letter_record(letter(b"k", b"v", own), "dead", max_bytes=1024)
    assert record.headers[:2] == list(own)


def test_headers_that_would_fill_a_record_alone_are_left_out_and_counted() -> None:
    record = dead_letter_record(letter(b"k", b"v", (("big", b"x" * 10_000),)), "dead", max_bytes=1024)
    assert "big" not in dict(record.headers)
    assert dict(record.headers)["vigil-headers-bytes"] == b"10011"


@given(
    key=st.none() | st.binary(max_size=4000),
    value=st.none() | st.binary(max_size=4000),
    header=st.binary(max_size=9000),
    most=st.integers(1024, 5000),
)
def test_no_dead_letter_is_larger_than_asked_for_plus_the_envelope(
    key: bytes | None, value: bytes | None, header: bytes, most: int
) -> None:
    record = dead_letter_record(letter(key, value, (("h", header),)), "dead", max_bytes=most)
    assert len(record.key or b"") + len(record.value or b"") <= most
    assert sum(len(name) + len(content or b"") for name, content in record.headers) <= ENVELOPE_BYTES - 1024
    assert (key or b"").startswith(record.key or b"")
    assert (value or b"").startswith(record.value or b"")
