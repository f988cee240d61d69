"""Networks that people train, as compositions of layers.

    mlp(256, 10)            fully connected, for examples of any shape
    lenet(10)               LeNet-5, for small images
    resnet(20, 10)          residual networks: 20, 32 or 44 layers for images of 32 x 32, 18 for larger ones
    speednet(whitening)     the network of CIFAR-10's speed record

Each is a chain of what ``funcnet`` exports, so it can be copied and changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from funcnet.combinators import chain, parallel
from funcnet.layer import AnyLayer
from funcnet.layers.activations import relu, tanh
from funcnet.layers.bias import bias
from funcnet.layers.conv import conv2d
from funcnet.layers.gated import gelu
from funcnet.layers.initializers import dirac, fan_in_uniform, glorot
from funcnet.layers.linear import linear
from funcnet.layers.norm import batch_norm
from funcnet.layers.pool import avg_pool2d, global_avg_pool, global_max_pool, max_pool2d
from funcnet.layers.reshape import flatten, identity
from funcnet.layers.scaling import scaling
from funcnet.shapes import whole_number

__all__ = ["lenet", "mlp", "resnet", "speednet"]


def mlp(*widths: int, activation: Callable[[], AnyLayer] = relu) -> AnyLayer:
    """A multilayer perceptron: linear layers of these widths, with an activation between them.

    Goodfellow, Bengio & Courville, Deep Learning (2016), chapter 6.

    Raises:
        ValueError: for no widths, or a width that is no whole number from 1 up.
    """
    if not widths:
        raise ValueError("an mlp has at least one width, that of its output: mlp(256, 10)")
    hidden = [layer for width in widths[:-1] for layer in (linear(width), activation())]
    return chain(flatten(), *hidden, linear(widths[-1]))


def lenet(classes: int = 10) -> AnyLayer:
    """LeNet-5, for images of about 28 x 28: two convolutions with average pooling, then three linear layers.

    LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition" (1998), section II.B. As
    is usual now, pooling is a plain mean, all filters see all channels, and the last layer is linear.
    """
    return chain(
        conv2d(6, 5, init=glorot), tanh(), avg_pool2d(),
        conv2d(16, 5, padding="valid", init=glorot), tanh(), avg_pool2d(),
        flatten(),
        linear(120, init=glorot), tanh(),
        linear(84, init=glorot), tanh(),
        linear(classes, init=glorot),
    )  # fmt: skip


# Layers of residual blocks in each stage, and the filters of the stages.
_STAGES = {18: (2, (64, 128, 256, 512)), 20: (3, (16, 32, 64)), 32: (5, (16, 32, 64)), 44: (7, (16, 32, 64))}


def resnet(layers: int, classes: int = 10) -> AnyLayer:
    """A residual network of 20, 32 or 44 layers, for images of 32 x 32, or of 18 layers, for larger ones.

    He, Zhang, Ren & Sun, "Deep residual learning for image recognition" (CVPR 2016), section 4.2 for the small ones and
    table 1 for that of 18 layers. Where the number of filters changes, the shortcut is a convolution of 1 x 1, which
    the paper calls option B, in the small ones too.

    Raises:
        ValueError: for another number of layers.
    """
    if layers not in _STAGES:
        raise ValueError(f"there are residual networks of {', '.join(map(str, _STAGES))} layers, got {layers!r}")
    blocks, stages = _STAGES[layers]
    small = len(stages) == 3
    first = _normed(stages[0], 3) if small else _normed(stages[0], 7, stride=2)
    pool = () if small else (max_pool2d(3, stride=2, padding=1),)
    body = [
        layer
        for stage, filters in enumerate(stages)
        for block in range(blocks)
        for layer in _residual_block(filters, stride=2 if stage and not block else 1)
    ]
    return chain(*first, relu(), *pool, *body, global_avg_pool(), linear(classes))


def _normed(filters: int, kernel: int, *, stride: int = 1) -> Sequence[AnyLayer]:
    return conv2d(filters, kernel, stride=stride, padding=kernel // 2, bias=False), batch_norm()


def _residual_block(filters: int, *, stride: int) -> Sequence[AnyLayer]:
    branch = chain(*_normed(filters, 3, stride=stride), relu(), *_normed(filters, 3))
    shortcut = identity() if stride == 1 else chain(*_normed(filters, 1, stride=stride))
    return parallel(branch, shortcut), relu()


def speednet(whitening: AnyLayer, classes: int = 10, *, widths: Sequence[int] = (64, 256, 256)) -> AnyLayer:
    """The network of CIFAR-10's speed record, for images of about 32 x 32.

    ``whitening`` is its first layer, ``patch_whitening`` of some training images. The convolutions start as the
    identity on their first filters, and the normalizations have no scale. The logits are divided by 9. Of images of
    32 x 32, the maximum at the end is over 3 x 3 entries.

    Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (2024), section 3.
    """
    classes = whole_number("the number of classes", classes, 1)
    blocks = [layer for width in widths for layer in _speednet_block(width)]
    head = global_max_pool(), linear(classes, bias=False, init=fan_in_uniform), scaling(1 / 9)
    return chain(whitening, bias(), gelu(), *blocks, *head)


def _speednet_block(width: int) -> Sequence[AnyLayer]:
    conv = partial(conv2d, width, bias=False, init=partial(dirac, rest=fan_in_uniform))
    norm = partial(batch_norm, keep=0.6, epsilon=1e-12, scale=False)
    return conv(), max_pool2d(2), norm(), gelu(), conv(), norm(), gelu()
