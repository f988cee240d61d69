"""Penalties by BLAS: the value in one pass over memory, the gradient added onto the accumulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcnet import contract
from funcnet import penalties as equations
from funcnet.engines.numpy import blas
from funcnet.engines.numpy.kernel import base
from funcnet.penalties import Penalty
from funcnet.shapes import Array, expect
from funcnet.tree import squared_norm

__all__ = ["add_gradient", "penalty_kernels", "penalty_value"]


def penalty_kernels(penalty: Penalty) -> bool:
    """Whether the gradient of the penalty has a kernel."""
    return base(penalty.grad) in _ADD


def penalty_value(penalty: Penalty, w: Array) -> float:
    """The penalty's value."""
    if (value := _VALUES.get(base(penalty.value))) is not None:
        return value(penalty.value.args[0], w)  # type: ignore[attr-defined]
    return float(contract.penalty_value(penalty, w))


def add_gradient(penalty: Penalty, accumulator: Array, w: Array) -> None:
    """accumulator <- accumulator + grad(w), in place."""
    if (add := _ADD.get(base(penalty.grad))) is not None:
        add(penalty.grad.args[0], accumulator, w)  # type: ignore[attr-defined]
        return
    gradient = np.asarray(penalty.grad(w))  # arithmetic on a 0-d array makes a scalar
    expect(penalty.name, "the gradient", gradient, w.shape, w.dtype)
    blas.axpy(accumulator, 1.0, gradient)


def _add_l2(c: float, accumulator: Array, w: Array) -> None:
    blas.axpy(accumulator, c, w)


def _value_of_l2(c: float, w: Array) -> float:
    return 0.5 * c * squared_norm(w)


_ADD: dict[Any, Callable[[float, Array, Array], None]] = {equations.l2_grad: _add_l2}
_VALUES: dict[Any, Callable[[float, Array], float]] = {equations.l2_value: _value_of_l2}
