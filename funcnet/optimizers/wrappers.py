"""Optimizers around an optimizer: accumulated gradients, lookahead, and the average of the parameters.

``average`` and ``lookahead`` keep other parameters beside those that are trained. ``evaluated`` gives these: they are
the ones to be used for evaluation, reports and saving. Both go around a whole optimizer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs

from funcnet import tree
from funcnet.arrays import namespace, select
from funcnet.optimizers.arguments import decay_rate
from funcnet.optimizers.optimizer import Moment, Optimizer, Schedule, apply_updates, expect_optimizer
from funcnet.optimizers.transformations import bias_correction, factor_for, number_like, tree_field, zeros
from funcnet.shapes import whole_number
from funcnet.tree import Record, Tree, array_field

__all__ = ["AccumulateState", "AverageState", "LookaheadState", "accumulate", "average", "lookahead"]


def copies(params: Tree) -> Tree:
    """All that is trained, in arrays of its own: an engine may write over parameters that it was given for good."""
    return tree.map(lambda w: namespace(w).asarray(w, copy=True), tree.trained(params))


@attrs.frozen
class AccumulateState(Record):
    """Sums since the last update, and the state of the optimizer inside.

    Attributes:
        total: the sum of the gradients.
        loss: the sum of the losses, a 0-d array; None where nothing is trained.
        inner: the state of the optimizer inside.
    """

    total: Tree = tree_field()
    loss: Any = array_field()
    inner: Tree = tree_field()


def accumulate(optimizer: Optimizer, every: int) -> Optimizer:
    """Gradient accumulation: one update in ``every`` steps, with the mean of their gradients. The others are zeros.

    So a batch may be larger than memory allows. The steps count in groups: the last of each group updates. The
    optimizer inside, and its learning rate, see the number of the group, step // every, and the mean of its losses.

    Raises:
        TypeError: for anything but an optimizer.
        ValueError: for ``every`` below 1.
    """
    expect_optimizer(optimizer)
    every = whole_number("the number of gradients to accumulate", every, 1)
    schedule, inside = optimizer.learning_rate, optimizer.pure_evaluated
    return Optimizer(
        f"accumulate({optimizer}, {every})",
        partial(accumulate_init, optimizer),
        partial(accumulate_update, optimizer, every),
        None if schedule is None else partial(_rate_of_group, schedule, every),
        (optimizer,),
        None if inside is None else partial(accumulate_evaluated, optimizer),
        tuple(partial(_rate_of_group, inner, every) for inner in optimizer.schedules),
    )


def _rate_of_group(schedule: Schedule, every: int, step: int) -> float:
    return schedule(step // every)


def accumulate_init(optimizer: Optimizer, params: Tree) -> AccumulateState:
    arrays = tree.leaves(tree.trained(params))
    loss = number_like(0.0, arrays[0]) if arrays else None
    return AccumulateState(zeros(params), loss, optimizer.init(params))


def accumulate_update(
    optimizer: Optimizer, every: int, grads: Tree, opt_state: AccumulateState, params: Tree, now: Moment
) -> tuple[Tree, AccumulateState]:
    first, last = now.step % every == 0, now.step % every == every - 1

    def restarted(total: Any) -> Any:
        return select(first, namespace(total).zeros_like(total), total)

    def mean(total: Any) -> Any:
        return total / every

    total = tree.map(lambda g, t: restarted(t) + g, grads, opt_state.total)
    loss = tree.map(lambda t: restarted(t) + number_like(now.loss, t), opt_state.loss)
    group = Moment(now.step // every, now.rate, tree.map(mean, loss), now.numbers)
    updates, inner = optimizer.pure_update(tree.map(mean, total), opt_state.inner, params, group)
    # Both cases are computed and one is chosen: a traced step cannot decide what is computed.
    updates = tree.map(lambda u: select(last, u, namespace(u).zeros_like(u)), updates)
    inner = tree.map(lambda new, old: select(last, new, old), inner, opt_state.inner)
    return updates, AccumulateState(total, loss, inner)


def accumulate_evaluated(optimizer: Optimizer, params: Tree, opt_state: AccumulateState) -> Tree:
    return optimizer.evaluated(params, opt_state.inner)


@attrs.frozen
class LookaheadState(Record):
    """The slow weights, and the state of the optimizer inside."""

    slow: Tree = tree_field()
    inner: Tree = tree_field()


def lookahead(optimizer: Optimizer, every: int = 5, share: float | Schedule = 0.5) -> Optimizer:
    """Every ``every`` steps: slow <- slow + share (fast - slow), and the fast weights begin again at the slow ones.

    The parameters are the fast weights, which the optimizer inside moves. The slow ones are in the state, and
    ``evaluated`` gives them. The share is a number, or a function of the step: with a share of 1 at first and a small
    one at the end, the slow weights average the last steps only.

    Zhang, Lucas, Hinton & Ba, "Lookahead optimizer: k steps forward, 1 step back" (NeurIPS 2019), algorithm 1.

    Raises:
        TypeError: for anything but an optimizer.
        ValueError: for ``every`` below 1, a share outside (0, 1], or an optimizer that averages the parameters: it
            would not see the fast weights begin again. By an update, for a share outside (0, 1].
    """
    expect_optimizer(optimizer)
    every = whole_number("the number of steps between looks ahead", every, 1)
    if not callable(share):
        share = _share(share)
    if optimizer.pure_evaluated is not None:
        raise ValueError(f"an average goes around lookahead, average(lookahead(...)), not inside; got {optimizer}")
    return Optimizer(
        f"lookahead({optimizer}, {every}, {'scheduled' if callable(share) else f'{share:g}'})",
        partial(lookahead_init, optimizer),
        partial(lookahead_update, optimizer, every, None if callable(share) else share),
        optimizer.learning_rate,
        (optimizer,),
        lookahead_evaluated,
        (*((partial(_share_at, share),) if callable(share) else ()), *optimizer.schedules),
    )


def _share(share: float) -> float:
    if not 0 < share <= 1:
        raise ValueError(f"the share of a look ahead lies in (0, 1], got {share}")
    return float(share)


def _share_at(shares: Schedule, step: int) -> float:
    return _share(shares(step))


def lookahead_init(optimizer: Optimizer, params: Tree) -> LookaheadState:
    return LookaheadState(copies(params), optimizer.init(params))


def lookahead_update(
    optimizer: Optimizer,
    every: int,
    share: float | None,
    grads: Tree,
    opt_state: LookaheadState,
    params: Tree,
    now: Moment,
) -> tuple[Tree, LookaheadState]:
    if share is None:  # it is scheduled
        share, now = now.numbers[0], attrs.evolve(now, numbers=now.numbers[1:])
    updates, inner = optimizer.pure_update(grads, opt_state.inner, params, now)
    fast = apply_updates(params, updates)
    last = now.step % every == every - 1
    slow = tree.map(lambda s, f: select(last, s + factor_for(s, share) * (f - s), s), opt_state.slow, fast)
    updates = tree.map(lambda u, w, s: select(last, s - w, u), updates, params, slow)
    return updates, LookaheadState(slow, inner)


def lookahead_evaluated(params: Tree, opt_state: LookaheadState) -> Tree:
    return tree.combine(opt_state.slow, params)


@attrs.frozen
class AverageState(Record):
    """The average of the parameters, after bias correction, and the state of the optimizer inside."""

    average: Tree = tree_field()
    inner: Tree = tree_field()


def average(optimizer: Optimizer, decay: float = 0.999) -> Optimizer:
    """The exponential moving average of the parameters, which ``evaluated`` gives. It does not change the training.

    With w the parameters after the update, and t = step + 1 the number of updates:

        s <- decay s + (1 - decay) w, from 0;      average = s / (1 - decay^t)

    The state keeps the average itself, for which this is

        average <- average + (1 - decay) / (1 - decay^t) (w - average)

    What is not trained is not averaged. Averaging within ``accumulate`` counts updates, around it steps.

    Polyak & Juditsky, "Acceleration of stochastic approximation by averaging" (1992); the bias correction is that of
    Kingma & Ba, "Adam: a method for stochastic optimization" (ICLR 2015), section 7.2.

    Raises:
        TypeError: for anything but an optimizer.
        ValueError: for a decay outside [0, 1).
    """
    expect_optimizer(optimizer)
    decay = decay_rate("an average", decay)
    return Optimizer(
        f"average({optimizer}, {decay:g})",
        partial(average_init, optimizer),
        partial(average_update, optimizer, decay),
        optimizer.learning_rate,
        (optimizer,),
        average_evaluated,
        optimizer.schedules,
    )


def average_init(optimizer: Optimizer, params: Tree) -> AverageState:
    return AverageState(copies(params), optimizer.init(params))


def average_update(
    optimizer: Optimizer, decay: float, grads: Tree, opt_state: AverageState, params: Tree, now: Moment
) -> tuple[Tree, AverageState]:
    updates, inner = optimizer.pure_update(grads, opt_state.inner, params, now)

    def moved(a: Any, w: Any) -> Any:
        return a + (1 - decay) / bias_correction(decay, now.step, a) * (w - a)

    return updates, AverageState(tree.map(moved, opt_state.average, apply_updates(params, updates)), inner)


def average_evaluated(params: Tree, opt_state: AverageState) -> Tree:
    return tree.combine(opt_state.average, params)
