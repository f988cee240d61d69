"""What a kernel of a layer is: the same numbers as the layer's pure functions, made faster.

A kernel stands for the forward and the vjp of a layer together, since what one keeps the other reads. Where it may, it
writes over arrays that nobody else holds, and it adds gradients onto what is there:

    forward(params, x, owned, key) -> (y, residuals)
    predict(params, x, owned) -> y
    backward(params, residuals, dy, owned, accumulator, beta, need_dx) -> dx

With ``owned``, nobody else holds x (or dy), and the kernel may write over it. ``accumulator`` is a tree like the
gradient, of writable arrays; it becomes beta accumulator + dparams. None stands for a gradient that nobody needs.

Whether the result is owned in turn is the same in every call, and stated once: ``own`` where nothing else holds it,
``held`` where the residuals or somebody else do, ``same`` where it is a view of what was given.
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
        forward, predict, backward: see above.
        y: whether the y of forward is owned.
        prediction: whether the y of predict is owned.
        dx: whether dx is owned.
    """

    name: str
    forward: Callable[..., Any]
    predict: Callable[..., Any]
    backward: Callable[..., Any]
    y: Ownership
    prediction: Ownership
    dx: Ownership


def still_owned(owned: bool, ownership: Ownership) -> bool:
    """Whether a result is owned, where what it was made of was ``owned`` or not."""
    return ownership == "own" or (ownership == "same" and owned)


def base(function: Any) -> Any:
    """The function behind ``functools.partial``: what kernels are registered under."""
    while isinstance(function, partial):
        function = function.func
    return function


def bound(function: Any) -> tuple[Any, ...]:
    """What ``functools.partial`` has bound to a function: its hyperparameters."""
    return (*bound(function.func), *function.args) if isinstance(function, partial) else ()
