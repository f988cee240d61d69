"""What an optimizer is: a gradient transformation, a pair of pure functions.

    init(params) -> opt_state
    update(grads, opt_state, params, step, loss=...) -> (updates, opt_state)

    params <- params + updates        (apply_updates)

A transformation takes gradients and returns what is to be added to the parameters. Transformations are chained by
``compose``: each takes what the one before it returns. An optimizer is a chain that ends with the learning rate. This
is the design of Optax (DeepMind, "The DeepMind JAX ecosystem", 2020).

``step`` counts the updates before this one, from 0. Gradients and updates are trees like ``params``, with None where
something is not trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import attrs

from funcnet import tree
from funcnet.arrays import shielded
from funcnet.optimizers.arguments import positive_rate
from funcnet.tree import Record, Tree

__all__ = ["Moment", "Optimizer", "Schedule", "apply_updates", "compose", "expect_optimizer"]

Schedule: TypeAlias = Callable[[int], float]


@attrs.frozen
class Moment(Record):
    """What an update is told beside the gradients. Under ``jax.jit`` all numbers may be traced.

    Attributes:
        step: the number of updates before this one.
        rate: the learning rate now. It is nan where the optimizer has none.
        loss: the loss of the batch. It is nan where it was not told.
        numbers: what the optimizer's ``schedules`` give now, in their order.
    """

    step: Any
    rate: Any
    loss: Any = math.nan
    numbers: tuple[Any, ...] = ()


PureUpdate: TypeAlias = Callable[[Tree, Tree, Tree, Moment], tuple[Tree, Tree]]


@attrs.frozen(repr=False, eq=False)
class Optimizer:
    """An optimizer, or a part of one: a gradient transformation.

    The functions are module-level ones with their hyperparameters bound by ``functools.partial``. So optimizers can be
    pickled, and an engine recognises a transformation by its function.

    Attributes:
        name: the name in messages, tables and reports.
        init: ``init(params) -> opt_state``.
        pure_update: ``pure_update(grads, opt_state, params, now) -> (updates, opt_state)``, with ``now`` a Moment. The
            constructor calls it ``update``. An engine calls it, also under ``jax.jit``.
        learning_rate: ``learning_rate(step) -> rate``, or None for a transformation without one.
        parts: the optimizers that this one is made of.
        pure_evaluated: ``pure_evaluated(params, opt_state) -> params``: the parameters to be used for predictions,
            where these are not the ones that are trained. The constructor calls it ``evaluated``.
        schedules: what else follows the step, such as the rates of some arrays. An update is told their numbers.
    """

    name: str
    init: Callable[[Tree], Tree]
    pure_update: PureUpdate = attrs.field(alias="update")
    learning_rate: Schedule | None = None
    parts: tuple[Optimizer, ...] = ()
    pure_evaluated: Callable[[Tree, Tree], Tree] | None = attrs.field(default=None, alias="evaluated")
    schedules: tuple[Schedule, ...] = ()

    def __repr__(self) -> str:
        return self.name

    def rate(self, step: int) -> float:
        """The learning rate of this step; nan where there is none.

        Raises:
            ValueError: for a rate that is not finite and positive.
        """
        return math.nan if self.learning_rate is None else positive_rate(self.learning_rate(step))

    def moment(self, step: int, loss: Any = math.nan) -> Moment:
        """What an update of this step is told. An engine asks for it outside ``jax.jit``.

        Raises:
            ValueError: for a learning rate, or another number of a schedule, that is out of its range.
        """
        return Moment(step, self.rate(step), loss, tuple(schedule(step) for schedule in self.schedules))

    @shielded
    def update(
        self, grads: Tree, opt_state: Tree, params: Tree, step: int, *, loss: Any = math.nan
    ) -> tuple[Tree, Tree]:
        """The updates, to be added to the parameters, and the next state.

        Raises:
            ValueError: for a learning rate that is not finite and positive, or trees that differ in structure.
        """
        return self.pure_update(grads, opt_state, params, self.moment(step, loss))

    @shielded
    def evaluated(self, params: Tree, opt_state: Tree) -> Tree:
        """The parameters to be used for predictions: an average that the optimizer keeps, or ``params`` themselves."""
        return params if self.pure_evaluated is None else self.pure_evaluated(params, opt_state)


def expect_optimizer(optimizer: object) -> None:
    """Require an optimizer.

    Raises:
        TypeError: for anything else, saying how one is made.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"an optimizer is made by a call, such as momentum(0.1); got {optimizer!r:.80}")


@shielded
def apply_updates(params: Tree, updates: Tree) -> Tree:
    """params + updates. Where ``updates`` has None, the parameters are kept.

    Raises:
        ValueError: where the trees differ in structure, naming the place.
    """
    return tree.combine(tree.map(lambda u, w: w + u, updates, params), params)


def compose(*parts: Optimizer, name: str | None = None) -> Optimizer:
    """The chain of transformations: each takes the updates of the one before it, the first takes the gradients.

    All of them see the same parameters. The state is the tuple of the parts' states. The learning rate is that of the
    only part that has one. A part that keeps an average of the parameters (``average``, ``lookahead``) comes last,
    since it has to see the updates as they are applied; its ``evaluated`` is that of the chain.

    Raises:
        TypeError: for a part that is no optimizer.
        ValueError: for two learning rates, or a part that keeps an average and is not the last one.
    """
    for part in parts:
        expect_optimizer(part)
    rated = [part for part in parts if part.learning_rate is not None]
    if len(rated) > 1:
        raise ValueError(f"a chain has one learning rate, got those of {rated[0]} and of {rated[1]}")
    for part in parts[:-1]:
        if part.pure_evaluated is not None:
            raise ValueError(
                f"what averages the parameters goes around the whole chain, or at its end; got {part} before others"
            )
    averages = bool(parts) and parts[-1].pure_evaluated is not None
    return Optimizer(
        f"compose({', '.join(part.name for part in parts)})" if name is None else name,
        partial(compose_init, parts),
        partial(compose_update, parts),
        rated[0].learning_rate if rated else None,
        parts,
        partial(compose_evaluated, parts[-1]) if averages else None,
        tuple(schedule for part in parts for schedule in part.schedules),
    )


def compose_init(parts: tuple[Optimizer, ...], params: Tree) -> tuple[Tree, ...]:
    return tuple(part.init(params) for part in parts)


def compose_update(
    parts: tuple[Optimizer, ...], grads: Tree, opt_state: tuple[Tree, ...], params: Tree, now: Moment
) -> tuple[Tree, tuple[Tree, ...]]:
    updates, states, numbers = grads, [], now.numbers
    for part, part_state in zip(parts, opt_state, strict=True):
        own, numbers = numbers[: len(part.schedules)], numbers[len(part.schedules) :]
        updates, new_state = part.pure_update(updates, part_state, params, Moment(now.step, now.rate, now.loss, own))
        states.append(new_state)
    return updates, tuple(states)


def compose_evaluated(last: Optimizer, params: Tree, opt_state: tuple[Tree, ...]) -> Tree:
    return last.evaluated(params, opt_state[-1])
