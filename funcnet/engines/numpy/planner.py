"""The planner: from a network to kernels, and which buffers they may write over.

Kernels are found by a layer's functions. If one of them was replaced, there is no kernel, and the pure functions run.
Combinators are walked, so that their children have kernels of their own.

A new array must be fetched into a core's cache and displaces what is there. This costs more than the arithmetic. After
a ``linear``, whose y is owned, a ``relu`` writes over that y, and in the backward pass over the dy that it is given.
The table has the time of such a step over one that makes new arrays for both (AMD EPYC, Zen 4, 2 cores, NumPy 2.5):

    784-256-10, batch 128     0.91        3072-512-100, batch 128      0.99
    784-1024-10, batch 256    0.92        6 layers of 512, batch 32    0.98
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import numpy as np

from funcnet import combinators, tree, views
from funcnet.combinators import (
    CheckpointResiduals,
    FrozenParams,
    ParallelResiduals,
    child_key,
    first_trained,
    parts_of,
)
from funcnet.engines.numpy import blas
from funcnet.engines.numpy.activations import activation_kernel
from funcnet.engines.numpy.bias import bias_kernel
from funcnet.engines.numpy.conv import conv_kernel
from funcnet.engines.numpy.kernel import LayerKernel, Ownership, base, still_owned
from funcnet.engines.numpy.linear import linear_kernel
from funcnet.engines.numpy.norm import batch_norm_kernel
from funcnet.engines.numpy.pool import max_pool_kernel
from funcnet.engines.numpy.reshape import flatten_kernel, identity_kernel
from funcnet.layer import AnyLayer, run_forward, run_predict
from funcnet.layers import activations, bias, conv, linear, norm, pool, reshape
from funcnet.random import Key
from funcnet.shapes import Array, ShapeError, expect, kind_of

__all__ = ["kernel_names", "plan"]


def plan(layer: AnyLayer) -> LayerKernel:
    """The kernel of a layer or network. If a layer has none, its pure functions are wrapped as one."""
    functions = kernel_key(layer)
    if (compose := _COMBINATORS.get(functions)) is not None:
        return compose(layer)
    make = _KERNELS.get(functions)
    kernel = None if make is None else make(layer)
    return _plain(layer) if kernel is None else kernel


def kernel_key(layer: AnyLayer) -> tuple[Any, ...]:
    """The pure functions that a kernel of this layer is registered under."""
    if base(layer.pure_advance) not in _ADVANCES:
        return ()  # it reads the residuals of the pure functions
    return tuple(base(f) for f in (layer.pure_forward, layer.pure_vjp, layer.pure_predict))


def kernel_names(layer: AnyLayer) -> tuple[tuple[str, str], ...]:
    """Every layer that is not a combinator, in order, with its kernel's name: empty if its pure functions run."""
    if kernel_key(layer) in _COMBINATORS:
        return tuple(pair for _, child in layer.children for pair in kernel_names(child))
    return ((layer.name, plan(layer).name),)


# Those that read the residuals of children's kernels, or residuals that the kernel makes as the equation does.
_ADVANCES = (None, combinators.chain_advance, combinators.parallel_advance, norm.batch_norm_advance)

_KERNELS: dict[tuple[Any, ...], Callable[[AnyLayer], LayerKernel | None]] = {
    (linear.linear_forward, linear.linear_vjp, None): lambda layer: linear_kernel(),
    (norm.batch_norm_forward, norm.batch_norm_vjp, norm.batch_norm_predict): batch_norm_kernel,
    (pool.max_pool_forward, pool.max_pool_vjp, None): max_pool_kernel,
    (bias.bias_forward, bias.bias_vjp, None): lambda layer: bias_kernel(),
    (conv.conv_forward, conv.conv_vjp, None): conv_kernel,
    (reshape.flatten_forward, reshape.flatten_vjp, None): lambda layer: flatten_kernel(),
    (reshape.identity_forward, reshape.identity_vjp, None): lambda layer: identity_kernel(),
    (activations.forward_keeping_output, activations.activation_vjp, None): (
        lambda layer: activation_kernel(layer.pure_forward, layer.pure_vjp)
    ),
    (activations.forward_keeping_input, activations.activation_vjp, None): (
        lambda layer: activation_kernel(layer.pure_forward, layer.pure_vjp)
    ),
}


# --- the pure functions as a kernel


def _plain(layer: AnyLayer) -> LayerKernel:
    return LayerKernel(
        "",
        partial(_plain_forward, layer),
        partial(_plain_predict, layer),
        partial(_plain_backward, layer),
        y="held",
        prediction="held",
        dx="held",
    )


def _plain_forward(layer: AnyLayer, params: Any, x: Array, owned: bool, key: Key | None) -> tuple[Array, Any]:
    return run_forward(layer, params, x, key)


def _plain_predict(layer: AnyLayer, params: Any, x: Array, owned: bool) -> Array:
    return run_predict(layer, params, x)


def _plain_backward(
    layer: AnyLayer, params: Any, residuals: Any, dy: Array, owned: bool, accumulator: Any, beta: float, need_dx: bool
) -> Array | None:
    dparams, dx = layer.pure_vjp(params, residuals, dy, need_dx=need_dx)
    if need_dx and dx is None:
        raise TypeError(f"the vjp of {layer} returned no dx, which was asked for")
    if accumulator is not None and not (isinstance(accumulator, tuple) and not accumulator):
        _accumulate(layer, accumulator, beta, dparams)
    return dx


def _accumulate(layer: AnyLayer, accumulator: Any, beta: float, dparams: Any) -> None:
    totals, gradients = (tree.named_leaves(node, "params") for node in (accumulator, dparams))
    if [path for path, _ in totals] != [path for path, _ in gradients]:
        raise ShapeError(layer.name, "a gradient that is a tree like params", kind_of(dparams))
    for (path, total), (_, gradient) in zip(totals, gradients, strict=True):
        gradient = np.asarray(gradient)  # of a 0-d array, arithmetic makes a scalar
        expect(layer.name, f"the gradient of {path}", gradient, total.shape, total.dtype)
        blas.axpby(total, beta, gradient)


# --- combinators


def _chain(layer: AnyLayer) -> LayerKernel:
    layers = tuple(child for _, child in layer.children)
    kernels = tuple(plan(child) for child in layers)
    forwards = [kernel.forward for kernel in kernels]
    predicts = [kernel.predict for kernel in kernels]
    # Whether the argument of each layer is owned. This is the same in every call.
    given = {owned: _given(owned, [kernel.y for kernel in kernels]) for owned in (False, True)}
    predict_given = {owned: _given(owned, [kernel.prediction for kernel in kernels]) for owned in (False, True)}

    def forward(params: Any, x: Array, owned: bool, key: Key | None) -> tuple[Array, tuple[Any, ...]]:
        residuals: list[Any] = []
        for layer, run, own_params, mine in zip(layers, forwards, params, given[owned], strict=True):
            x, kept = run(own_params, x, mine, child_key(layer, key, len(residuals)))
            residuals.append(kept)
        return x, tuple(residuals)

    def predict(params: Any, x: Array, owned: bool) -> Array:
        for run, own_params, mine in zip(predicts, params, predict_given[owned], strict=True):
            x = run(own_params, x, mine)
        return x

    def backward(
        params: Any, residuals: Any, dy: Array, owned: bool, accumulator: Any, beta: float, need_dx: bool
    ) -> Array | None:
        first = 0 if need_dx else len(kernels) if accumulator is None else first_trained(accumulator)
        for place in reversed(range(first, len(kernels))):
            wanted = need_dx or place > first
            onto = None if accumulator is None else accumulator[place]
            try:
                dx = kernels[place].backward(params[place], residuals[place], dy, owned, onto, beta, wanted)
            except ShapeError as error:
                raise error.inside(f"chain[{place}]") from None
            if wanted:
                dy, owned = dx, still_owned(owned, kernels[place].dx)
        return dy if need_dx else None

    return LayerKernel(
        "chain",
        forward,
        predict,
        backward,
        y=_of_sequence([kernel.y for kernel in kernels]),
        prediction=_of_sequence([kernel.prediction for kernel in kernels]),
        dx=_of_sequence([kernel.dx for kernel in reversed(kernels)]),
        divides=any(kernel.divides for kernel in kernels),
    )


def _views(layer: AnyLayer) -> LayerKernel:
    """The kernel of a chain, but for the prediction: that of the pure function, with the kernel of the layer inside."""
    ((_, inner),) = layer.children
    kernel = plan(inner)

    def of_a_view(params: Any, x: Array) -> Array:
        y: Array = kernel.predict(params, x, False)
        return y

    assert layer.remake is not None
    averaging = layer.remake((attrs.evolve(inner, predict=of_a_view),))

    def predict(params: Any, x: Array, owned: bool) -> Array:
        return run_predict(averaging, params, x)

    return attrs.evolve(_chain(layer), predict=predict, prediction="own")


def _given(owned: bool, ownerships: list[Ownership]) -> list[bool]:
    """Whether the argument of each layer is owned."""
    given = []
    for ownership in ownerships:
        given.append(owned)
        owned = still_owned(owned, ownership)
    return given


def _of_sequence(ownerships: list[Ownership]) -> Ownership:
    """The ownership of a sequence's result: that of the last result that is not a view of the one before."""
    return next((ownership for ownership in reversed(ownerships) if ownership != "same"), "same")


def _parallel(layer: AnyLayer) -> LayerKernel:
    layers = tuple(child for _, child in layer.children)
    kernels = tuple(plan(child) for child in layers)
    summed = layer.kind == "sum"

    def merged(outputs: list[Array], ownerships: list[Ownership]) -> Array:
        return _sum(outputs, ownerships) if summed else np.concatenate(outputs, axis=-1)

    def forward(params: Any, x: Array, owned: bool, key: Key | None) -> tuple[Array, ParallelResiduals]:
        made = [
            kernel.forward(params[place], x, False, child_key(layers[place], key, place))
            for place, kernel in enumerate(kernels)
        ]
        widths = tuple(y.shape[-1] for y, _ in made)
        residuals = ParallelResiduals(tuple(kept for _, kept in made), widths)
        return merged([y for y, _ in made], [kernel.y for kernel in kernels]), residuals

    def predict(params: Any, x: Array, owned: bool) -> Array:
        outputs = [kernel.predict(p, x, False) for kernel, p in zip(kernels, params, strict=True)]
        return merged(outputs, [kernel.prediction for kernel in kernels])

    def backward(
        params: Any, residuals: ParallelResiduals, dy: Array, owned: bool, accumulator: Any, beta: float, need_dx: bool
    ) -> Array | None:
        dys = [dy] * len(kernels) if summed else parts_of(dy, residuals.widths)
        found = [
            kernel.backward(params[place], residuals.of_layers[place], dys[place], False,
                            None if accumulator is None else accumulator[place], beta, need_dx)
            for place, kernel in enumerate(kernels)
        ]  # fmt: skip
        return _sum(found, [kernel.dx for kernel in kernels]) if need_dx else None

    divides = any(kernel.divides for kernel in kernels)
    return LayerKernel("parallel", forward, predict, backward, y="own", prediction="own", dx="own", divides=divides)


def _sum(arrays: list[Array], ownerships: list[Ownership]) -> Array:
    """The sum of the arrays: in place in one that is owned, or in a new array if none is."""
    place = next((place for place, ownership in enumerate(ownerships) if ownership == "own"), None)
    total = arrays[0].copy(order="K") if place is None else arrays[place]
    for other, array in enumerate(arrays):
        if other != (0 if place is None else place):
            total += array
    return total


def _frozen(layer: AnyLayer) -> LayerKernel:
    kernel = plan(layer.children[0][1])

    def forward(params: FrozenParams, x: Array, owned: bool, key: Key | None) -> tuple[Array, Any]:
        made: tuple[Array, Any] = kernel.forward(params.params, x, owned, key)
        return made

    def predict(params: FrozenParams, x: Array, owned: bool) -> Array:
        y: Array = kernel.predict(params.params, x, owned)
        return y

    def backward(
        params: FrozenParams, kept: Any, dy: Array, owned: bool, accumulator: Any, beta: float, need_dx: bool
    ) -> Array | None:
        return kernel.backward(params.params, kept, dy, owned, None, beta, need_dx) if need_dx else None

    made = (kernel.y, kernel.prediction, kernel.dx, kernel.divides)
    return LayerKernel("frozen", forward, predict, backward, *made)


def _checkpoint(layer: AnyLayer) -> LayerKernel:
    inner = _chain(layer)

    def forward(params: Any, x: Array, owned: bool, key: Key | None) -> tuple[Array, CheckpointResiduals]:
        y, _ = inner.forward(params, x, False, key)  # x is kept
        return y, CheckpointResiduals(x, key)

    def backward(
        params: Any,
        residuals: CheckpointResiduals,
        dy: Array,
        owned: bool,
        accumulator: Any,
        beta: float,
        need_dx: bool,
    ) -> Array | None:
        _, made = inner.forward(params, residuals.x, False, residuals.key)
        return inner.backward(params, made, dy, owned, accumulator, beta, need_dx)

    y: Ownership = "held" if inner.y == "same" else inner.y
    made = (y, inner.prediction, inner.dx, inner.divides)
    return LayerKernel("checkpoint", forward, inner.predict, backward, *made)


_COMBINATORS: dict[tuple[Any, ...], Callable[[AnyLayer], LayerKernel]] = {
    (combinators.chain_forward, combinators.chain_vjp, combinators.chain_predict): _chain,
    (combinators.chain_forward, combinators.chain_vjp, views.views_predict): _views,
    (combinators.checkpoint_forward, combinators.checkpoint_vjp, combinators.chain_predict): _checkpoint,
    (combinators.parallel_forward, combinators.parallel_vjp, combinators.parallel_predict): _parallel,
    (combinators.frozen_forward, combinators.frozen_vjp, combinators.frozen_predict): _frozen,
}
