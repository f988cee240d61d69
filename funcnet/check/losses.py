"""The proof of a loss: that its gradient is its derivative, and that it is a (weighted) mean over the examples."""

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
from funcnet.contract import takes_weights
from funcnet.losses import Loss, weights_by_target
from funcnet.random import Key
from funcnet.shapes import Array, Float, Integer, Shape, describe, whole_number
from funcnet.tree import freeze

__all__ = ["Targets", "check_loss", "class_labels", "counts", "distributions", "real_numbers", "shares"]

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


def distributions(key: Key, prediction: Float[Array, "batch classes"]) -> Float[Array, "batch classes"]:
    """A random share for each class, which sum to 1, some of them 0: soft targets for a softmax cross-entropy."""
    kept = random.uniform(random.fold_in(key, 1), prediction.shape) < 0.7
    kept[..., 0] |= ~kept.any(axis=-1)
    drawn = np.where(kept, random.uniform(key, prediction.shape, 0.1, 1), 0).astype(np.float64)
    return drawn / drawn.sum(axis=-1, keepdims=True)


def counts(key: Key, prediction: Float[Array, "batch *shape"]) -> Float[Array, "batch *shape"]:
    """A random whole number from 0 to 4 for each output: targets for a Poisson loss."""
    return random.randint(key, prediction.shape, 0, 5).astype(np.float32)


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
    together; the engine's kernel; float32 against float64. If the loss takes weights, all of this again with random
    weights, one of them 0; that the loss and its accuracy are then weighted means; and that they are 0 if all weights
    are.
    See ``check_layer`` for how each is measured.

    Args:
        loss: the loss.
        out_shape: the shape of one example's prediction.
        targets: ``targets(key, prediction) -> target`` draws what the loss takes: ``class_labels``,
            ``distributions``, ``shares``, ``real_numbers``, ``counts`` or a function of your own. Floating-point
            targets are cast to the prediction's dtype.
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
        properties = _prove(case)
        if takes_weights(loss):
            weights = random.uniform(random.fold_in(rest, 2), (batch,), 0.2, 2).astype(np.float64)
            if batch > 1:
                weights[random.randint(random.fold_in(rest, 3), (), 0, batch)] = 0
            weighted = attrs.evolve(case, weight=freeze(weights))
            named = (attrs.evolve(held, name=f"{held.name}, weighted") for held in _prove(weighted))
            properties = (*properties, *named, _prove_nothing(case))
        return CheckReport(claim, properties)


@attrs.frozen(eq=False)
class _Case:
    claim: Claim
    loss: Loss
    prediction: Array
    target: Array
    key: Key
    weight: Array | None = None

    @property
    def given(self) -> tuple[Array, ...]:
        """What the loss takes after the prediction."""
        return (self.target,) if self.weight is None else (self.target, self.weight)

    def cast(self, dtype: Any) -> _Case:
        def cast(array: Array) -> Array:
            return freeze(array.astype(dtype)) if array.dtype.kind == "f" else array

        weight = None if self.weight is None else cast(self.weight)
        return attrs.evolve(self, prediction=cast(self.prediction), target=cast(self.target), weight=weight)

    def examples(self, start: int, stop: int) -> _Case:
        """Those examples, without weights."""
        return attrs.evolve(self, prediction=self.prediction[start:stop], target=self.target[start:stop], weight=None)

    def numbers(self, jiggle: Jiggle = lambda node: node) -> Numbers:
        value, gradient = self.loss.value_and_grad(jiggle(self.prediction), *self.given)
        return {"value": np.asarray(value), "dprediction": gradient}


def _prove(case: _Case) -> tuple[Property, ...]:
    purity, contract = _prove_purity(case), _prove_contract(case)
    within64, within32 = tolerances(
        conditions(case.numbers, case.key),
        case.prediction.size,
        floor=4 * float(np.abs(case.prediction).max(initial=1)),
    )
    return (
        purity,
        contract,
        *_prove_derivative(case, within64),
        _prove_mean(case, within64),
        _prove_layout(case, within64),
        prove_loss_kernel(case.claim, case.loss, case.prediction, case.given, within64),
        float32_agrees(case.claim, case.cast(np.float32).numbers(), case.numbers(), within32),
    )


def _prove_contract(case: _Case) -> Property:
    for dtype in (np.float32, np.float64):
        part = case.cast(dtype)
        value, gradient = case.loss.value_and_grad(part.prediction, *part.given)
        expect_number(case.claim, "the loss", value, dtype)
        expect_array(case.claim, "dprediction", gradient, part.prediction.shape, dtype)
        if case.loss.pure_accuracy is not None:
            accuracy = case.loss.pure_accuracy(part.prediction, *part.given)
            expect_number(case.claim, "accuracy", accuracy)
            if not 0 <= accuracy <= 1:
                raise case.claim.refuted("accuracy is no share from 0 to 1", where="accuracy", analytic=accuracy)
            if case.loss.pure_accuracy(np.full_like(part.prediction, math.nan), *part.given) != 0:
                raise case.claim.refuted(
                    "predictions that are NaN count as right answers",
                    where="accuracy",
                    cause="argmax, or a comparison, that takes NaN for a number",
                )
    return Property("shapes and dtypes", 4)


def _prove_purity(case: _Case) -> Property:
    for part in (case.cast(np.float32), case):
        names = ("prediction", "target", "weight")
        arguments = dict(zip(names, (part.prediction, *part.given), strict=False))
        _, gradient = call_purely(case.claim, "value_and_grad", case.loss.value_and_grad, arguments)
        writable = {name: array.copy() for name, array in arguments.items()}
        _, other = case.loss.value_and_grad(*writable.values())
        expect_unshared(case.claim, "value_and_grad", {"dprediction": other}, writable)
        results = {"dprediction": gradient}
        kept = state(results)
        _, other = case.loss.value_and_grad(part.prediction[::-1] / 2, *part.given)
        expect_unshared(case.claim, "a later call", {"dprediction": other}, results)
        broken = "a later call changes what an earlier one returned"
        same_bits(case.claim, broken, kept, state(results), "memory used again")
        if case.loss.pure_accuracy is not None:
            call_purely(case.claim, "accuracy", case.loss.pure_accuracy, arguments)
    return Property(PURITY, 8)


def _prove_nothing(case: _Case) -> Property:
    """With weights that are all 0."""
    weight = np.zeros(len(case.prediction))
    value, gradient = case.loss.value_and_grad(case.prediction, case.target, weight)
    found = {"the loss": value, "dprediction": np.abs(gradient).max(initial=0)}
    if case.loss.pure_accuracy is not None:
        found["accuracy"] = case.loss.pure_accuracy(case.prediction, case.target, weight)
    for where, number in found.items():
        if number != 0:
            raise case.claim.refuted(
                "weights that are all 0 do not give 0", where=where, analytic=float(number), numeric=0.0
            )
    return Property("weights that are all 0 give 0", len(found))


def _prove_derivative(case: _Case, within: dict[str, float]) -> tuple[Property, ...]:
    _, gradient = case.loss.value_and_grad(case.prediction, *case.given)

    def value(at: _Prediction) -> Array:
        return np.array([case.loss.value_and_grad(at.prediction, *case.given)[0]])

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
    """The loss of a batch is the mean over its examples, weighted by their weights and those of their classes."""
    count, accuracy = len(case.prediction), case.loss.pure_accuracy
    parts = [case.examples(i, i + 1).numbers() for i in range(count)]
    weight = np.ones(count) if case.weight is None else case.weight
    by_class = weights_by_target(case.loss.class_weights, case.target, weight) if case.loss.class_weights else 1
    shares = _shares(weight * by_class)
    whole = dict(case.numbers())
    wanted = {
        "value": np.asarray(sum(share * part["value"] for share, part in zip(shares, parts, strict=True))),
        "dprediction": np.concatenate([s * part["dprediction"] for s, part in zip(shares, parts, strict=True)]),
    }
    bounds = {path: 4 * bound for path, bound in within.items()}
    if accuracy is not None and case.weight is not None:
        # Each example meets the predictions of all, so that some answers are right and some are wrong.
        rolled = [np.roll(case.prediction, shift, axis=0) for shift in range(count)]
        rolled += [z[..., ::-1] for z in rolled] if case.prediction.ndim > 1 else []
        right = [[accuracy(z[i : i + 1], case.target[i : i + 1]) for i in range(count)] for z in rolled]
        whole["accuracy"] = np.array([accuracy(z, *case.given) for z in rolled])
        wanted["accuracy"] = np.array(right) @ _shares(weight)
        bounds["accuracy"] = 1e-6  # it may be of float32
    weighted = case.weight is not None
    return agree(
        case.claim,
        "a mean over the batch",
        f"the loss of a batch is not the {'weighted ' if weighted else ''}mean of those of its examples",
        got=whole,
        wanted=wanted,
        within=bounds,
        cause="weights left out somewhere, or a sum that is not divided by that of the weights"
        if weighted
        else "a sum over the batch where a mean belongs, or a factor of 1/batch missing in one of loss and gradient",
    )


def _shares(weights: Float[Array, "batch"]) -> Float[Array, "batch"]:
    total = weights.sum()
    return weights / total if total > 0 else weights
