"""Records in, windows and model inputs out."""

from features.appended import Appended, Silence, StepStatus
from features.batch import WindowBatch
from features.rules import MAX_TS_MS, WindowRules
from features.windows import SnapshotError, Watermark, WindowStore

__all__ = [
    "MAX_TS_MS",
    "Appended",
    "Silence",
    "SnapshotError",
    "StepStatus",
    "Watermark",
    "WindowBatch",
    "WindowRules",
    "WindowStore",
]
