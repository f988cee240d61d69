"""Penalties on the size of weights, each weight matrix with a coefficient of its own.

A penalty is a function of one array. Which arrays of a network are penalised, and how much, is a mapping from their
path in the parameters to a penalty: ``{"[1].weight": l2(1e-4), "[3].weight": l2(1e-3)}``. ``each_weight`` writes that
mapping for all weight matrices.

A penalty's value is never added to the data loss: every report shows the data loss and each penalty apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import attrs

from funcnet import contract
from funcnet.arrays import Scalar, namespace
from funcnet.shapes import Array, Float
from funcnet.tree import Tree, named_leaves, trained

__all__ = ["Penalty", "each_weight", "l1", "l2"]


@attrs.frozen(repr=False, eq=False)
class Penalty:
    """A penalty on one array.

    Attributes:
        name: ``l2`` or the like.
        coefficient: its weight beside the data loss.
        value: ``value(w) -> penalty``, a 0-d array or a float.
        grad: ``grad(w) -> dw``, in the shape and dtype of w.
    """

    name: str
    coefficient: float
    value: Callable[[Float[Array, "*shape"]], Scalar]
    grad: Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]

    def __call__(self, w: Float[Array, "*shape"]) -> tuple[float, Float[Array, "*shape"]]:
        """The penalty, and its gradient.

        Raises:
            ShapeError: for anything but a floating-point array; where ``value`` did not return one number, or ``grad``
                no array like w.
        """
        return contract.penalty(self, w)

    def __repr__(self) -> str:
        return f"{self.name}({self.coefficient:g})"


def l2(coefficient: float) -> Penalty:
    """``coefficient`` / 2 times the sum of squares; its gradient is ``coefficient`` w (weight decay).

    Goodfellow, Bengio & Courville, Deep Learning (2016), section 7.1.1.

    Raises:
        ValueError: for a coefficient that is negative or not finite.
    """
    c = _coefficient(coefficient)
    return Penalty("l2", c, partial(l2_value, c), partial(l2_grad, c))


def l2_value(c: float, w: Float[Array, "*shape"]) -> Scalar:
    """c / 2 times the sum of squares."""
    return 0.5 * c * namespace(w).sum(w * w)


def l2_grad(c: float, w: Float[Array, "*shape"]) -> Float[Array, "*shape"] | Scalar:
    """c w."""
    return c * w


def l1(coefficient: float) -> Penalty:
    """``coefficient`` times the sum of absolute values; its gradient is ``coefficient`` sign(w), 0 at 0.

    Goodfellow, Bengio & Courville, Deep Learning (2016), section 7.1.2.

    Raises:
        ValueError: for a coefficient that is negative or not finite.
    """
    c = _coefficient(coefficient)
    return Penalty("l1", c, partial(l1_value, c), partial(l1_grad, c))


def l1_value(c: float, w: Float[Array, "*shape"]) -> Scalar:
    """c times the sum of absolute values."""
    xp = namespace(w)
    return c * xp.sum(xp.abs(w))


def l1_grad(c: float, w: Float[Array, "*shape"]) -> Float[Array, "*shape"] | Scalar:
    """c sign(w)."""
    return c * namespace(w).sign(w)


def each_weight(penalty: Penalty, params: Tree, *, biases: bool = False) -> Mapping[str, Penalty]:
    """The same penalty on every weight matrix of ``params`` (its trained arrays of two or more axes).

    With ``biases=True`` it is on every other trained array too. Each array has an entry of its own.
    """
    return {path: penalty for path, leaf in named_leaves(trained(params)) if biases or leaf.ndim >= 2}


def _coefficient(coefficient: float) -> float:
    if isinstance(coefficient, str | None) or not (math.isfinite(coefficient) and coefficient >= 0):
        raise ValueError(f"a penalty's coefficient is finite and not negative, got {coefficient!r}")
    return float(coefficient)
