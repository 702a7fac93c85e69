"""Settings that put a detector trained on telemetry of one's own to work, as text for vigil.toml."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from schemas.streams import STREAMS
from vigil.scorers import IDLE_STEPS
from vigil.settings import StreamSettings
from vigil.training_data import TrainingData

__all__ = ["is_own", "stream_settings"]

USUAL_IDLE_S: Final = int(StreamSettings.model_fields["idle_s"].default)


def is_own(data: TrainingData) -> bool:
    """Return whether a detector of this data needs a stream of its own: a known one has other fields."""
    return data.stream is None or data.fields != data.stream.features


def stream_settings(data: TrainingData, detector: str, artefact: Path) -> str:
    """Describe the stream that a trained detector takes, as a section of vigil.toml.

    The section is named after the artefact's folder; its topic is a proposal.

    Args:
        data: what the detector was trained on.
        detector: its name.
        artefact: its folder.
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", artefact.resolve().name).strip("-") or "own"
    name = f"own-{name}" if name in STREAMS else name
    codes = data.stream.codes if data.stream is not None else {}
    in_order = {field: sorted(codes[field], key=codes[field].__getitem__) for field in data.fields if field in codes}
    coded = [f"{_text(field)} = {_list(texts)}" for field, texts in in_order.items()]
    idle_s = IDLE_STEPS * data.step_ms // 1000
    lines = [
        f"[streams.{name}]",
        f"topic = {_text(f'{name}.metrics')}",
        f"fields = {_list(data.fields)}",
        *([f"codes = {{ {', '.join(coded)} }}"] if coded else []),
        f"step_ms = {data.step_ms}",
        *([f"idle_s = {idle_s}"] if idle_s > USUAL_IDLE_S else []),
        f"detectors = {_list([detector])}",
        f"artefacts = {_text(str(artefact))}",
    ]
    return "\n".join(lines)


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _text(text: str) -> str:
    """Quote a text; what JSON escapes, TOML reads alike."""
    return json.dumps(text, ensure_ascii=False)
