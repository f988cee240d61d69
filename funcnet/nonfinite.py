"""What became non-finite first: the search that follows a NaN or an infinity back to where it began.

Training looks at each loss and, at an epoch's end, at the arrays of its state. If one of these is not finite, the steps
since the last state that was kept are made again, to find the one that went wrong. That step is run once more with the
plain functions, and each result is looked at in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import attrs
import numpy as np

from funcnet import tree
from funcnet.layer import AnyLayer, advance, is_composition, run_forward, run_predict
from funcnet.losses import Loss
from funcnet.optimizers import Optimizer, apply_updates
from funcnet.penalties import Penalty
from funcnet.random import Key
from funcnet.shapes import Array
from funcnet.step import Batch, TrainState, add_on_paths, penalty_grads, step_key
from funcnet.tree import Tree

__all__ = ["DivergenceError", "First", "NonFiniteError", "became_not_finite", "first_in_evaluation", "first_in_step"]


class NonFiniteError(ArithmeticError):
    """A number of the training is not finite: it cannot go on from here.

    Attributes:
        epoch: the epoch, from 1.
        step: the step within it, from 1.
        what: what was not finite first: ``the output of [1].linear(32)``, ``the gradient of [3].weight``.
        state: the state before that step, in which all was finite; None where it is not known.
    """

    epoch: int = 0
    step: int = 0
    what: str = ""
    state: TrainState | None = None


class DivergenceError(NonFiniteError):
    """The loss is not a finite number."""


@attrs.frozen
class First:
    """What was not finite first.

    Attributes:
        what: what it is: ``the output of [1].linear(32)``.
        became: ``nan`` or ``infinite``.
        hint: what to do about it.
        of_loss: whether it is the loss, or an output on the way to it.
    """

    what: str
    became: str
    hint: str = ""
    of_loss: bool = False


class _Found(Exception):
    """Ends the search."""

    def __init__(self, first: First) -> None:
        super().__init__(first)
        self.first = first


_LOWER = "lower the learning rate; in the first steps, look at the scale of the data and of the parameters"
_PROVE = "funcnet.check tells whether this gradient is right"


def _look(what: str, arrays: Any, hint: str = "", *, of_loss: bool = False) -> None:
    for path, array in tree.named_leaves(arrays):
        if became := _not_finite(array):
            raise _Found(First(f"{what}{f' of {path}' if path else ''}", became, hint, of_loss))


def _not_finite(array: Array) -> str:
    if array.dtype.kind not in "fc" or np.isfinite(array).all():
        return ""
    return "nan" if np.isnan(array).any() else "infinite"


def first_in_step(
    net: AnyLayer,
    loss: Loss,
    optimizer: Optimizer,
    penalties: Mapping[str, Penalty],
    state: TrainState,
    batch: Batch,
) -> First | None:
    """What is not finite first in the step from a finite state; None where all is finite."""
    try:
        with np.errstate(all="ignore"):
            _step(net, loss, optimizer, penalties, state, batch)
    except _Found as found:
        return found.first
    return None


def _step(
    net: AnyLayer, loss: Loss, optimizer: Optimizer, penalties: Mapping[str, Penalty], state: TrainState, batch: Batch
) -> None:
    params = state.params
    _look("the examples", batch.x, "look at the data")
    _look("the targets", batch.y, "look at the data")
    watched = _watched(net, "")
    prediction, residuals = run_forward(watched, params, batch.x, step_key(net, state))
    data_loss, dprediction = loss.value_and_grad(prediction, *batch.targets)
    _look(f"the {loss.name}", np.asarray(data_loss), _LOWER, of_loss=True)
    arrays = dict(tree.named_leaves(params))
    for path, penalty in penalties.items():
        value = np.asarray(penalty.value(arrays[path]))
        _look(f"the {penalty.name} penalty of {path}", value, _LOWER, of_loss=True)
    _look(f"the gradient of the {loss.name} with respect to the network's output", dprediction, _PROVE)
    grads, _ = watched.pure_vjp(params, residuals, dprediction, need_dx=False)
    _look("the gradient", grads, _PROVE)
    own = penalty_grads(penalties, arrays)
    for path, grad in own.items():
        _look(f"the gradient of the {penalties[path].name} penalty of {path}", np.asarray(grad), _PROVE)
    grads = add_on_paths(own, grads)
    _look("the gradient with its penalty", grads, _LOWER)
    now = optimizer.moment(state.step, float(data_loss))
    updates, opt_state = optimizer.pure_update(grads, state.opt_state, params, now)
    _look(f"the update by {optimizer.name}", updates, _LOWER)
    if found := became_not_finite("the optimizer's state ", state.opt_state, opt_state):
        raise _Found(found)
    updated = apply_updates(params, updates)
    _look("the new value", updated, _LOWER)
    _look("what advance makes", advance(net, updated, residuals), "look at the layer's advance")


def first_in_evaluation(net: AnyLayer, params: Tree, batches: Iterable[Batch], loss: Loss) -> First | None:
    """What is not finite first in an evaluation; None where all is finite."""
    watched = _watched(net, "")
    try:
        with np.errstate(all="ignore"):
            for batch in batches:
                value, _ = loss.value_and_grad(run_predict(watched, params, batch.x), *batch.targets)
                _look(f"the {loss.name}", np.asarray(value), _LOWER, of_loss=True)
    except _Found as found:
        return found.first
    return None


def became_not_finite(what: str, before: Tree, after: Tree) -> First | None:
    """Which array was finite and is not any more; None where there is none. An optimizer may begin with an infinity."""
    for (path, old), new in zip(tree.named_leaves(before), tree.leaves(after), strict=True):
        if (became := _not_finite(new)) and not _not_finite(old):
            return First(f"{what}{path}", became, _LOWER)
    return None


# --- a network whose layers look at what they return


def _watched(layer: AnyLayer, path: str) -> AnyLayer:
    if is_composition(layer) and layer.remake is not None:
        return layer.remake(tuple(_watched(child, path + place) for place, child in layer.children))
    name = f"{path}.{layer.name}" if path else layer.name
    return attrs.evolve(
        layer,
        forward=partial(_forward, layer, name),
        vjp=partial(_vjp, layer, name),
        predict=None if layer.pure_predict is None else partial(_predict, layer, name),
        children=(),
        frozen=None,
    )


def _forward(layer: AnyLayer, name: str, params: Any, x: Array, key: Key | None = None) -> tuple[Array, Any]:
    y, residuals = run_forward(layer, params, x, key)
    _look(f"the output of {name}", y, _LOWER, of_loss=True)
    return y, residuals


def _vjp(
    layer: AnyLayer, name: str, params: Any, residuals: Any, dy: Array, *, need_dx: bool = True
) -> tuple[Any, Array | None]:
    dparams, dx = layer.pure_vjp(params, residuals, dy, need_dx=need_dx)
    _look(f"the gradient of {name} with respect to its params", dparams, _PROVE)
    if dx is not None:
        _look(f"the gradient of {name} with respect to its input", dx, _PROVE)
    return dparams, dx


def _predict(layer: AnyLayer, name: str, params: Any, x: Array) -> Array:
    y = run_predict(layer, params, x)
    _look(f"the output of {name}", y, _LOWER, of_loss=True)
    return y
