"""The layer, a record of pure functions, and ``chain``, which makes one layer of several.

A layer with parameters p computes y = f(p, x). Its vector-Jacobian product takes the gradient dy of a scalar with
respect to y and returns that scalar's gradients with respect to p and x:

    dp = dy^T (df/dp),    dx = dy^T (df/dx)

which is the whole of reverse-mode differentiation (Griewank & Walther, Evaluating Derivatives, 2nd ed., section 3.2):
a chain runs forward from the first layer to the last and the products from the last to the first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import attrs

from funcnet import blas, tree
from funcnet.inplace import bind_of, is_fresh, over_of, twin_of, with_bound, with_twin
from funcnet.random import Key, split
from funcnet.shapes import Array, Float, Shape, ShapeError, expect

__all__ = ["AnyLayer", "Layer", "chain", "make_predict"]

P = TypeVar("P")
R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)


class Vjp(Protocol[P, R_contra]):
    """``vjp(params, residuals, dy, need_dx=True) -> (dparams, dx)``."""

    def __call__(
        self, params: P, residuals: R_contra, dy: Float[Array, "batch ..."], *, need_dx: bool = True
    ) -> tuple[P, Float[Array, "batch ..."] | None]: ...


@attrs.frozen(repr=False)
class Layer(Generic[P, R]):
    """A layer: three pure functions and a name.

    Attributes:
        name: how messages and tables call the layer, e.g. ``linear(10)``.
        init: ``init(key, in_shape) -> (params, out_shape)``, shapes without the batch axis; raises ShapeError where
            the layer cannot take ``in_shape``.
        forward: ``forward(params, x) -> (y, residuals)``, where the residuals are what the layer keeps of this call
            for its vjp. The residuals may hold ``x`` and ``y`` themselves, so neither may be written to while they
            are in use; whatever ``forward`` returns that is not freshly made is read-only.
        vjp: ``vjp(params, residuals, dy, need_dx=True) -> (dparams, dx)``, where dparams is a tree like params. With
            ``need_dx=False`` the caller has no use for dx, and the layer may return None in its place.
        multiply_adds: ``multiply_adds(params, in_shape)``, the multiplications, each with its addition, of the matrix
            products of a forward pass over one example: a cost that tables state. Where there are parts, theirs count.
        parts: of a layer that runs others one after the other, these others, in the order of its params.

    A layer without parameters has the empty tuple for them.
    """

    name: str
    init: Callable[[Key, Shape], tuple[P, Shape]]
    forward: Callable[[P, Float[Array, "batch ..."]], tuple[Float[Array, "batch ..."], R]]
    vjp: Vjp[P, R]
    multiply_adds: Callable[[P, Shape], int] = lambda params, in_shape: 0
    parts: tuple[Layer[Any, Any], ...] = ()

    def __repr__(self) -> str:
        return self.name


AnyLayer: TypeAlias = Layer[Any, Any]


def add_vjp(
    layer: AnyLayer,
    params: Any,
    residuals: Any,
    dy: Float[Array, "batch ..."],
    onto: Any,
    keep: float,
    *,
    need_dx: bool = True,
) -> Float[Array, "batch ..."] | None:
    """The vjp in place: ``onto``, a tree like params of writable arrays, becomes keep onto + dparams. Returns dx.

    By the twin of the layer's vjp, which takes the same arguments; without one, by the vjp.
    """
    if (twin := twin_of(layer.vjp)) is not None:
        dx: Array | None = twin(params, residuals, dy, onto, keep, need_dx=need_dx)
        return dx
    dparams, dx = layer.vjp(params, residuals, dy, need_dx=need_dx)
    if isinstance(onto, tuple) and not onto:
        return dx
    totals, gradients = (tree.named_leaves(node, "params") for node in (onto, dparams))
    if [path for path, _ in totals] != [path for path, _ in gradients]:
        raise ShapeError(layer.name, "a gradient that is a tree like params", f"a {type(dparams).__name__}")
    for (path, total), (_, gradient) in zip(totals, gradients, strict=True):
        expect(layer.name, f"the gradient of {path}", gradient, total.shape, total.dtype)
        blas.keep_and_add(total, keep, gradient)
    return dx


def make_predict(net: AnyLayer, params: Any) -> Callable[[Float[Array, "batch ..."]], Float[Array, "batch ..."]]:
    """The pure function ``predict(x)``: what ``net.forward(params, x)`` returns first, bit for bit.

    It looks at the params once, and keeps nothing for a vjp: the logits of one image, 784-256-10, take 0.75 times as
    long as by forward (AMD EPYC, Zen 4 with AVX2 alone, NumPy 2.5). It holds the params, not a copy: those of a state
    that is given up to a donating step change under it (``copy_state`` makes others).

    Raises:
        TypeError: for what is no layer.
        ShapeError: where the params are none of the network's; by the function, where x does not fit.
    """
    if not isinstance(net, Layer):
        raise TypeError(f"make_predict takes a layer, such as a chain, and its params; got {net!r:.80}")
    return _bound(net, params, False)


def _bound(layer: AnyLayer, params: Any, over: bool) -> Callable[[Array], Array]:
    """The layer as a function of x alone, over which it may write."""
    if (bind := bind_of(layer.forward)) is not None:
        return bind(params, over)
    return partial(_output, layer, params)


def _output(layer: AnyLayer, params: Any, x: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
    y: Array = layer.forward(params, x)[0]
    return y


def chain(*layers: AnyLayer) -> Layer[tuple[Any, ...], tuple[Any, ...]]:
    """The composition of layers, first to last: itself a layer, so chains nest.

    Its parameters and residuals are the tuples of those of its layers. A ShapeError raised inside names the layer by
    its place: ``chain[2].linear(10)``.

    Raises:
        ValueError: for no layers at all.
        TypeError: for what is no layer.
    """
    if not layers:
        raise ValueError("a chain needs at least one layer (identity() is the layer that does nothing)")
    for place, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            hint = " (call it to make the layer)" if callable(layer) else ""
            raise TypeError(f"chain[{place}] is no layer but a {type(layer).__name__}: {layer!r:.60}{hint}")

    linked = tuple(_linked(*three) for three in zip((None, *layers[:-1]), layers, (*layers[1:], None), strict=True))
    forwards = tuple(layer.forward for layer in linked)

    def init(key: Key, in_shape: Shape) -> tuple[tuple[Any, ...], Shape]:
        params, shape = [], tuple(in_shape)
        for place, (layer, layer_key) in enumerate(zip(layers, split(key, len(layers)), strict=True)):
            try:
                layer_params, shape = layer.init(layer_key, shape)
            except ShapeError as error:
                raise error.inside(f"chain[{place}]") from None
            params.append(layer_params)
        return tuple(params), shape

    def forward(
        params: tuple[Any, ...], x: Float[Array, "batch ..."]
    ) -> tuple[Float[Array, "batch ..."], tuple[Any, ...]]:
        _expect_params(layers, params)
        residuals: list[Any] = []
        try:
            for layer_forward, layer_params in zip(forwards, params, strict=True):
                x, kept = layer_forward(layer_params, x)
                residuals.append(kept)
        except ShapeError as error:
            raise error.inside(f"chain[{len(residuals)}]") from None
        return x, tuple(residuals)

    def bind(params: tuple[Any, ...], over: bool) -> Callable[[Array], Array]:
        _expect_params(layers, params)
        functions: list[Callable[[Array], Array]] = []
        try:
            for layer, layer_params in zip(layers, params, strict=True):
                functions.append(_bound(layer, layer_params, over))
                over = is_fresh(layer.forward)
        except ShapeError as error:
            raise error.inside(f"chain[{len(functions)}]") from None
        return partial(one_by_one, functions)

    def one_by_one(
        functions: list[Callable[[Array], Array]], x: Float[Array, "batch ..."]
    ) -> Float[Array, "batch ..."]:
        for place, function in enumerate(functions):
            try:
                x = function(x)
            except ShapeError as error:
                raise error.inside(f"chain[{place}]") from None
        return x

    def backward(
        params: tuple[Any, ...], dy: Float[Array, "batch ..."], need_dx: bool, layer_vjp: Callable[..., Array | None]
    ) -> tuple[int, Float[Array, "batch ..."] | None]:
        """Send dy back, last layer first, by ``layer_vjp(place, dy, need_dx) -> dx``; where it stopped, and dx."""
        _expect_params(layers, params)
        # The products stop at the first layer that has parameters, unless the caller wants dx: the gradient with
        # respect to the data is a third of the arithmetic of a network with one hidden layer.
        first = 0 if need_dx else next((i for i, p in enumerate(params) if tree.leaves(p)), len(layers))
        for place in reversed(range(first, len(layers))):
            wanted = need_dx or place > first
            try:
                dx = layer_vjp(place, dy, wanted)
            except ShapeError as error:
                raise error.inside(f"chain[{place}]") from None
            if wanted:
                if dx is None:
                    raise TypeError(f"the vjp of chain[{place}].{layers[place]} returned no dx, which was asked for")
                dy = dx
        return first, dy if need_dx else None

    def vjp(
        params: tuple[Any, ...], residuals: tuple[Any, ...], dy: Float[Array, "batch ..."], *, need_dx: bool = True
    ) -> tuple[tuple[Any, ...], Float[Array, "batch ..."] | None]:
        dparams: list[Any] = []

        def layer_vjp(place: int, dy: Array, need_dx: bool) -> Array | None:
            layer_dparams, dx = linked[place].vjp(params[place], residuals[place], dy, need_dx=need_dx)
            dparams.append(layer_dparams)
            return dx

        first, dx = backward(params, dy, need_dx, layer_vjp)
        # Before ``first`` there are only empty trees, which are their own gradients.
        return (*params[:first], *reversed(dparams)), dx

    def add_vjp_of_chain(
        params: tuple[Any, ...],
        residuals: tuple[Any, ...],
        dy: Float[Array, "batch ..."],
        onto: tuple[Any, ...],
        keep: float,
        *,
        need_dx: bool = True,
    ) -> Float[Array, "batch ..."] | None:
        def layer_vjp(place: int, dy: Array, need_dx: bool) -> Array | None:
            return add_vjp(linked[place], params[place], residuals[place], dy, onto[place], keep, need_dx=need_dx)

        return backward(params, dy, need_dx, layer_vjp)[1]

    name = f"chain({', '.join(layer.name for layer in layers)})"
    return Layer(name, init, with_bound(forward, bind), with_twin(vjp, add_vjp_of_chain), parts=layers)


def _linked(before: AnyLayer | None, layer: AnyLayer, after: AnyLayer | None) -> AnyLayer:
    """The layer between two others: it writes over what they make that nobody but their chain has."""
    forward = over_of(layer.forward) if before is not None and is_fresh(before.forward) else layer.forward
    vjp = over_of(layer.vjp) if after is not None and is_fresh(after.vjp) else layer.vjp
    return attrs.evolve(layer, forward=forward, vjp=vjp)


def _expect_params(layers: tuple[AnyLayer, ...], params: Any) -> None:
    if not isinstance(params, tuple) or len(params) != len(layers):
        given = f"a tuple of {len(params)}" if isinstance(params, tuple) else f"a {type(params).__name__}"
        raise ShapeError("chain", f"params with an entry for each of its {len(layers)} layers", given)
