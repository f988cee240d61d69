"""The proof of a penalty: that its gradient is the derivative of its value."""

from __future__ import annotations

import attrs
import numpy as np

from funcnet import random
from funcnet.check.contract import expect_array, expect_number
from funcnet.check.gradients import Gradient, prove_gradient
from funcnet.check.kernels import prove_penalty_kernel
from funcnet.check.purity import PURITY, call_purely, expect_unshared
from funcnet.check.rounding import Numbers, agree, conditions, float32_agrees, tolerances
from funcnet.check.verdict import CheckReport, Claim, Property, call_again, expect_subject, reproducible
from funcnet.penalties import Penalty
from funcnet.random import Key
from funcnet.shapes import Array, Shape, describe
from funcnet.tree import freeze

__all__ = ["check_penalty"]


def check_penalty(penalty: Penalty, shape: Shape, *, key: Key) -> CheckReport:
    """Prove a penalty on one random array of this shape.

    What is proven: the value is one number and the gradient an array like the weights, in their dtype; purity; the
    gradient against differences in float64, entry by entry and along random directions; the same numbers from weights
    in another memory order, and from the engine's kernel; float32 against float64.
    See ``check_layer`` for how each is measured.

    Raises:
        CheckError: at the first property that does not hold, with the evidence and the likely cause.
        TypeError: for an argument that is not a penalty, or not a key.
    """
    expect_subject("check_penalty", Penalty, penalty, key)
    shape = tuple(shape)
    claim = Claim(
        repr(penalty), f"weights of shape {describe(shape)}", key, call_again("check_penalty", penalty, shape, key=key)
    )
    with reproducible(claim):
        w = random.normal(key, shape).astype(np.float64)  # numbers that float32 can hold too
        contract = _prove_contract(claim, penalty, w)
        within64, within32 = tolerances(
            conditions(lambda jiggle: _numbers(penalty, jiggle(w)), random.fold_in(key, 1)), w.size
        )
        gradient = Gradient(
            lambda at: np.array([penalty.value(at.w)]),
            _Weights(freeze(w)),
            np.ones(1),
            _Weights(np.asarray(penalty.grad(w))),
            {"w": within64["dw"]},
        )
        return CheckReport(
            claim,
            (
                *contract,
                agree(
                    claim,
                    "memory layout",
                    "the results depend on how the weights lie in memory",
                    got=_numbers(penalty, np.asfortranarray(w)),
                    wanted=_numbers(penalty, w),
                    within={path: 4 * bound for path, bound in within64.items()},
                    cause='ravel(order="K"), or anything else that reads memory in order',
                ),
                prove_penalty_kernel(claim, penalty, w, within64),
                *prove_gradient(claim, gradient, random.fold_in(key, 2)),
                float32_agrees(claim, _numbers(penalty, w.astype(np.float32)), _numbers(penalty, w), within32),
            ),
        )


@attrs.frozen(eq=False)
class _Weights:
    w: Array


def _numbers(penalty: Penalty, w: Array) -> Numbers:
    return {"value": np.asarray(penalty.value(w)), "dw": np.asarray(penalty.grad(w))}


def _prove_contract(claim: Claim, penalty: Penalty, w: Array) -> tuple[Property, Property]:
    for dtype in (np.float32, np.float64):
        arguments = {"w": freeze(w.astype(dtype))}
        value = call_purely(claim, "value", penalty.value, arguments)
        gradient = np.asarray(call_purely(claim, "grad", penalty.grad, arguments))
        expect_number(claim, "the penalty", value, dtype)
        expect_array(claim, "dw", gradient, w.shape, dtype)
        writable = w.astype(dtype)
        expect_unshared(claim, "grad", {"dw": penalty.grad(writable)}, {"w": writable})
    return (
        Property("shapes and dtypes", 4),
        Property(PURITY, 4),
    )
