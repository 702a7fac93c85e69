"""Artefacts load as they were written, or not at all and with a reason."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors import artefacts
from detectors.artefacts import (
    ArtefactError,
    FileEntry,
    Metadata,
    ThresholdFit,
    data_hash,
    library_versions,
    read_artefact,
    shipped,
    write_artefact,
)

FIELDS = ("queue_depth", "latency_p50", "latency_p99")
FILES = {"model.onnx": bytes(range(256)) * 4, "weights.safetensors": b"weights"}


def example(**changes: Any) -> Metadata:
    base = Metadata(
        detector="consensus",
        fields=FIELDS,
        window=30,
        threshold=ThresholdFit(2.5, "99th percentile of validation-normal scores", {"windows": 4000}),
        scaler={"center": [1.0, 2.0, 3.0]},
        parameters={"tile": 16, "band": (0.5, 1.5)},
        metrics={"validation_loss": 0.25},
    )
    return msgspec.structs.replace(base, **changes)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "consensus"
    write_artefact(place, example(), FILES)
    return place


def rewrite(directory: Path, change: dict[str, Any]) -> None:
    path = directory / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_an_artefact_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = write_artefact(tmp_path / "a", example(), FILES)
    read = read_artefact(tmp_path / "a", "consensus", fields=FIELDS, window=30)
    assert read.metadata == written
    assert dict(read.files) == FILES
    assert read.file("weights.safetensors") == b"weights"
    assert read.metadata.threshold.fit == {"windows": 4000}
    assert read.metadata.parameters == {"tile": 16, "band": [0.5, 1.5]}


def test_the_version_names_the_detector_and_changes_with_all_that_decides_a_verdict(tmp_path: Path) -> None:
    def version(metadata: Metadata, files: dict[str, bytes]) -> str:
        return write_artefact(tmp_path / "v", metadata, files).model_version

    base = version(example(), FILES)
    assert base.startswith("consensus-")
    assert len(base) == len("consensus-") + 8
    assert version(example(metrics={"validation_loss": 0.5}, training={"epochs": 3}), FILES) == base
    assert version(example(threshold=ThresholdFit(2.5, "by hand")), FILES) == base
    others = [
        version(example(threshold=ThresholdFit(2.6, "99th percentile")), FILES),
        version(example(scaler=None), FILES),
        version(example(window=31), FILES),
        version(example(fields=FIELDS[::-1]), FILES),
        version(example(parameters={}), FILES),
        version(example(), {**FILES, "weights.safetensors": b"weightz"}),
    ]
    assert len({base, *others}) == 7


def test_writing_again_replaces_the_files_and_leaves_others_alone(directory: Path) -> None:
    (directory / "history.png").write_bytes(b"plot")
    write_artefact(directory, example(window=60), {"model.onnx": b"new", "weights.safetensors": b"newer"})
    assert dict(read_artefact(directory, "consensus").files) == {"model.onnx": b"new", "weights.safetensors": b"newer"}
    assert {each.name for each in directory.iterdir()} == {*FILES, "metadata.json", "history.png"}


def test_a_write_that_fails_leaves_the_old_artefact_whole(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ArtefactError, match="No space left"):
        write_artefact(directory, example(window=60), {"model.onnx": b"new", "weights.safetensors": b"newer"})
    monkeypatch.undo()
    assert dict(read_artefact(directory, "consensus").files) == FILES
    assert {each.name for each in directory.iterdir()} == {*FILES, "metadata.json"}


def test_a_half_replaced_artefact_does_not_load(directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_artefact(other, example(), {**FILES, "model.onnx": bytes(1024)})
    (directory / "model.onnx").write_bytes((other / "model.onnx").read_bytes())
    with pytest.raises(ArtefactError, match=r"model\.onnx is not the file .*one training run"):
        read_artefact(directory, "consensus")


def test_a_threshold_of_another_run_does_not_load(directory: Path) -> None:
    rewrite(directory, {"threshold": {"value": 9.9, "method": "by hand", "fit": {}}})
    with pytest.raises(ArtefactError, match=r"was changed after it was written.*train again"):
        read_artefact(directory, "consensus")


def test_a_version_that_is_not_the_contents_own_does_not_load(directory: Path) -> None:
    # Even with the file's own checksum made right again: the version is tied to weights and threshold.
    changed = msgspec.structs.replace(
        read_artefact(directory, "consensus").metadata, model_version="consensus-00000000", checksum=""
    )
    changed = msgspec.structs.replace(changed, checksum=artefacts._checksum_of(changed))
    (directory / "metadata.json").write_bytes(msgspec.json.encode(changed))
    with pytest.raises(ArtefactError, match="model_version 'consensus-00000000' does not match"):
        read_artefact(directory, "consensus")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_flipped_bit_goes_unnoticed(directory: Path, data: st.DataObject) -> None:
    written = read_artefact(directory, "consensus")
    path = directory / data.draw(st.sampled_from([*FILES, "metadata.json"]))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(flipped))
    try:
        read = read_artefact(directory, "consensus")
    except ArtefactError:
        return
    finally:
        path.write_bytes(whole)
    # Only the layout of the JSON may differ, never what it says.
    assert path.name == "metadata.json"
    assert read == written


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from([*FILES, "metadata.json"]), share=st.floats(0, 1, exclude_max=True))
def test_no_truncated_file_loads(directory: Path, name: str, share: float) -> None:
    path = directory / name
    whole = path.read_bytes()
    path.write_bytes(whole.rstrip()[: int(share * len(whole.rstrip()))])
    with pytest.raises(ArtefactError):
        read_artefact(directory, "consensus")
    path.write_bytes(whole)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=400))
def test_metadata_of_any_bytes_is_refused_with_a_reason(directory: Path, content: bytes) -> None:
    (directory / "metadata.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"metadata\.json is not valid"):
        read_artefact(directory, "consensus")


@pytest.mark.parametrize("key", ["detector", "fields", "window", "threshold"])
def test_a_missing_key_is_named(directory: Path, key: str) -> None:
    path = directory / "metadata.json"
    document = json.loads(path.read_text())
    del document[key]
    path.write_text(json.dumps(document))
    with pytest.raises(ArtefactError, match=key):
        read_artefact(directory, "consensus")


@pytest.mark.parametrize("key", ["model_version", "checksum", "files", "scaler", "parameters", "metrics"])
def test_a_missing_key_with_a_default_breaks_the_checksum(directory: Path, key: str) -> None:
    path = directory / "metadata.json"
    document = json.loads(path.read_text())
    del document[key]
    path.write_text(json.dumps(document))
    with pytest.raises(ArtefactError, match="checksum"):
        read_artefact(directory, "consensus")


def test_a_deep_json_bomb_is_refused(directory: Path) -> None:
    (directory / "metadata.json").write_text('{"parameters": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}}")
    with pytest.raises(ArtefactError, match="not valid"):
        read_artefact(directory, "consensus")


def test_metadata_beyond_its_bound_is_not_read(directory: Path) -> None:
    with (directory / "metadata.json").open("r+b") as stream:
        stream.truncate(1 << 40)  # sparse: reading all of it would exhaust memory
    with pytest.raises(ArtefactError, match=r"metadata\.json is larger than the 4194304 bytes allowed"):
        read_artefact(directory, "consensus")


def test_a_file_of_another_size_is_not_read(directory: Path) -> None:
    with (directory / "model.onnx").open("r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(ArtefactError, match=r"model\.onnx has 1099511627776 bytes, metadata\.json says 1024"):
        read_artefact(directory, "consensus")


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/b", "..", "", "metadata.json", "a\\b", "a\x00b", "x" * 200]
)
def test_a_file_name_cannot_lead_anywhere(directory: Path, name: str) -> None:
    with pytest.raises(ArtefactError, match="is not allowed"):
        write_artefact(directory, example(), {name: b"x"})
    forged = msgspec.structs.replace(
        read_artefact(directory, "consensus").metadata, files={name: FileEntry("0" * 64, 1)}, checksum=""
    )
    forged = msgspec.structs.replace(forged, model_version=artefacts._version_of(forged))
    forged = msgspec.structs.replace(forged, checksum=artefacts._checksum_of(forged))
    (directory / "metadata.json").write_bytes(msgspec.json.encode(forged))
    with pytest.raises(ArtefactError, match="is not allowed"):
        read_artefact(directory, "consensus")


def test_a_link_out_of_the_directory_is_refused_and_one_inside_is_followed(directory: Path) -> None:
    model = directory / "model.onnx"
    # As Kubernetes mounts files: a link to a link inside the directory.
    (directory / "..2026").mkdir()
    model.rename(directory / "..2026" / "model.onnx")
    model.symlink_to(Path("..2026") / "model.onnx")
    assert read_artefact(directory, "consensus").file("model.onnx") == FILES["model.onnx"]
    outside = directory.parent / "outside"
    outside.write_bytes(FILES["model.onnx"])
    model.unlink()
    model.symlink_to(outside)
    with pytest.raises(ArtefactError, match=r"model\.onnx is a link out of the directory"):
        read_artefact(directory, "consensus")


@pytest.mark.parametrize("make", [lambda path: path.symlink_to(path), Path.mkdir, os.mkfifo])
def test_links_in_a_circle_directories_and_pipes_are_refused(directory: Path, make: Callable[[Path], None]) -> None:
    (directory / "model.onnx").unlink()
    make(directory / "model.onnx")
    with pytest.raises(ArtefactError, match=r"model\.onnx (is not a regular file|cannot be read)"):
        read_artefact(directory, "consensus")


@pytest.mark.parametrize("name", [*FILES, "metadata.json"])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(ArtefactError, match=f"{name} is missing; restore the directory or train the detector again"):
        read_artefact(directory, "consensus")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="nowhere: the directory is missing"):
        read_artefact(tmp_path / "nowhere", "consensus")


def test_another_detectors_artefact_is_refused(directory: Path) -> None:
    with pytest.raises(ArtefactError, match="it is a 'consensus', not a 'reliability'"):
        read_artefact(directory, "reliability")


def test_other_windows_are_refused(directory: Path) -> None:
    with pytest.raises(ArtefactError, match="windows of 30 steps, not 10; train it with window 10"):
        read_artefact(directory, "consensus", window=10)


def test_fields_in_another_order_are_refused_with_the_place(directory: Path) -> None:
    with pytest.raises(ArtefactError, match="another order: at 1 it has 'latency_p50', not 'latency_p99'"):
        read_artefact(directory, "consensus", fields=("queue_depth", "latency_p99", "latency_p50"))


def test_fields_that_differ_are_named(directory: Path) -> None:
    with pytest.raises(ArtefactError, match=r"it needs \[latency_p99\] .* does not know \[cpu_usage\]"):
        read_artefact(directory, "consensus", fields=("queue_depth", "latency_p50", "cpu_usage"))


def test_a_file_that_the_detector_wants_and_the_artefact_lacks_is_named(directory: Path) -> None:
    with pytest.raises(ArtefactError, match=r"model\.json is not among its files \(model\.onnx, weights"):
        read_artefact(directory, "consensus").file("model.json")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"threshold": ThresholdFit(float("nan"), "none")}, "threshold nan"),
        ({"threshold": ThresholdFit(float("inf"), "none")}, "threshold inf"),
        ({"fields": ()}, "0 fields"),
        ({"fields": ("a", "a")}, "2 fields"),
        ({"window": 0}, "window 0"),
        ({"detector": "../x"}, "is not a name"),
        ({"metrics": {"loss": float("nan")}}, "cannot be written as JSON"),
        ({"metrics": {"loss": object()}}, "cannot be written as JSON"),
        ({"metrics": {"loss": "x" * 5_000_000}}, "keep it under 4194304"),
    ],
)
def test_metadata_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ArtefactError, match=reason):
        write_artefact(tmp_path / "bad", example(**change), FILES)
    assert not (tmp_path / "bad").exists()


def test_an_artefact_of_a_later_release_is_refused(directory: Path) -> None:
    rewrite(directory, {"schema_version": 2})
    with pytest.raises(ArtefactError, match="schema_version 2, this release reads 1"):
        read_artefact(directory, "consensus")


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="33 files; an artefact has at most 32"):
        write_artefact(tmp_path / "a", example(), {f"part{i}": b"" for i in range(33)})


def test_a_path_that_is_a_file_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="check the path, space and permissions"):
        write_artefact(tmp_path / "file", example(), FILES)


def test_shipped_artefacts_are_in_the_models_folder() -> None:
    assert shipped("autoencoder").parts[-2:] == ("models", "autoencoder")
    with pytest.raises(ArtefactError, match="is not the name of a detector"):
        shipped("../secrets")


def test_the_data_hash_depends_on_values_type_and_shape() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    base = data_hash(rows)
    assert len(base) == 64
    assert data_hash(np.asfortranarray(rows)) == base
    assert data_hash(rows.astype(">f4")) == base
    others = [
        data_hash(rows.reshape(4, 3)),
        data_hash(rows.astype(np.float64)),
        data_hash(rows + 1),
        data_hash(rows, rows),
    ]
    assert len({base, *others}) == 5


def test_library_versions_leave_out_what_is_not_installed() -> None:
    versions = library_versions("numpy", "no-such-distribution")
    assert versions == {"numpy": np.__version__}
