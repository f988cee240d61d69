"""The kernel of a layer: it computes the same numbers as the layer's pure functions, faster.

A kernel stands for the forward and the vjp of a layer together, since the vjp reads the residuals of forward. It may
write over owned arrays, and it adds gradients onto an accumulator:

    forward(params, x, owned, key) -> (y, residuals)
    predict(params, x, owned) -> y
    backward(params, residuals, dy, owned, accumulator, beta, need_dx) -> dx

``owned`` says that nobody else holds x (or dy): it is unaliased, and the kernel may write over it. ``accumulator`` is a
tree of writable arrays like the gradient. The kernel makes it beta accumulator + dparams. None stands for a gradient
that nobody needs.

A kernel states once, for all calls, whether its results are owned. ``own``: nothing else holds the result. ``held``:
the residuals or somebody else hold it too. ``same``: it is a view of the argument, and owned if the argument was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import attrs

__all__ = ["LayerKernel", "Ownership", "base", "bound", "still_owned"]

Ownership: TypeAlias = Literal["own", "held", "same"]


@attrs.frozen(eq=False)
class LayerKernel:
    """A kernel of a layer.

    Attributes:
        name: how a run's record calls it; empty for the pure functions themselves.
        forward, predict, backward: see the module's docstring.
        y: whether the y of forward is owned.
        prediction: whether the y of predict is owned.
        dx: whether dx is owned.
        divides: whether it divides its work among the cores itself, so that BLAS should have one thread meanwhile.
    """

    name: str
    forward: Callable[..., Any]
    predict: Callable[..., Any]
    backward: Callable[..., Any]
    y: Ownership
    prediction: Ownership
    dx: Ownership
    divides: bool = False


def still_owned(owned: bool, ownership: Ownership) -> bool:
    """Whether a result is owned, given whether the argument was ``owned``."""
    return ownership == "own" or (ownership == "same" and owned)


def base(function: Any) -> Any:
    """The function behind ``functools.partial``: what kernels are registered under.

    Where keywords are bound, it is the function itself, which has no kernel.
    """
    while isinstance(function, partial) and not function.keywords:
        function = function.func
    return function


def bound(function: Any) -> tuple[Any, ...]:
    """The arguments that ``functools.partial`` has bound to a function: its hyperparameters."""
    return (*bound(function.func), *function.args) if isinstance(function, partial) else ()
