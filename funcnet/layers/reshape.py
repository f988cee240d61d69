"""Layers that only rearrange: flatten and identity.

Their Jacobians are permutations, so dx is dy put back into the shape of x.
"""

from __future__ import annotations

import math

import attrs

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape
from funcnet.tree import Record, static_field

__all__ = ["FlattenResiduals", "flatten", "identity"]


@attrs.frozen
class FlattenResiduals(Record):
    """The shape to go back to, with the batch axis."""

    in_shape: Shape = static_field()


def flatten() -> Layer[tuple[()], FlattenResiduals]:
    """Joins all axes but the batch into one: (batch, height, width, ...) to (batch, height * width * ...)."""
    return Layer("flatten", flatten_init, flatten_forward, flatten_vjp, out_shape=flatten_shape, recipe=flatten)


def flatten_init(key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
    """No params."""
    return (), flatten_shape(in_shape)


def flatten_shape(in_shape: Shape) -> Shape:
    """One axis, as long as the product of all."""
    return (math.prod(in_shape),)


def flatten_forward(
    params: tuple[()], x: Float[Array, "batch ..."]
) -> tuple[Float[Array, "batch out"], FlattenResiduals]:
    """The same numbers, in one row an example."""
    rows = (x.shape[0], math.prod(x.shape[1:]))
    return namespace(x).reshape(x, rows), FlattenResiduals(x.shape)


def flatten_vjp(
    params: tuple[()], residuals: FlattenResiduals, dy: Float[Array, "batch out"], *, need_dx: bool = True
) -> tuple[tuple[()], Float[Array, "batch ..."] | None]:
    """The same numbers, in the shape of x."""
    return (), namespace(dy).reshape(dy, residuals.in_shape)


def identity() -> Layer[tuple[()], tuple[()]]:
    """y = x: the neutral element of chain."""
    return Layer("identity", identity_init, identity_forward, identity_vjp, recipe=identity)


def identity_init(key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
    """Any shape."""
    return (), in_shape


def identity_forward(
    params: tuple[()], x: Float[Array, "batch *shape"]
) -> tuple[Float[Array, "batch *shape"], tuple[()]]:
    """x itself."""
    return x, ()


def identity_vjp(
    params: tuple[()], residuals: tuple[()], dy: Float[Array, "batch *shape"], *, need_dx: bool = True
) -> tuple[tuple[()], Float[Array, "batch *shape"] | None]:
    """dy itself."""
    return (), dy
