"""Penalties on the size of weights, each weight matrix with a coefficient of its own.

A penalty is a function of one array. Which arrays of a network are penalised, and how much, is a mapping from their
path in the parameters to a penalty: ``{"[1].weight": l2(1e-4), "[3].weight": l2(1e-3)}``. ``each_weight`` writes that
mapping for all weight matrices.

The value never mixes with the data loss: whatever reports a loss reports it, and each penalty, apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import attrs
import numpy as np

from funcnet import blas
from funcnet.inplace import twin_of, with_twin
from funcnet.shapes import Array, Float
from funcnet.tree import Tree, named_leaves, squared_norm

__all__ = ["Penalty", "each_weight", "l1", "l2"]


@attrs.frozen(repr=False)
class Penalty:
    """A penalty on one array.

    Attributes:
        name: ``l2`` or the like.
        coefficient: its weight beside the data loss.
        value: ``value(w) -> penalty``.
        grad: ``grad(w) -> dw``, in the shape and dtype of w.
    """

    name: str
    coefficient: float
    value: Callable[[Float[Array, "*shape"]], float]
    grad: Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]

    def __call__(self, w: Float[Array, "*shape"]) -> tuple[float, Float[Array, "*shape"]]:
        return self.value(w), self.grad(w)

    def __repr__(self) -> str:
        return f"{self.name}({self.coefficient:g})"


def add_grad(penalty: Penalty, onto: Array, w: Array) -> None:
    """The gradient in place: the writable array ``onto`` becomes onto + grad(w)."""
    if (twin := twin_of(penalty.grad)) is not None:
        twin(onto, w)
    else:
        blas.add_scaled(onto, 1.0, penalty.grad(w))


def l2(coefficient: float) -> Penalty:
    """``coefficient`` / 2 times the sum of squares; its gradient is ``coefficient`` w (weight decay).

    Goodfellow, Bengio & Courville, Deep Learning (2016), section 7.1.1.

    Raises:
        ValueError: for a coefficient that is negative or not finite.
    """
    c = _checked(coefficient)
    grad = with_twin(lambda w: np.asarray(c * w), lambda onto, w: blas.add_scaled(onto, c, w))
    return Penalty("l2", c, lambda w: 0.5 * c * squared_norm(w), grad)


def l1(coefficient: float) -> Penalty:
    """``coefficient`` times the sum of absolute values; its gradient is ``coefficient`` sign(w), 0 at 0.

    Goodfellow, Bengio & Courville, Deep Learning (2016), section 7.1.2.

    Raises:
        ValueError: for a coefficient that is negative or not finite.
    """
    c = _checked(coefficient)
    return Penalty("l1", c, lambda w: c * float(np.abs(w).sum()), lambda w: np.asarray(c * np.sign(w)))


def each_weight(penalty: Penalty, params: Tree, *, biases: bool = False) -> Mapping[str, Penalty]:
    """The same penalty on every weight matrix of ``params`` (its arrays of two or more axes), each counted apart.

    With ``biases=True`` on every other array of the parameters too.
    """
    return {path: penalty for path, leaf in named_leaves(params) if biases or leaf.ndim >= 2}


def _checked(coefficient: float) -> float:
    if isinstance(coefficient, str | None) or not (math.isfinite(coefficient) and coefficient >= 0):
        raise ValueError(f"a penalty's coefficient is finite and not negative, got {coefficient!r}")
    return float(coefficient)
