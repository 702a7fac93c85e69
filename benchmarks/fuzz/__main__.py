"""Feed damaged records and artefacts: ``python -m benchmarks.fuzz [--records N] [--artefacts N] [--seed S] [--json]``.

Exits with 1 when anything was wrong. A crash or a hang ends the process with the stacks of its threads.
"""

import argparse
import dataclasses
import faulthandler
import json
import sys
from typing import Any, Final

from benchmarks.fuzz.artefacts import ArtefactFindings, fuzz_artefacts
from benchmarks.fuzz.records import RecordFindings, fuzz_records

CHUNK_RECORDS: Final = 100_000
CHUNK_ARTEFACTS: Final = 5_000
HUNG_SECONDS: Final = 600
SHOWN: Final = 20


def main() -> int:
    """Run and print; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--records", type=int, default=5_000_000, help="records to decode")
    parser.add_argument("--artefacts", type=int, default=200_000, help="artefacts to read")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same input")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    faulthandler.enable()
    records, artefacts = RecordFindings(), ArtefactFindings()
    # In chunks with seeds of their own, each of which must end in time.
    for chunk, count in enumerate(_chunks(arguments.records, CHUNK_RECORDS)):
        faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
        fuzz_records(count, arguments.seed * 1_000_000 + chunk, records)
        _tell(f"{records.records:,} records", len(records.failures))
    for chunk, count in enumerate(_chunks(arguments.artefacts, CHUNK_ARTEFACTS)):
        faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
        fuzz_artefacts(count, arguments.seed * 1_000_000 + chunk, artefacts)
        _tell(f"{artefacts.artefacts:,} artefacts", len(artefacts.failures))
    faulthandler.cancel_dump_traceback_later()
    _report({"records": records, "artefacts": artefacts}, as_json=arguments.json)
    return 1 if records.failures or artefacts.failures else 0


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - begin) for begin in range(0, total, size)]


def _tell(done: str, failures: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done}, {failures} failures ")


def _report(findings: dict[str, Any], *, as_json: bool) -> None:
    found = {name: dataclasses.asdict(each) for name, each in findings.items()}
    if as_json:
        print(json.dumps(found))
        return
    for name, each in found.items():
        print(name)
        for key, value in each.items():
            print(f"  {key:14} {value[:SHOWN] if isinstance(value, list) else value}")


if __name__ == "__main__":
    sys.exit(main())
