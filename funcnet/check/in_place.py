"""The proof of what is done in place, or onto memory that is given up: all that of the functions that say so.

Training goes by what ``inplace`` binds to functions, so it is held to the functions themselves, which are proven.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from funcnet import aligned, tree
from funcnet.check.rounding import Numbers, agree
from funcnet.check.verdict import Claim, Property
from funcnet.inplace import is_fresh, over_of, twin_of
from funcnet.layer import AnyLayer, add_vjp
from funcnet.losses import Loss
from funcnet.optimizers import Gradient, Optimizer
from funcnet.penalties import Penalty, add_grad
from funcnet.random import Key
from funcnet.shapes import Array
from funcnet.step import Batch, Evaluation, TrainState, copy_state, make_step, start
from funcnet.tree import Tree

__all__ = ["prove_layer_in_place", "prove_optimizer_in_place", "prove_penalty_in_place", "prove_steps_in_place"]

_NAME = "in place"
_KEEP = 0.5
_MARGIN = 64.0


def prove_layer_in_place(
    claim: Claim, layer: AnyLayer, params: Tree, x: Array, dy: Array, within: Mapping[str, float]
) -> Property:
    """Forward and vjp over arrays that are given up, and the gradient added onto what is there."""
    y, residuals = layer.forward(params, x)
    dparams, dx = layer.vjp(params, residuals, dy)
    added = tree.map(lambda p, d: _KEEP * p + d, params, dparams)
    gradients = dict(tree.named_leaves(dparams, "dparams"))
    wanted: dict[str, Any] = {"y": y, "dx": dx, "dx over dy": dx, **gradients, **dict(tree.named_leaves(added, "onto"))}

    made, residuals = over_of(layer.forward)(params, x.copy(order="K"))
    got: dict[str, Any] = {"y": made.copy()}
    if is_fresh(layer.forward):
        made[...] = math.nan  # it is its caller's alone: nothing that was kept may change with it
    for name, keep in (("dparams", 0.0), ("onto", _KEEP)):
        onto = tree.map(aligned.copy if keep else lambda p: np.full_like(p, math.nan), params)
        with tree.writable(tree.leaves(onto)):
            got["dx"] = add_vjp(layer, params, residuals, dy, onto, keep)
        got |= dict(tree.named_leaves(onto, name))
    _, got["dx over dy"] = over_of(layer.vjp)(params, residuals, dy.copy(order="K"))

    bounds = {path: 4 * within[path] for path in ("y", "dx", *gradients)}
    bounds |= {"dx over dy": bounds["dx"]}
    for (path, leaf), gradient in zip(tree.named_leaves(params, "onto"), gradients, strict=True):
        bounds[path] = bounds[gradient] + _rounding(leaf)
    return _agree(claim, got, wanted, bounds)


def prove_penalty_in_place(claim: Claim, penalty: Penalty, w: Array, within: float) -> Property:
    """The gradient added onto what is there."""
    onto = np.asarray(np.cos(w))
    wanted = np.asarray(onto + penalty.grad(w))
    bound = 4 * within + _rounding(onto)
    add_grad(penalty, onto, w)
    return _agree(claim, {"onto": onto}, {"onto": wanted}, {"onto": bound})


def prove_optimizer_in_place(claim: Claim, optimizer: Optimizer, params: Tree, grads: Sequence[Tree]) -> Property:
    """Updates of params and state by the twin of ``update``, if it has one."""
    twin = twin_of(optimizer.update)
    if twin is None:
        return Property(_NAME, 0, note="the optimizer does nothing in place")
    opt_state = optimizer.init(params)
    own_params, own_state = tree.map(aligned.copy, (params, opt_state))
    for step, gradient in enumerate(grads):
        params, opt_state = optimizer.update(gradient, opt_state, params, step)
        with tree.writable(tree.leaves((own_params, own_state))):
            twin(_gradient(own_params, gradient), own_state, step)
    wanted, got = _of_state(params, opt_state), _of_state(own_params, own_state)
    return _agree(claim, got, wanted, {path: len(grads) * _rounding(array) for path, array in wanted.items()})


def _gradient(params: Tree, grads: Tree) -> Gradient:
    """A gradient that is there already, for the twin of an update."""

    def onto(total: Tree, keep: float) -> Iterator[tuple[Array, Array]]:
        for w, v, g in zip(*map(tree.leaves, (params, total, grads)), strict=True):
            v *= keep
            v += g
            yield w, v

    def alone() -> Iterator[tuple[Array, Array]]:
        for w, g in zip(tree.leaves(params), tree.leaves(grads), strict=True):
            yield w, g.copy(order="K")

    return Gradient(onto, alone)


def prove_steps_in_place(
    claim: Claim,
    net: AnyLayer,
    loss: Loss,
    optimizer: Optimizer,
    penalties: Mapping[str, Penalty],
    params: Tree,
    batch: Batch,
    key: Key,
    dtype: Any = np.float64,
) -> Property:
    """A step that writes over the state it is given, in ``dtype``, beside the pure one in float64.

    Both start from where a first step led, so that velocities are there, and the one in place does so twice, in memory
    that it has by then.
    """

    def cast(array: Array) -> Array:
        return array.astype(dtype, order="K") if array.dtype.kind == "f" else array

    def named(state: TrainState, metrics: Evaluation) -> dict[str, Array]:
        return {"loss": np.asarray(metrics.loss), **_of_state(state.params, state.opt_state)}

    own_batch = Batch(cast(batch.x), cast(batch.y))
    pure, donating = (make_step(net, loss, optimizer, penalties, donate=donate) for donate in (False, True))
    begun, _ = pure(start(params, optimizer, key), batch)
    own = attrs.evolve(begun, params=tree.map(cast, begun.params), opt_state=tree.map(cast, begun.opt_state))
    wanted = named(*pure(begun, batch))
    within = {path: _rounding(array, dtype) for path, array in wanted.items()}
    _agree(claim, named(*donating(copy_state(own), own_batch)), wanted, within)
    return _agree(claim, named(*donating(copy_state(own), own_batch)), wanted, within)


def _of_state(params: Tree, opt_state: Tree) -> dict[str, Array]:
    return dict((*tree.named_leaves(params, "params"), *tree.named_leaves(opt_state, "opt_state")))


def _agree(claim: Claim, got: Mapping[str, Any], wanted: Numbers, within: Mapping[str, float]) -> Property:
    return agree(
        claim,
        _NAME,
        "in place, other numbers come out",
        got,
        wanted,
        within,
        cause="what is bound to the function for use in place (see funcnet.inplace) computes otherwise",
    )


def _rounding(array: Array, dtype: Any = np.float64) -> float:
    """What a few roundings may do to numbers up to these, and to 1."""
    return _MARGIN * float(np.finfo(dtype).eps) * (1 + float(np.abs(array).max(initial=0)))
