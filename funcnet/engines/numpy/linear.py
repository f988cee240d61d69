"""The linear layer by BLAS: the bias is added in place, and the weight's gradient is added onto the accumulator.

BLAS itself adds the product x^T dy onto the accumulator (``gemm`` with beta), so momentum descent makes no array for
the gradient. dx gets the memory order of x, since the layer that made x multiplies the two entry by entry.
"""

from __future__ import annotations

from funcnet.engines.numpy import blas
from funcnet.engines.numpy.kernel import LayerKernel
from funcnet.layers.linear import LinearParams, LinearResiduals
from funcnet.random import Key
from funcnet.shapes import Array

__all__ = ["linear_kernel"]


def linear_kernel() -> LayerKernel:
    """The kernel of every linear layer."""
    return LayerKernel("linear", _forward, _predict, _backward, y="own", prediction="own", dx="own")


def _forward(params: LinearParams, x: Array, owned: bool, key: Key | None) -> tuple[Array, LinearResiduals]:
    return _predict(params, x, owned), LinearResiduals(x)


def _predict(params: LinearParams, x: Array, owned: bool) -> Array:
    if len(x) == 1:  # at once: of the logits of one image, 784-256-10, that saves 4% of the time
        y = x.dot(params.weight)
        if params.bias is not None:
            y += params.bias[None]
        return y
    y = blas.product(x, params.weight)
    if params.bias is not None:
        blas.add_bias(y, params.bias)
    return y


def _backward(
    params: LinearParams,
    residuals: LinearResiduals,
    dy: Array,
    owned: bool,
    accumulator: LinearParams | None,
    beta: float,
    need_dx: bool,
) -> Array | None:
    x = residuals.x
    if accumulator is not None:
        blas.gemm(accumulator.weight, beta, x.T, dy)
        if accumulator.bias is not None:
            blas.axpby(accumulator.bias, beta, blas.sum_of_rows(dy))
    if not need_dx:
        return None
    return blas.product(dy, params.weight.T, "C" if x.flags.c_contiguous else "F")
