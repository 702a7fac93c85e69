"""Damaged artefacts: each is refused by its own error, or is what it was before.

Most are damaged as they lie on a disk. Some are sealed again, as if whoever damaged them knew the checksums: then
another detector may come out, but still no other error than ``ArtefactError``.
"""

import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.fuzz.mutations import damaged, odd
from detectors.artefacts import METADATA_NAME, Artefact, ArtefactError, Metadata, read_artefact, shipped, write_artefact
from detectors.catalogue import detector_class

__all__ = ["ArtefactFindings", "fuzz_artefacts"]

NAMES: Final = ("consensus", "reliability", "autoencoder")
OWN_WEIGHTS: Final = "consensus"  # the one whose weights are read by our own code; of the others, metadata is damaged
WEIGHTS_SHARE: Final = 0.05
SEALED_SHARE: Final = 0.01
ODD_SHARE: Final = 0.4  # of the damaged metadata: JSON as before, with something odd in it
MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- a folder of its own is made there; a disk would be most of the time


@dataclass(slots=True)
class ArtefactFindings:
    """What came of it: counts, and a line for each artefact with which something was wrong."""

    artefacts: int = 0
    refused: int = 0
    unchanged: int = 0
    sealed: int = 0
    sealed_loaded: int = 0
    problems: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def fuzz_artefacts(artefacts: int, seed: int, findings: ArtefactFindings, names: tuple[str, ...] = NAMES) -> None:
    """Damage so many artefacts, copies of the shipped ones by turns, and read each. The same seed damages the same."""
    began = time.perf_counter()
    originals = [read_artefact(shipped(name), name) for name in names]
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        places = [_copied(original, Path(folder) / "disk" / original.metadata.detector) for original in originals]
        for number in range(artefacts):
            rng = random.Random(f"{seed}/artefact/{number}")
            turn = number % len(names)
            try:
                if rng.random() < SEALED_SHARE:
                    _sealed(originals[turn], Path(folder) / "sealed", rng, findings)
                else:
                    _on_disk(originals[turn], places[turn], rng, findings)
            except Exception as error:  # noqa: BLE001 -- that any other exception is a finding is the point
                findings.failures.append(f"seed {seed}, artefact {number} ({names[turn]}): {error!r}"[:500])
            findings.artefacts += 1
    findings.seconds += time.perf_counter() - began


def _copied(original: Artefact, place: Path) -> Path:
    place.mkdir(parents=True)
    for name in (METADATA_NAME, *original.files):
        (place / name).write_bytes((original.directory / name).read_bytes())
    return place


def _on_disk(original: Artefact, place: Path, rng: random.Random, findings: ArtefactFindings) -> None:
    """Damage one file, read the artefact, and put the file back."""
    name = rng.choice(list(original.files)) if rng.random() < WEIGHTS_SHARE else METADATA_NAME
    path = place / name
    whole = path.read_bytes()
    if name == METADATA_NAME and rng.random() < ODD_SHARE:
        path.write_bytes(msgspec.json.encode(odd(msgspec.json.decode(whole), rng)))
    else:
        path.write_bytes(damaged(whole, rng, whole))
    try:
        found = read_artefact(place, original.metadata.detector)
    except ArtefactError as error:
        findings.refused += 1
        _count(findings.problems, error)
    else:
        if (found.metadata, found.files) != (original.metadata, original.files):
            raise AssertionError("it was read, and is another one")
        findings.unchanged += 1
    finally:
        path.write_bytes(whole)


def _sealed(original: Artefact, place: Path, rng: random.Random, findings: ArtefactFindings) -> None:
    """Damage weights or metadata, write valid checksums, and load the detector."""
    findings.sealed += 1
    metadata, files = original.metadata, dict(original.files)
    try:
        if metadata.detector == OWN_WEIGHTS and rng.random() < 0.5:
            name = rng.choice(list(files))
            files[name] = damaged(files[name], rng, files[name][:4096])
        else:
            metadata = _changed(metadata, rng)
        write_artefact(place, metadata, files)
        detector_class(original.metadata.detector).load(place)
    except ArtefactError as error:
        _count(findings.problems, error)
    else:
        findings.sealed_loaded += 1


def _changed(metadata: Metadata, rng: random.Random) -> Metadata:
    """Put something odd in the place of one value of the metadata."""
    try:
        return msgspec.convert(odd(msgspec.to_builtins(metadata), rng), Metadata)
    except msgspec.ValidationError as error:
        raise ArtefactError("sealed", f"{METADATA_NAME} is not valid ({error})", "") from error


def _count(problems: dict[str, int], error: ArtefactError) -> None:
    """Count what was wrong, without the values in it."""
    kind = error.problem.partition("(")[0].translate(str.maketrans("", "", "0123456789"))[:40].strip()
    problems[kind] = problems.get(kind, 0) + 1
