"""Damage to bytes, as networks, producers and people do it, drawn from a seed."""

import random
from typing import Any, Final

TOKENS: Final = (
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"1.5", b"1e15", b"9" * 400, b"null", b"true", b'""', b"{}", b"[]"),
    *(
        b"[" * 40,
        b'{"a":' * 40,
        b'"',
        b"\\",
        b",",
        b":",
        b"}",
        b"\\ud800",
        b"\\u0000",
        b"\x00",
        b"\xff\xfe",
        b"\xc3\xa9",
    ),
    *(b"\xef\xbb\xbf", b"\x1f\x8b\x08", b'"v":2', b'"node_id":""', b'"ts_ms":0', b"\n", b" "),
)
"""What parsers stumble over."""
ODD: Final = (None, True, -1, 0, 10**12, 1.5, 1e300, "", "x" * 300, [], {}, [[]], {"a": {}})
"""What a field must not be surprised by."""
LONGEST_SPAN: Final = 64
MOST_CHANGES: Final = 3


def damaged(value: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Change a value in one to three places: bits, spans, tokens, an end cut off, the rest of another value."""
    for _ in range(rng.randint(1, MOST_CHANGES)):
        place = rng.randrange(len(value) + 1)
        end = min(len(value), place + rng.randint(1, LONGEST_SPAN))
        match rng.randrange(8):
            case 0 if place < len(value):
                value = value[:place] + bytes([value[place] ^ (1 << rng.randrange(8))]) + value[place + 1 :]
            case 1:
                value = value[:place] + value[end:]
            case 2:
                value = value[:end] + value[place:]
            case 3:
                value = value[:place] + rng.randbytes(rng.randint(1, 8)) + value[place:]
            case 4:
                value = value[:place]
            case 5:
                value = value[:place] + other[rng.randrange(len(other) + 1) :]
            case 6:
                value = value[:place] + rng.choice(TOKENS) + value[end:]
            case _:
                value = value[:place] + rng.choice(TOKENS) + value[place:]
    return value


def odd(tree: Any, rng: random.Random) -> Any:
    """Change one value of a JSON tree in place, at a place drawn at random, or leave it out; returns the tree."""
    place = tree
    while True:
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        below = place[key]
        if not (isinstance(below, dict | list) and below and rng.random() < 0.7):
            break
        place = below
    if rng.random() < 0.2:
        del place[key]
    else:
        place[key] = rng.choice(ODD)
    return tree
