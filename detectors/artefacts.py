"""Artefacts: a trained detector as a directory of files that cannot be mixed up or half changed unnoticed.

An artefact is ``metadata.json`` and the weight files it names. The metadata holds everything a verdict depends on
beside the weights (fields, window, scaler, threshold, parameters), a checksum of every file and one of itself, and a
``model_version`` derived from all that decides a verdict. So a threshold belongs to its weights: files or metadata of
two training runs do not load together. Nothing is ever unpickled, sizes are checked before anything is read, and a
file name cannot lead out of the directory.
"""

import hashlib
import importlib.metadata
import json
import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

METADATA_NAME: Final = "metadata.json"
SCHEMA_VERSION: Final = 1
MAX_METADATA_BYTES: Final = 4 * 1024 * 1024
MAX_FILE_BYTES: Final = 512 * 1024 * 1024
MAX_FILES: Final = 32
MAX_FIELDS: Final = 10_000
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DETECTOR_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class ArtefactError(Exception):
    """An artefact is missing, damaged, mixed from two training runs, or made for something else."""

    def __init__(self, directory: Path | str, problem: str, fix: str) -> None:
        """Say which artefact, what is wrong with it, and what to do about it."""
        super().__init__(f"artefact {directory}: {problem}; {fix}")
        self.directory = Path(directory)
        self.problem = problem
        self.fix = fix


class FileEntry(msgspec.Struct, frozen=True):
    """What a weight file must be: its SHA-256 in hex and its length in bytes."""

    sha256: str
    bytes: int


class ThresholdFit(msgspec.Struct, frozen=True):
    """A threshold and how it came about.

    Attributes:
        value: a window whose score is greater is anomalous.
        method: the rule in words, such as "99th percentile of validation-normal scores".
        fit: what the rule was fitted on: counts, target rate, quantile.
    """

    value: float
    method: str
    fit: dict[str, Any] = {}


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of ``metadata.json``.

    Attributes:
        detector: the detector's name, such as "autoencoder".
        fields: the model's inputs, in order.
        window: steps in a window.
        threshold: the decision threshold with its fit.
        scaler: the scaler as a JSON object, ``None`` when the detector takes raw values.
        parameters: whatever else decides a score, as the detector likes it.
        training: how it was made: data hash, rows, seed, epochs.
        versions: library versions it was trained with.
        metrics: figures measured at training time.
        files: weight files by name; filled in by ``write_artefact``.
        model_version: ``detector-`` and 8 hex digits of a hash over all that decides a verdict; filled in on writing.
        checksum: SHA-256 of the metadata without this field; filled in on writing.
        schema_version: the layout of this file.
    """

    detector: str
    fields: tuple[str, ...]
    window: int
    threshold: ThresholdFit
    scaler: dict[str, Any] | None = None
    parameters: dict[str, Any] = {}
    training: dict[str, Any] = {}
    versions: dict[str, str] = {}
    metrics: dict[str, Any] = {}
    files: dict[str, FileEntry] = {}
    model_version: str = ""
    checksum: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Artefact:
    """An artefact as read: its metadata and the verified bytes of its files."""

    directory: Path
    metadata: Metadata
    files: Mapping[str, bytes]

    def file(self, name: str) -> bytes:
        """Return a file's bytes. Raises ``ArtefactError`` when the metadata does not list it."""
        try:
            return self.files[name]
        except KeyError:
            listed = ", ".join(sorted(self.files)) or "none"
            raise ArtefactError(
                self.directory, f"{name} is not among its files ({listed})", "train the detector again"
            ) from None


def shipped(name: str) -> Path:
    """Return the directory of the artefact that comes with the product. Raises ``ArtefactError`` for an odd name."""
    if not _DETECTOR_NAME.fullmatch(name):
        raise ArtefactError(name, "is not the name of a detector", "use letters, digits, '-' and '_'")
    return Path(__file__).resolve().parent.parent / "models" / name


def library_versions(*names: str) -> dict[str, str]:
    """Return the installed versions of the named distributions, for the metadata; absent ones are left out."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def data_hash(*arrays: NDArray[Any]) -> str:
    """Return a SHA-256 in hex over the arrays' types, shapes and values, in order: the training data's identity."""
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.str}{little.shape}".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


def write_artefact(directory: Path, metadata: Metadata, files: Mapping[str, bytes]) -> Metadata:
    """Write an artefact so that a reader gets the old one, the new one, or an error, never a mixture.

    Every file is written beside its place and flushed to disk before the first is moved into place; ``metadata.json``,
    which holds the checksums, moves last. Other files in the directory stay untouched.

    Returns:
        The metadata as written, with ``files``, ``model_version`` and ``checksum`` filled in.

    Raises:
        ArtefactError: a name or a size is out of bounds, the metadata is not valid, or the disk refuses.
    """
    _check_files(directory, {name: len(content) for name, content in files.items()})
    entries = {
        name: FileEntry(hashlib.sha256(content).hexdigest(), len(content)) for name, content in sorted(files.items())
    }
    complete = msgspec.structs.replace(metadata, files=entries, schema_version=SCHEMA_VERSION)
    _check_metadata(directory, complete)
    complete = _plain(directory, complete)
    complete = msgspec.structs.replace(complete, model_version=_version_of(complete))
    complete = msgspec.structs.replace(complete, checksum=_checksum_of(complete))
    encoded = msgspec.json.format(_canonical(complete), indent=2) + b"\n"
    if len(encoded) > MAX_METADATA_BYTES:
        raise ArtefactError(directory, f"metadata of {len(encoded)} bytes", f"keep it under {MAX_METADATA_BYTES}")
    try:
        _replace_files(directory, {**files, METADATA_NAME: encoded})
    except OSError as error:
        raise ArtefactError(
            directory, f"cannot be written ({error})", "check the path, space and permissions"
        ) from error
    return complete


def read_artefact(
    directory: Path, detector: str, *, fields: Sequence[str] | None = None, window: int | None = None
) -> Artefact:
    """Read an artefact and verify all of it.

    Args:
        directory: where ``metadata.json`` is.
        detector: the name of the detector that wants it.
        fields: the inputs that the caller will feed, in order; ``None`` to accept the artefact's own.
        window: the steps of a window that the caller will feed; ``None`` to accept the artefact's own.

    Raises:
        ArtefactError: a file is missing, changed, too large or outside the directory; the metadata is not valid or from
            another training run than the files; or the artefact is for another detector, other fields or windows.
    """
    encoded = _read_bounded(directory, METADATA_NAME, None)
    metadata = _decode(directory, encoded)
    _check_metadata(directory, metadata)
    _check_identity(directory, metadata, detector)
    _check_inputs(directory, metadata, fields, window)
    _check_files(directory, {name: entry.bytes for name, entry in metadata.files.items()})
    files = {name: _read_verified(directory, name, entry) for name, entry in metadata.files.items()}
    return Artefact(directory, metadata, files)


def _plain(directory: Path, metadata: Metadata) -> Metadata:
    """Return the metadata as it will be read back; msgspec would write NaN as null without a word."""
    try:
        json.dumps(msgspec.to_builtins(metadata), allow_nan=False)
        return _decode(directory, _canonical(metadata))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise ArtefactError(
            directory,
            f"metadata cannot be written as JSON ({error})",
            "use str, int, finite float, bool, list, dict and None",
        ) from error


def _canonical(metadata: Metadata) -> bytes:
    return msgspec.json.encode(metadata, order="sorted")


def _checksum_of(metadata: Metadata) -> str:
    return hashlib.sha256(_canonical(msgspec.structs.replace(metadata, checksum=""))).hexdigest()


def _version_of(metadata: Metadata) -> str:
    """Hash what decides a verdict, and only that: figures and notes may be added without a new version."""
    deciding = msgspec.structs.replace(
        metadata,
        training={},
        versions={},
        metrics={},
        model_version="",
        checksum="",
        threshold=ThresholdFit(metadata.threshold.value, ""),
    )
    return f"{metadata.detector}-{hashlib.sha256(_canonical(deciding)).hexdigest()[:8]}"


def _decode(directory: Path, encoded: bytes) -> Metadata:
    try:
        return msgspec.json.decode(encoded, type=Metadata)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ArtefactError(
            directory, f"{METADATA_NAME} is not valid ({error})", "restore the file or train the detector again"
        ) from error


def _check_metadata(directory: Path, metadata: Metadata) -> None:
    problem = None
    if metadata.schema_version != SCHEMA_VERSION:
        problem = f"schema_version {metadata.schema_version}, this release reads {SCHEMA_VERSION}"
    elif not _DETECTOR_NAME.fullmatch(metadata.detector):
        problem = f"detector {metadata.detector[:80]!r} is not a name"
    elif not 1 <= len(metadata.fields) <= MAX_FIELDS or len(set(metadata.fields)) != len(metadata.fields):
        problem = f"{len(metadata.fields)} fields: they must be 1 to {MAX_FIELDS}, each once"
    elif not 1 <= metadata.window <= 1_000_000:
        problem = f"window {metadata.window} is not a count of steps"
    elif not math.isfinite(metadata.threshold.value):
        problem = f"threshold {metadata.threshold.value} is not a finite number"
    if problem is not None:
        raise ArtefactError(directory, problem, "train the detector again with this release")


def _check_identity(directory: Path, metadata: Metadata, detector: str) -> None:
    if metadata.detector != detector:
        raise ArtefactError(
            directory, f"it is a {metadata.detector!r}, not a {detector!r}", f"give the directory of a {detector!r}"
        )
    if metadata.checksum != _checksum_of(metadata):
        raise ArtefactError(
            directory,
            f"{METADATA_NAME} was changed after it was written (checksum)",
            "restore the whole directory from one training run, or train again to change a setting",
        )
    expected = _version_of(metadata)
    if metadata.model_version != expected:
        raise ArtefactError(
            directory,
            f"model_version {metadata.model_version[:80]!r} does not match the contents ({expected})",
            "weights and threshold must come from one training run: restore the whole directory",
        )


def _check_inputs(directory: Path, metadata: Metadata, fields: Sequence[str] | None, window: int | None) -> None:
    if window is not None and metadata.window != window:
        raise ArtefactError(
            directory, f"trained on windows of {metadata.window} steps, not {window}", f"train it with window {window}"
        )
    if fields is None or tuple(fields) == metadata.fields:
        return
    missing, extra = sorted(set(metadata.fields) - set(fields)), sorted(set(fields) - set(metadata.fields))
    if missing or extra:
        problem = f"fields differ: it needs {_some(missing)} which are not given, and does not know {_some(extra)}"
    else:
        at = next(i for i, (own, given) in enumerate(zip(metadata.fields, fields, strict=False)) if own != given)
        problem = f"fields are in another order: at {at} it has {metadata.fields[at]!r}, not {fields[at]!r}"
    raise ArtefactError(directory, problem, "train it on this stream, or give the stream it was trained on")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:5])
    return f"[{shown}{', ...' if len(names) > 5 else ''}]"


def _check_files(directory: Path, sizes: Mapping[str, int]) -> None:
    if len(sizes) > MAX_FILES:
        raise ArtefactError(directory, f"{len(sizes)} files", f"an artefact has at most {MAX_FILES}")
    for name, size in sizes.items():
        if not _FILE_NAME.fullmatch(name) or name == METADATA_NAME:
            raise ArtefactError(
                directory,
                f"file name {name[:80]!r} is not allowed",
                "use a plain name of letters, digits, '.', '_', '-'",
            )
        if not 0 <= size <= MAX_FILE_BYTES:
            raise ArtefactError(directory, f"{name} of {size} bytes", f"a file has at most {MAX_FILE_BYTES} bytes")


def _read_verified(directory: Path, name: str, entry: FileEntry) -> bytes:
    content = _read_bounded(directory, name, entry.bytes)
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ArtefactError(
            directory,
            f"{name} is not the file that {METADATA_NAME} was written with (checksum)",
            "restore the whole directory from one training run",
        )
    return content


def _read_bounded(directory: Path, name: str, size: int | None) -> bytes:
    """Read a regular file of exactly ``size`` bytes (metadata: of any size up to its bound) inside the directory."""
    fix = "restore the directory or train the detector again"
    limit = MAX_METADATA_BYTES if size is None else size
    try:
        base = directory.resolve(strict=True)
        path = (base / name).resolve(strict=True)
        if not path.is_relative_to(base):
            raise ArtefactError(directory, f"{name} is a link out of the directory", "put the file itself there")
        if not path.is_file():
            raise ArtefactError(directory, f"{name} is not a regular file", fix)
        with path.open("rb") as stream:
            actual = os.fstat(stream.fileno()).st_size
            if size is not None and actual != size:
                raise ArtefactError(directory, f"{name} has {actual} bytes, {METADATA_NAME} says {size}", fix)
            content = stream.read(limit + 1)
    except FileNotFoundError:
        missing = name if directory.is_dir() else "the directory"
        raise ArtefactError(directory, f"{missing} is missing", fix) from None
    except (OSError, RuntimeError) as error:
        raise ArtefactError(
            directory, f"{name} cannot be read ({error})", "check the path and its permissions"
        ) from error
    if len(content) > limit or (size is not None and len(content) != size):
        raise ArtefactError(directory, f"{name} is larger than the {limit} bytes allowed", fix)
    return content


def _replace_files(directory: Path, files: Mapping[str, bytes]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    staged: list[tuple[Path, Path]] = []
    try:
        for name, content in files.items():
            with tempfile.NamedTemporaryFile(dir=directory, prefix=".staged-", delete=False) as stream:
                staged.append((Path(stream.name), directory / name))
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        for temporary, final in staged:
            temporary.chmod(0o644)
            temporary.replace(final)
    finally:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
