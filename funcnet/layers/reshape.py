"""Layers that only rearrange: flatten, reshape, transpose and identity.

Their Jacobians are permutations, so dx is dy put back into the places of x.
"""

from __future__ import annotations

import math
from functools import partial

import attrs

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, describe, whole_number
from funcnet.tree import Record, static_field

__all__ = ["RearrangedResiduals", "flatten", "identity", "reshape", "transpose"]


@attrs.frozen
class RearrangedResiduals(Record):
    """The shape to go back to, with the batch axis."""

    in_shape: Shape = static_field()


def flatten() -> Layer[tuple[()], RearrangedResiduals]:
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
) -> tuple[Float[Array, "batch out"], RearrangedResiduals]:
    """The same numbers, in one row an example."""
    rows = (x.shape[0], math.prod(x.shape[1:]))
    return namespace(x).reshape(x, rows), RearrangedResiduals(x.shape)


def flatten_vjp(
    params: tuple[()], residuals: RearrangedResiduals, dy: Float[Array, "batch out"], *, need_dx: bool = True
) -> tuple[tuple[()], Float[Array, "batch ..."] | None]:
    """The same numbers, in the shape of x."""
    return (), namespace(dy).reshape(dy, residuals.in_shape)


def reshape(*shape: int) -> Layer[tuple[()], RearrangedResiduals]:
    """The same numbers of each example in another shape, row by row: ``reshape(4, 4, -1)``.

    One length may be -1: what is left over.

    Raises:
        ValueError: for lengths that are no whole numbers from 1 up, or more than one -1.
    """
    name = f"reshape{describe(shape)}"
    if shape.count(-1) > 1:
        raise ValueError(f"one length of a reshape may be -1, got {describe(shape)}")
    shape = tuple(n if n == -1 else whole_number("a length of a reshape", n, 1) for n in shape)
    return Layer(
        name,
        partial(reshape_init, name, shape),
        partial(reshape_forward, name, shape),
        reshape_vjp,
        out_shape=partial(reshape_shape, name, shape),
        recipe=partial(reshape, *shape),
    )


def reshape_shape(name: str, shape: Shape, in_shape: Shape) -> Shape:
    """The new shape, with a length in place of -1."""
    size, given = math.prod(in_shape), math.prod(n for n in shape if n != -1)
    left = size // given
    if left * given != size or (left != 1 and -1 not in shape):
        wanted = "a multiple of " if -1 in shape else ""
        raise ShapeError(name, f"examples of {wanted}{given} entries", f"{describe(in_shape)}, which has {size}")
    return tuple(left if n == -1 else n for n in shape)


def reshape_init(name: str, shape: Shape, key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
    """No params."""
    return (), reshape_shape(name, shape, in_shape)


def reshape_forward(
    name: str, shape: Shape, params: tuple[()], x: Float[Array, "batch ..."]
) -> tuple[Float[Array, "batch ..."], RearrangedResiduals]:
    """The same numbers, in the new shape."""
    out_shape = reshape_shape(name, shape, tuple(x.shape[1:]))
    return namespace(x).reshape(x, (x.shape[0], *out_shape)), RearrangedResiduals(x.shape)


def reshape_vjp(
    params: tuple[()], residuals: RearrangedResiduals, dy: Float[Array, "batch ..."], *, need_dx: bool = True
) -> tuple[tuple[()], Float[Array, "batch ..."] | None]:
    """The same numbers, in the shape of x."""
    return (), namespace(dy).reshape(dy, residuals.in_shape)


def transpose(*axes: int) -> Layer[tuple[()], RearrangedResiduals]:
    """The axes of an example in another order. Axis i of the output is axis ``axes[i]`` of the input.

    The axes are counted from 0, without the batch: ``transpose(2, 0, 1)`` puts the channels of an image first.

    Raises:
        ValueError: for axes that are not 0, 1, 2, ..., each once.
    """
    if sorted(axes) != list(range(len(axes))) or not axes:
        raise ValueError(f"the axes of a transpose are 0, 1, 2, ..., each once, in a new order; got {axes}")
    name = f"transpose{describe(axes)}"
    back = tuple(axes.index(axis) for axis in range(len(axes)))
    return Layer(
        name,
        partial(transpose_init, name, axes),
        partial(transpose_forward, axes),
        partial(transpose_vjp, back),
        out_shape=partial(transpose_shape, name, axes),
        recipe=partial(transpose, *axes),
    )


def transpose_shape(name: str, axes: Shape, in_shape: Shape) -> Shape:
    """The lengths in the new order."""
    if len(in_shape) != len(axes):
        raise ShapeError(name, f"examples of {len(axes)} axes", describe(in_shape))
    return tuple(in_shape[axis] for axis in axes)


def transpose_init(name: str, axes: Shape, key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
    """No params."""
    return (), transpose_shape(name, axes, in_shape)


def transpose_forward(
    axes: Shape, params: tuple[()], x: Float[Array, "batch ..."]
) -> tuple[Float[Array, "batch ..."], RearrangedResiduals]:
    """The same numbers, with the axes in the new order."""
    return _permuted(axes, x), RearrangedResiduals(x.shape)


def transpose_vjp(
    back: Shape,
    params: tuple[()],
    residuals: RearrangedResiduals,
    dy: Float[Array, "batch ..."],
    *,
    need_dx: bool = True,
) -> tuple[tuple[()], Float[Array, "batch ..."] | None]:
    """The same numbers, with the axes in the old order."""
    return (), _permuted(back, dy)


def _permuted(axes: Shape, x: Array) -> Array:
    return namespace(x).permute_dims(x, (0, *(axis + 1 for axis in axes)))


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
