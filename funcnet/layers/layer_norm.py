"""Layer normalization and root mean square normalization: each example by itself, along the last axis.

    layer norm   n = (x - mu) / sqrt(v + epsilon),      mu and v the mean and variance of the last axis
    RMS norm     n = x / sqrt(mean(x^2) + epsilon)
                 y = scale n + shift

    dshift = sum dy,    dscale = sum dy n,    with dn = scale dy:
    layer norm   dx = (dn - mean(dn) - n mean(dn n)) / sqrt(v + epsilon)
    RMS norm     dx = (dn - n mean(dn n)) / sqrt(mean(x^2) + epsilon)

Means go over the last axis, sums over all others.

Ba, Kiros & Hinton, "Layer normalization" (2016), eq. 3 and 4; Zhang & Sennrich, "Root mean square layer normalization"
(NeurIPS 2019), eq. 4. The variance is the biased one. PyTorch's is too.
"""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import attrs

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.layers.initializers import filled
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, describe
from funcnet.tree import Record, array_field

__all__ = ["NormParams", "NormResiduals", "layer_norm", "rms_norm"]


@attrs.frozen
class NormParams(Record):
    """The scale and the shift of each feature. A layer without has None."""

    scale: Float[Array, "features"] | None = array_field(default=None)
    shift: Float[Array, "features"] | None = array_field(default=None)


@attrs.frozen(eq=False)
class NormResiduals(Record):
    """The normalised input n, and what x was divided by, with axes of length 1 where the mean was taken."""

    normalized: Float[Array, "batch *axes features"]
    deviation: Float[Array, "batch ..."]


NormLayer: TypeAlias = Layer[NormParams, NormResiduals]


def layer_norm(*, epsilon: float = 1e-5, scale: bool = True, shift: bool = True) -> NormLayer:
    """Layer normalization of (batch, ..., features): the last axis to mean 0 and variance 1.

    This is PyTorch's ``LayerNorm(features)``. The squares of x - mean must be finite in the dtype: in float32,
    deviations up to about 1e18. Larger ones give y = shift, or NaN.

    Args:
        epsilon: is added to the variance.
        scale: whether there is a scale for each feature. It starts at 1.
        shift: whether there is a shift for each feature. It starts at 0.

    Raises:
        ValueError: for an epsilon that is not positive.
    """
    epsilon = positive_epsilon("a layer normalization", epsilon)
    return Layer(
        "layer_norm",
        partial(norm_init, "layer_norm", scale, shift),
        partial(layer_norm_forward, epsilon),
        layer_norm_vjp,
        known=known_of(scale, shift),
        recipe=partial(layer_norm, epsilon=epsilon, scale=scale, shift=shift),
    )


def rms_norm(*, epsilon: float = 1e-5, scale: bool = True) -> NormLayer:
    """RMS normalization of (batch, ..., features): the last axis to a mean square of 1. It has no shift.

    Args:
        epsilon: is added to the mean square.
        scale: whether there is a scale for each feature. It starts at 1.

    Raises:
        ValueError: for an epsilon that is not positive.
    """
    epsilon = positive_epsilon("an RMS normalization", epsilon)
    return Layer(
        "rms_norm",
        partial(norm_init, "rms_norm", scale, False),
        partial(rms_norm_forward, epsilon),
        rms_norm_vjp,
        known=known_of(scale, shift=False),
        recipe=partial(rms_norm, epsilon=epsilon, scale=scale),
    )


def positive_epsilon(what: str, epsilon: float) -> float:
    """The epsilon as a Python float.

    Raises:
        ValueError: for one that is not positive.
    """
    if not epsilon > 0:
        raise ValueError(f"the epsilon of {what} is positive, got {epsilon}")
    return float(epsilon)


def known_of(scale: bool, shift: bool) -> dict[str, int | None]:
    """Which fields of the params are None."""
    return {"scale": 1 if scale else None, "shift": 1 if shift else None}


def norm_init(name: str, scale: bool, shift: bool, key: Key, in_shape: Shape) -> tuple[NormParams, Shape]:
    """Scale 1, shift 0."""
    if not in_shape:
        raise ShapeError(name, "an input shape with a last axis, of features", describe(in_shape))
    return NormParams(*(filled(in_shape[-1:], v) if has else None for has, v in ((scale, 1.0), (shift, 0.0)))), in_shape


def layer_norm_forward(
    epsilon: float, params: NormParams, x: Float[Array, "batch *axes features"]
) -> tuple[Float[Array, "batch *axes features"], NormResiduals]:
    """y = scale n + shift."""
    n, deviation = standardized(epsilon, -1, x)
    return scaled_and_shifted(params, n), NormResiduals(n, deviation)


def layer_norm_vjp(
    params: NormParams, residuals: NormResiduals, dy: Float[Array, "batch *axes features"], *, need_dx: bool = True
) -> tuple[NormParams, Float[Array, "batch *axes features"] | None]:
    """The gradients of scale and shift, and dx."""
    n = residuals.normalized
    dx = standardized_vjp(-1, n, residuals.deviation, scaled(params, dy)) if need_dx else None
    return gradient_of(params, n, dy), dx


def rms_norm_forward(
    epsilon: float, params: NormParams, x: Float[Array, "batch *axes features"]
) -> tuple[Float[Array, "batch *axes features"], NormResiduals]:
    """y = scale n."""
    xp = namespace(x)
    size = xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + epsilon)
    return scaled_and_shifted(params, x / size), NormResiduals(x / size, size)


def rms_norm_vjp(
    params: NormParams, residuals: NormResiduals, dy: Float[Array, "batch *axes features"], *, need_dx: bool = True
) -> tuple[NormParams, Float[Array, "batch *axes features"] | None]:
    """The gradient of scale, and dx."""
    n, dn = residuals.normalized, scaled(params, dy)
    dx = (dn - n * namespace(dy).mean(dn * n, axis=-1, keepdims=True)) / residuals.deviation if need_dx else None
    return gradient_of(params, n, dy), dx


# --- what group normalization has in common with these


def standardized(epsilon: float, axes: int | tuple[int, ...], x: Array) -> tuple[Array, Array]:
    """n = (x - mu) / sqrt(v + epsilon), by the mean and variance along some axes; and what was divided by."""
    xp = namespace(x)
    centred = x - xp.mean(x, axis=axes, keepdims=True)
    deviation = xp.sqrt(xp.mean(centred * centred, axis=axes, keepdims=True) + epsilon)
    return centred / deviation, deviation


def standardized_vjp(axes: int | tuple[int, ...], n: Array, deviation: Array, dn: Array) -> Array:
    """dx = (dn - mean(dn) - n mean(dn n)) / sqrt(v + epsilon)."""
    mean = partial(namespace(dn).mean, axis=axes, keepdims=True)
    return (dn - mean(dn) - n * mean(dn * n)) / deviation


def scaled(params: NormParams, array: Array) -> Array:
    """The array times the scale, if there is one."""
    return array if params.scale is None else params.scale * array


def scaled_and_shifted(params: NormParams, n: Array) -> Array:
    """y = scale n + shift."""
    y = scaled(params, n)
    return y if params.shift is None else y + params.shift


def gradient_of(params: NormParams, n: Array, dy: Array) -> NormParams:
    """dscale = sum dy n, dshift = sum dy."""
    total = partial(namespace(dy).sum, axis=tuple(range(dy.ndim - 1)))
    return NormParams(
        None if params.scale is None else total(dy * n), None if params.shift is None else total(dy)
    )  # fmt: skip
