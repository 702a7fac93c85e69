"""What kind of incident it is, and whether it is still to come: told where the evidence carries it, else nothing."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detectors.reliability.trees import Trees, load_trees, margins

KINDS_FILE = "kinds.json"
PHASE_FILE = "phase.json"

Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Tells the kind of an incident.

    Attributes:
        trees: of as many classes as there are names.
        names: kinds of incident, in the order of the classes.
        temperature: divides the margins, so that confidences are what validation rows bear out.
        least: confidence below which the kind is not told.
    """

    trees: Trees
    names: tuple[str, ...]
    temperature: float
    least: float

    def tell(self, features: Features) -> list[tuple[str | None, float | None]]:
        """Return the kind and the confidence in it, 0 to 1, of each row of features."""
        confidence = softmax(margins(self.trees, features) / self.temperature)
        best = confidence.argmax(axis=1)
        sure = confidence[np.arange(len(best)), best]
        return [
            (self.names[place], value) if value >= self.least else (None, None)
            for place, value in zip(best.tolist(), sure.tolist(), strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the artefact's metadata."""
        return {"names": list(self.names), "temperature": self.temperature, "least": self.least}

    @classmethod
    def from_dict(cls, values: dict[str, Any], model: bytes, width: int) -> Self:
        """Rebuild from ``to_dict`` and the trees' bytes. Raises ``ValueError`` when they do not fit."""
        try:
            names = tuple(str(name) for name in values["names"])
            temperature, least = float(values["temperature"]), float(values["least"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"parameters.kinds needs names, temperature and least ({error})") from error
        if len(names) < 2 or not temperature > 0.0 or not 0.0 <= least <= 1.0:
            raise ValueError(f"parameters.kinds: {names}, temperature {temperature}, least {least} cannot be")
        return cls(load_trees(model, width, KINDS_FILE, len(names)), names, temperature, least)


@dataclass(frozen=True, slots=True)
class Phase:
    """Tells whether an incident is still to come, and when.

    Attributes:
        trees: margins of "before the start" against "in the incident".
        least: margin from which an incident is said to be still to come.
        band: minutes to the reported start, the 10th and the 90th percentile of the validation rows that pass.
    """

    trees: Trees
    least: float
    band: tuple[float, float]

    def tell(self, features: Features) -> list[tuple[float, float] | None]:
        """Return the band of each row of features, ``None`` where the incident runs or nothing can be said."""
        ahead = margins(self.trees, features) >= self.least
        return [self.band if each else None for each in ahead.tolist()]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the artefact's metadata."""
        return {"least": self.least, "band": list(self.band)}

    @classmethod
    def from_dict(cls, values: dict[str, Any], model: bytes, width: int) -> Self:
        """Rebuild from ``to_dict`` and the trees' bytes. Raises ``ValueError`` when they do not fit."""
        try:
            least = float(values["least"])
            low, high = (float(value) for value in values["band"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"parameters.phase needs least and a band of two numbers ({error})") from error
        if not 0.0 <= low <= high or not np.isfinite([least, high]).all():
            raise ValueError(f"parameters.phase: least {least}, band {low} to {high} cannot be")
        return cls(load_trees(model, width, PHASE_FILE), least, (low, high))


def softmax(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of classes, float64 (n, classes), each row summing to 1."""
    power = np.exp(margin - margin.max(axis=1, keepdims=True))
    probability: NDArray[np.float64] = power / power.sum(axis=1, keepdims=True)
    return probability
