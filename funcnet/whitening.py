"""Whitening of image patches: filters whose outputs are uncorrelated on the training images.

    C = mean of (p - m) (p - m)^T = sum over k of  l_k v_k v_k^T,    filters  v_k / sqrt(l_k + epsilon)  and  -v_k / ...

p are all patches of size x size entries with all their channels, and m is their mean. l_k and v_k are the eigenvalues
and eigenvectors of their covariance C, the largest first. The output of filter k has variance l_k / (l_k + epsilon).
With the negatives, a ReLU after the filters loses nothing.

Coates, Ng & Lee, "An analysis of single-layer networks in unsupervised feature learning" (AISTATS 2011), section 3.1,
for the whitening of patches; Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (2024), section 3.2, for the
frozen layer with negatives and its epsilon.
"""

from __future__ import annotations

import math
from functools import partial

from funcnet.arrays import namespace
from funcnet.combinators import FrozenParams, frozen
from funcnet.layer import Layer
from funcnet.layers.conv import ConvResiduals, conv2d
from funcnet.layers.initializers import given
from funcnet.layers.windows import windows
from funcnet.shapes import Array, Float, ShapeError, describe, expect_float, whole_number

__all__ = ["patch_whitening"]

_BLOCK = 500  # images, whose patches are in memory at once


def patch_whitening(
    images: Float[Array, "batch height width channels"], size: int = 2, *, epsilon: float = 5e-4
) -> Layer[FrozenParams, ConvResiduals]:
    """The frozen convolution that whitens patches of these images.

    It has 2 channels size^2 filters, no padding and no bias: ``chain(patch_whitening(images), bias(), gelu())`` has one
    that is trained. Its ``init`` gives the same filters for every key.

    Args:
        images: training images, normalised as those that the network will see. A few thousand suffice.
        size: height and width of a patch.
        epsilon: is added to the eigenvalues, so that noise is not blown up.

    Raises:
        ShapeError: for images of another shape or dtype, or smaller than a patch.
        ValueError: for a size that is no whole number from 1 up, or an epsilon that is not positive.
    """
    size = whole_number("the size of a patch", size, 1)
    if not epsilon > 0:
        raise ValueError(f"the epsilon of a patch_whitening is positive, got {epsilon}")
    expect_float("patch_whitening", "images", images)
    if images.ndim != 4 or not images.shape[0]:
        wanted = "images of shape (batch, height, width, channels)"
        raise ShapeError("patch_whitening", wanted, f"shape {describe(images.shape)}")
    filters = _filters(images, size, float(epsilon))
    init = partial(given, values=filters)
    return frozen(conv2d(filters.shape[-1], size, padding="valid", bias=False, init=init))


def _filters(images: Array, size: int, epsilon: float) -> Array:
    """The filters, (size, size, channels, 2 channels size^2), in float32."""
    xp = namespace(images)
    values, vectors = xp.linalg.eigh(_covariance(images, size))
    # An eigenvector times -1 is one too: the first entry is positive here.
    vectors = xp.flip(vectors * xp.where(vectors[:1, :] < 0, -1.0, 1.0), axis=1)
    filters = vectors / xp.sqrt(xp.flip(values) + epsilon)
    both = xp.astype(xp.concat([filters, -filters], axis=1), xp.float32)
    return xp.reshape(both, (size, size, images.shape[-1], both.shape[1]))


def _covariance(images: Array, size: int) -> Array:
    """The covariance of all patches, in the namespace's default floating-point type: in NumPy, float64."""
    xp, sliding = namespace(images), windows("patch_whitening", 2, size, 1, 1, "valid")
    dtype = xp.__array_namespace_info__().default_dtypes()["real floating"]
    out, entries = sliding.out_image("patch_whitening", images.shape[1:]), size * size * images.shape[-1]
    total, products = xp.zeros((entries,), dtype=dtype), xp.zeros((entries, entries), dtype=dtype)
    for begin in range(0, images.shape[0], _BLOCK):
        block = xp.astype(images[begin : begin + _BLOCK, ...], dtype)
        cuts = [sliding.cut(block, place, out) for place in sliding.places()]
        patches = xp.reshape(xp.concat(cuts, axis=-1), (block.shape[0] * math.prod(out), entries))
        total, products = total + xp.sum(patches, axis=0), products + patches.T @ patches
    count = images.shape[0] * math.prod(out)
    mean = total / count
    return products / count - mean[:, None] * mean
