"""Activations in place, in chunks that fit a core's cache.

y is written over x if x is owned. One array is kept for the vjp: y if the slope can be computed from it, else the slope
itself. Forward has the intermediate values of f at hand, so the slope costs least there. dx is written over dy if dy is
owned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from funcnet.engines.numpy.chunks import all_of, by_chunks
from funcnet.engines.numpy.kernel import LayerKernel, base, bound
from funcnet.layers import activations as equations
from funcnet.layers import gated
from funcnet.layers.gated import GELU_CUBIC, GELU_FAR, GELU_SCALE
from funcnet.random import Key
from funcnet.shapes import Array, Float, expect
from funcnet.tree import freeze

__all__ = ["activation_kernel", "log1p_of"]


@attrs.frozen
class _InPlace:
    """An entrywise function: ``f(x, y)`` writes f(x) to y, which may be x itself.

    The slope is ``slope(y)``. If it cannot be computed from y, ``f_and_slope(x, y, slope)`` writes both.
    """

    f: Callable[[Array, Array], object]
    slope: Callable[[Array], Any] = lambda kept: kept
    f_and_slope: Callable[[Array, Array, Array], object] | None = None


def activation_kernel(forward: Any, vjp: Any) -> LayerKernel | None:
    """The kernel of the activation with these two functions; None if they are not the library's."""
    f, slope = bound(forward)[0], bound(vjp)[0]
    make = _IN_PLACE.get((base(forward), base(f), base(slope)))
    if make is None or bound(slope) not in ((), bound(f)):
        return None
    in_place = make(*bound(f))
    return LayerKernel(
        base(f).__name__.removesuffix("_of"),
        functools.partial(_forward, in_place),
        functools.partial(_predict, in_place),
        functools.partial(_backward, in_place),
        y="held",
        prediction="own",
        dx="own",
    )


def _over(x: Array, owned: bool) -> Array:
    return x if owned else np.empty_like(x, x.dtype.newbyteorder("="))


def _forward(in_place: _InPlace, params: tuple[()], x: Array, owned: bool, key: Key | None) -> tuple[Array, Array]:
    y = kept = _over(x, owned)
    if in_place.f_and_slope is None:
        by_chunks(in_place.f, x, y)
    else:
        kept = np.empty_like(y)
        by_chunks(in_place.f_and_slope, x, y, kept)
    return freeze(y), freeze(kept)


def _predict(in_place: _InPlace, params: tuple[()], x: Array, owned: bool) -> Array:
    y = _over(x, owned)
    by_chunks(in_place.f, x, y)
    return y


def _backward(
    in_place: _InPlace,
    params: tuple[()],
    kept: Array,
    dy: Array,
    owned: bool,
    accumulator: tuple[()] | None,
    beta: float,
    need_dx: bool,
) -> Array | None:
    if not need_dx:
        return None
    expect("an activation", "dy", dy, kept.shape, kept.dtype)  # NumPy would broadcast it, or round it
    dx = dy if owned else np.empty_like(kept)

    def dx_of(kept: Array, dy: Array, dx: Array) -> None:
        np.multiply(in_place.slope(kept), dy, out=dx)

    by_chunks(dx_of, kept, dy, dx)
    return dx


def _relu() -> _InPlace:
    return _InPlace(lambda x, y: np.maximum(x, all_of(0, x), out=y), lambda y: y > 0)


def _leaky_relu(negative_slope: float) -> _InPlace:
    def slope(y: Array) -> Array:
        above = (y > 0).astype(y.dtype)
        return np.asarray(np.maximum(above, all_of(negative_slope, y), out=above))

    return _InPlace(lambda x, y: np.maximum(x, negative_slope * x, out=y), slope)


def _tanh() -> _InPlace:
    return _InPlace(lambda x, y: np.tanh(x, out=y), lambda y: 1 - y * y)


def _logistic(x: Array, y: Array) -> None:
    """Write 1 / (1 + exp(-x)) to y: exact to rounding in both tails as far as exp reaches, and 0 beyond."""
    np.negative(x, out=y)
    np.exp(y, out=y)
    y += 1
    np.reciprocal(y, out=y)


def _sigmoid() -> _InPlace:
    return _InPlace(_logistic, lambda y: y * (1 - y))


def _softplus() -> _InPlace:
    def f(x: Array, y: Array) -> None:
        e = exp_of_minus_size(x)
        np.maximum(x, all_of(0, x), out=y)
        y += log1p_of(e)

    def f_and_slope(x: Array, y: Array, slope: Array) -> None:
        e = exp_of_minus_size(x)
        np.maximum((x > 0).astype(x.dtype), e, out=slope)
        slope /= 1 + e
        np.maximum(x, all_of(0, x), out=y)
        y += log1p_of(e)

    def exp_of_minus_size(x: Array) -> Array:
        e = np.minimum(x, -x)
        return np.exp(e, out=e)

    return _InPlace(f, f_and_slope=f_and_slope)


def log1p_of(e: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + e) for e in [0, 1], to about 1 ulp in float64 and 4 in float32; NumPy's takes thrice as long (AVX2).

    Rounding u = 1 + e loses digits of a small e. They are added again, to first order: log u + (e - (u - 1)) / u.
    """
    u = 1 + e
    lost = u - 1
    np.subtract(e, lost, out=lost)
    lost /= u
    lost += np.log(u, out=u)
    return lost


def _gelu() -> _InPlace:
    def gate(x: Array) -> Array:
        s = x * x
        s *= GELU_SCALE * GELU_CUBIC
        s += GELU_SCALE
        s *= x
        _logistic(s, s)
        return s

    def f_and_slope(x: Array, y: Array, slope: Array) -> None:
        s = gate(x)
        np.multiply(x, x, out=slope)
        np.minimum(slope, all_of(GELU_FAR, slope), out=slope)
        slope *= 3 * GELU_SCALE * GELU_CUBIC
        slope += GELU_SCALE
        tail = 1 - s
        tail *= s
        tail *= x  # last: where s is 0 or 1, x may be as large as it likes
        slope *= tail
        slope += s
        np.multiply(x, s, out=y)

    return _InPlace(lambda x, y: np.multiply(x, gate(x), out=y), f_and_slope=f_and_slope)


_IN_PLACE: dict[Any, Callable[..., _InPlace]] = {
    (equations.forward_keeping_output, equations.relu_of, equations.relu_slope): _relu,
    (equations.forward_keeping_output, equations.leaky_relu_of, equations.leaky_relu_slope): _leaky_relu,
    (equations.forward_keeping_output, equations.tanh_of, equations.tanh_slope): _tanh,
    (equations.forward_keeping_output, equations.sigmoid_of, equations.sigmoid_slope): _sigmoid,
    (equations.forward_keeping_input, equations.softplus_of, equations.sigmoid_of): _softplus,
    (equations.forward_keeping_input, gated.gelu_of, gated.gelu_slope): _gelu,
}
