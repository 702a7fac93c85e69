"""The telemetry streams: which topic, which message, which of its fields are model inputs, in which order."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from schemas import topics
from schemas.fields import NUMERIC, codes_of, fields_of
from schemas.metrics import CompressionSample, ConsensusMetrics, LinkMetrics, NodeMetrics, Record
from schemas.quantities import MAX_MAGNITUDE, coded

HEADER_FIELDS = ("v", "ts_ms", "node_id", "cluster", "region", "az")
"""What every metrics record carries beside its measurements; no custom field may take these names."""

RESUME_STEPS = 300
"""Longest gap, in steps, after which windows usually go on: minutes, for telemetry of a step a second."""


class Stream(Struct, frozen=True, kw_only=True):
    """One kind of telemetry.

    Attributes:
        name: short name, as in settings and on the command line.
        topic: default topic.
        record: the message type, a msgspec Struct.
        features: the model inputs, in the order of a row's cells.
        codes: for each feature that is text, the number that stands for each text.
        key_fields: the fields whose values, joined by ``>``, are the record's key.
        step_ms: nominal time between two steps of one node, milliseconds; 0 when records come as they happen.
        gap_steps: missing steps in a row that windows carry. Minutes of silence belong to an incident of a node, whose
            window is wanted right after them; seconds of it do not.
        resume_steps: longest gap, in steps, after which a window goes on with the steps from before it: a member that
            is back after a crash is looked at at once. 0 where a model takes windows that begin after the gap.
    """

    name: str
    topic: str
    record: type[Struct]
    features: tuple[str, ...]
    codes: Mapping[str, Mapping[str, int]]
    key_fields: tuple[str, ...] = ("node_id",)
    step_ms: int
    gap_steps: int = 5
    resume_steps: int = RESUME_STEPS


def _measured(record: type[Struct]) -> tuple[str, ...]:
    """List the required numeric fields behind the header: what is known of every record when it arrives."""
    return tuple(
        field.name
        for field in fields_of(record)
        if field.kind in NUMERIC and field.required and field.name not in HEADER_FIELDS
    )


CONSENSUS = Stream(
    name="consensus",
    topic=topics.METRICS_CONSENSUS.name,
    record=ConsensusMetrics,
    features=_measured(ConsensusMetrics),
    codes=codes_of(ConsensusMetrics),
    step_ms=1_000,
)
NODE = Stream(
    name="node",
    topic=topics.METRICS_NODE.name,
    record=NodeMetrics,
    features=_measured(NodeMetrics),
    codes=codes_of(NodeMetrics),
    step_ms=60_000,
    gap_steps=15,
    resume_steps=0,
)
LINK = Stream(
    name="link",
    topic=topics.METRICS_LINK.name,
    record=LinkMetrics,
    features=_measured(LinkMetrics),
    codes=codes_of(LinkMetrics),
    key_fields=("node_id", "peer_id"),
    step_ms=1_000,
)
COMPRESSION = Stream(
    name="compression",
    topic=topics.TELEMETRY_COMPRESSION.name,
    record=CompressionSample,
    features=_measured(CompressionSample),
    codes=codes_of(CompressionSample),
    step_ms=0,
)

STREAMS: Mapping[str, Stream] = {stream.name: stream for stream in (CONSENSUS, NODE, LINK, COMPRESSION)}
"""The streams of the wire contract by name."""


def custom_stream(
    name: str,
    topic: str,
    fields: Sequence[str],
    step_ms: int,
    *,
    codes: Mapping[str, Mapping[str, int]] | None = None,
) -> Stream:
    """Describe a user's own telemetry, so that it streams like the built-in kinds.

    Args:
        name: short name of the stream.
        topic: topic that carries it.
        fields: names of the model inputs on the wire, in order: finite numbers within +-1e15, or texts with codes.
        step_ms: nominal time between two steps of one node, milliseconds.
        codes: for each field that is text, the number that stands for each text.

    Raises:
        ValueError: a field is named twice, empty, or one of ``HEADER_FIELDS``; codes are given for an unknown field or
            are empty; the step is not positive.
    """
    codes = dict(codes or {})
    _check_custom(fields, step_ms, codes)
    attributes = {f"x{place}_{re.sub(r'[^0-9A-Za-z]', '_', field)}": field for place, field in enumerate(fields)}
    record = msgspec.defstruct(
        f"{re.sub(r'[^0-9A-Za-z]', '', name.title())}Metrics",
        [(attribute, _custom_type(codes.get(field))) for attribute, field in attributes.items()],
        bases=(Record,),
        frozen=True,
        kw_only=True,
        gc=False,
        rename=attributes,
    )
    return Stream(name=name, topic=topic, record=record, features=tuple(fields), codes=codes, step_ms=step_ms)


def _check_custom(fields: Sequence[str], step_ms: int, codes: Mapping[str, Mapping[str, int]]) -> None:
    if not fields:
        raise ValueError("fields is empty: name at least one model input")
    for place, field in enumerate(fields):
        if not field or field in HEADER_FIELDS:
            raise ValueError(f"fields[{place}] is {field!r}: name a measurement, not one of {', '.join(HEADER_FIELDS)}")
        if field in fields[:place]:
            raise ValueError(f"fields[{place}] is {field!r} for the second time: name each model input once")
    for field, texts in codes.items():
        if field not in fields:
            raise ValueError(f"codes names {field!r}, which is not among the fields: add it there or drop its codes")
        if not texts:
            raise ValueError(f"codes of {field!r} is empty: give a number for each text")
    if step_ms <= 0:
        raise ValueError(f"step_ms is {step_ms}: give the time between two steps in milliseconds, above 0")


def _custom_type(codes: Mapping[str, int] | None) -> object:
    if codes is None:
        return Annotated[float, Meta(ge=-float(MAX_MAGNITUDE), le=float(MAX_MAGNITUDE))]
    return Annotated[Literal[tuple(codes)], coded(**codes)]
