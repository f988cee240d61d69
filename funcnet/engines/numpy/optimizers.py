"""In-place updates: they write over the parameters, the optimizer's state and the gradient.

    sgd, momentum, nesterov        by BLAS, on all cores; momentum's gradient is added onto the velocity by gemm
    adam, adamw, rmsprop, ...      all transformations of a chunk in turn, in chunks that fit a core's cache

A chain of transformations has a kernel where each of its parts has one. Adam's update of 784 x 256 weights takes a
third of a step's time: docs/performance.md tells what was tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from funcnet import tree
from funcnet.engines.numpy import blas
from funcnet.engines.numpy.chunks import by_chunks
from funcnet.engines.numpy.kernel import base, bound
from funcnet.optimizers import Moment, Optimizer, groups
from funcnet.optimizers import optimizer as chains
from funcnet.optimizers import transformations as parts
from funcnet.shapes import Array
from funcnet.tree import Tree, exact_sum, squared_norm

__all__ = ["InPlace", "has_kernel", "in_place"]


@attrs.frozen(eq=False)
class InPlace:
    """An in-place update of the arrays that it was made for.

    Attributes:
        apply: ``apply(now, gradients)``, a gradient for each trained array, in order. It may write over them.
        accumulates: ``(accumulator, beta)``: the tree of arrays that the gradient is added onto, and the factor that
            they are multiplied by first. ``apply`` is then given these arrays as ``gradients``. None if the gradient is
            computed into arrays of its own.
    """

    apply: Callable[[Moment, Sequence[Array]], None]
    accumulates: tuple[Tree, float] | None = None


Part: TypeAlias = tuple[Any, tuple[Any, ...], Tree]  # function, hyperparameters, state


def in_place(optimizer: Optimizer, opt_state: Tree, arrays: Mapping[str, Array]) -> InPlace | None:
    """The in-place update of these parameters and this state; None if a part of the optimizer has no kernel."""
    if not has_kernel(optimizer):
        return None
    if base(optimizer.pure_update) is groups.by_path_update:
        return _by_groups(optimizer, opt_state, arrays)
    chain = _chain(optimizer, opt_state)
    return _by_blas(chain, arrays) or _by_chunks(chain, arrays)


def has_kernel(optimizer: Optimizer) -> bool:
    """Whether each part of the optimizer has a kernel."""
    if base(optimizer.pure_update) is groups.by_path_update:
        return all(has_kernel(part) for part in optimizer.parts)
    functions = [base(part.pure_update) for part in _flat(optimizer)]
    whole = all(function in _ENTRYWISE or function in (_RATE, _CLIP) for function in functions)
    # The learning rate must come last, and clipping by the norm first: the norm is that of the gradient itself.
    return whole and functions[-1:] == [_RATE] and _RATE not in functions[:-1] and _CLIP not in functions[1:]


def _flat(optimizer: Optimizer) -> list[Optimizer]:
    if base(optimizer.pure_update) is not chains.compose_update:
        return [optimizer]
    return [inner for part in optimizer.parts for inner in _flat(part)]


def _chain(optimizer: Optimizer, opt_state: Tree) -> list[Part]:
    if base(optimizer.pure_update) is not chains.compose_update:
        return [(base(optimizer.pure_update), bound(optimizer.pure_update), opt_state)]
    pairs = zip(optimizer.parts, opt_state, strict=True)
    return [inner for part, part_state in pairs for inner in _chain(part, part_state)]


_RATE, _CLIP = parts.learning_rate_update, parts.clip_by_global_norm_update


# --- by groups of arrays, each with an update of its own


def _by_groups(optimizer: Optimizer, opt_state: Tree, arrays: Mapping[str, Array]) -> InPlace:
    where, parts = bound(optimizer.pure_update)
    places, updates = [], []
    for part, state, group in zip(parts, opt_state, groups.groups_of(where, arrays), strict=True):
        own = {path: array for path, array in arrays.items() if path in group}
        update = in_place(part, state, own)
        if update is None or update.accumulates is not None:  # a gradient is added onto all velocities, or onto none
            update = _by_chunks(_chain(part, state), own)
        places.append([place for place, path in enumerate(arrays) if path in group])
        updates.append(update)

    def apply(now: Moment, gradients: Sequence[Array]) -> None:
        for update, moment, own in zip(updates, groups.moments_of(parts, now), places, strict=True):
            update.apply(moment, [gradients[place] for place in own])

    return InPlace(apply)


# --- by BLAS


def _by_blas(chain: list[Part], arrays: Mapping[str, Array]) -> InPlace | None:
    """Chains of weight decay, velocity and rate, in this order; the first two may be missing. None for others."""
    functions = [function for function, _, _ in chain[:-1]]
    weights = list(arrays.values())
    decays: list[list[float]] = []
    while functions[:1] == [parts.decayed_weights_update]:
        decays.append(_decays(chain[len(decays)][1], arrays))
        functions = functions[1:]
    if functions not in ([], [parts.trace_update]):
        return None

    def decay(gradients: Sequence[Array]) -> None:
        for of_arrays in decays:
            for factor, g, w in zip(of_arrays, gradients, weights, strict=True):
                if factor:
                    blas.axpy(g, factor, w)

    def descend(now: Moment, gradients: Sequence[Array]) -> None:
        decay(gradients)
        for w, g in zip(weights, gradients, strict=True):
            blas.axpy(w, -now.rate, g)

    if not functions:
        return InPlace(descend)
    _, (beta, nesterov), state = chain[len(decays)]
    if not nesterov:
        return InPlace(descend, (state.velocity, beta))
    velocity = tree.leaves(state.velocity)

    def descend_ahead(now: Moment, gradients: Sequence[Array]) -> None:
        decay(gradients)
        for w, v, g in zip(weights, velocity, gradients, strict=True):
            blas.axpby(v, beta, g)
            blas.axpy(w, -now.rate, g)
            blas.axpy(w, -now.rate * beta, v)

    return InPlace(descend_ahead)


def _decays(hyperparameters: tuple[Any, ...], arrays: Mapping[str, Array]) -> list[float]:
    """The weight decay of each array."""
    decay, mask = hyperparameters
    return [decay if mask is None or mask(path, array) else 0.0 for path, array in arrays.items()]


# --- by chunks: functions (now, w, g, *state) that write over g and the state. One may return a factor, for whatever
# comes next to multiply g by: the learning rate is such a factor too.


def _trace(hyperparameters: tuple[Any, ...]) -> Callable[..., None]:
    decay, nesterov = hyperparameters

    def run(now: Moment, w: Array, g: Array, v: Array) -> None:
        v *= decay
        v += g
        if nesterov:
            g += decay * v
        else:
            g[...] = v

    return run


def _adam(hyperparameters: tuple[Any, ...]) -> Callable[..., float]:
    beta1, beta2, epsilon = hyperparameters

    def run(now: Moment, w: Array, g: Array, m: Array, v: Array) -> float:
        # u = m / c1 / (sqrt(v / c2) + epsilon), with one division an entry.
        c1, root = _correction(beta1, now.step), math.sqrt(_correction(beta2, now.step))
        # All is made in g: an array of a chunk's size would be fetched from the system, and given back, each time.
        g *= 1 - beta1
        m *= beta1
        m += g
        np.multiply(g, g, out=g)
        g *= (1 - beta2) / (1 - beta1) ** 2
        v *= beta2
        v += g
        np.sqrt(v, out=g)
        g += epsilon * root
        np.divide(m, g, out=g)
        return root / c1

    return run


def _correction(decay: float, step: int) -> float:
    return -math.expm1((step + 1) * math.log(decay)) if decay > 0 else 1.0


def _rms(hyperparameters: tuple[Any, ...]) -> Callable[..., None]:
    decay, epsilon, inside_root = hyperparameters

    def run(now: Moment, w: Array, g: Array, v: Array) -> None:
        v *= decay
        v += (1 - decay) * (g * g)
        g /= np.sqrt(v + epsilon) if inside_root else np.sqrt(v) + epsilon

    return run


def _lion(hyperparameters: tuple[Any, ...]) -> Callable[..., None]:
    beta1, beta2 = hyperparameters

    def run(now: Moment, w: Array, g: Array, m: Array) -> None:
        direction = np.sign(beta1 * m + (1 - beta1) * g)
        m *= beta2
        m += (1 - beta2) * g
        g[...] = direction

    return run


def _adagrad(hyperparameters: tuple[Any, ...]) -> Callable[..., None]:
    (epsilon,) = hyperparameters

    def run(now: Moment, w: Array, g: Array, s: Array) -> None:
        s += g * g
        g /= np.sqrt(s + epsilon)

    return run


def _decayed(hyperparameters: tuple[Any, ...]) -> Callable[..., None]:
    decay, _ = hyperparameters

    def run(now: Moment, w: Array, g: Array) -> None:
        g += decay * w

    return run


def _clip_by_value(hyperparameters: tuple[Any, ...]) -> Callable[..., None]:
    (limit,) = hyperparameters

    def run(now: Moment, w: Array, g: Array) -> None:
        np.clip(g, -limit, limit, out=g)

    return run


_ENTRYWISE: dict[Any, Callable[[tuple[Any, ...]], Callable[..., float | None]]] = {
    parts.trace_update: _trace,
    parts.adam_update: _adam,
    parts.rms_update: _rms,
    parts.lion_update: _lion,
    parts.adagrad_update: _adagrad,
    parts.decayed_weights_update: _decayed,
    parts.clip_by_value_update: _clip_by_value,
}


@attrs.frozen(eq=False)
class _OfArray:
    """The update of one array of the parameters: functions, each with the number of state arrays that it takes."""

    w: Array
    states: list[Array]
    functions: list[tuple[Callable[..., float | None], int]]

    def run(self, now: Moment, gradient: Array) -> None:
        def of_chunk(w: Array, g: Array, *states: Array) -> None:
            begin, factor = 0, None
            for function, count in self.functions:
                if factor is not None:
                    g *= factor
                factor = function(now, w, g, *states[begin : begin + count])
                begin += count
            g *= -now.rate if factor is None else -now.rate * factor
            w += g

        by_chunks(of_chunk, self.w, gradient, *self.states)


def _by_chunks(chain: list[Part], arrays: Mapping[str, Array]) -> InPlace:
    limits = [hyperparameters[0] for function, hyperparameters, _ in chain if function is _CLIP]
    chain = [part for part in chain[:-1] if part[0] is not _CLIP]
    plans = [_OfArray(w, [], []) for w in arrays.values()]
    for function, hyperparameters, state in chain:
        run = _ENTRYWISE[function](hyperparameters)
        moments = _moments(state)
        chosen = _decays(hyperparameters, arrays) if function is parts.decayed_weights_update else [1.0] * len(plans)
        for place, (plan, wanted) in enumerate(zip(plans, chosen, strict=True)):
            if wanted:
                plan.functions.append((run, len(moments)))
                plan.states.extend(moment[place] for moment in moments)

    def apply(now: Moment, gradients: Sequence[Array]) -> None:
        for limit in limits:
            norm = math.sqrt(exact_sum([squared_norm(g) for g in gradients]))
            if not norm <= limit:
                for g in gradients:
                    blas.scale(g, limit / norm)
        for plan, gradient in zip(plans, gradients, strict=True):
            plan.run(now, gradient)

    return InPlace(apply)


def _moments(state: Tree) -> list[list[Array]]:
    """The arrays of each tree in a transformation's state."""
    return [tree.leaves(getattr(state, field.name)) for field in attrs.fields(type(state))] if state else []
