"""Probabilities from margins: two parameters, fitted on validation rows."""

import numpy as np
from numpy.typing import NDArray


def calibrate(margin: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Fit slope and offset of the probability by maximum likelihood (Platt's smoothed targets, Newton's method).

    Platt, "Probabilistic outputs for support vector machines", 1999; the smoothing keeps both finite even where the
    margins separate the classes.

    Returns:
        slope > 0 and offset.

    Raises:
        ValueError: larger margins do not mean more incidents, so the model has learnt nothing that holds.
    """
    hits = int(positive.sum())
    target = np.where(positive, (hits + 1.0) / (hits + 2.0), 1.0 / (len(positive) - hits + 2.0))
    design = np.column_stack([margin, np.ones(len(margin))])
    weights = np.array([1.0, 0.0])
    for _ in range(50):
        probability = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -36.0, 36.0)))
        spread = probability * (1.0 - probability) + 1e-12
        hessian = design.T @ (design * spread[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (target - probability))
        # Newton's method can overshoot far from the optimum: no step moves a parameter by more than 2.
        step *= min(1.0, 2.0 / float(np.abs(step).max() + 1e-12))
        weights += step
        if float(np.abs(step).max()) < 1e-10:
            break
    if weights[0] <= 0.0:
        raise ValueError("on validation rows a higher score does not mean more incidents: labels and rows do not match")
    return float(weights[0]), float(weights[1])
