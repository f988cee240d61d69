"""Group normalization of images: the channels of an example in groups, each with its own mean and variance.

    n = (x - mu) / sqrt(v + epsilon),    y = scale n + shift

    dshift = sum dy,    dscale = sum dy n,    dx = (dn - mean(dn) - n mean(dn n)) / sqrt(v + epsilon), dn = scale dy

mu, v and the means of dx go over the image and the channels of one group, in one example. Scale and shift are those of
a channel. With one group this is layer normalization over all of an example. With as many groups as channels it is
instance normalization.

Wu & He, "Group normalization" (ECCV 2018), eq. 1 to 7; Ulyanov, Vedaldi & Lempitsky, "Instance normalization" (2016),
eq. 4. The variance is the biased one.
"""

from __future__ import annotations

import math
from functools import partial

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.layers.layer_norm import (
    NormLayer,
    NormParams,
    NormResiduals,
    gradient_of,
    known_of,
    norm_init,
    positive_epsilon,
    scaled,
    scaled_and_shifted,
    standardized,
    standardized_vjp,
)
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, describe, whole_number

__all__ = ["group_norm", "instance_norm"]

_IMAGE_AND_CHANNELS = (1, 3)  # of (batch, image, groups, channels of a group)


def group_norm(groups: int, *, epsilon: float = 1e-5, scale: bool = True, shift: bool = True) -> NormLayer:
    """Group normalization of (batch, height, width, channels), or of any other axes before the channels.

    Args:
        groups: into how many parts the channels are cut. Their number is a multiple of it.
        epsilon: is added to the variance.
        scale: whether there is a scale for each channel. It starts at 1.
        shift: whether there is a shift for each channel. It starts at 0.

    Raises:
        ValueError: for a number of groups that is no whole number from 1 up, or an epsilon that is not positive.
    """
    groups = whole_number("the number of groups of a group_norm", groups, 1)
    recipe = partial(group_norm, groups, epsilon=epsilon, scale=scale, shift=shift)
    return _group_norm(f"group_norm({groups})", groups, epsilon, scale, shift, recipe)


def instance_norm(*, epsilon: float = 1e-5, scale: bool = True, shift: bool = True) -> NormLayer:
    """Instance normalization: ``group_norm`` with as many groups as there are channels.

    So each channel of each image has mean 0 and variance 1. PyTorch's has neither scale nor shift unless it is told.

    Raises:
        ValueError: for an epsilon that is not positive.
    """
    recipe = partial(instance_norm, epsilon=epsilon, scale=scale, shift=shift)
    return _group_norm("instance_norm", None, epsilon, scale, shift, recipe)


def _group_norm(
    name: str, groups: int | None, epsilon: float, scale: bool, shift: bool, recipe: partial[NormLayer]
) -> NormLayer:
    epsilon = positive_epsilon(f"a {name.partition('(')[0]}", epsilon)
    return Layer(
        name,
        partial(group_norm_init, name, groups, scale, shift),
        partial(group_norm_forward, groups, epsilon),
        partial(group_norm_vjp, groups),
        known=known_of(scale, shift),
        out_shape=partial(group_norm_shape, name, groups),
        recipe=recipe,
    )


def group_norm_shape(name: str, groups: int | None, in_shape: Shape) -> Shape:
    """The shape of the input."""
    if not in_shape or (groups and in_shape[-1] % groups):
        multiple = f", a multiple of its {groups} groups" if groups else ""
        raise ShapeError(name, f"examples of shape (height, width, channels){multiple}", describe(in_shape))
    return in_shape


def group_norm_init(
    name: str, groups: int | None, scale: bool, shift: bool, key: Key, in_shape: Shape
) -> tuple[NormParams, Shape]:
    """Scale 1, shift 0."""
    return norm_init(name, scale, shift, key, group_norm_shape(name, groups, in_shape))


def group_norm_forward(
    groups: int | None, epsilon: float, params: NormParams, x: Float[Array, "batch *axes features"]
) -> tuple[Float[Array, "batch *axes features"], NormResiduals]:
    """y = scale n + shift."""
    n, deviation = standardized(epsilon, _IMAGE_AND_CHANNELS, _by_group(groups, x))
    n = namespace(x).reshape(n, x.shape)
    return scaled_and_shifted(params, n), NormResiduals(n, deviation)


def group_norm_vjp(
    groups: int | None,
    params: NormParams,
    residuals: NormResiduals,
    dy: Float[Array, "batch *axes features"],
    *,
    need_dx: bool = True,
) -> tuple[NormParams, Float[Array, "batch *axes features"] | None]:
    """The gradients of scale and shift, and dx."""
    dparams = gradient_of(params, residuals.normalized, dy)
    if not need_dx:
        return dparams, None
    n, dn = (_by_group(groups, array) for array in (residuals.normalized, scaled(params, dy)))
    return dparams, namespace(dy).reshape(standardized_vjp(_IMAGE_AND_CHANNELS, n, residuals.deviation, dn), dy.shape)


def _by_group(groups: int | None, x: Array) -> Array:
    """(batch, ..., channels) as (batch, image, groups, channels of a group)."""
    (batch, *image, channels), groups = x.shape, groups or x.shape[-1]
    return namespace(x).reshape(x, (batch, math.prod(image), groups, channels // groups))
