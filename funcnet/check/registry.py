"""Everything the library differentiates, in one list. ``funcnet check``, the strategies and the checker's tests use it.

A new layer, loss, penalty or optimizer is entered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import attrs

from funcnet.check.losses import Targets, class_labels, counts, distributions, real_numbers, shares
from funcnet.check.optimizers import Rule
from funcnet.combinators import chain, checkpoint, frozen, parallel, repeat, residual
from funcnet.layer import AnyLayer
from funcnet.layers.activations import elu, leaky_relu, relu, sigmoid, softplus, tanh
from funcnet.layers.bias import bias
from funcnet.layers.conv import conv1d, conv2d, conv_transpose2d, depthwise_conv2d
from funcnet.layers.dropout import dropout
from funcnet.layers.gated import gelu, hard_swish, mish, silu
from funcnet.layers.group_norm import group_norm, instance_norm
from funcnet.layers.initializers import dirac, glorot, he, orthogonal
from funcnet.layers.layer_norm import layer_norm, rms_norm
from funcnet.layers.linear import linear
from funcnet.layers.norm import batch_norm
from funcnet.layers.pool import avg_pool2d, global_avg_pool, global_max_pool, max_pool2d
from funcnet.layers.prelu import prelu
from funcnet.layers.reshape import flatten, identity, reshape, transpose
from funcnet.layers.scaling import scaling
from funcnet.layers.softmax import log_softmax
from funcnet.layers.upsample import upsample2d
from funcnet.losses import (
    Loss,
    binary_cross_entropy,
    focal_loss,
    hinge_loss,
    huber_loss,
    kl_divergence,
    mean_absolute_error,
    mean_squared_error,
    poisson_loss,
    softmax_cross_entropy,
)
from funcnet.optimizers import (
    Optimizer,
    adagrad,
    adam,
    adamw,
    by_path,
    clip_by_global_norm,
    compose,
    lamb,
    lion,
    momentum,
    muon,
    nesterov,
    one_cycle,
    rmsprop,
    sgd,
)
from funcnet.penalties import Penalty, l1, l2
from funcnet.shapes import Shape
from funcnet.views import average_views

__all__ = ["ACTIVATIONS", "LAYERS", "LOSSES", "OPTIMIZERS", "PENALTIES", "LayerEntry", "LossEntry", "OptimizerEntry"]


@attrs.frozen
class LayerEntry:
    """A layer and what its proof needs.

    Attributes:
        layer: the layer.
        axes: how many axes an example has; None for any.
        least_axes: the fewest axes, if ``axes`` is None.
        mixes_examples: whether an output depends on the other examples of the batch, or on the place among them.
        name: what tells it from another entry of the same layer.
    """

    layer: AnyLayer
    axes: int | None = None
    least_axes: int = 0
    mixes_examples: bool = False
    name: str = attrs.field(default=attrs.Factory(lambda self: self.layer.name, takes_self=True))

    @property
    def in_shape(self) -> Shape:
        """The shape of a small example that the layer takes."""
        return {1: (3,), 2: (5, 2), 3: (2, 3, 2)}.get(self.axes or 0, (2, 3))


ACTIVATIONS: tuple[AnyLayer, ...] = (
    relu(), leaky_relu(), leaky_relu(0.3), tanh(), sigmoid(), softplus(), gelu(), silu(), mish(), elu(), elu(0.5),
    hard_swish(),
)  # fmt: skip

LAYERS: tuple[LayerEntry, ...] = (
    LayerEntry(linear(3), axes=1),
    LayerEntry(linear(1), axes=1),
    LayerEntry(linear(4, bias=False), axes=1, name="linear(4), no bias"),
    LayerEntry(linear(2, init=glorot), axes=1, name="linear(2), glorot"),
    LayerEntry(linear(3, init=orthogonal), axes=1, name="linear(3), orthogonal"),
    *(LayerEntry(layer) for layer in ACTIVATIONS),
    LayerEntry(prelu(), least_axes=1),
    LayerEntry(log_softmax(), least_axes=1),
    LayerEntry(bias(), least_axes=1),
    LayerEntry(scaling(0.125)),
    LayerEntry(flatten()),
    LayerEntry(identity()),
    LayerEntry(reshape(1, -1), axes=2),
    LayerEntry(transpose(2, 0, 1), axes=3),
    LayerEntry(upsample2d(3), axes=3),
    LayerEntry(upsample2d(2, method="bilinear"), axes=3, name="upsample2d(2), bilinear"),
    LayerEntry(conv2d(3), axes=3),
    LayerEntry(conv2d(2, (1, 2), stride=(3, 2), padding="valid", bias=False), axes=3, name="conv2d(2), by strides"),
    LayerEntry(
        conv2d(4, 2, padding=((1, 2), (0, 1)), dilation=2, groups=2), axes=3, name="conv2d(4), dilated, two groups"
    ),
    LayerEntry(conv2d(2, padding="reflect"), axes=3, name="conv2d(2), reflected"),
    LayerEntry(conv2d(5, 2, init=partial(dirac, rest=he)), axes=3, name="conv2d(5), dirac"),
    LayerEntry(depthwise_conv2d(2, multiplier=2), axes=3),
    LayerEntry(conv1d(3, 4, stride=2), axes=2),
    LayerEntry(conv_transpose2d(2, stride=2), axes=3),
    LayerEntry(
        conv_transpose2d(2, (2, 3), padding=((0, 1), (1, 1)), bias=False), axes=3, name="conv_transpose2d(2), cut"
    ),
    LayerEntry(max_pool2d(), axes=3),
    LayerEntry(max_pool2d(3, stride=2, padding="same"), axes=3, name="max_pool2d, overlapping"),
    LayerEntry(avg_pool2d(2, padding=1), axes=3),
    LayerEntry(
        avg_pool2d((2, 1), stride=1, padding="same", count_padding=True), axes=3, name="avg_pool2d, padding counted"
    ),
    LayerEntry(global_avg_pool(), axes=3),
    LayerEntry(global_max_pool(), axes=3),
    LayerEntry(batch_norm(), least_axes=1, mixes_examples=True),
    LayerEntry(batch_norm(scale=False), least_axes=1, mixes_examples=True, name="batch_norm, no scale"),
    LayerEntry(frozen(batch_norm()), least_axes=1),
    LayerEntry(layer_norm(), axes=2),
    LayerEntry(layer_norm(scale=False, shift=False), axes=2, name="layer_norm, no scale and shift"),
    LayerEntry(rms_norm(), axes=2),
    LayerEntry(group_norm(2), axes=3),
    LayerEntry(group_norm(1, shift=False), axes=2, name="group_norm(1), no shift"),
    LayerEntry(instance_norm(), axes=3),
    LayerEntry(dropout(0.3), mixes_examples=True),
    LayerEntry(residual(tanh(), sigmoid())),
    LayerEntry(parallel(linear(2), chain(linear(2), tanh())), axes=1, name="parallel, sum"),
    LayerEntry(
        parallel(linear(2), linear(3, bias=False), merge="concatenation"), axes=1, name="parallel, concatenation"
    ),
    LayerEntry(chain(linear(3), frozen(linear(2)), gelu()), axes=1, name="chain with a frozen layer"),
    LayerEntry(average_views(conv2d(2)), axes=3),
    LayerEntry(average_views(chain(flatten(), linear(2)), mirror=False, shift=2), axes=2, name="average_views, moved"),
    LayerEntry(chain(linear(3), repeat(chain(linear(3), tanh()), 3, tied=True)), axes=1, name="repeat, tied"),
    LayerEntry(checkpoint(linear(3), frozen(linear(2)), tanh()), axes=1),
    LayerEntry(
        checkpoint(batch_norm(), dropout(0.3), silu()), least_axes=1, mixes_examples=True, name="checkpoint, by chance"
    ),
)


@attrs.frozen
class LossEntry:
    """A loss, the function that draws its targets, and how many axes an example's prediction has; None for any."""

    loss: Loss
    targets: Targets
    axes: int | None = None
    name: str = attrs.field(default=attrs.Factory(lambda self: self.loss.name, takes_self=True))


_FOUR = (1.0, 0.3, 2.0, 0.5)  # class weights

LOSSES: tuple[LossEntry, ...] = (
    LossEntry(softmax_cross_entropy(), class_labels, axes=1),
    LossEntry(
        softmax_cross_entropy(label_smoothing=0.1), class_labels, axes=1, name="softmax cross-entropy, smoothed labels"
    ),
    LossEntry(softmax_cross_entropy(), distributions, axes=1, name="softmax cross-entropy, distributions"),
    LossEntry(
        softmax_cross_entropy(class_weights=_FOUR), class_labels, axes=1, name="softmax cross-entropy, class weights"
    ),
    LossEntry(
        softmax_cross_entropy(label_smoothing=0.2, class_weights=_FOUR),
        distributions,
        axes=1,
        name="softmax cross-entropy, smoothed distributions, class weights",
    ),
    LossEntry(kl_divergence(), distributions, axes=1),
    LossEntry(focal_loss(), class_labels, axes=1),
    LossEntry(focal_loss(0.5, class_weights=_FOUR), class_labels, axes=1, name="focal loss, class weights"),
    LossEntry(hinge_loss(), class_labels, axes=1),
    LossEntry(hinge_loss(class_weights=_FOUR), class_labels, axes=1, name="hinge loss, class weights"),
    LossEntry(binary_cross_entropy(), shares),
    LossEntry(mean_squared_error(), real_numbers),
    LossEntry(mean_absolute_error(), real_numbers),
    LossEntry(huber_loss(), real_numbers),
    LossEntry(huber_loss(0.3), real_numbers, name="Huber loss, a short square"),
    LossEntry(poisson_loss(), counts),
)

PENALTIES: tuple[Penalty, ...] = (l2(0.1), l1(0.1))


@attrs.frozen
class OptimizerEntry:
    """An optimizer, and its rule for one number, where one is given."""

    optimizer: Optimizer
    rule: Rule | None = None
    name: str = attrs.field(default=attrs.Factory(lambda self: self.optimizer.name, takes_self=True))


def _velocity(decay: float, *, nesterov: bool) -> Rule:
    """The textbook's recurrence for one number, at a rate of 0.1; gradient descent is that without velocity."""

    def rule(w: float, gradients: Sequence[float]) -> float:
        v = 0.0
        for g in gradients:
            v = decay * v + g
            w -= 0.1 * (g + decay * v if nesterov else v)
        return w

    return rule


def _adam(weight_decay: float) -> Rule:
    """Kingma & Ba (2015), algorithm 1, at a rate of 0.1, with decoupled weight decay."""

    def rule(w: float, gradients: Sequence[float]) -> float:
        m = v = 0.0
        for t, g in enumerate(gradients, 1):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            direction = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
            w -= 0.1 * (direction + weight_decay * w)
        return w

    return rule


def _rmsprop(w: float, gradients: Sequence[float]) -> float:
    """At a rate of 0.1, with a decay of 0.9 and epsilon inside the root."""
    v = 0.0
    for g in gradients:
        v = 0.9 * v + 0.1 * g * g
        w -= 0.1 * g / (v + 1e-8) ** 0.5
    return w


def _lion(w: float, gradients: Sequence[float]) -> float:
    """Chen et al. (2023), algorithm 2, at a rate of 0.1, with the weight decay of 0.001 that is its default."""
    m = 0.0
    for g in gradients:
        c = 0.9 * m + 0.1 * g
        w -= 0.1 * ((c > 0) - (c < 0) + 0.001 * w)
        m = 0.99 * m + 0.01 * g
    return w


def _adagrad(w: float, gradients: Sequence[float]) -> float:
    """At a rate of 0.1, from a sum of 0.1."""
    total = 0.1
    for g in gradients:
        total += g * g
        w -= 0.1 * g / (total + 1e-7) ** 0.5
    return w


OPTIMIZERS: tuple[OptimizerEntry, ...] = (
    OptimizerEntry(sgd(0.1), _velocity(0.0, nesterov=False)),
    OptimizerEntry(momentum(0.1), _velocity(0.9, nesterov=False)),
    OptimizerEntry(nesterov(0.1), _velocity(0.9, nesterov=True)),
    OptimizerEntry(nesterov(one_cycle(0.1, 10)), name="nesterov(0.9), one cycle"),
    OptimizerEntry(adam(0.1), _adam(0.0)),
    OptimizerEntry(adamw(0.1, weight_decay=0.01), _adam(0.01)),
    OptimizerEntry(rmsprop(0.1), _rmsprop),
    OptimizerEntry(lion(0.1), _lion),
    OptimizerEntry(adagrad(0.1), _adagrad),
    OptimizerEntry(lamb(0.1, weight_decay=0.01)),
    OptimizerEntry(muon(0.1, weight_decay=0.01)),
    OptimizerEntry(by_path(momentum(0.1), ("[1].bias", momentum(0.1))), _velocity(0.9, nesterov=False)),
    OptimizerEntry(compose(clip_by_global_norm(1.0), adam(0.1)), name="adam, clipped by the global norm"),
)
