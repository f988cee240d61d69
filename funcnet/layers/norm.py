"""Batch normalization, over all axes but the last.

    training     mu, v = mean and variance of the batch;  n = (x - mu) / sqrt(v + epsilon);  y = scale n + shift
    inference    the same with the running mean and variance in place of mu and v
    running      r <- keep r + (1 - keep) (mu or v)

    dshift = sum dy,    dscale = sum dy n,    dx = scale / sqrt(v + epsilon) (dy - mean(dy) - n mean(dy n))

Sums and means go over all axes but the last. Ioffe & Szegedy, "Batch normalization" (ICML 2015), algorithms 1 and 2,
with the biased variance in both places (PyTorch moves its running variance by the unbiased one).
"""

from __future__ import annotations

from functools import partial

import attrs

from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.layers.initializers import filled
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, describe
from funcnet.tree import Record, array_field

__all__ = ["BatchNormParams", "BatchNormResiduals", "RunningNormResiduals", "batch_norm"]


@attrs.frozen
class BatchNormParams(Record):
    """Scale and shift, which are trained, and the running statistics, which are not: a gradient has None for them.

    A scale that is None is fixed at 1.
    """

    scale: Float[Array, "features"] | None = array_field()
    shift: Float[Array, "features"] = array_field()
    mean: Float[Array, "features"] = array_field(trained=False, default=None)
    variance: Float[Array, "features"] = array_field(trained=False, default=None)


@attrs.frozen(eq=False)
class BatchNormResiduals(Record):
    """The normalised input n, and the statistics of the batch."""

    normalized: Float[Array, "batch *axes features"]
    mean: Float[Array, "features"]
    variance: Float[Array, "features"]


@attrs.frozen(eq=False)
class RunningNormResiduals(Record):
    """The input normalised by the running statistics."""

    normalized: Float[Array, "batch *axes features"]


def batch_norm(
    *, keep: float = 0.9, epsilon: float = 1e-5, scale: bool = True
) -> Layer[BatchNormParams, BatchNormResiduals]:
    """Batch normalization of (batch, ..., features): every feature to mean 0 and variance 1 over the batch.

    The squares of x - mean, added up over the batch, must be finite in the dtype: in float32, deviations up to about
    1e18. Larger ones give y = shift, or NaN.

    ``keep`` is the share of the running statistics that a step keeps: 1 minus PyTorch's ``momentum``. Without a
    ``scale`` it is fixed at 1.

    Raises:
        ValueError: for a share outside [0, 1), or an epsilon that is not positive.
    """
    if not 0 <= keep < 1:
        raise ValueError(f"the share of the running statistics to keep lies in [0, 1), got {keep}")
    if not epsilon > 0:
        raise ValueError(f"the epsilon of a batch normalization is positive, got {epsilon}")
    keep, epsilon = float(keep), float(epsilon)
    init, known = partial(batch_norm_init, scale), {"scale": 1 if scale else None}
    running = Layer("batch_norm", init, partial(running_forward, epsilon), partial(running_vjp, epsilon), known=known)
    return Layer(
        "batch_norm",
        init,
        partial(batch_norm_forward, epsilon),
        partial(batch_norm_vjp, epsilon),
        predict=partial(batch_norm_predict, epsilon),
        advance=partial(batch_norm_advance, keep),
        known=known,
        frozen=running,
        recipe=partial(batch_norm, keep=keep, epsilon=epsilon, scale=scale),
    )


def batch_norm_init(scale: bool, key: Key, in_shape: Shape) -> tuple[BatchNormParams, Shape]:
    """Scale and running variance 1, shift and running mean 0."""
    if not in_shape:
        raise ShapeError("batch_norm", "an input shape with a last axis, of features", describe(in_shape))
    features = in_shape[-1:]
    zeros, ones = (partial(filled, features, value) for value in (0.0, 1.0))
    return BatchNormParams(ones() if scale else None, zeros(), zeros(), ones()), in_shape


def batch_norm_forward(
    epsilon: float, params: BatchNormParams, x: Float[Array, "batch *axes features"]
) -> tuple[Float[Array, "batch *axes features"], BatchNormResiduals]:
    """y = scale n + shift, by the statistics of the batch."""
    mean = _mean(x)
    variance = _mean((x - mean) * (x - mean))
    normalized = (x - mean) / namespace(x).sqrt(variance + epsilon)
    return _scaled(params, normalized) + params.shift, BatchNormResiduals(normalized, mean, variance)


def batch_norm_vjp(
    epsilon: float,
    params: BatchNormParams,
    residuals: BatchNormResiduals,
    dy: Float[Array, "batch *axes features"],
    *,
    need_dx: bool = True,
) -> tuple[BatchNormParams, Float[Array, "batch *axes features"] | None]:
    """The gradients of scale and shift, and dx. dx has terms for the statistics of the batch, which depend on x."""
    n, deviation = residuals.normalized, namespace(dy).sqrt(residuals.variance + epsilon)
    dx = _scaled(params, 1 / deviation) * (dy - _mean(dy) - n * _mean(dy * n)) if need_dx else None
    return _gradient(params, n, dy), dx


def batch_norm_predict(
    epsilon: float, params: BatchNormParams, x: Float[Array, "batch *axes features"]
) -> Float[Array, "batch *axes features"]:
    """y = scale n + shift, by the running statistics."""
    return running_forward(epsilon, params, x)[0]


def batch_norm_advance(keep: float, params: BatchNormParams, residuals: BatchNormResiduals) -> BatchNormParams:
    """The running statistics, moved towards those of the batch."""
    mean = keep * params.mean + (1 - keep) * residuals.mean
    variance = keep * params.variance + (1 - keep) * residuals.variance
    return attrs.evolve(params, mean=mean, variance=variance)


def running_forward(
    epsilon: float, params: BatchNormParams, x: Float[Array, "batch *axes features"]
) -> tuple[Float[Array, "batch *axes features"], RunningNormResiduals]:
    """y = scale n + shift, by the running statistics, which do not depend on x."""
    normalized = (x - params.mean) / namespace(x).sqrt(params.variance + epsilon)
    return _scaled(params, normalized) + params.shift, RunningNormResiduals(normalized)


def running_vjp(
    epsilon: float,
    params: BatchNormParams,
    residuals: RunningNormResiduals,
    dy: Float[Array, "batch *axes features"],
    *,
    need_dx: bool = True,
) -> tuple[BatchNormParams, Float[Array, "batch *axes features"] | None]:
    """dx = scale / sqrt(running variance + epsilon) dy."""
    deviation = namespace(dy).sqrt(params.variance + epsilon)
    dx = _scaled(params, 1 / deviation) * dy if need_dx else None
    return _gradient(params, residuals.normalized, dy), dx


def _scaled(params: BatchNormParams, array: Array) -> Array:
    return array if params.scale is None else params.scale * array


def _gradient(params: BatchNormParams, n: Array, dy: Array) -> BatchNormParams:
    return BatchNormParams(None if params.scale is None else _sum(dy * n), _sum(dy))


def _mean(x: Array) -> Array:
    return namespace(x).mean(x, axis=tuple(range(x.ndim - 1)))


def _sum(x: Array) -> Array:
    return namespace(x).sum(x, axis=tuple(range(x.ndim - 1)))
