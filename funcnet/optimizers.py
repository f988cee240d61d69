"""Optimizers as pairs of pure functions, and the learning rates they follow.

    init(params) -> opt_state
    update(grads, opt_state, params, step) -> (params, opt_state)

``grads`` and the state are trees like ``params``; ``step`` counts the updates before this one, from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import attrs
import numpy as np

from funcnet import blas, tree
from funcnet.inplace import with_twin
from funcnet.shapes import Array, whole_number
from funcnet.tree import Tree

__all__ = ["Optimizer", "Schedule", "momentum", "nesterov", "one_cycle", "sgd"]

Schedule: TypeAlias = Callable[[int], float]


@attrs.frozen(repr=False)
class Optimizer:
    """An optimizer: two pure functions, the learning rate they follow, and a name.

    Attributes:
        name: the name in messages, tables and reports.
        learning_rate: ``learning_rate(step) -> rate``.
        init: ``init(params) -> opt_state``.
        update: ``update(grads, opt_state, params, step) -> (params, opt_state)``.
    """

    name: str
    learning_rate: Schedule
    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree, int], tuple[Tree, Tree]]

    def __repr__(self) -> str:
        return self.name


@attrs.frozen
class Gradient:
    """A gradient still to be computed, for updates in place: the twins of ``update``, which take it for ``grads``.

    Both go through the arrays of the parameters, and add an array's penalty just before it is its turn: its update
    then finds it in the cache.

    Attributes:
        onto: ``onto(tree, keep)``: the tree, of writable arrays, becomes keep tree + gradient; pairs of an array of
            the parameters, writable, and what the tree has for it.
        alone: ``alone()``: the same pairs with the gradient itself, in arrays that are used again in the next step.
    """

    onto: Callable[[Tree, float], Iterator[tuple[Array, Array]]]
    alone: Callable[[], Iterator[tuple[Array, Array]]]


def expect_optimizer(optimizer: object) -> None:
    """Require an optimizer.

    Raises:
        TypeError: for anything else, saying how one is made.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"an optimizer is made by a call, such as momentum(0.1); got {optimizer!r:.80}")


def sgd(learning_rate: float | Schedule) -> Optimizer:
    """Stochastic gradient descent: w <- w - rate g.

    Robbins & Monro, "A stochastic approximation method" (1951); Goodfellow et al., Deep Learning, algorithm 8.1.

    Raises:
        ValueError: for a rate that is not finite and positive.
    """
    rate = _schedule(learning_rate)

    def update(grads: Tree, opt_state: tuple[()], params: Tree, step: int) -> tuple[Tree, tuple[()]]:
        current = rate(step)
        return tree.map(lambda w, g: _add_scaled(w, -current, g), params, grads), ()

    def update_in_place(gradient: Gradient, opt_state: tuple[()], step: int) -> None:
        current = rate(step)
        for w, g in gradient.alone():
            blas.add_scaled(w, -current, g)

    return Optimizer("sgd", rate, lambda params: (), with_twin(update, update_in_place))


def momentum(learning_rate: float | Schedule, decay: float = 0.9) -> Optimizer:
    """Gradient descent with momentum: v <- decay v + g, w <- w - rate v.

    Polyak, "Some methods of speeding up the convergence of iteration methods" (1964); Goodfellow et al., Deep Learning,
    algorithm 8.2 (which folds the rate into v).

    Raises:
        ValueError: for a rate that is not finite and positive, or a decay outside [0, 1).
    """

    def move_in_place(gradient: Gradient, velocity: Tree, rate: float) -> None:
        for w, v in gradient.onto(velocity, decay):
            blas.add_scaled(w, -rate, v)

    return _with_velocity(
        "momentum", learning_rate, decay, lambda w, v, g, rate: _add_scaled(w, -rate, v), move_in_place
    )


def nesterov(learning_rate: float | Schedule, decay: float = 0.9) -> Optimizer:
    """Nesterov's accelerated gradient: v <- decay v + g, w <- w - rate (g + decay v).

    Sutskever, Martens, Dahl & Hinton, "On the importance of initialization and momentum in deep learning" (ICML 2013),
    eqs. 3 and 4, in the variable of Bengio, Boulanger-Lewandowski & Pascanu, "Advances in optimizing recurrent
    networks" (ICASSP 2013), eq. 7, where the gradient is taken at the parameters themselves.

    Raises:
        ValueError: for a rate that is not finite and positive, or a decay outside [0, 1).
    """

    def move(w: Array, v: Array, g: Array, rate: float) -> Array:
        moved = _add_scaled(g, decay, v)
        moved *= -rate
        moved += w
        return moved

    def move_in_place(gradient: Gradient, velocity: Tree, rate: float) -> None:
        for (w, g), v in zip(gradient.alone(), tree.leaves(velocity), strict=True):
            blas.keep_and_add(v, decay, g)
            blas.add_scaled(w, -rate, g)
            blas.add_scaled(w, -rate * decay, v)

    return _with_velocity("nesterov", learning_rate, decay, move, move_in_place)


def _with_velocity(
    name: str,
    learning_rate: float | Schedule,
    decay: float,
    move: Callable[[Array, Array, Array, float], Array],
    move_in_place: Callable[[Gradient, Tree, float], None],
) -> Optimizer:
    """v <- decay v + g, w <- move(w, v, g, rate); and both of them in place."""
    rate = _schedule(learning_rate)
    if not 0 <= decay < 1:
        raise ValueError(f"the decay of {name} lies in [0, 1), got {decay}")

    def update(grads: Tree, velocity: Tree, params: Tree, step: int) -> tuple[Tree, Tree]:
        velocity = tree.map(lambda v, g: _add_scaled(g, decay, v), velocity, grads)
        current = rate(step)
        return tree.map(lambda w, v, g: move(w, v, g, current), params, velocity, grads), velocity

    def update_in_place(gradient: Gradient, velocity: Tree, step: int) -> None:
        move_in_place(gradient, velocity, rate(step))

    return Optimizer(
        f"{name}({decay:g})",
        rate,
        lambda params: tree.map(np.zeros_like, params),
        with_twin(update, update_in_place),
    )


def one_cycle(peak: float, steps: int, *, warmup: float = 0.3) -> Schedule:
    """A rate that climbs from peak/25 to ``peak`` over the first ``warmup`` of the steps, then falls to peak/250,000.

    Both ways along half a cosine; the last step is on the way down, however long the warm-up, and a single step is
    made at the peak. Past the last step the rate stays where it ended.

    Smith & Topin, "Super-convergence: very fast training of neural networks using large learning rates" (2018), with
    the cosine of Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts" (ICLR 2017), eq. 5.

    Raises:
        ValueError: for a peak that is not finite and positive, fewer than 1 step, or a warm-up outside (0, 1).
    """
    peak, steps = _positive(peak), whole_number("the number of steps of a cycle", steps, 1)
    if not 0 < warmup < 1:
        raise ValueError(f"the warm-up is a share of the steps between 0 and 1, got {warmup}")
    start, end, last = peak / 25, peak / 250_000, steps - 1
    turn = max(0.0, min(warmup * steps, last - 1))

    def rate(step: int) -> float:
        step = min(step, last)
        if step <= turn and turn > 0:
            return _half_cosine(start, peak, step / turn)
        return _half_cosine(peak, end, (step - turn) / max(last - turn, 1))

    return rate


def _half_cosine(a: float, b: float, share: float) -> float:
    return b + (a - b) * (1 + math.cos(math.pi * share)) / 2


def _schedule(learning_rate: float | Schedule) -> Schedule:
    if callable(learning_rate):
        return lambda step: _positive(learning_rate(step))
    rate = _positive(learning_rate)
    return lambda step: rate


def _positive(rate: float) -> float:
    if isinstance(rate, str | None) or not (math.isfinite(rate) and rate > 0):
        raise ValueError(f"a learning rate is finite and positive, got {rate!r}")
    return float(rate)


def _add_scaled(x: Array, scale: float, y: Array) -> Array:
    """x + scale y, a fresh array and no other temporary."""
    result = float(scale) * y  # a NumPy float64 would turn float32 arrays into float64 ones
    result += x
    return result
