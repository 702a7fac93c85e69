"""Records in, windows and model inputs out."""

from features.appended import Appended, StepStatus
from features.batch import WindowBatch
from features.windows import SnapshotError, Watermark, WindowStore

__all__ = ["Appended", "SnapshotError", "StepStatus", "Watermark", "WindowBatch", "WindowStore"]
