"""Good records to damage, one a stream, and the ways in which producers damage them."""

import json
from typing import Any

CONSENSUS_RECORD: dict[str, Any] = {
    "v": 1,
    "ts_ms": 1_795_423_734_049,
    "node_id": "n0",
    "cluster": "etcd-a",
    "region": "lab",
    "queue_depth": 4,
    "proposals_pending": 2,
    "proposals_committed": 40,
    "latency_p50": 3.001,
    "latency_p95": 7.415,
    "latency_p99": 9.02,
    "leader_changes": 0,
    "quorum_size": 2,
    "active_nodes": 3,
    "network_tier": "wan",
    "dwcp_mode": "conservative",
    "consensus_type": "pbft",
}
CONSENSUS_ROW = [4, 2, 40, 3.001, 7.415, 9.02, 0, 2, 3, 1, 2, 1]


def body(**changes: Any) -> bytes:
    """Encode the good record with some fields changed."""
    return json.dumps(CONSENSUS_RECORD | changes).encode()


def without(*names: str) -> bytes:
    """Encode the good record with some fields left out."""
    return json.dumps({name: item for name, item in CONSENSUS_RECORD.items() if name not in names}).encode()


def literal(field: str, text: str) -> bytes:
    """Encode the good record with the raw text in the place of a field's value."""
    return body(**{field: "@"}).replace(b'"@"', text.encode())


MALFORMED: dict[str, tuple[str, bytes | None, str]] = {
    # kind: (code, value, what the text must name)
    "tombstone": ("tombstone", None, "null"),
    "empty value": ("empty", b"", "0 bytes"),
    "white space alone": ("empty", b" \n\t ", "4 bytes"),
    "5 MB of JSON": ("too-large", body(padding="x" * 5_000_000), "65536"),
    "5 MB bomb": ("too-large", b'{"a":' * 1_000_000, "5000000"),
    "object bomb": ("too-deep", b'{"a":' * 10_000, "32"),
    "array bomb": ("too-deep", b"[" * 60_000, "32"),
    "bomb in an unknown field": ("too-deep", literal("padding", "[" * 33 + "]" * 33), "32"),
    "latin-1": ("invalid-utf8", body(region="@").replace(b"@", b"\xe9"), "UTF-8"),
    "gzip": ("invalid-utf8", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV*S", "compression"),
    "utf-16": ("invalid-utf8", body().decode().encode("utf-16"), "UTF-8"),
    "lone surrogate": ("invalid-utf8", body(cluster="\ud800"), "cluster"),
    "byte-order mark": ("not-json", b"\xef\xbb\xbf" + body(), "BOM"),
    "schema registry prefix": ("not-json", b"\x00\x00\x00\x00\x07" + body(), "character 0"),
    "cut short": ("not-json", body()[:-10], "character"),
    "two documents": ("not-json", body() + body(), "Extra data"),
    "plain text": ("not-json", b"queue_depth=4", "character 0"),
    "trailing comma": ("not-json", body()[:-1] + b",}", "character"),
    "array of records": ("not-object", b"[" + body() + b"]", "array"),
    "a number": ("not-object", b"42", "42"),
    "a text": ("not-object", b'"hello"', "hello"),
    "null": ("not-object", b"null", "null"),
    "version 2": ("unknown-version", body(v=2), "v is 2"),
    "version 2 with other fields": ("unknown-version", b'{"v":2,"depth":{"queue":1}}', "v"),
    "no version": ("missing-field", without("v"), "v"),
    "no time": ("missing-field", without("ts_ms"), "ts_ms"),
    "no id": ("missing-field", without("node_id"), "node_id"),
    "no measurement": ("missing-field", without("queue_depth"), "queue_depth"),
    "no code": ("missing-field", without("consensus_type"), "consensus_type"),
    "empty object": ("missing-field", b"{}", "v"),
    "text for a number": ("wrong-type", body(latency_p50="3.0"), "latency_p50"),
    "boolean for a count": ("wrong-type", body(queue_depth=True), "queue_depth is true"),
    "null for a number": ("wrong-type", body(queue_depth=None), "queue_depth is null"),
    "object for a number": ("wrong-type", body(latency_p99={"ms": 3}), "latency_p99"),
    "array for a number": ("wrong-type", body(latency_p99=[3]), "latency_p99"),
    "half a count": ("wrong-type", body(active_nodes=3.5), "3.5"),
    "half a millisecond": ("wrong-type", body(ts_ms=1_795_423_734_049.5), "ts_ms"),
    "time as text": ("wrong-type", body(ts_ms="2026-11-23T00:00:00Z"), "ts_ms"),
    "number for a code": ("wrong-type", body(network_tier=0), "network_tier"),
    "number for an id": ("wrong-type", body(node_id=7), "node_id"),
    "number for a cluster": ("wrong-type", body(cluster=7), "cluster"),
    "NaN": ("not-finite", literal("latency_p50", "NaN"), "latency_p50"),
    "Infinity": ("not-finite", literal("latency_p99", "Infinity"), "latency_p99"),
    "-Infinity": ("not-finite", literal("queue_depth", "-Infinity"), "queue_depth"),
    "1e999": ("not-finite", literal("latency_p99", "1e999"), "latency_p99"),
    "400 digits": ("not-finite", literal("queue_depth", "9" * 400), "queue_depth"),
    "5,000 digits": ("not-finite", literal("queue_depth", "9" * 5_000), "queue_depth"),
    "NaN in an unknown field": ("not-finite", literal("extra", "NaN"), "extra"),
    "NaN inside an unknown field": ("not-finite", literal("extra", "[NaN]"), "inner"),
    "negative count": ("out-of-range", body(queue_depth=-1), "queue_depth is -1"),
    "negative latency": ("out-of-range", body(latency_p50=-0.5), "latency_p50"),
    "no quorum": ("out-of-range", body(quorum_size=0), "quorum_size"),
    "beyond 1e15": ("out-of-range", body(latency_p99=1.1e15), "latency_p99"),
    "before 1970": ("out-of-range", body(ts_ms=-1), "ts_ms"),
    "time 0": ("out-of-range", body(ts_ms=0), "ts_ms"),
    "time in nanoseconds": ("out-of-range", body(ts_ms=1_795_423_734_049_000_000), "ts_ms"),
    "year 2100": ("out-of-range", body(ts_ms=4_102_444_800_000), "ts_ms"),
    "long cluster": ("out-of-range", body(cluster="c" * 256), "cluster"),
    "unknown code": ("unknown-value", body(dwcp_mode="turbo"), '"optimistic", "normal", "conservative"'),
    "code in upper case": ("unknown-value", body(network_tier="LAN"), "network_tier"),
    "empty id": ("invalid-id", body(node_id=""), "node_id"),
    "long id": ("invalid-id", body(node_id="n" * 256), "node_id"),
    "line end in the id": ("invalid-id", body(node_id="n0\n"), "node_id"),
    "p50 above p95": ("unordered-quantiles", body(latency_p50=8.0), "latency_p50 is 8.0"),
    "p95 above p99": ("unordered-quantiles", body(latency_p95=9.5), "latency_p99 is 9.02"),
    "another node's key": ("key-mismatch", body(node_id="n1"), "'n1'"),
}
"""Values that a codec of the consensus stream must reject under the key ``n0``."""
