"""The proof of a loss: that its gradient is its derivative, and that it is a mean over the examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import numpy as np

from funcnet import random
from funcnet.check.contract import expect_array, expect_number
from funcnet.check.gradients import Gradient, prove_gradient
from funcnet.check.kernels import prove_loss_kernel
from funcnet.check.purity import PURITY, call_purely, expect_unshared, same_bits, state
from funcnet.check.rounding import Jiggle, Numbers, agree, conditions, float32_agrees, tolerances
from funcnet.check.verdict import CheckReport, Claim, Property, call_again, expect_subject, reproducible
from funcnet.losses import Loss
from funcnet.random import Key
from funcnet.shapes import Array, Float, Integer, Shape, describe, whole_number
from funcnet.tree import freeze

__all__ = ["Targets", "check_loss", "class_labels", "real_numbers", "shares"]

Targets: TypeAlias = Callable[[Key, Array], Array]


def class_labels(key: Key, prediction: Float[Array, "batch classes"]) -> Integer[Array, "batch"]:
    """A random class for each row of logits: targets for a softmax cross-entropy."""
    return random.randint(key, prediction.shape[:1], 0, prediction.shape[-1])


def shares(key: Key, prediction: Float[Array, "batch *shape"]) -> Float[Array, "batch *shape"]:
    """A random number from 0 to 1 for each output: targets for a binary cross-entropy."""
    return random.uniform(key, prediction.shape)


def real_numbers(key: Key, prediction: Float[Array, "batch *shape"]) -> Float[Array, "batch *shape"]:
    """A random number for each output: targets for a squared error."""
    return random.normal(key, prediction.shape)


def check_loss(
    loss: Loss,
    out_shape: Shape,
    *,
    targets: Targets,
    key: Key,
    batch: int = 3,
    draw: Callable[[Key, Shape], Array] = random.normal,
) -> CheckReport:
    """Prove a loss on one random case: predictions (batch, *out_shape) and targets.

    What is proven: the value is one number and the gradient an array like the prediction, in its dtype; accuracy is
    a share, and 0 where all predictions are NaN; purity; the gradient against differences in float64, entry by entry
    and along random directions; that the loss is a mean over the examples, so that batches of any size can be put
    together; the engine's kernel; float32 against float64.
    See ``check_layer`` for how each is measured.

    Args:
        loss: the loss.
        out_shape: the shape of one example's prediction.
        targets: ``targets(key, prediction) -> target`` draws what the loss takes: ``class_labels``, ``shares``,
            ``real_numbers`` or a function of your own. Floating-point targets are cast to the prediction's dtype.
        key: draws the case; the same key draws the same one.
        batch: the number of examples.
        draw: ``draw(key, shape) -> prediction``, for losses of other than real numbers, such as probabilities.

    Raises:
        CheckError: at the first property that does not hold, with the evidence and the likely cause.
        TypeError: for an argument that is not a loss, or not a key.
        ValueError: for a batch below 1.
    """
    expect_subject("check_loss", Loss, loss, key)
    batch = whole_number("the batch of a check", batch, 1)
    out_shape = tuple(out_shape)
    options = {"draw": draw} if draw is not random.normal else {}
    call = call_again("check_loss", loss, out_shape, targets=targets, batch=batch, key=key, **options)
    claim = Claim(loss.name, f"a batch of {batch} x {describe(out_shape)}", key, call)
    with reproducible(claim):
        prediction_key, target_key, rest = random.split(key, 3)
        prediction = freeze(np.asarray(draw(prediction_key, (batch, *out_shape)), np.float32))
        target = freeze(np.asarray(targets(target_key, prediction)))
        case = _Case(claim, loss, prediction, target, rest).cast(np.float64)
        purity, contract = _prove_purity(case), _prove_contract(case)
        within64, within32 = tolerances(
            conditions(case.numbers, rest), prediction.size, floor=4 * float(np.abs(prediction).max(initial=1))
        )
        return CheckReport(
            claim,
            (
                purity,
                contract,
                *_prove_derivative(case, within64),
                _prove_mean(case, within64),
                _prove_layout(case, within64),
                prove_loss_kernel(claim, loss, case.prediction, case.target, within64),
                float32_agrees(claim, case.cast(np.float32).numbers(), case.numbers(), within32),
            ),
        )


@attrs.frozen(eq=False)
class _Case:
    claim: Claim
    loss: Loss
    prediction: Array
    target: Array
    key: Key

    def cast(self, dtype: Any) -> _Case:
        target = freeze(self.target.astype(dtype)) if self.target.dtype.kind == "f" else self.target
        return attrs.evolve(self, prediction=freeze(self.prediction.astype(dtype)), target=target)

    def examples(self, start: int, stop: int) -> _Case:
        return attrs.evolve(self, prediction=self.prediction[start:stop], target=self.target[start:stop])

    def numbers(self, jiggle: Jiggle = lambda node: node) -> Numbers:
        value, gradient = self.loss.value_and_grad(jiggle(self.prediction), self.target)
        return {"value": np.asarray(value), "dprediction": gradient}


def _prove_contract(case: _Case) -> Property:
    for dtype in (np.float32, np.float64):
        part = case.cast(dtype)
        value, gradient = case.loss.value_and_grad(part.prediction, part.target)
        expect_number(case.claim, "the loss", value, dtype)
        expect_array(case.claim, "dprediction", gradient, part.prediction.shape, dtype)
        if case.loss.pure_accuracy is not None:
            accuracy = case.loss.pure_accuracy(part.prediction, part.target)
            expect_number(case.claim, "accuracy", accuracy)
            if not 0 <= accuracy <= 1:
                raise case.claim.refuted("accuracy is no share from 0 to 1", where="accuracy", analytic=accuracy)
            if case.loss.pure_accuracy(np.full_like(part.prediction, math.nan), part.target) != 0:
                raise case.claim.refuted(
                    "predictions that are NaN count as right answers",
                    where="accuracy",
                    cause="argmax, or a comparison, that takes NaN for a number",
                )
    return Property("shapes and dtypes", 4)


def _prove_purity(case: _Case) -> Property:
    for part in (case.cast(np.float32), case):
        arguments = {"prediction": part.prediction, "target": part.target}
        _, gradient = call_purely(case.claim, "value_and_grad", case.loss.value_and_grad, arguments)
        writable = {name: array.copy() for name, array in arguments.items()}
        _, other = case.loss.value_and_grad(*writable.values())
        expect_unshared(case.claim, "value_and_grad", {"dprediction": other}, writable)
        results = {"dprediction": gradient}
        kept = state(results)
        _, other = case.loss.value_and_grad(part.prediction[::-1] / 2, part.target)
        expect_unshared(case.claim, "a later call", {"dprediction": other}, results)
        broken = "a later call changes what an earlier one returned"
        same_bits(case.claim, broken, kept, state(results), "memory used again")
        if case.loss.pure_accuracy is not None:
            call_purely(case.claim, "accuracy", case.loss.pure_accuracy, arguments)
    return Property(PURITY, 8)


def _prove_derivative(case: _Case, within: dict[str, float]) -> tuple[Property, ...]:
    _, gradient = case.loss.value_and_grad(case.prediction, case.target)

    def value(at: _Prediction) -> Array:
        return np.array([case.loss.value_and_grad(at.prediction, case.target)[0]])

    claimed = Gradient(
        value,
        _Prediction(case.prediction),
        np.ones(1),
        _Prediction(gradient),
        {"prediction": within["dprediction"]},
        batch=len(case.prediction),
    )
    return prove_gradient(case.claim, claimed, random.fold_in(case.key, 1))


@attrs.frozen(eq=False)
class _Prediction:
    prediction: Array


def _prove_layout(case: _Case, within: dict[str, float]) -> Property:
    return agree(
        case.claim,
        "memory layout",
        "the results depend on how the prediction lies in memory",
        got=attrs.evolve(case, prediction=freeze(np.asfortranarray(case.prediction))).numbers(),
        wanted=case.numbers(),
        within={path: 4 * bound for path, bound in within.items()},
        cause='ravel(order="K"), or anything else that reads memory in order',
    )


def _prove_mean(case: _Case, within: dict[str, float]) -> Property:
    """The loss of a batch is the mean over its examples: n loss = sum of the parts', and so for the gradients."""
    count = len(case.prediction)
    whole, parts = case.numbers(), [case.examples(i, i + 1).numbers() for i in range(count)]
    return agree(
        case.claim,
        "a mean over the batch",
        "the loss of a batch is not the mean of those of its examples",
        got=whole,
        wanted={
            "value": np.asarray(np.mean([part["value"] for part in parts])),
            "dprediction": np.concatenate([part["dprediction"] for part in parts]) / count,
        },
        within={path: 4 * bound for path, bound in within.items()},
        cause="a sum over the batch where a mean belongs, or a factor of 1/batch missing in one of loss and gradient",
    )
