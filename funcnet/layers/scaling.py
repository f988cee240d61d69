"""Multiplication by a constant, which is not trained.

y = c x,    dx = c dy
"""

from __future__ import annotations

import math
from functools import partial

from funcnet.layer import Layer
from funcnet.layers.reshape import identity_init
from funcnet.shapes import Array, Float

__all__ = ["scaling"]


def scaling(factor: float) -> Layer[tuple[()], tuple[()]]:
    """y = factor x: for logits that should start small, or a branch that should count less.

    Raises:
        ValueError: for a factor that is not finite.
    """
    if not math.isfinite(factor):
        raise ValueError(f"the factor of a scaling is finite, got {factor}")
    factor = float(factor)  # a NumPy float64 would turn float32 into float64
    return Layer(
        f"scaling({factor:g})",
        identity_init,
        partial(scaling_forward, factor),
        partial(scaling_vjp, factor),
        recipe=partial(scaling, factor),
    )


def scaling_forward(
    factor: float, params: tuple[()], x: Float[Array, "batch *shape"]
) -> tuple[Float[Array, "batch *shape"], tuple[()]]:
    """y = c x."""
    return factor * x, ()


def scaling_vjp(
    factor: float, params: tuple[()], residuals: tuple[()], dy: Float[Array, "batch *shape"], *, need_dx: bool = True
) -> tuple[tuple[()], Float[Array, "batch *shape"] | None]:
    """dx = c dy."""
    return (), factor * dy if need_dx else None
