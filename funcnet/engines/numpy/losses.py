"""Losses in place: softmax cross-entropy with one row a class, binary cross-entropy in chunks that fit a core's cache.

The functions take the arguments of the pure functions that they stand for. They return a float and the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from funcnet import losses as equations
from funcnet.engines.numpy.activations import log1p_of
from funcnet.engines.numpy.chunks import by_chunks
from funcnet.engines.numpy.kernel import base, bound
from funcnet.shapes import Array, Float, Num

__all__ = ["fast_loss"]

_MANY = 1 << 10  # classes


def fast_loss(function: Any) -> Callable[..., Any] | None:
    """The kernel of a loss's ``value_and_grad`` or ``accuracy``; None for a function that has none.

    For examples with weights, and for distributions as targets, it calls the function itself.
    """
    if base(function) not in (equations.mean_of_losses, equations.mean_of_right) or len(bound(function)) != 1:
        return None
    (of_examples,) = bound(function)
    kernel = _KERNELS.get(base(of_examples))
    return None if kernel is None else partial(_run, function, partial(kernel, *bound(of_examples)))


def _run(
    function: Callable[..., Any],
    kernel: Callable[..., Any],
    prediction: Array,
    target: Array,
    weight: Float[Array, "batch"] | None = None,
) -> Any:
    return kernel(prediction, target) if weight is None else function(prediction, target, weight)


def _softmax_cross_entropy(
    smoothing: float, logits: Float[Array, "batch classes"], labels: Num[Array, "batch ..."]
) -> tuple[Any, Float[Array, "batch classes"]]:
    if labels.ndim > 1:
        losses = partial(equations.softmax_cross_entropies, smoothing)
        return equations.mean_of_losses(losses, logits, labels)
    batch, classes = logits.shape
    # One row a class, so that sums over the classes run along the batch: half the time for 10 classes.
    z = np.ascontiguousarray(logits.T)
    log_p = z - np.maximum.reduce(z, axis=0)
    grad = np.exp(log_p)
    total = _sum_of_classes(grad)
    log_total = np.log(total)
    answers = np.multiply(labels, batch, dtype=np.intp)  # the flat indices of the labels' entries
    answers += np.arange(batch)
    log_likelihood = log_p.take(answers) - log_total
    total *= batch
    grad /= total
    if smoothing:
        mean = _sum_of_classes(log_p) / classes - log_total
        log_likelihood = (1 - smoothing) * log_likelihood + smoothing * mean
        grad -= smoothing / (classes * batch)
    grad.reshape(-1)[answers] -= (1 - smoothing) / batch
    return 0.0 - float(np.add.reduce(log_likelihood)) / batch, grad.T  # a loss of 0 is not -0


def _sum_of_classes(rows: Float[Array, "classes batch"]) -> Float[Array, "batch"]:
    if len(rows) <= _MANY:
        return np.asarray(np.add.reduce(rows, axis=0))
    # NumPy adds row after row, so the rounding errors of many rows add up.
    return np.add.reduce(rows, axis=0, dtype=np.float64).astype(rows.dtype)


def _share_of_largest(logits: Float[Array, "batch classes"], labels: Num[Array, "batch ..."]) -> float:
    if labels.ndim > 1:
        return float(equations.mean_of_right(equations.right_of_largest, logits, labels))
    right = logits.argmax(axis=1) == labels
    if math.isnan(np.maximum.reduce(logits, axis=None)):  # argmax takes NaN for a number
        right &= ~np.isnan(logits).any(axis=1)
    return int(np.count_nonzero(right)) / len(labels)


def _binary_cross_entropy(
    logits: Float[Array, "batch *shape"], targets: Float[Array, "batch *shape"]
) -> tuple[float, Float[Array, "batch *shape"]]:
    grad, sums = np.empty_like(logits), list[float]()

    def of_chunk(z: Array, t: Array, grad: Array) -> None:
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

    by_chunks(of_chunk, logits, _laid_like(targets, logits), grad)
    grad /= logits.size
    return sum(sums) / logits.size, grad


def _share_of_sides(logits: Float[Array, "batch *shape"], targets: Float[Array, "batch *shape"]) -> float:
    right = (logits > 0) == (targets > 0.5)
    if math.isnan(np.maximum.reduce(logits, axis=None)):  # NaN is taken for a number that is not above 0
        right &= ~np.isnan(logits)
    return int(np.count_nonzero(right)) / logits.size


def _mean_squared_error(
    prediction: Float[Array, "batch *shape"], target: Float[Array, "batch *shape"]
) -> tuple[float, Float[Array, "batch *shape"]]:
    difference = prediction - _laid_like(target, prediction)
    value = float(np.mean(difference * difference))
    difference *= 2 / prediction.size
    return value, difference


def _laid_like(target: Array, prediction: Array) -> Array:
    """The target in the prediction's memory order. Arithmetic on two different orders takes three times as long."""
    return np.asarray(target, order="F" if prediction.flags.fnc else "C")


# Under the function of single examples whose mean a kernel computes.
_KERNELS: dict[Any, Callable[..., Any]] = {
    equations.softmax_cross_entropies: _softmax_cross_entropy,
    equations.right_of_largest: _share_of_largest,
    equations.binary_cross_entropies: _binary_cross_entropy,
    equations.right_of_sides: _share_of_sides,
    equations.squared_errors: _mean_squared_error,
}
