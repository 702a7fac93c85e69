"""A small run of the fuzzer; `python -m benchmarks.fuzz` is the large one."""

from benchmarks.fuzz.artefacts import ArtefactFindings, fuzz_artefacts
from benchmarks.fuzz.records import RecordFindings, fuzz_records
from schemas.errors import ErrorCode


def test_damaged_records_raise_nothing_and_cost_no_good_one() -> None:
    findings = RecordFindings()
    fuzz_records(20_000, 7, findings)
    assert findings.failures == []
    assert findings.accepted + sum(findings.rejected.values()) == findings.records
    assert findings.accepted >= findings.good > 3_000
    # All ways to be broken are met, but those that take a longer record than this.
    assert set(ErrorCode) - {ErrorCode.TOO_LARGE, ErrorCode.NOT_OBJECT} <= set(findings.rejected)


def test_damaged_artefacts_are_refused_or_are_what_they_were() -> None:
    findings = ArtefactFindings()
    fuzz_artefacts(600, 7, findings)
    assert findings.failures == []
    assert findings.refused + findings.unchanged + findings.sealed == findings.artefacts
    assert findings.refused > findings.unchanged > 0
