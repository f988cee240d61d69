"""The proof of an optimizer: what can be proven without its rule, and that it follows the rule if one is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from funcnet import random, tree
from funcnet.check.contract import expect_finite, expect_like, expect_number, path_in
from funcnet.check.kernels import prove_optimizer_kernel
from funcnet.check.purity import PURITY, call_purely, expect_unshared
from funcnet.check.rounding import Jiggle, Numbers, agree, conditions, float32_agrees, tolerances
from funcnet.check.verdict import CheckReport, Claim, Property, call_again, expect_subject, reproducible
from funcnet.layers.linear import LinearParams
from funcnet.optimizers import Optimizer, apply_updates
from funcnet.random import Key
from funcnet.tree import Tree

__all__ = ["Rule", "check_optimizer"]

Rule: TypeAlias = Callable[[float, Sequence[float]], float]

_STEPS = 4
_LOSS = 1.0  # the loss that updates are given


def check_optimizer(optimizer: Optimizer, *, key: Key, rule: Rule | None = None) -> CheckReport:
    """Prove an optimizer on random parameters and gradients.

    What is proven: parameters and state keep their structure, shapes and dtypes through the updates, and are read-only;
    the learning rate is a positive number at each step; purity; the first step goes downhill in each array; the same
    numbers from the engine's kernels; float32 against float64; and, if the textbook's rule is given, that the updates
    follow it. Without a rule, a wrong factor or a mistake of later steps cannot be told from what was
    intended.

    Args:
        optimizer: the optimizer.
        key: draws the case; the same key draws the same one.
        rule: ``rule(w, gradients) -> w`` is the recurrence for one number in plain Python: where w goes under these
            gradients, one a step. For gradient descent of rate 0.1: ``lambda w, gs: w - 0.1 * sum(gs)``.

    Raises:
        CheckError: at the first property that does not hold, with the evidence and the likely cause.
        TypeError: for an argument that is not an optimizer, or not a key.
    """
    expect_subject("check_optimizer", Optimizer, optimizer, key)
    again = call_again("check_optimizer", optimizer, key=key, **({} if rule is None else {"rule": rule}))
    claim = Claim(
        optimizer.name,
        f"{_STEPS} updates of a linear layer's parameters",
        key,
        again,
    )
    with reproducible(claim):
        params_key, grads_key, rest = random.split(key, 3)
        grads = tuple(_record(random.fold_in(grads_key, step)) for step in range(_STEPS))
        case = _Case(claim, optimizer, _record(params_key), grads).cast(np.float64)
        contract = _prove_contract(case)
        within64, within32 = tolerances(conditions(case.numbers, rest), 2 * _STEPS)
        return CheckReport(
            claim,
            (
                *contract,
                _prove_descent(case),
                prove_optimizer_kernel(claim, optimizer, case.params, case.grads, within64),
                *(() if rule is None else (_prove_rule(case, rule, within64),)),
                float32_agrees(claim, case.cast(np.float32).numbers(), case.numbers(), within32),
            ),
        )


def _record(key: Key) -> Tree:
    return ((), LinearParams(random.normal(key, (3, 2)), random.normal(random.fold_in(key, 1), (2,))))


@attrs.frozen(eq=False)
class _Case:
    claim: Claim
    optimizer: Optimizer
    params: Tree
    grads: tuple[Tree, ...]

    def cast(self, dtype: Any) -> _Case:
        params, grads = tree.map(lambda a: a.astype(dtype), (self.params, self.grads))
        return attrs.evolve(self, params=params, grads=grads)

    def numbers(self, jiggle: Jiggle = lambda node: node) -> Numbers:
        """The parameters after all updates."""
        params = jiggle(self.params)
        opt_state = self.optimizer.init(params)
        for step, grads in enumerate(self.grads):
            updates, opt_state = self.optimizer.update(jiggle(grads), opt_state, params, step, loss=_LOSS)
            params = apply_updates(params, updates)
        return dict(tree.named_leaves(params, "params"))


def _prove_contract(case: _Case) -> tuple[Property, Property]:
    claim, optimizer = case.claim, case.optimizer
    for part in (case.cast(np.float32), case):
        params = part.params
        opt_state = first = call_purely(claim, "init", optimizer.init, {"params": params})
        expect_unshared(claim, "init", {"opt_state": opt_state}, {"params": params})
        for step, grads in enumerate(part.grads):
            if optimizer.learning_rate is not None:
                rate = optimizer.learning_rate(step)
                expect_number(claim, f"learning_rate({step})", rate)
                if rate <= 0:
                    raise claim.refuted(
                        "a learning rate is not positive", where=f"learning_rate({step})", analytic=rate
                    )
            arguments = {"grads": grads, "opt_state": opt_state, "params": params, "step": step}
            updates, opt_state = call_purely(claim, "update", optimizer.update, arguments)
            expect_unshared(claim, "update", {"updates": updates, "opt_state": opt_state}, arguments)
            expect_like(claim, "updates", updates, part.params)
            params = apply_updates(params, updates)
            expect_like(claim, "params", params, part.params)
            expect_like(claim, "opt_state", opt_state, first)
            for path, leaf in tree.named_leaves(params):
                expect_finite(claim, path_in("params", path), leaf)
            for part_name, made in (("updates", updates), ("opt_state", opt_state)):
                if writable := [path for path, leaf in tree.named_leaves(made) if leaf.flags.writeable]:
                    raise claim.refuted(
                        "an update's results can be written to",
                        where=path_in(part_name, writable[0]),
                        cause="use tree.map",
                    )
    calls = 2 * _STEPS
    return Property("structure, shapes and dtypes", calls), Property(PURITY, calls)


def _prove_descent(case: _Case) -> Property:
    """The first update, from a fresh state, has a negative inner product with the gradient of each array."""
    optimizer, params, grads = case.optimizer, case.params, case.grads[0]
    updates, _ = optimizer.update(grads, optimizer.init(params), params, 0, loss=_LOSS)
    compared = 0
    for (path, g), change in zip(tree.named_leaves(grads), tree.leaves(updates), strict=True):
        inner = float(np.vdot(g, change))
        if not inner < 0:
            raise case.claim.refuted(
                "the first step does not go downhill",
                where=path_in("params", path),
                detail=f"the inner product of gradient and change is {inner:g}",
                cause="a flipped sign" if inner > 0 else "the gradient is not used",
            )
        compared += 1
    return Property("the first step goes downhill", compared)


def _prove_rule(case: _Case, rule: Rule, within: dict[str, float]) -> Property:
    def by_rule(w: Any, *gradients: Any) -> Any:
        numbers = zip(*(a.ravel().tolist() for a in (w, *gradients)), strict=True)
        return np.array([rule(first, rest) for first, *rest in numbers]).reshape(w.shape)

    expected = tree.map(by_rule, case.params, *case.grads)
    return agree(
        case.claim,
        "the rule",
        "the updates do not follow the rule",
        got=case.numbers(),
        wanted=dict(tree.named_leaves(expected, "params")),
        within=within,
    )
