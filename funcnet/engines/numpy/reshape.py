"""Flatten and identity: their results are views, so they are owned if the argument is."""

from __future__ import annotations

import math

from funcnet.engines.numpy.kernel import LayerKernel
from funcnet.random import Key
from funcnet.shapes import Array, Shape, ShapeError, describe

__all__ = ["flatten_kernel", "identity_kernel"]


def flatten_kernel() -> LayerKernel:
    """The kernel of ``flatten``."""
    return LayerKernel("flatten", _flatten, _flat, _unflatten, y="same", prediction="same", dx="same")


def _flat(params: tuple[()], x: Array, owned: bool) -> Array:
    return x.reshape(len(x), math.prod(x.shape[1:]))


def _flatten(params: tuple[()], x: Array, owned: bool, key: Key | None) -> tuple[Array, Shape]:
    return _flat(params, x, owned), x.shape


def _unflatten(
    params: tuple[()], shape: Shape, dy: Array, owned: bool, accumulator: tuple[()] | None, beta: float, need_dx: bool
) -> Array:
    if dy.ndim != 2 or len(dy) != shape[0]:
        raise ShapeError(
            "flatten", f"dy of shape {describe((shape[0], math.prod(shape[1:])))}", f"shape {describe(dy.shape)}"
        )
    return dy.reshape(shape)


def identity_kernel() -> LayerKernel:
    """The kernel of ``identity``."""
    return LayerKernel("identity", _pass, _same, _back, y="same", prediction="same", dx="same")


def _same(params: tuple[()], x: Array, owned: bool) -> Array:
    return x


def _pass(params: tuple[()], x: Array, owned: bool, key: Key | None) -> tuple[Array, tuple[()]]:
    return x, ()


def _back(
    params: tuple[()],
    kept: tuple[()],
    dy: Array,
    owned: bool,
    accumulator: tuple[()] | None,
    beta: float,
    need_dx: bool,
) -> Array:
    return dy
