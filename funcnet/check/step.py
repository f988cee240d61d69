"""The proof of a training step: that the gradient it follows is that of the total loss, penalties and all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from funcnet import random, tree
from funcnet.check.contract import expect_gradient, expect_like, moved
from funcnet.check.gradients import Gradient, prove_gradient
from funcnet.check.kernels import prove_steps_by_kernels
from funcnet.check.losses import Targets
from funcnet.check.purity import PURITY, call_purely, expect_unshared, same_bits
from funcnet.check.purity import state as bits
from funcnet.check.rounding import Jiggle, Numbers, agree, conditions, float32_agrees, tolerances
from funcnet.check.verdict import CheckReport, Claim, Property, call_again, expect_subject, reproducible
from funcnet.engines.running import make_step
from funcnet.layer import AnyLayer, Layer
from funcnet.losses import Loss
from funcnet.optimizers import Optimizer, apply_updates
from funcnet.penalties import Penalty
from funcnet.random import Key
from funcnet.shapes import Array, Shape, describe, whole_number
from funcnet.step import PLAIN, Batch, init_state, make_grad, step_key
from funcnet.tree import Tree

__all__ = ["check_step"]


def check_step(
    net: AnyLayer,
    loss: Loss,
    optimizer: Optimizer,
    penalties: Mapping[str, Penalty] | None = None,
    *,
    in_shape: Shape,
    targets: Targets,
    key: Key,
    batch: int = 3,
    draw: Callable[[Key, Shape], Array] = random.normal,
    mixes_examples: bool = False,
) -> CheckReport:
    """Prove the step that ``make_step`` makes of these, on one random batch (batch, *in_shape) and its targets.

    What is proven: the step is pure, and keeps the structure, shapes and dtypes of its state; it updates the parameters
    with the gradient of the total loss, by the optimizer; that gradient, with those of the penalties in it, against
    differences of the total loss in float64, entry by entry and along random directions; the gradient of a batch is the
    mean of those of its examples; the same steps by the NumPy engine's kernels, which training uses; float32 against
    float64.
    See ``check_layer`` for how each is measured.

    Args:
        net: the network.
        loss: the loss of its outputs.
        optimizer: the optimizer.
        penalties: as for ``make_step``.
        in_shape: the shape of one example.
        targets: ``targets(key, prediction) -> target``, as for ``check_loss``.
        key: draws the case; the same key draws the same one.
        batch: the number of examples.
        draw: ``draw(key, shape) -> x`` draws the inputs.
        mixes_examples: whether the output of one example depends on the others, as in batch normalization, or on its
            place in the batch, as in dropout. Then batches are not taken apart.

    Raises:
        CheckError: at the first property that does not hold, with the evidence and the likely cause.
        TypeError: if an argument is not of its kind.
        ValueError: for a batch below 1.
    """
    for kind, part in ((Layer, net), (Loss, loss), (Optimizer, optimizer)):
        expect_subject("check_step", kind, part, key)
    batch = whole_number("the batch of a check", batch, 1)
    in_shape = tuple(in_shape)
    penalised = "".join(f", {penalty} on {path}" for path, penalty in (penalties or {}).items())
    options: dict[str, object] = {"draw": draw} if draw is not random.normal else {}
    options |= {"mixes_examples": True} if mixes_examples else {}
    call = call_again(
        "check_step", net, loss, optimizer, dict(penalties or {}),
        in_shape=in_shape, targets=targets, batch=batch, key=key, **options,
    )  # fmt: skip
    claim = Claim(
        f"step of {net}, {loss}, {optimizer}{penalised}", f"a batch of {batch} x {describe(in_shape)}", key, call
    )
    with reproducible(claim):
        init_key, noise_key, x_key, target_key, rest = random.split(key, 5)
        params, _ = net.init(init_key, in_shape)
        leaf_keys = iter(random.split(noise_key, len(tree.leaves(params)) + 1))
        params = tree.map(lambda a: moved(next(leaf_keys), a), params)
        x = draw(x_key, (batch, *in_shape))
        y = targets(target_key, net.forward(params, x, rest)[0])
        case = _Case(claim, net, loss, optimizer, dict(penalties or {}), params, Batch(x, y), rest).cast(np.float64)
        contract = _prove_step(case)
        within64, within32 = tolerances(conditions(case.numbers, rest), x.size)
        return CheckReport(
            claim,
            (
                *contract,
                *_prove_derivative(case, within64),
                *(() if mixes_examples else (_prove_mean(case, within64),)),
                prove_steps_by_kernels(claim, net, loss, optimizer, case.penalties, case.params, case.batch, case.key),
                float32_agrees(claim, case.cast(np.float32).numbers(), case.numbers(), within32),
            ),
        )


@attrs.frozen(eq=False)
class _Case:
    claim: Claim
    net: AnyLayer
    loss: Loss
    optimizer: Optimizer
    penalties: dict[str, Penalty]
    params: Tree
    batch: Batch
    key: Key

    def cast(self, dtype: Any) -> _Case:
        def cast(a: Array) -> Array:
            return a.astype(dtype) if a.dtype.kind == "f" else a

        batch = Batch(cast(self.batch.x), cast(self.batch.y))
        return attrs.evolve(self, params=tree.map(cast, self.params), batch=batch)

    def gradient(self, params: Tree, batch: Batch, loss: Loss | None = None) -> tuple[float, Tree]:
        metrics, grads = make_grad(self.net, loss or self.loss, self.penalties)(params, batch, self.key)
        return metrics.loss, grads

    def numbers(self, jiggle: Jiggle = lambda node: node) -> Numbers:
        def rough(prediction: Array, target: Array) -> tuple[Any, Array]:
            # A mean's gradient is a difference of numbers up to 1/batch (such as p - t), and has their rounding errors.
            value, dprediction = self.loss.value_and_grad(prediction, target)
            share = np.full_like(dprediction, 1 / len(dprediction))
            return value, dprediction + (jiggle(share) - share)

        loss = attrs.evolve(self.loss, value_and_grad=rough)
        value, grads = self.gradient(jiggle(self.params), Batch(jiggle(self.batch.x), self.batch.y), loss)
        return {"loss": np.asarray(value), **dict(tree.named_leaves(grads, "dparams"))}


def _prove_step(case: _Case) -> tuple[Property, Property]:
    claim, optimizer = case.claim, case.optimizer
    step = make_step(case.net, case.loss, optimizer, case.penalties, engine=PLAIN)
    for part in (case.cast(np.float32), case):
        state = init_state(part.params, optimizer, part.key)
        for number in range(2):
            arguments = {"state": state, "batch": part.batch}
            after, metrics = call_purely(claim, "step", step, arguments)
            expect_unshared(claim, "step", {"state": after}, arguments)
            expect_like(claim, "state.params", after.params, state.params)
            expect_like(claim, "state.opt_state", after.opt_state, state.opt_state)
            expect_gradient(claim, "the gradient", part.gradient(state.params, part.batch)[1], state.params)
            key = step_key(case.net, state)
            metrics_of, grads = make_grad(case.net, case.loss, case.penalties)(state.params, part.batch, key)
            updates, opt_state = optimizer.update(
                grads, state.opt_state, state.params, number, loss=metrics_of.data_loss
            )
            _, residuals = case.net.forward(state.params, part.batch.x, key)
            params = case.net.advance(apply_updates(state.params, updates), residuals)
            expected = {"params": params, "opt_state": opt_state, "loss": metrics_of.loss}
            given = {"params": after.params, "opt_state": after.opt_state, "loss": metrics.loss}
            same_bits(
                claim, "the step is not the optimizer's update", bits(expected), bits(given), "another gradient or loss"
            )
            state = after
    return Property("the step is the optimizer's update; structure, shapes, dtypes", 4), Property(PURITY, 4)


def _prove_derivative(case: _Case, within: dict[str, float]) -> tuple[Property, ...]:
    _, grads = case.gradient(case.params, case.batch)

    def total(at: _Params) -> Array:
        params = tree.combine(at.params, case.params)
        prediction, _ = case.net.forward(params, case.batch.x, case.key)
        arrays = dict(tree.named_leaves(params))
        penalty = sum(float(p.value(arrays[path])) for path, p in case.penalties.items())
        return np.array([case.loss(prediction, case.batch.y)[0] + penalty])

    at = _Params(tree.trained(case.params))
    rounding = {path: within[f"d{path}"] for path, _ in tree.named_leaves(at)}
    claimed = Gradient(total, at, np.ones(1), _Params(grads), rounding, len(case.batch))
    return prove_gradient(case.claim, claimed, random.fold_in(case.key, 1))


@attrs.frozen(eq=False)
class _Params:
    params: Tree


def _prove_mean(case: _Case, within: dict[str, float]) -> Property:
    whole = case.numbers()
    parts = []
    for i in range(len(case.batch)):
        example = Batch(case.batch.x[i : i + 1], case.batch.y[i : i + 1])
        parts.append(attrs.evolve(case, batch=example).numbers())
    return agree(
        case.claim,
        "a mean over the batch",
        "loss and gradient of a batch are not the means of those of its examples",
        got=whole,
        wanted={path: np.asarray(sum(part[path] for part in parts) / len(parts)) for path in whole},
        within={path: 4 * bound for path, bound in within.items()},
        cause="a sum over the batch where a mean belongs, or examples that know of each other",
    )
