"""What is proven of a layer, a loss or a penalty: its derivative, its purity, its shapes and dtypes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from jaxtyping import config

from funcnet import random, tree
from funcnet.layer import AnyLayer
from funcnet.random import Key, make_key
from funcnet.shapes import Array, Shape

# Batch and widths: 1, odd, even.
sizes = st.integers(1, 5)
shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
keys = st.integers(0, 2**32).map(make_key)

STEP = 1e-5
TOLERANCE = 1e-6  # the error of a central difference here is near STEP^2 + machine epsilon / STEP = 1e-10


def double(node: Any) -> Any:
    """The tree in float64."""
    return tree.map(lambda a: a.astype(np.float64), node)


def snapshot(*nodes: Any) -> list[bytes]:
    return [leaf.tobytes() for leaf in tree.leaves(nodes)]


def normal(key: Key, shape: Shape, dtype: Any = np.float64) -> Array:
    return random.normal(key, shape, dtype)


def away_from_zero(key: Key, shape: Shape, dtype: Any = np.float64) -> Array:
    """Normal numbers none of which lies within a finite difference of a kink at 0."""
    x = normal(key, shape, dtype)
    return x + np.where(x < 0, -0.01, 0.01).astype(dtype)


def numeric_gradient(f: Callable[[], float], array: Array) -> Array:
    """The gradient of f with respect to each entry of an array it reads, by central differences."""
    gradient = np.empty_like(array)
    config.update("jaxtyping_disable", True)  # the annotations are enforced on every other call; here are thousands
    for i in np.ndindex(array.shape):
        kept = array[i]
        array[i] = kept + STEP
        above = f()
        array[i] = kept - STEP
        below = f()
        array[i] = kept
        gradient[i] = (above - below) / (2 * STEP)
    config.update("jaxtyping_disable", False)
    return gradient


def assert_close(analytic: Array, numeric: Array, what: str) -> None:
    scale = max(1.0, float(np.abs(numeric).max(initial=0)))
    np.testing.assert_allclose(analytic, numeric, rtol=TOLERANCE, atol=TOLERANCE * scale, err_msg=what)


def prove_layer(layer: AnyLayer, in_shape: Shape, batch: int, key: Key, draw_x: Callable[..., Array] = normal) -> None:
    """Prove a layer on one random case."""
    init_key, x_key, dy_key, tangent_key = random.split(key, 4)
    params, out_shape = layer.init(init_key, in_shape)
    assert tree.equal(params, layer.init(init_key, in_shape)[0])
    # Not the parameters of init: its zero biases would hide what is wrong with theirs.
    params = tree.map(lambda a: normal(random.fold_in(init_key, 7), a.shape), params)
    x, dy = draw_x(x_key, (batch, *in_shape)), normal(dy_key, (batch, *out_shape))
    _prove_gradients(layer, params, x, dy)
    _prove_adjoint(layer, params, x, dy, tangent_key)
    for dtype in (np.float32, np.float64):
        cast = lambda a: a.astype(dtype)  # noqa: B023, E731
        _prove_contract(layer, tree.map(cast, params), cast(x), cast(dy), out_shape)


def _prove_gradients(layer: AnyLayer, params: Any, x: Array, dy: Array) -> None:
    """dparams and dx are the gradients of <dy, y>, entry by entry."""
    _, residuals = layer.forward(params, x)
    dparams, dx = layer.vjp(params, residuals, dy)
    loose_x = x.copy()
    numeric = numeric_gradient(lambda: float(np.vdot(dy, layer.forward(params, loose_x)[0])), loose_x)
    assert_close(dx, numeric, f"dx of {layer}")
    for path, leaf in tree.named_leaves(params):
        loose = leaf.copy()

        def value(path: str = path, loose: Array = loose) -> float:
            changed = tree.map_named(lambda p, a: loose.copy() if p == path else a, params)
            return float(np.vdot(dy, layer.forward(changed, x)[0]))

        assert_close(dict(tree.named_leaves(dparams))[path], numeric_gradient(value, loose), f"d{path} of {layer}")


def _prove_adjoint(layer: AnyLayer, params: Any, x: Array, dy: Array, key: Key) -> None:
    """<dy, J t> = <J^T dy, t> for a random tangent t of parameters and input together."""
    x_key, params_key = random.split(key)
    x_tangent = normal(x_key, x.shape)
    params_tangent = tree.map(lambda a: normal(params_key, a.shape), params)

    def along(step: float) -> Array:
        moved = tree.map(lambda a, t: a + step * t, params, params_tangent)
        return layer.forward(moved, x + step * x_tangent)[0]

    jvp = (along(STEP / 10) - along(-STEP / 10)) / (STEP / 5)
    dparams, dx = layer.vjp(params, layer.forward(params, x)[1], dy)
    inner = np.vdot(dx, x_tangent) + sum(
        np.vdot(a, t) for a, t in zip(tree.leaves(dparams), tree.leaves(params_tangent), strict=True)
    )
    size = np.linalg.norm(dy) * np.linalg.norm(jvp)
    assert math.isclose(np.vdot(dy, jvp), inner, rel_tol=TOLERANCE, abs_tol=10 * TOLERANCE * max(1.0, float(size)))


def _prove_contract(layer: AnyLayer, params: Any, x: Array, dy: Array, out_shape: Shape) -> None:
    """Shapes, dtypes, purity, linearity in dy, and no output through which an argument could be changed."""
    x.flags.writeable = dy.flags.writeable = False
    before = snapshot(params, x, dy)
    y, residuals = layer.forward(params, x)
    kept = snapshot(residuals)
    dparams, dx = layer.vjp(params, residuals, dy)
    assert snapshot(params, x, dy) == before
    assert snapshot(residuals) == kept

    again, residuals_again = layer.forward(params, x)
    assert snapshot(y) == snapshot(again)
    assert snapshot(layer.vjp(params, residuals_again, dy)) == snapshot((dparams, dx))

    assert (y.shape, y.dtype) == ((len(x), *out_shape), x.dtype)
    assert (dx.shape, dx.dtype) == (x.shape, x.dtype)
    assert [(p, a.shape, a.dtype) for p, a in tree.named_leaves(dparams)] == [
        (p, a.shape, a.dtype) for p, a in tree.named_leaves(params)
    ]
    assert type(dparams) is type(params)
    assert not any(leaf.flags.writeable for leaf in tree.leaves(dparams))
    for output in (y, dx):
        for other in tree.leaves((params, x, dy, residuals)):
            assert output is other or not (output.flags.writeable and np.shares_memory(output, other))
            assert output is not other or not output.flags.writeable

    without, _ = layer.vjp(params, residuals, dy, need_dx=False)
    assert tree.equal(without, dparams)
    twice, dx_twice = layer.vjp(params, residuals, 2 * dy)
    for one, two in zip(tree.leaves((dparams, dx)), tree.leaves((twice, dx_twice)), strict=True):
        np.testing.assert_array_equal(2 * one, two)


def prove_value_and_grad(f: Callable[[Array], tuple[float, Array]], x: Array) -> None:
    """Prove that f returns a value and its gradient with respect to x, in the dtype of x, and changes nothing."""
    loose = x.astype(np.float64)
    assert_close(f(loose)[1], numeric_gradient(lambda: f(loose)[0], loose), "gradient")
    for dtype in (np.float32, np.float64):
        argument = tree.freeze(x.astype(dtype))
        before = argument.tobytes()
        value, gradient = f(argument)
        again, gradient_again = f(argument)
        assert argument.tobytes() == before
        assert (value, gradient.tobytes()) == (again, gradient_again.tobytes())
        assert isinstance(value, float)
        assert (gradient.shape, gradient.dtype) == (x.shape, dtype)
        assert not np.shares_memory(gradient, argument)
