"""How long work tells how far it is: what is being done, how much of it is done, and of how much."""

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Say", "say_nothing"]

Say: TypeAlias = Callable[[str, int, int], None]
"""Called with a stage's name, the units done and the units in all; 0 in all where that is not known."""


def say_nothing(_stage: str, _done: int, _total: int) -> None:
    """Tell nobody."""
