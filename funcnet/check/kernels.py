"""The proof of the kernels: each gives the numbers of the pure function that it stands for.

Training runs on the NumPy engine. The pure functions are proven, so its kernels are compared with them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from funcnet import aligned, tree
from funcnet.check.rounding import Numbers, agree
from funcnet.check.verdict import Claim, Property
from funcnet.engines.numpy import engine as numpy_engine
from funcnet.engines.numpy.losses import fast_loss
from funcnet.engines.numpy.optimizers import in_place
from funcnet.engines.numpy.penalties import add_gradient, penalty_value
from funcnet.engines.numpy.planner import kernel_names, plan
from funcnet.engines.running import copy_state, make_step
from funcnet.layer import AnyLayer
from funcnet.losses import Loss
from funcnet.optimizers import Optimizer, apply_updates
from funcnet.penalties import Penalty
from funcnet.random import Key
from funcnet.shapes import Array
from funcnet.step import PLAIN, Batch, Evaluation, TrainState, init_state
from funcnet.tree import Tree

__all__ = [
    "prove_layer_kernel",
    "prove_loss_kernel",
    "prove_optimizer_kernel",
    "prove_penalty_kernel",
    "prove_steps_by_kernels",
]

_NAME = "kernels"
_BROKEN = "a kernel gives other numbers than the function it stands for"
_BETA = 0.5
_MARGIN = 64.0
_NONE = "no kernel: the pure functions run"


def prove_layer_kernel(
    claim: Claim, layer: AnyLayer, params: Tree, x: Array, dy: Array, key: Key, within: Mapping[str, float]
) -> Property:
    """Forward, predict and backward, with owned arguments and with others; gradients added onto an accumulator."""
    y, residuals = layer.forward(params, x, key)
    dparams, dx = layer.vjp(params, residuals, dy)
    zeros = tree.trained(params)
    added = tree.map(lambda p, d: _BETA * p + d, zeros, dparams)
    gradients = dict(tree.named_leaves(dparams, "dparams"))
    kernel, got, wanted = plan(layer), dict[str, Any](), dict[str, Any]()
    predicted = layer.predict(params, x)
    for owned in (False, True):
        suffix = ", given up" if owned else ""

        def own(array: Array, owned: bool = owned) -> Array:
            return array.copy(order="K") if owned else array

        wanted |= {f"y{suffix}": y, f"dx{suffix}": dx, f"prediction{suffix}": predicted}
        made, kept = kernel.forward(params, own(x), owned, key)
        got[f"y{suffix}"] = made.copy()
        if kernel.y == "own":
            if not made.flags.writeable:
                raise claim.refuted(_BROKEN, where="y", detail="it is said to be owned, and is read-only")
            made[...] = math.nan  # the caller owns it: no residual may change with it
        got[f"prediction{suffix}"] = kernel.predict(params, own(x), owned)
        for name, beta in (("dparams", 0.0), ("accumulator", _BETA)):
            accumulator = tree.map(aligned.copy if beta else lambda p: np.full_like(p, math.nan), zeros)
            with tree.writable(tree.leaves(accumulator)):
                got[f"dx{suffix}"] = kernel.backward(params, kept, own(dy), owned, accumulator, beta, True)
            got |= dict(tree.named_leaves(accumulator, name))
    wanted |= {**gradients, **dict(tree.named_leaves(added, "accumulator"))}

    bounds = {path: 4 * within[path] for path in gradients}
    for path, array in wanted.items():
        name = path.partition(",")[0]
        if name in ("y", "dx"):
            bounds[path] = 4 * within[name]
        elif name == "prediction":
            bounds[path] = 4 * within["y"] + _rounding(array)
    for (path, leaf), gradient in zip(tree.named_leaves(zeros, "accumulator"), gradients, strict=True):
        bounds[path] = bounds[gradient] + _rounding(leaf)
    return _agree(claim, got, wanted, bounds, "" if any(name for _, name in kernel_names(layer)) else _NONE)


def prove_loss_kernel(
    claim: Claim, loss: Loss, prediction: Array, given: tuple[Array, ...], within: Mapping[str, float]
) -> Property:
    """The value, the gradient and the accuracy. ``given`` is what a loss takes after the prediction."""
    fast = fast_loss(loss.value_and_grad)
    if fast is None:
        return Property(_NAME, 0, note=_NONE)
    (value, gradient), (fast_value, fast_gradient) = (f(prediction, *given) for f in (loss.value_and_grad, fast))
    wanted = {"value": np.asarray(value), "dprediction": gradient}
    got = {"value": np.asarray(fast_value), "dprediction": fast_gradient}
    bounds = {path: 4 * within[path] for path in wanted}
    if loss.pure_accuracy is not None and (accuracy := fast_loss(loss.pure_accuracy)) is not None:
        wanted["accuracy"] = np.asarray(loss.pure_accuracy(prediction, *given))
        got["accuracy"] = np.asarray(accuracy(prediction, *given))
        bounds["accuracy"] = _rounding(wanted["accuracy"])
        some_nan = prediction.copy()
        some_nan.flat[0] = math.nan
        wanted["accuracy with NaN"] = np.asarray(loss.pure_accuracy(some_nan, *given))
        got["accuracy with NaN"] = np.asarray(accuracy(some_nan, *given))
        bounds["accuracy with NaN"] = bounds["accuracy"]
    return _agree(claim, got, wanted, bounds)


def prove_penalty_kernel(claim: Claim, penalty: Penalty, w: Array, within: Mapping[str, float]) -> Property:
    """The value, and the gradient added onto an accumulator."""
    accumulator = np.asarray(np.cos(w))
    wanted = {"value": np.asarray(penalty.value(w)), "accumulator": np.asarray(accumulator + penalty.grad(w))}
    bounds = {"value": 4 * within["value"], "accumulator": 4 * within["dw"] + _rounding(accumulator)}
    add_gradient(penalty, accumulator, w)
    got = {"value": np.asarray(penalty_value(penalty, w)), "accumulator": accumulator}
    return _agree(claim, got, wanted, bounds)


def prove_optimizer_kernel(
    claim: Claim, optimizer: Optimizer, params: Tree, grads: Sequence[Tree], within: Mapping[str, float]
) -> Property:
    """Updates of params and state in place, where the optimizer has a kernel."""
    opt_state = optimizer.init(params)
    own_params, own_state = tree.map(aligned.copy, (params, opt_state))
    arrays = dict(tree.named_leaves(tree.trained(own_params)))
    update = in_place(optimizer, own_state, arrays)
    if update is None:
        return Property(_NAME, 0, note=_NONE)
    for step, gradient in enumerate(grads):
        now = optimizer.moment(step)
        updates, opt_state = optimizer.pure_update(gradient, opt_state, params, now)
        params = apply_updates(params, updates)
        gradients = [g.copy(order="K") for g in tree.leaves(gradient)]
        with tree.writable(tree.leaves((own_params, own_state))):
            if update.accumulates is not None:
                accumulator, beta = update.accumulates
                for total, g in zip(tree.leaves(accumulator), gradients, strict=True):
                    total *= beta
                    total += g
                gradients = tree.leaves(accumulator)
            update.apply(now, gradients)
    wanted, got = _of_state(params, opt_state), _of_state(own_params, own_state)
    bounds = {path: within.get(path, 0.0) + len(grads) * _rounding(array) for path, array in wanted.items()}
    return _agree(claim, got, wanted, bounds)


def prove_steps_by_kernels(
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
    """A donating step of the NumPy engine in ``dtype``, compared with the plain step in float64.

    Both start from the state after a first step, so that velocities are not zero. The kernels run twice, so that the
    second run uses the scratch buffers of the first.
    """

    def cast(array: Array) -> Array:
        return array.astype(dtype, order="K") if array.dtype.kind == "f" else array

    def named(state: TrainState, metrics: Evaluation) -> dict[str, Array]:
        return {"loss": np.asarray(metrics.loss), **_of_state(state.params, state.opt_state)}

    own_batch = tree.map(cast, batch)
    plain = make_step(net, loss, optimizer, penalties, engine=PLAIN)
    by_kernels = make_step(net, loss, optimizer, penalties, donate=True, engine=numpy_engine.NUMPY)
    begun, _ = plain(init_state(params, optimizer, key), batch)
    own = attrs.evolve(begun, params=tree.map(cast, begun.params), opt_state=tree.map(cast, begun.opt_state))
    wanted = named(*plain(begun, batch))
    within = {path: _rounding(array, dtype) for path, array in wanted.items()}
    _agree(claim, named(*by_kernels(copy_state(own), own_batch)), wanted, within)
    return _agree(claim, named(*by_kernels(copy_state(own), own_batch)), wanted, within)


def _of_state(params: Tree, opt_state: Tree) -> dict[str, Array]:
    return dict((*tree.named_leaves(params, "params"), *tree.named_leaves(opt_state, "opt_state")))


def _agree(
    claim: Claim, got: Mapping[str, Any], wanted: Numbers, within: Mapping[str, float], note: str = ""
) -> Property:
    held = agree(
        claim,
        _NAME,
        _BROKEN,
        got,
        wanted,
        within,
        cause="what the engine runs in place of the pure functions (see funcnet.engines.numpy) computes otherwise",
    )
    return attrs.evolve(held, note=note)


def _rounding(array: Array, dtype: Any = np.float64) -> float:
    """What a few roundings may do to numbers up to these, and to 1."""
    return _MARGIN * float(np.finfo(dtype).eps) * (1 + float(np.abs(array).max(initial=0)))
