"""Convolution of images (batch, height, width, channels) and of sequences (batch, length, channels).

    y[n, i, o]  = b[o] + sum over p, c of  X[n, s i + d p, c] W[p, c, o]
    dW[p, c, o] = sum over n, i of  X[n, s i + d p, c] dy[n, i, o],    db[o] = sum over n, i of  dy[n, i, o]
    dX[n, j, c] = sum over o and all i, p with s i + d p = j of  dy[n, i, o] W[p, c, o]

X is x with its padding, i a place of the window in the image, p an entry of the window, s the stride and d the
dilation. Each p gives one matrix product over the channels. The window is not flipped, as in all frameworks. With
``groups`` g, channels and filters are cut into g parts, and each part of the filters sees its own part of the channels.

The transposed convolution takes the equations the other way: its y is the dX of a convolution, its dx that one's y.

LeCun et al., "Gradient-based learning applied to document recognition" (1998), section II; Goodfellow, Bengio &
Courville, Deep Learning (2016), section 9.5, equations 9.10 to 9.13; Dumoulin & Visin (2016), chapter 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import add
from typing import Any, TypeAlias

import attrs

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.layers.initializers import Initializer, he, weights
from funcnet.layers.windows import Padding, Windows, windows
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, whole_number
from funcnet.tree import Record, array_field

__all__ = [
    "ConvParams",
    "ConvResiduals",
    "ConvTransposeParams",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "depthwise_conv2d",
]


@attrs.frozen
class ConvParams(Record):
    """The filters, (*window, depth, filters), and the bias if there is one. Depth is channels / groups."""

    weight: Float[Array, "*window depth filters"] = array_field()
    bias: Float[Array, "filters"] | None = array_field(default=None)


@attrs.frozen(eq=False)
class ConvResiduals(Record):
    """The input, from which the gradient of the filters is computed."""

    x: Float[Array, "batch *image channels"]

    @property
    def in_shape(self) -> Shape:
        """The shape of the input, with the batch axis."""
        return self.x.shape


ConvLayer: TypeAlias = Layer[ConvParams, ConvResiduals]
Lengths: TypeAlias = int | Sequence[int]


def conv2d(
    filters: int,
    kernel: Lengths = 3,
    *,
    stride: Lengths = 1,
    padding: Padding = "same",
    dilation: Lengths = 1,
    groups: int = 1,
    bias: bool = True,
    init: Initializer = he,
) -> ConvLayer:
    """A convolution of images: (batch, height, width, channels) to (batch, height', width', filters).

    Args:
        filters: the channels of the output.
        kernel: the size of the window: one number, or (height, width).
        stride: by how much the window moves.
        padding: ``same`` pads with zeros for height' = height / stride, rounded up; ``reflect`` does so with the image
            reflected about its border; ``valid`` does not pad. Or how many zeros: one number, or ((top, bottom),
            (left, right)).
        dilation: the distance from one entry of the window to the next.
        groups: into how many parts the channels are cut. Filters and channels are multiples of it.
        bias: whether a bias is added. It starts at zero.
        init: draws the filters.

    Raises:
        ValueError: for arguments that are none of these.
    """
    return _conv(conv2d, 2, filters, kernel, stride, padding, dilation, groups, bias, init)


def conv1d(
    filters: int,
    kernel: Lengths = 3,
    *,
    stride: Lengths = 1,
    padding: Padding = "same",
    dilation: Lengths = 1,
    groups: int = 1,
    bias: bool = True,
    init: Initializer = he,
) -> ConvLayer:
    """A convolution of sequences: (batch, length, channels) to (batch, length', filters). Arguments as of ``conv2d``.

    Raises:
        ValueError: for arguments that are none of these.
    """
    return _conv(conv1d, 1, filters, kernel, stride, padding, dilation, groups, bias, init)


def _conv(
    make: Callable[..., ConvLayer],
    axes: int,
    filters: int,
    kernel: Lengths,
    stride: Lengths,
    padding: Padding,
    dilation: Lengths,
    groups: int,
    bias: bool,
    init: Initializer,
) -> ConvLayer:
    filters = whole_number(f"the number of filters of a {make.__name__}", filters, 1)
    name = f"{make.__name__}({filters})"
    groups = whole_number(f"the number of groups of a {name}", groups, 1)
    if filters % groups:
        raise ValueError(f"the filters of a convolution are a multiple of its groups, got {filters} and {groups}")
    sliding = windows(name, axes, kernel, stride, dilation, padding)
    options: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": bias,
        "init": init,
    }
    return Layer(
        name,
        partial(conv_init, name, sliding, filters, groups, bias, init),
        partial(conv_forward, sliding),
        partial(conv_vjp, sliding),
        partial(conv_multiply_adds, name, sliding),
        known={
            "*window": sliding.size,
            "filters": filters,
            "channels": partial(channels_of, groups),
            "bias": filters if bias else None,
        },
        out_shape=partial(conv_shape, name, sliding, filters),
        recipe=partial(make, filters, kernel, **options),
    )


def channels_of(groups: int, params: ConvParams) -> int:
    """The channels of an input: groups times depth."""
    return groups * params.weight.shape[-2]


def conv_shape(name: str, sliding: Windows, filters: int, in_shape: Shape) -> Shape:
    """The shape of the output for one of the input."""
    return (*sliding.out_image(name, in_shape), filters)


def conv_init(
    name: str,
    sliding: Windows,
    filters: int,
    groups: int,
    bias: bool,
    init: Initializer,
    key: Key,
    in_shape: Shape,
) -> tuple[ConvParams, Shape]:
    """Filters by ``init``, with the entries of a window times depth as fan-in; a bias of zeros."""
    out_shape = conv_shape(name, sliding, filters, in_shape)
    if in_shape[-1] % groups:
        raise ShapeError(name, f"channels that are a multiple of its {groups} groups", f"{in_shape[-1]} channels")
    depth, area = in_shape[-1] // groups, math.prod(sliding.size)
    shape = (*sliding.size, depth, filters)
    weight = weights(name, init, key, shape, area * depth, area * filters // groups)
    zeros = namespace(weight).zeros((filters,), dtype=weight.dtype) if bias else None
    return ConvParams(weight, zeros), out_shape


def conv_forward(
    sliding: Windows, params: ConvParams, x: Float[Array, "batch *image channels"]
) -> tuple[Float[Array, "batch *out filters"], ConvResiduals]:
    """y, the sum over the entries of the window."""
    y = correlate(sliding, sliding.padded(x), params.weight)
    return y if params.bias is None else y + params.bias, ConvResiduals(x)


def conv_vjp(
    sliding: Windows,
    params: ConvParams,
    residuals: ConvResiduals,
    dy: Float[Array, "batch *out filters"],
    *,
    need_dx: bool = True,
) -> tuple[ConvParams, Float[Array, "batch *image channels"] | None]:
    """dW and dX, entry by entry of the window; dx is dX without the padding."""
    x, padded = residuals.x, sliding.padded(residuals.x)
    dbias = None if params.bias is None else namespace(dy).sum(dy, axis=tuple(range(dy.ndim - 1)))
    dparams = ConvParams(correlate_filters(sliding, padded, dy, params.weight), dbias)
    if not need_dx:
        return dparams, None
    return dparams, sliding.unpadded(correlate_image(sliding, padded.shape, dy, params.weight), x.shape[1:-1])


def conv_multiply_adds(name: str, sliding: Windows, params: ConvParams, in_shape: Shape) -> int:
    """Every filter, at every place of its window."""
    return math.prod(sliding.out_image(name, in_shape)) * params.weight.size


# --- the sums over the window, and their adjoints


def correlate(sliding: Windows, padded: Array, weight: Array) -> Array:
    """The sum over p, c of X[n, s i + d p, c] W[p, c, o]."""
    matrices, out = _matrices(weight, padded.shape[-1]), sliding.out(padded.shape[1:-1])
    parts = zip(sliding.places(), matrices, strict=True)
    return reduce(add, (_times(sliding.cut(padded, p, out), matrix) for p, matrix in parts))


def correlate_filters(sliding: Windows, padded: Array, dy: Array, weight: Array) -> Array:
    """The gradient of the weight: the sum over n, i of X[n, s i + d p, c] dy[n, i, o]."""
    xp, groups, out = namespace(dy), padded.shape[-1] // weight.shape[-2], dy.shape[1:-1]
    entries = [_between(sliding.cut(padded, p, out), dy, groups) for p in sliding.places()]
    return xp.reshape(xp.stack(entries), weight.shape)


def correlate_image(sliding: Windows, shape: Shape, dy: Array, weight: Array) -> Array:
    """The gradient of X, which has this shape: the sum over o and all i, p that meet of dy[n, i, o] W[p, c, o]."""
    transpose, parts = namespace(dy).matrix_transpose, zip(sliding.places(), _matrices(weight, shape[-1]), strict=True)
    return reduce(add, (sliding.spread(_times(dy, transpose(matrix)), p, shape[1:-1]) for p, matrix in parts))


def _matrices(weight: Array, channels: int) -> list[Array]:
    """For each entry of the window the matrices of all groups: (groups, depth, filters of a group)."""
    xp, (depth, filters) = namespace(weight), weight.shape[-2:]
    groups = channels // depth
    apart = xp.reshape(weight, (math.prod(weight.shape[:-2]), depth, groups, filters // groups))
    apart = xp.permute_dims(apart, (0, 2, 1, 3))
    return [apart[entry, ...] for entry in range(apart.shape[0])]


def _times(values: Array, matrices: Array) -> Array:
    """(..., groups * a) times (groups, a, b), group by group: (..., groups * b)."""
    groups, a, b = matrices.shape
    if groups == 1:
        return values @ matrices[0, ...]
    xp, rest = namespace(values), values.shape[:-1]
    return xp.reshape(xp.reshape(values, (*rest, groups, 1, a)) @ matrices, (*rest, groups * b))


def _between(values: Array, dy: Array, groups: int) -> Array:
    """The (depth, filters) of all products of a value with a dy of its group, summed over batch and image."""
    xp = namespace(dy)
    rows = math.prod(dy.shape[:-1])
    by_group = [
        xp.permute_dims(xp.reshape(part, (rows, groups, part.shape[-1] // groups)), (1, 0, 2)) for part in (values, dy)
    ]
    products = xp.matrix_transpose(by_group[0]) @ by_group[1]
    return xp.reshape(xp.permute_dims(products, (1, 0, 2)), (values.shape[-1] // groups, dy.shape[-1]))


# --- depthwise: as many groups as channels


def depthwise_conv2d(
    kernel: Lengths = 3,
    *,
    multiplier: int = 1,
    stride: Lengths = 1,
    padding: Padding = "same",
    dilation: Lengths = 1,
    bias: bool = True,
    init: Initializer = he,
) -> ConvLayer:
    """A convolution in as many groups as there are channels: each channel has ``multiplier`` filters of its own.

    Chollet, "Xception" (CVPR 2017), section 1.2. The other arguments are those of ``conv2d``.

    Raises:
        ValueError: for arguments that are none of these.
    """
    name = "depthwise_conv2d"
    multiplier = whole_number(f"the multiplier of a {name}", multiplier, 1)
    sliding = windows(name, 2, kernel, stride, dilation, padding)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "bias": bias, "init": init}
    return Layer(
        name,
        partial(depthwise_init, name, sliding, multiplier, bias, init),
        partial(conv_forward, sliding),
        partial(conv_vjp, sliding),
        partial(conv_multiply_adds, name, sliding),
        known={
            "*window": sliding.size,
            "depth": 1,
            "channels": partial(depthwise_channels, multiplier),
            "bias": 1 if bias else None,
        },
        out_shape=partial(depthwise_shape, name, sliding, multiplier),
        recipe=partial(depthwise_conv2d, kernel, multiplier=multiplier, **options),
    )


def depthwise_channels(multiplier: int, params: ConvParams) -> int:
    """The channels of an input: the filters over the multiplier."""
    return params.weight.shape[-1] // multiplier


def depthwise_shape(name: str, sliding: Windows, multiplier: int, in_shape: Shape) -> Shape:
    """The shape of the output for one of the input."""
    return (*sliding.out_image(name, in_shape), multiplier * in_shape[-1])


def depthwise_init(
    name: str, sliding: Windows, multiplier: int, bias: bool, init: Initializer, key: Key, in_shape: Shape
) -> tuple[ConvParams, Shape]:
    """As of a convolution with a group for each channel."""
    depthwise_shape(name, sliding, multiplier, in_shape)
    channels = in_shape[-1]
    return conv_init(name, sliding, multiplier * channels, channels, bias, init, key, in_shape)


# --- transposed


@attrs.frozen
class ConvTransposeParams(Record):
    """The filters, (*window, filters, channels), and the bias if there is one."""

    weight: Float[Array, "*window filters channels"] = array_field()
    bias: Float[Array, "filters"] | None = array_field(default=None)


def conv_transpose2d(
    filters: int,
    kernel: Lengths = 3,
    *,
    stride: Lengths = 1,
    padding: Padding = "same",
    dilation: Lengths = 1,
    bias: bool = True,
    init: Initializer = he,
) -> Layer[ConvTransposeParams, ConvResiduals]:
    """The transposed convolution: each entry of the image adds its multiple of the filters to a window of the output.

    With ``padding="same"``, height' = stride * height. With ``valid``, all of the windows are kept. Numbers say how
    many entries are cut off at the borders. The other arguments are those of ``conv2d``.

    Zeiler, Krishnan, Taylor & Fergus, "Deconvolutional networks" (CVPR 2010).

    Raises:
        ValueError: for arguments that are none of these.
    """
    filters = whole_number("the number of filters of a conv_transpose2d", filters, 1)
    name = f"conv_transpose2d({filters})"
    sliding = windows(name, 2, kernel, stride, dilation, padding)
    if padding == "reflect":
        raise ValueError(f"the padding of a {name} is same, valid or numbers of entries, got 'reflect'")
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "bias": bias, "init": init}
    return Layer(
        name,
        partial(transpose_init, name, sliding, filters, bias, init),
        partial(transpose_forward, sliding),
        partial(transpose_vjp, sliding),
        transpose_multiply_adds,
        known={"*window": sliding.size, "filters": filters, "bias": filters if bias else None},
        out_shape=partial(transpose_shape, name, sliding, filters),
        recipe=partial(conv_transpose2d, filters, kernel, **options),
    )


def transpose_shape(name: str, sliding: Windows, filters: int, in_shape: Shape) -> Shape:
    """The shape of the output for one of the input."""
    return (*sliding.in_image(name, in_shape), filters)


def transpose_init(
    name: str, sliding: Windows, filters: int, bias: bool, init: Initializer, key: Key, in_shape: Shape
) -> tuple[ConvTransposeParams, Shape]:
    """Filters by ``init``, a bias of zeros."""
    out_shape = transpose_shape(name, sliding, filters, in_shape)
    area, channels = math.prod(sliding.size), in_shape[-1]
    weight = weights(name, init, key, (*sliding.size, filters, channels), area * channels, area * filters)
    zeros = namespace(weight).zeros((filters,), dtype=weight.dtype) if bias else None
    return ConvTransposeParams(weight, zeros), out_shape


def transpose_forward(
    sliding: Windows, params: ConvTransposeParams, x: Float[Array, "batch *image channels"]
) -> tuple[Float[Array, "batch *out filters"], ConvResiduals]:
    """The dx of a convolution whose dy is x."""
    image = sliding.in_image("", x.shape[1:])
    padded = tuple(n + low + high for n, (low, high) in zip(image, sliding.amounts(image), strict=True))
    shape = (x.shape[0], *padded, params.weight.shape[-2])
    y = sliding.unpadded(correlate_image(sliding, shape, x, params.weight), image)
    return y if params.bias is None else y + params.bias, ConvResiduals(x)


def transpose_vjp(
    sliding: Windows,
    params: ConvTransposeParams,
    residuals: ConvResiduals,
    dy: Float[Array, "batch *out filters"],
    *,
    need_dx: bool = True,
) -> tuple[ConvTransposeParams, Float[Array, "batch *image channels"] | None]:
    """The dW of a convolution whose input is dy and whose dy is x; its output for the input dy is dx."""
    padded = sliding.padded(dy)
    dbias = None if params.bias is None else namespace(dy).sum(dy, axis=tuple(range(dy.ndim - 1)))
    dparams = ConvTransposeParams(correlate_filters(sliding, padded, residuals.x, params.weight), dbias)
    return dparams, correlate(sliding, padded, params.weight) if need_dx else None


def transpose_multiply_adds(params: ConvTransposeParams, in_shape: Shape) -> int:
    """Every filter, for every entry of the image."""
    return math.prod(in_shape[:-1]) * params.weight.size
