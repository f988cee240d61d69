"""The layer: a record of pure functions.

A layer with parameters p computes y = f(p, x). Its vector-Jacobian product takes the gradient dy of a scalar with
respect to y and returns that scalar's gradients with respect to p and x:

    dp = dy^T (df/dp),    dx = dy^T (df/dx)

This is the whole of reverse-mode differentiation (Griewank & Walther, Evaluating Derivatives, 2nd ed., section 3.2).

The functions in the record are equations: they check nothing and run on arrays of any namespace. The methods
``forward``, ``vjp`` and ``predict`` are for users: they check what they are given (see ``contract``) and then call
these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import attrs

from funcnet import contract
from funcnet.random import Key
from funcnet.shapes import Array, Float, Shape

__all__ = [
    "AnyLayer",
    "Kind",
    "Layer",
    "Vjp",
    "advance",
    "is_composition",
    "run_forward",
    "run_predict",
]

P = TypeVar("P")
R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)
Kind: TypeAlias = Literal["", "sequence", "sum", "concatenation", "around", "views"]


class Vjp(Protocol[P, R_contra]):
    """``vjp(params, residuals, dy, need_dx=True) -> (dparams, dx)``."""

    def __call__(
        self, params: P, residuals: R_contra, dy: Float[Array, "batch ..."], *, need_dx: bool = True
    ) -> tuple[P, Float[Array, "batch ..."] | None]: ...


def no_multiply_adds(params: Any, in_shape: Shape) -> int:
    """0, for a layer without matrix products."""
    return 0


def _draws_in_training_alone(layer: AnyLayer, attribute: attrs.Attribute[bool], draws: bool) -> None:
    if draws and layer.pure_predict is None:
        raise ValueError(f"{layer.name} draws random numbers in forward, so it must say what predict does instead")


@attrs.frozen(repr=False, eq=False)
class Layer(Generic[P, R]):
    """A layer: pure functions and a name. ``Layer(name, init, forward, vjp)`` suffices: other fields have defaults.

    A layer without parameters has the empty tuple as params. The functions should be module-level ones, with their
    hyperparameters bound by ``functools.partial``. Then the layer pickles, and an engine can recognise its functions.

    Attributes:
        name: how messages and tables call the layer, e.g. ``linear(10)``.
        init: ``init(key, in_shape) -> (params, out_shape)``, shapes without the batch axis; raises ShapeError where
            the layer cannot take ``in_shape``.
        pure_forward: ``forward(params, x) -> (y, residuals)``: what training does. The residuals are what the vjp
            needs of this call; they may hold x and y themselves. A layer that ``draws`` takes a ``key`` as third
            argument.
        pure_vjp: ``vjp(params, residuals, dy, need_dx=True) -> (dparams, dx)``, where dparams is a tree like params,
            with None for what is not trained. With ``need_dx=False`` the layer may return None for dx.
        multiply_adds: ``multiply_adds(params, in_shape)``, the multiplications, each with its addition, of the matrix
            products of a forward pass over one example. ``children`` count their own.
        pure_predict: ``predict(params, x) -> y``: what inference does. If None, it is the y of forward.
        pure_advance: ``advance(params, residuals) -> params`` updates what is not trained, such as running
            statistics, after a step. If None, nothing changes.
        draws: whether forward draws random numbers, and so takes a key. Such a layer has a predict of its own.
        known: what is known of params beforehand, for checks. An axis has its length here, by its name in the
            annotations: ``{"out": 10}``, or ``{"*window": (3, 3)}`` for several axes. A length may be a function of
            params. A field that may be None has None here if it is None (``{"bias": None}``), else a number.
        out_shape: ``out_shape(in_shape)``, shapes without the batch axis, for a layer whose output has other axes than
            the annotations can say. It raises ShapeError as init does. Inputs and gradients are checked by it.
        children: the layers inside, each with its path within the params: ``("[0]", linear(3))``.
        kind: how the children are composed: one after the other (``sequence``), side by side (``sum``,
            ``concatenation``), one child inside the layer (``around``), or one whose predictions for several views
            are averaged (``views``). Params are tuples, one entry a child, but for those of ``around``. Children with
            the same path have the same params.
        remake: ``remake(children) -> layer``: the same composition of other layers.
        frozen: the layer that takes this one's place when it is frozen: it computes what ``predict`` does, with the vjp
            of that. None stands for the layer itself.
        recipe: ``recipe()`` makes the layer again: the function that made it, with its arguments bound. None where that
            is not known. Files of models describe funcnet's own layers by it.
        rectifies: whether an output of 0 means a unit that is off, with slope 0, as in ReLU. Reports count units that
            are always off.
    """

    name: str
    init: Callable[[Key, Shape], tuple[P, Shape]]
    pure_forward: Callable[..., tuple[Array, R]] = attrs.field(alias="forward")
    pure_vjp: Vjp[P, R] = attrs.field(alias="vjp")
    multiply_adds: Callable[[P, Shape], int] = no_multiply_adds
    pure_predict: Callable[[P, Array], Array] | None = attrs.field(default=None, alias="predict", kw_only=True)
    pure_advance: Callable[[P, R], P] | None = attrs.field(default=None, alias="advance", kw_only=True)
    draws: bool = attrs.field(default=False, kw_only=True, validator=_draws_in_training_alone)
    known: Mapping[str, int | Shape | Callable[[P], int] | None] = attrs.field(factory=dict, kw_only=True)
    out_shape: Callable[[Shape], Shape] | None = attrs.field(default=None, kw_only=True)
    children: tuple[tuple[str, Layer[Any, Any]], ...] = attrs.field(default=(), kw_only=True)
    kind: Kind = attrs.field(default="", kw_only=True)
    remake: Callable[[tuple[Layer[Any, Any], ...]], Layer[Any, Any]] | None = attrs.field(default=None, kw_only=True)
    frozen: Layer[Any, Any] | None = attrs.field(default=None, kw_only=True)
    rectifies: bool = attrs.field(default=False, kw_only=True)
    recipe: Callable[[], Layer[Any, Any]] | None = attrs.field(default=None, kw_only=True)

    def forward(
        self, params: P, x: Float[Array, "batch ..."], key: Key | None = None
    ) -> tuple[Float[Array, "batch ..."], R]:
        """The output of a batch, and the residuals for ``vjp``. The output is read-only.

        Args:
            params: the layer's parameters, as ``init`` makes them.
            x: the batch, (batch, ...).
            key: the key for a layer that draws random numbers. Others need none.

        Raises:
            ShapeError: where params, x and layer do not fit.
            TypeError: for a missing key.
        """
        return contract.forward(self, params, x, key)

    def vjp(
        self, params: P, residuals: R, dy: Float[Array, "batch ..."], *, need_dx: bool = True
    ) -> tuple[P, Float[Array, "batch ..."] | None]:
        """The gradients with respect to params and x, from ``dy``, the gradient with respect to the output.

        Args:
            params: the parameters that forward was given.
            residuals: what forward returned.
            dy: the gradient with respect to y, in the shape and dtype of y.
            need_dx: False if nobody uses dx, which may then be None.

        Raises:
            ShapeError: where params, residuals, dy and layer do not fit.
        """
        return contract.vjp(self, params, residuals, dy, need_dx)

    def predict(self, params: P, x: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        """The output of a batch in inference: without dropout, with running statistics. It is read-only.

        Raises:
            ShapeError: where params, x and layer do not fit.
        """
        return contract.predict(self, params, x)

    def advance(self, params: P, residuals: R) -> P:
        """The parameters after a step, with what is not trained updated. They are the same ones if nothing changes."""
        return contract.advance(self, params, residuals)

    def __repr__(self) -> str:
        return self.name


AnyLayer: TypeAlias = Layer[Any, Any]


def run_forward(layer: AnyLayer, params: Any, x: Array, key: Any = None) -> tuple[Array, Any]:
    """The pure forward function, called with the key if the layer draws. It checks nothing."""
    return layer.pure_forward(params, x, key) if layer.draws else layer.pure_forward(params, x)


def run_predict(layer: AnyLayer, params: Any, x: Array) -> Array:
    """The pure predict function, or the y of the pure forward. It checks nothing."""
    return layer.pure_forward(params, x)[0] if layer.pure_predict is None else layer.pure_predict(params, x)


def is_composition(layer: AnyLayer) -> bool:
    """Whether a layer does with its children what its ``kind`` says: no function of the combinator was replaced."""
    if not layer.kind or layer.remake is None:
        return False
    made = layer.remake(tuple(child for _, child in layer.children))
    functions = ((one.pure_forward, one.pure_vjp, one.pure_predict) for one in (layer, made))
    return all(contract.base(f) is contract.base(g) for f, g in zip(*functions, strict=True))


def advance(layer: AnyLayer, params: Any, residuals: Any) -> Any:
    """The params after a step, with running statistics and the like updated. It checks nothing."""
    return params if layer.pure_advance is None else layer.pure_advance(params, residuals)
