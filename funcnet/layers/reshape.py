"""Layers that only rearrange: flatten and identity. Both return read-only views, not copies.

Their Jacobians are permutations, so dx is dy put back into the shape of x.
"""

from __future__ import annotations

import math

import attrs

from funcnet.layer import Layer
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, expect, expect_float, expect_no_params
from funcnet.tree import freeze

__all__ = ["FlattenResiduals", "flatten", "identity"]


@attrs.frozen
class FlattenResiduals:
    """The shape to go back to."""

    in_shape: Shape  # with the batch axis


def flatten() -> Layer[tuple[()], FlattenResiduals]:
    """One axis of all but the batch: (batch, height, width, ...) to (batch, height * width * ...)."""

    def init(key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
        return (), (math.prod(in_shape),)

    def forward(params: tuple[()], x: Float[Array, "batch ..."]) -> tuple[Float[Array, "batch out"], FlattenResiduals]:
        expect_no_params("flatten", params)
        expect_float("flatten", "x", x, kinds="fc")
        return freeze(x.reshape(len(x), math.prod(x.shape[1:]))), FlattenResiduals(x.shape)

    def vjp(
        params: tuple[()], residuals: FlattenResiduals, dy: Float[Array, "batch out"], *, need_dx: bool = True
    ) -> tuple[tuple[()], Float[Array, "batch ..."] | None]:
        expect_no_params("flatten", params)
        batch, *rest = residuals.in_shape
        expect("flatten", "dy", dy, (batch, math.prod(rest)), dy.dtype)
        return (), freeze(dy.reshape(residuals.in_shape))

    return Layer("flatten", init, forward, vjp)


def identity() -> Layer[tuple[()], FlattenResiduals]:
    """y = x: the neutral element of chain."""

    def init(key: Key, in_shape: Shape) -> tuple[tuple[()], Shape]:
        return (), in_shape

    def forward(
        params: tuple[()], x: Float[Array, "batch *shape"]
    ) -> tuple[Float[Array, "batch *shape"], FlattenResiduals]:
        expect_no_params("identity", params)
        expect_float("identity", "x", x, kinds="fc")
        return freeze(x.view()), FlattenResiduals(x.shape)

    def vjp(
        params: tuple[()], residuals: FlattenResiduals, dy: Float[Array, "batch *shape"], *, need_dx: bool = True
    ) -> tuple[tuple[()], Float[Array, "batch *shape"] | None]:
        expect_no_params("identity", params)
        expect("identity", "dy", dy, residuals.in_shape, dy.dtype)
        return (), freeze(dy.view())

    return Layer("identity", init, forward, vjp)
