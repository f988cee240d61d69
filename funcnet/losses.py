"""Losses: from predictions and targets to one number and its gradient with respect to the predictions.

Every loss is a mean over the examples of the batch (and, where an example has several outputs, over those too), so
that neither the loss nor its gradient grows with the batch. It holds no penalty: those live in ``penalties`` and are
never added in here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import attrs
import numpy as np

from funcnet.layers.activations import log1p_of
from funcnet.rows import by_rows
from funcnet.shapes import Array, Float, Integer, Num, ShapeError, describe, expect, expect_float, not_an_array

__all__ = ["Loss", "binary_cross_entropy", "mean_squared_error", "softmax_cross_entropy"]

_MANY = 1 << 10  # classes


@attrs.frozen(repr=False)
class Loss:
    """A loss: a pure function, and what it means to be right.

    Attributes:
        name: the name in messages, tables and reports.
        value_and_grad: ``(prediction, target) -> (loss, dprediction)``, the mean over the batch and its gradient, in
            the dtype of the prediction. Calling the loss calls this.
        accuracy: ``(prediction, target) -> share of right answers``, or None where no answer is right or wrong.
    """

    name: str
    value_and_grad: Callable[[Float[Array, "batch ..."], Num[Array, "batch ..."]], tuple[float, Array]]
    accuracy: Callable[[Float[Array, "batch ..."], Num[Array, "batch ..."]], float] | None = None

    def __call__(
        self, prediction: Float[Array, "batch ..."], target: Num[Array, "batch ..."]
    ) -> tuple[float, Float[Array, "batch ..."]]:
        return self.value_and_grad(prediction, target)

    def __repr__(self) -> str:
        return self.name


def softmax_cross_entropy(*, label_smoothing: float = 0.0) -> Loss:
    """Cross-entropy of the softmax of logits (batch, classes) against integer labels (batch,).

        p    = softmax(z)
        loss = - mean over the batch of sum_k t_k log p_k
        dz   = (p - t) / batch

    where t is 1 - s + s/classes at the label and s/classes elsewhere, s being the label smoothing (Szegedy et al.,
    "Rethinking the Inception architecture", CVPR 2016, section 7). Softmax and logarithm are taken together, shifted
    by the largest logit, so logits of any finite size are safe (Goodfellow et al., Deep Learning, sections 4.1, 6.2.2).

    Raises:
        ValueError: for smoothing outside [0, 1).
        ShapeError: when called with labels of another length or dtype, or outside 0 .. classes - 1.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label smoothing lies in [0, 1), got {label_smoothing}")
    label_smoothing = float(label_smoothing)  # a NumPy float64 would turn float32 into float64
    name = "softmax cross-entropy"

    def value_and_grad(
        logits: Float[Array, "batch classes"], labels: Integer[Array, "batch"]
    ) -> tuple[float, Float[Array, "batch classes"]]:
        expect_labels(name, logits, labels)
        batch, classes = logits.shape
        # A row a class, so that whatever goes over the classes runs along the batch: half the time for 10 of them.
        z = np.ascontiguousarray(logits.T)
        log_p = z - np.maximum.reduce(z, axis=0)
        grad = np.exp(log_p)
        total = sum_of_classes(grad)
        log_total = np.log(total)
        answers = np.multiply(labels, batch, dtype=np.intp)  # where they stand in the rows, laid end to end
        answers += np.arange(batch)
        log_likelihood = log_p.take(answers) - log_total
        total *= batch
        grad /= total
        if label_smoothing:
            mean = sum_of_classes(log_p) / classes - log_total
            log_likelihood = (1 - label_smoothing) * log_likelihood + label_smoothing * mean
            grad -= label_smoothing / (classes * batch)
        grad.reshape(-1)[answers] -= (1 - label_smoothing) / batch
        return 0.0 - float(np.add.reduce(log_likelihood)) / batch, grad.T  # and of 0, not -0

    def sum_of_classes(rows: Float[Array, "classes batch"]) -> Float[Array, "batch"]:
        if len(rows) <= _MANY:
            return np.asarray(np.add.reduce(rows, axis=0))
        # NumPy adds row after row, and what each addition rounds off adds up.
        return np.add.reduce(rows, axis=0, dtype=np.float64).astype(rows.dtype)

    def accuracy(logits: Float[Array, "batch classes"], labels: Integer[Array, "batch"]) -> float:
        expect_labels(name, logits, labels)
        return int(np.count_nonzero(logits.argmax(axis=1) == labels)) / len(labels)

    return Loss(name, value_and_grad, accuracy)


def binary_cross_entropy() -> Loss:
    """Cross-entropy of the sigmoid of logits against targets in [0, 1] of the same shape and dtype.

        loss = mean of log(1 + exp z) - t z = mean of log(1 + exp -|z|) + |z| |[z > 0] - t|
        dz   = (sigmoid(z) - t) / number of entries

    Taken in the second form, in which nothing overflows, and nothing cancels where an answer is sure and right. A
    prediction is right if z > 0 exactly when t > 1/2. Goodfellow et al., Deep Learning (2016), section 6.2.2.2.

    Raises:
        ShapeError: when called with targets of another shape or dtype, or outside [0, 1].
    """
    name = "binary cross-entropy"

    def check(logits: Array, targets: Array) -> None:
        _expect_like(name, logits, targets)
        if not (targets.min() >= 0 and targets.max() <= 1):  # neither is so where one is not a number
            raise ShapeError(name, "targets from 0 to 1", f"{targets.min():g} to {targets.max():g}")

    def value_and_grad(
        logits: Float[Array, "batch *shape"], targets: Float[Array, "batch *shape"]
    ) -> tuple[float, Float[Array, "batch *shape"]]:
        check(logits, targets)
        grad, sums = np.empty_like(logits), list[float]()

        def of_row(z: Array, t: Array, grad: Array) -> None:
            size = np.abs(z)
            above = (z > 0).astype(z.dtype)
            e = np.exp(-size)
            # The sigmoid: 1 / (1 + e) above 0, and e / (1 + e) below.
            np.maximum(above, e, out=grad)
            grad /= 1 + e
            grad -= t
            losses = log1p_of(e)
            above -= t
            losses += size * np.abs(above)
            sums.append(float(losses.sum()))

        by_rows(of_row, logits, _laid_like(targets, logits), grad)
        grad /= logits.size
        return sum(sums) / logits.size, grad

    def accuracy(logits: Float[Array, "batch *shape"], targets: Float[Array, "batch *shape"]) -> float:
        check(logits, targets)
        return int(np.count_nonzero((logits > 0) == (targets > 0.5))) / logits.size

    return Loss(name, value_and_grad, accuracy)


def mean_squared_error() -> Loss:
    """The mean of the squared differences, against targets of the same shape and dtype.

        loss = mean of (y - t)^2
        dy   = 2 (y - t) / number of entries

    Raises:
        ShapeError: when called with targets of another shape or dtype.
    """
    name = "mean squared error"

    def value_and_grad(
        prediction: Float[Array, "batch *shape"], target: Float[Array, "batch *shape"]
    ) -> tuple[float, Float[Array, "batch *shape"]]:
        _expect_like(name, prediction, target)
        difference = prediction - _laid_like(target, prediction)
        value = float(np.mean(difference * difference))
        difference *= 2 / prediction.size
        return value, difference

    return Loss(name, value_and_grad)


def _expect_examples(name: str, prediction: Array) -> None:
    expect_float(name, "the prediction", prediction)
    if prediction.dtype == np.float16:
        raise ShapeError(name, "a prediction of float32 or float64 (sums of float16 overflow)", "float16")
    if prediction.size == 0:
        raise ShapeError(name, "at least one example with an output (the mean over none is undefined)", "none")


def _expect_like(name: str, prediction: Array, target: Array) -> None:
    _expect_examples(name, prediction)
    expect(name, "the target", target, prediction.shape, prediction.dtype)


def _laid_like(target: Array, prediction: Array) -> Array:
    """The target in the prediction's order in memory: to go over two that lie otherwise takes thrice as long."""
    return np.asarray(target, order="F" if prediction.flags.fnc else "C")


def expect_labels(name: str, logits: Array, labels: Array) -> None:
    """Require valid labels for these logits; messages name ``name`` as the one who asks.

    Raises:
        ShapeError: for labels of another kind, length or range, saying what may have been meant.
    """
    if not _are_labels(logits, labels):
        _expect_kinds(name, logits, labels)
    classes = logits.shape[1]
    # Read as unsigned, a negative number lies beyond the dtype's largest: one sweep finds labels on either side.
    unsigned, largest = _unsigned(labels.dtype)
    if np.maximum.reduce(labels.view(unsigned)) > min(classes - 1, largest):
        low, high = int(labels.min()), int(labels.max())
        hint = " (do they count from 1? labels - 1)" if (low, high) == (1, classes) else ""
        raise ShapeError(name, f"labels from 0 to {classes - 1}", f"labels from {low} to {high}{hint}")


def _are_labels(logits: Array, labels: Array) -> bool:
    """Whether kinds and shapes are as they nearly always are, in one look."""
    return (
        isinstance(logits, np.ndarray)
        and isinstance(labels, np.ndarray)
        and logits.dtype.char in "fd"
        and labels.dtype.kind in "iu"
        and logits.ndim == 2
        and labels.ndim == 1
        and len(labels) == len(logits)
        and logits.size > 0
    )


def _expect_kinds(name: str, logits: Array, labels: Array) -> None:
    """Require kinds and shapes one by one, so as to say which is wrong."""
    _expect_examples(name, logits)
    expect(name, "logits", logits, ("batch", "classes"), logits.dtype)
    if not isinstance(labels, np.ndarray):
        raise not_an_array(name, "labels", labels)
    if labels.dtype.kind not in "iu":
        raise ShapeError(name, "integer labels, one a row of logits", f"dtype {labels.dtype} (labels.astype(int)?)")
    if labels.shape == logits.shape and labels.ndim == 2:
        hint = "one-hot rows? labels.argmax(axis=1) are their labels"
        raise ShapeError(
            name, f"labels of shape {describe(labels.shape[:1])}", f"shape {describe(labels.shape)} ({hint})"
        )
    expect(name, "labels", labels, (len(logits),), labels.dtype)


@functools.cache
def _unsigned(dtype: np.dtype) -> tuple[np.dtype, int]:
    """The unsigned dtype of the same size, and the largest number of the dtype itself."""
    return np.dtype(f"{dtype.byteorder}u{dtype.itemsize}"), int(np.iinfo(dtype).max)
