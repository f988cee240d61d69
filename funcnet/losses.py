"""Losses: from predictions and targets to one number and its gradient with respect to the predictions.

Every loss is a mean over the examples of the batch (and, where an example has several outputs, over those too), so
that neither the loss nor its gradient grows with the batch. It holds no penalty: those are in ``penalties`` and are
never added in here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias, get_args

import attrs
from attrs.validators import in_, is_callable, optional

from funcnet import contract
from funcnet.arrays import Scalar, namespace, share_of
from funcnet.layers.activations import exp_of_minus_size, sigmoid_of
from funcnet.shapes import Array, Float, Integer, Num

__all__ = ["Loss", "Targets", "binary_cross_entropy", "mean_squared_error", "softmax_cross_entropy"]

Targets: TypeAlias = Literal["", "labels", "shares", "numbers"]


@attrs.frozen(repr=False, eq=False)
class Loss:
    """A loss: pure functions for its value, its gradient and the accuracy. Calling it checks the arguments.

    Attributes:
        name: the name in messages, tables and reports.
        value_and_grad: ``(prediction, target) -> (loss, dprediction)``, the mean over the batch, a 0-d array or a
            float, and its gradient, in the dtype of the prediction.
        pure_accuracy: ``(prediction, target) -> share of right answers``, or None where no answer is right or wrong.
        targets: what the targets are, for checks: ``labels`` (whole numbers that name one of the outputs), ``shares``
            (from 0 to 1) or ``numbers``, both in the shape and dtype of the prediction. Left empty, they are not
            checked: a target of another shape may then be broadcast.

    Raises:
        TypeError: for what is no function.
        ValueError: for another kind of targets.
    """

    name: str
    value_and_grad: Callable[[Float[Array, "batch ..."], Num[Array, "batch ..."]], tuple[Scalar, Array]] = attrs.field(
        validator=is_callable()
    )
    pure_accuracy: Callable[[Float[Array, "batch ..."], Num[Array, "batch ..."]], Scalar] | None = attrs.field(
        default=None, alias="accuracy", validator=optional(is_callable())
    )
    targets: Targets = attrs.field(default="", validator=in_(get_args(Targets)))

    def __call__(
        self, prediction: Float[Array, "batch ..."], target: Num[Array, "batch ..."]
    ) -> tuple[float, Float[Array, "batch ..."]]:
        """The loss and its gradient with respect to the prediction.

        Raises:
            ShapeError: where prediction and target do not fit, or ``value_and_grad`` returned a value that is not one
                number, or a gradient that is not like the prediction.
            TypeError: where it did not return two things.
        """
        return contract.loss(self, prediction, target)

    @property
    def accuracy(self) -> Callable[[Float[Array, "batch ..."], Num[Array, "batch ..."]], float] | None:
        """``accuracy(prediction, target)``, the share of right answers, checked; None where there is no such thing."""
        return None if self.pure_accuracy is None else partial(contract.accuracy, self)

    def __repr__(self) -> str:
        return self.name


def softmax_cross_entropy(*, label_smoothing: float = 0.0) -> Loss:
    """Cross-entropy of the softmax of logits (batch, classes) against integer labels (batch,).

        p    = softmax(z)
        loss = - mean over the batch of sum_k t_k log p_k
        dz   = (p - t) / batch

    where t is 1 - s + s/classes at the label and s/classes elsewhere, s being the label smoothing (Szegedy et al.,
    "Rethinking the Inception architecture", CVPR 2016, section 7). Softmax and logarithm are taken together, shifted
    by the largest logit (Goodfellow et al., Deep Learning, sections 4.1, 6.2.2). So dz is right for finite logits of
    any size. The loss is infinite if the differences from the largest logit, added up over the batch (with smoothing
    over the classes too), exceed the largest number of the dtype, 3.4e38 in float32. Without smoothing, a logit of -inf
    rules its class out.

    The answer to an example is the first of its largest logits. An example with a logit that is NaN has no answer: it
    counts as wrong.

    Raises:
        ValueError: for smoothing outside [0, 1).
        ShapeError: when called with labels of another length or dtype, or outside 0 .. classes - 1.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label smoothing lies in [0, 1), got {label_smoothing}")
    value_and_grad = partial(softmax_cross_entropy_of, float(label_smoothing))
    return Loss("softmax cross-entropy", value_and_grad, share_of_largest, "labels")


def softmax_cross_entropy_of(
    smoothing: float, logits: Float[Array, "batch classes"], labels: Integer[Array, "batch"]
) -> tuple[Scalar, Float[Array, "batch classes"]]:
    """The loss, and dz."""
    xp = namespace(logits)
    batch, classes = logits.shape
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    log_p = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    places = xp.arange(classes)  # the labels' own dtype may be too small for the number of classes
    chosen = xp.astype(labels, places.dtype)[:, None] == places[None, :]
    of_label = xp.sum(xp.where(chosen, log_p, xp.zeros_like(log_p)), axis=1)
    t = (1 - smoothing) * xp.astype(chosen, logits.dtype) + smoothing / classes
    # Without smoothing, a class may be ruled out by a logit of -inf: 0 times that would be no number.
    mean = smoothing * xp.mean(log_p, axis=1) if smoothing else 0.0
    loss = -xp.mean((1 - smoothing) * of_label + mean)
    return loss + 0.0, (xp.exp(log_p) - t) / batch  # + 0.0 turns -0 into 0


def share_of_largest(logits: Float[Array, "batch classes"], labels: Integer[Array, "batch"]) -> Scalar:
    """The share of examples whose largest logit is that of the label, and of which no logit is NaN."""
    xp = namespace(logits)
    largest = xp.argmax(logits, axis=1)
    answered = xp.logical_not(xp.any(xp.isnan(logits), axis=1))  # argmax takes NaN for a number
    return share_of(xp.logical_and(answered, largest == xp.astype(labels, largest.dtype)))


def binary_cross_entropy() -> Loss:
    """Cross-entropy of the sigmoid of logits against targets in [0, 1] of the same shape and dtype.

        loss = mean of log(1 + exp z) - t z = mean of log(1 + exp -|z|) + |z| |[z > 0] - t|
        dz   = (sigmoid(z) - t) / number of entries

    The second form is used: no exponential overflows in it, and nothing cancels when a prediction is confident and
    right. So dz is right for finite logits of any size. The loss is infinite if the terms of all entries add up to more
    than the largest number of the dtype, 3.4e38 in float32. Goodfellow et al., Deep Learning (2016), section 6.2.2.2.

    A prediction is right if z > 0 exactly when t > 1/2. A z that is NaN is no prediction: it counts as wrong.

    Raises:
        ShapeError: when called with targets of another shape or dtype, or outside [0, 1].
    """
    return Loss("binary cross-entropy", binary_cross_entropy_of, share_of_sides, "shares")


def binary_cross_entropy_of(
    logits: Float[Array, "batch *shape"], targets: Float[Array, "batch *shape"]
) -> tuple[Scalar, Float[Array, "batch *shape"]]:
    """The loss, and dz."""
    xp = namespace(logits)
    miss = xp.abs(xp.astype(logits > 0, logits.dtype) - targets)
    loss = xp.mean(xp.log1p(exp_of_minus_size(logits)) + xp.abs(logits) * miss)
    return loss, (sigmoid_of(logits) - targets) / math.prod(logits.shape)


def share_of_sides(logits: Float[Array, "batch *shape"], targets: Float[Array, "batch *shape"]) -> Scalar:
    """The share of entries in which z > 0 exactly when t > 1/2, and z is not NaN."""
    xp = namespace(logits)
    return share_of(xp.where(targets > 0.5, logits > 0, logits <= 0))  # NaN fails both comparisons


def mean_squared_error() -> Loss:
    """The mean of (y - t)^2 over all entries, with gradient 2 (y - t) / number of entries.

    Bishop, Pattern Recognition and Machine Learning (2006), section 3.1.1 (which sums halves instead).

    The loss is infinite if the squares add up to more than the largest number of the dtype, 3.4e38 in float32: a single
    y - t may be up to 1.8e19.

    Raises:
        ShapeError: when called with targets of another shape or dtype.
    """
    return Loss("mean squared error", mean_squared_error_of, targets="numbers")


def mean_squared_error_of(
    prediction: Float[Array, "batch *shape"], target: Float[Array, "batch *shape"]
) -> tuple[Scalar, Float[Array, "batch *shape"]]:
    """The loss, and its gradient."""
    off = prediction - target
    return namespace(off).mean(off * off), 2 * off / math.prod(off.shape)
