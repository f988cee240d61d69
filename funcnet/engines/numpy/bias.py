"""A bias in place: it is added to x if x is owned, in chunks of rows."""

from __future__ import annotations

import numpy as np

from funcnet.engines.numpy import blas
from funcnet.engines.numpy.chunks import by_rows
from funcnet.engines.numpy.kernel import LayerKernel
from funcnet.layers.bias import BiasParams
from funcnet.random import Key
from funcnet.shapes import Array, expect

__all__ = ["bias_kernel"]


def bias_kernel() -> LayerKernel:
    """The kernel of ``bias``."""
    return LayerKernel("bias", _forward, _predict, _backward, y="own", prediction="own", dx="same")


def _forward(params: BiasParams, x: Array, owned: bool, key: Key | None) -> tuple[Array, tuple[int, ...]]:
    return _predict(params, x, owned), x.shape[1:]


def _predict(params: BiasParams, x: Array, owned: bool) -> Array:
    x = np.ascontiguousarray(x)
    y = x if owned else np.empty_like(x)

    def add(x: Array, y: Array, shift: Array) -> None:
        np.add(x, shift, out=y)

    by_rows(add, *(array.reshape(-1, x.shape[-1]) for array in (x, y)), along=(params.bias,))
    return y


def _backward(
    params: BiasParams,
    in_shape: tuple[int, ...],
    dy: Array,
    owned: bool,
    accumulator: BiasParams | None,
    beta: float,
    need_dx: bool,
) -> Array | None:
    expect("bias", "dy", dy, (len(dy), *in_shape), dy.dtype)
    if accumulator is not None:
        blas.axpby(accumulator.bias, beta, blas.sum_of_rows(np.ascontiguousarray(dy).reshape(-1, dy.shape[-1])))
    return dy if need_dx else None
