"""Optimizers at work on one number, and on the parameters of a small network, for their tests."""

import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from funcnet.optimizers import Optimizer, apply_updates
from funcnet.tree import Record, array_field

NOISE = [0.3, -1.1, 0.7, 2.0, -0.4, 0.9, -1.5, 0.2, 1.3, -0.6, 0.8, -0.1]
LOSSES = [1.0, 0.8, 0.9, 0.85, 0.81, 0.7, 0.75, 0.72, 0.71, 0.74, 0.73, 0.7]


def slope(w: float, step: int) -> float:
    """The gradient of this step: that of a parabola, and noise."""
    return 0.5 * w + NOISE[step]


def path(optimizer: Optimizer, steps: int = 8, w: float = 1.5) -> list[float]:
    """Where the optimizer takes w."""
    return [params for params, _ in both_paths(optimizer, steps, w)]


def both_paths(optimizer: Optimizer, steps: int = 8, w: float = 1.5) -> list[tuple[float, float]]:
    """Where the optimizer takes w, and what it gives for evaluation."""
    params, found = (np.array([w]),), []
    state = optimizer.init(params)
    for step in range(steps):
        grads = (np.array([slope(float(params[0][0]), step)]),)
        updates, state = optimizer.update(grads, state, params, step, loss=LOSSES[step])
        params = apply_updates(params, updates)
        found.append((float(params[0][0]), float(optimizer.evaluated(params, state)[0][0])))
    return found


def recurrence(move: Callable[[float, float, int], float], steps: int = 8, w: float = 1.5) -> list[float]:
    """Where ``move(w, g, t)`` takes w, with t = 1, 2, ..."""
    found = []
    for step in range(steps):
        w = move(w, slope(w, step), step + 1)
        found.append(w)
    return found


@attrs.frozen
class LayerParams(Record):
    """A layer's arrays, of which one is not trained."""

    weight: Any = array_field()
    bias: Any = array_field()
    running: Any = array_field(trained=False, default=None)


def params_of(xp: Any, dtype: str) -> Any:
    """Three layers: one without parameters, two with, in arrays of the namespace."""

    def array(values: Any) -> Any:
        return xp.asarray(values, dtype=getattr(xp, dtype))

    return (
        (),
        LayerParams(array([[0.5, -1.0], [2.0, 0.25], [-0.75, 1.5]]), array([0.1, -0.2]), array([9.0, 9.0])),
        LayerParams(array([[1.0], [-2.0]]), None),
        LayerParams(array([[0.3]]), array(0.7)),
    )


def grads_of(xp: Any, dtype: str, step: int) -> Any:
    """Their gradients at a step; that of the last layer's weight is None."""

    def array(values: Any) -> Any:
        return xp.asarray(values, dtype=getattr(xp, dtype))

    a, b = math.cos(1.3 * step + 0.4), math.sin(0.7 * step + 0.2) + 1.1
    return (
        (),
        LayerParams(array([[a, b], [-b, a + 0.2], [0.3 * b, 2.0 * a]]), array([b, -a]), None),
        LayerParams(array([[a * b], [0.25 + b]]), None),
        LayerParams(None, array(b - 0.8)),
    )
