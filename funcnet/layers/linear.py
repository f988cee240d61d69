"""The linear (dense, fully connected) layer.

    y  = x W + b
    dW = x^T dy,    db = sum of dy over the batch,    dx = dy W^T

Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation" (2008),
section 2.2; Goodfellow, Bengio & Courville, Deep Learning (2016), section 6.5.4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import numpy as np

from funcnet import blas
from funcnet.inplace import fresh, with_bound, with_twin
from funcnet.layer import Layer
from funcnet.layers.initializers import Initializer, he
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape, ShapeError, describe, expect, expect_float, whole_number
from funcnet.tree import Record, array_field, freeze

__all__ = ["LinearParams", "LinearResiduals", "linear"]


@attrs.frozen
class LinearParams(Record):
    """The weight matrix, and the bias of a layer that has one; both of one dtype."""

    weight: Float[Array, "in out"] = array_field()
    bias: Float[Array, "out"] | None = array_field(default=None)


@attrs.frozen(eq=False)
class LinearResiduals:
    """What the weight's gradient is made of, beside dy."""

    x: Float[Array, "batch in"]


def linear(width: int, *, bias: bool = True, init: Initializer = he) -> Layer[LinearParams, LinearResiduals]:
    """A linear layer of ``width`` outputs: (batch, in) to (batch, width).

    The bias starts at zero.

    Raises:
        ValueError: for a width that is no whole number from 1 up.
    """
    width = whole_number("the width of a linear layer", width, 1)
    name = f"linear({width})"

    def init_params(key: Key, in_shape: Shape) -> tuple[LinearParams, Shape]:
        if len(in_shape) != 1:
            raise ShapeError(name, "an input shape of one axis (put flatten() before it)", describe(in_shape))
        weight = init(key, (in_shape[0], width), in_shape[0], width)
        expect_float(name, "the initial weight", weight)
        expect(name, "the initial weight", weight, (in_shape[0], width), weight.dtype)
        # In the order in memory that its gradients are made in: what is added up should lie alike.
        weight = np.asarray(weight, order=blas.fast_order(*weight.shape))
        return LinearParams(weight, np.zeros(width, weight.dtype) if bias else None), (width,)

    def check(params: LinearParams) -> None:
        if not isinstance(params, LinearParams):
            raise ShapeError(name, "LinearParams", f"a {type(params).__name__} (the params of another network?)")
        expect(name, "params.weight", params.weight, ("in", width), params.weight.dtype)
        if (params.bias is not None) != bias:
            raise ShapeError(name, f"params {'with' if bias else 'without'} a bias", "the opposite")
        if params.bias is not None:
            expect(name, "params.bias", params.bias, (width,), params.weight.dtype)

    def check_x(x: Array, weight: Array) -> None:
        if isinstance(x, np.ndarray) and (x.ndim != 2 or x.shape[1] != len(weight)):
            hint = ""
            if x.ndim == 1 or x.size == len(weight):
                hint = " (is the batch axis missing? x[None] is a batch of one)"
            elif x.ndim > 2:
                hint = " (put flatten() before it)"
            raise ShapeError(name, f"x of shape (batch, {len(weight)})", f"shape {describe(x.shape)}{hint}")
        expect(name, "x", x, ("batch", len(weight)), weight.dtype)

    def accepts(params: LinearParams, x: Array) -> bool:
        """Whether all holds that ``check`` and ``check_x`` require, in one look; where it does not, they say what."""
        if params.__class__ is not LinearParams or x.__class__ is not np.ndarray or x.ndim != 2:
            return False
        weight, b, dtype = params.weight, params.bias, x.dtype
        if weight.shape != (x.shape[1], width) or weight.dtype is not dtype:
            return False
        if b is None:
            return not bias
        return bias and b.ndim == 1 and len(b) == width and b.dtype is dtype  # what b.shape says, in half the time

    def affine(x: Array, params: LinearParams) -> Array:
        y = blas.product(x, params.weight)
        if params.bias is not None:
            blas.add_row(y, params.bias)
        return y

    def forward(params: LinearParams, x: Float[Array, "batch in"]) -> tuple[Float[Array, "batch out"], LinearResiduals]:
        if not accepts(params, x):
            check(params)
            check_x(x, params.weight)
        return affine(x, params), LinearResiduals(x)

    def bind(params: LinearParams, over: bool) -> Callable[[Array], Array]:
        check(params)
        return partial(forward_of_checked, params, len(params.weight), params.weight.dtype)

    def forward_of_checked(params: LinearParams, inputs: int, dtype: np.dtype, x: Array) -> Array:
        if x.__class__ is not np.ndarray or x.ndim != 2 or x.shape[1] != inputs or x.dtype is not dtype:
            check_x(x, params.weight)
        return affine(x, params)

    def dx_of(params: LinearParams, x: Array, dy: Array) -> Array:
        # In the order in memory of x: whatever made x multiplies the two, entry by entry.
        return blas.product(dy, params.weight.T, "C" if x.flags.c_contiguous else "F")

    def vjp(
        params: LinearParams, residuals: LinearResiduals, dy: Float[Array, "batch out"], *, need_dx: bool = True
    ) -> tuple[LinearParams, Float[Array, "batch in"] | None]:
        x = residuals.x
        if not accepts(params, x):
            check(params)
            check_x(x, params.weight)
        expect(name, "dy", dy, (len(x), width), params.weight.dtype)
        dweight = np.empty_like(params.weight)
        blas.add_product(dweight, 0.0, x.T, dy)
        dbias = None if params.bias is None else freeze(blas.sum_of_rows(dy))
        return LinearParams(freeze(dweight), dbias), dx_of(params, x, dy) if need_dx else None

    def add_vjp(
        params: LinearParams,
        residuals: LinearResiduals,
        dy: Float[Array, "batch out"],
        onto: LinearParams,
        keep: float,
        *,
        need_dx: bool = True,
    ) -> Float[Array, "batch in"] | None:
        x = residuals.x
        if not accepts(params, x):
            check(params)
            check_x(x, params.weight)
        expect(name, "dy", dy, (len(x), width), params.weight.dtype)
        blas.add_product(onto.weight, keep, x.T, dy)
        if onto.bias is not None:
            blas.keep_and_add(onto.bias, keep, blas.sum_of_rows(dy))
        return dx_of(params, x, dy) if need_dx else None

    def multiply_adds(params: LinearParams, in_shape: Shape) -> int:
        return params.weight.size

    return Layer(name, init_params, fresh(with_bound(forward, bind)), fresh(with_twin(vjp, add_vjp)), multiply_adds)
