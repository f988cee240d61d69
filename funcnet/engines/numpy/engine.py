"""The NumPy engine: steps that write over a donated state, and predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import attrs
import numpy as np

from funcnet import aligned, contract, tree
from funcnet.engines.numpy.blas import fast_order
from funcnet.engines.numpy.cores import one_blas_thread
from funcnet.engines.numpy.kernel import LayerKernel
from funcnet.engines.numpy.losses import fast_loss
from funcnet.engines.numpy.optimizers import InPlace, has_kernel, in_place
from funcnet.engines.numpy.penalties import add_gradient, penalty_kernels, penalty_value
from funcnet.engines.numpy.planner import kernel_names, plan
from funcnet.layer import AnyLayer, advance
from funcnet.losses import Loss
from funcnet.optimizers import Moment, Optimizer
from funcnet.penalties import Penalty
from funcnet.shapes import Array, not_an_array
from funcnet.step import (
    Batch,
    Engine,
    Evaluation,
    Predict,
    Step,
    TrainState,
    expect_arrays,
    expect_paths,
    expect_state_of,
    penalty_values_of,
    step_key,
)
from funcnet.tree import Tree

__all__ = ["NUMPY"]


def _value_and_grad(loss: Loss) -> Callable[..., tuple[Any, Array]]:
    return fast_loss(loss.value_and_grad) or loss.value_and_grad


def _accuracy(loss: Loss) -> Callable[..., Any] | None:
    return None if loss.pure_accuracy is None else fast_loss(loss.pure_accuracy) or loss.pure_accuracy


def _make_predict(net: AnyLayer, params: Tree) -> Predict:
    kernel = plan(net)
    owned = kernel.prediction == "own"
    seen: set[Any] = set()

    def predict(x: Array) -> Array:
        _expect_fit(net, params, x, seen)
        with np.errstate(all="ignore"), _threads_for(kernel, x):
            y: Array = kernel.predict(params, x, False)
        return tree.freeze(y if owned else y.view())

    return predict


def _threads_for(kernel: LayerKernel, x: Array) -> AbstractContextManager[None]:
    """BLAS has one thread where kernels divide the images among the cores, and there is more than one image."""
    return one_blas_thread() if kernel.divides and len(x) > 1 else nullcontext()


def _expect_fit(net: AnyLayer, params: Tree, x: Array, seen: set[Any]) -> None:
    """Require params and examples that the network takes. ``seen`` holds the kinds of arrays that were checked."""
    # What the checks depend on: the type of x, and the shape and dtype of its examples.
    kind = (x.__class__, x.dtype.str, x.shape[1:], x.ndim) if isinstance(x, np.ndarray) else None
    if kind not in seen:
        contract.expect_fit(net, params, x)
        for path, array in (("x", x), *tree.named_leaves(params, "params")):
            _expect_numpy(path, array)
        seen.add(kind)


def _expect_numpy(path: str, array: Array) -> None:
    if not isinstance(array, np.ndarray | np.generic):
        raise not_an_array("the NumPy engine", path, array)


@attrs.define(eq=False)
class _Traversal:
    """The cached traversal of a state: what a step finds in it, for all steps that follow.

    Attributes:
        params, opt_state: those of the state.
        everything: the arrays of the parameters by their paths.
        arrays: those of them that are trained.
        penalised: the same arrays, in order, each with its penalty or None.
        own: all arrays of params and opt_state, which steps write over.
        update: the in-place update of these arrays; None if the optimizer has none.
        step: the number of the state that the last update made; None before it.
        seen: the kinds of batches that were checked.
    """

    params: Tree
    opt_state: Tree
    everything: Mapping[str, Array]
    arrays: Mapping[str, Array]
    penalised: list[tuple[Array, Penalty | None]]
    own: list[Array]
    update: InPlace | None
    step: int | None = None
    seen: set[Any] = attrs.field(factory=set)


def _traverse(state: TrainState, optimizer: Optimizer, penalties: Mapping[str, Penalty]) -> _Traversal:
    # The arrays themselves: a record's converter may make others where ``trained`` builds it anew.
    everything = dict(tree.named_leaves(state.params))
    arrays = {path: everything[path] for path, _ in tree.named_leaves(tree.trained(state.params))}
    expect_paths(penalties, arrays)
    expect_state_of(optimizer, state)
    own = [*everything.values(), *tree.leaves(state.opt_state)]
    tree.expect_own(own)
    return _Traversal(
        state.params,
        state.opt_state,
        everything,
        arrays,
        [(array, penalties.get(path)) for path, array in arrays.items()],
        own,
        in_place(optimizer, state.opt_state, arrays),
    )


def _make_step(net: AnyLayer, loss: Loss, optimizer: Optimizer, penalties: Mapping[str, Penalty], donate: bool) -> Step:
    step = _make_donating_step(net, loss, optimizer, penalties, given_up=donate)
    if donate:
        return step

    def pure_step(state: TrainState, batch: Batch, *, penalty_values: bool = True) -> tuple[TrainState, Evaluation]:
        return step(_laid_out(state), batch, penalty_values=penalty_values)

    return pure_step


def _laid_out(state: TrainState) -> TrainState:
    """A copy of the state, with weights in the memory order in which their gradients are made."""

    def copy(path: str, array: Array) -> Array:
        _expect_numpy(path, array)
        return aligned.copy(array, fast_order(*array.shape) if array.ndim == 2 else "K")

    params, opt_state = (tree.map_named(copy, part) for part in (state.params, state.opt_state))
    return attrs.evolve(state, params=params, opt_state=opt_state)


def _make_donating_step(
    net: AnyLayer, loss: Loss, optimizer: Optimizer, penalties: Mapping[str, Penalty], *, given_up: bool
) -> Step:
    kernel, value_and_grad, accuracy = plan(net), _value_and_grad(loss), _accuracy(loss)
    owned = value_and_grad is not loss.value_and_grad  # a kernel does not keep its gradient; a user's loss may
    share = partial(contract.share, loss) if accuracy is loss.pure_accuracy else float
    # The buffer pool: scratch gradients, each with the list of its arrays, whose memory the next step uses again. Their
    # contents mean nothing between steps. A list's pop and append are atomic, so two threads may use one step.
    pool: list[tuple[Tree, list[Array]]] = []
    # The next step is mostly given the last state, so its traversal is cached. Walking through its records again would
    # take a tenth of the step of a network of six small layers.
    last: _Traversal | None = None
    # The parameters that are being written over, by their ids. If Ctrl-C or an error cuts an update off, they stay.
    half_written: dict[int, Tree] = {}

    @contextmanager
    def scratch(found: _Traversal) -> Iterator[tuple[Tree, list[Array]]]:
        try:
            gradient, arrays = pool.pop()
        except IndexError:  # not asked before: another thread may take the last one in between
            gradient, arrays = None, []
        if gradient is None or not _same_shapes(arrays, found.arrays.values()):
            gradient = tree.map(aligned.empty_like, tree.trained(found.params))
            arrays = tree.leaves(gradient)
        with tree.writable(arrays):
            yield gradient, arrays
        pool.append((gradient, arrays))

    def step(state: TrainState, batch: Batch, *, penalty_values: bool = True) -> tuple[TrainState, Evaluation]:
        nonlocal last
        params, opt_state, found = state.params, state.opt_state, last
        if id(params) in half_written:
            raise ValueError(
                "the update of this state was cut off, and its arrays hold neither the old state nor the new one: go "
                "on from a copy (copy_state makes one beforehand)"
            )
        if found is not None and found.params is params and found.step not in (None, state.step):
            raise ValueError(
                f"this state, of step {state.step}, was given up to an earlier step, which wrote that of step "
                f"{found.step} over its arrays: go on from the newest state, or from a copy (copy_state makes one)"
            )
        if found is None or found.params is not params or found.opt_state is not opt_state:
            last = found = _traverse(state, optimizer, penalties)
        _expect_fit(net, params, batch.x, found.seen)
        with np.errstate(all="ignore"), _threads_for(kernel, batch.x):
            prediction, residuals = kernel.forward(params, batch.x, False, step_key(net, state))
            targets = batch.targets
            contract.expect_targets(loss, prediction, *targets)
            made = value_and_grad(prediction, *targets)
            data_loss, dprediction = made if owned else contract.returned_by_loss(loss, made, prediction, batch.y)
            metrics = Evaluation(
                float(data_loss),
                penalty_values_of(penalties, found.arrays, penalty_value) if penalty_values else (),
                math.nan if accuracy is None else share(accuracy(prediction, *targets)),
                len(batch),
            )
            now = optimizer.moment(state.step, metrics.data_loss)
            if given_up:  # else the arrays are this call's own, and nobody can come back with them
                half_written[id(params)] = params
            with tree.writable(found.own):
                opt_state = update(found, now, residuals, dprediction)
            move_fixed(found, residuals)
            half_written.pop(id(params), None)
            found.step = state.step + 1
        return TrainState(params, opt_state, state.key, state.step + 1, state.progress), metrics

    def update(found: _Traversal, now: Moment, residuals: Any, dprediction: Array) -> Tree:
        """Write over the arrays of params and opt_state. Return the optimizer's state."""
        if found.update is not None and found.update.accumulates is not None:
            accumulator, beta = found.update.accumulates
            kernel.backward(found.params, residuals, dprediction, owned, accumulator, beta, False)
            gradients = tree.leaves(accumulator)
            add_penalties(found, gradients)
            found.update.apply(now, gradients)
            return found.opt_state
        with scratch(found) as (gradient, gradients):
            kernel.backward(found.params, residuals, dprediction, owned, gradient, 0.0, False)
            add_penalties(found, gradients)
            if found.update is not None:
                found.update.apply(now, gradients)
                return found.opt_state
            # The scratch arrays are used again, so the optimizer is given copies, which it may keep.
            grads = tree.map(lambda array: array, gradient)
        updates, opt_state = optimizer.pure_update(grads, found.opt_state, found.params, now)
        # What the optimizer kept of the arrays that are written over here, which are writable now, is copied.
        updates, opt_state = (tree.map(lambda array: array, part) for part in (updates, opt_state))
        moves = dict(tree.named_leaves(updates))
        expect_arrays(f"{optimizer.name}'s update", moves, found.arrays)
        for path, array in found.arrays.items():
            array += moves[path]
        return opt_state

    def add_penalties(found: _Traversal, gradients: Iterable[Array]) -> None:
        for (weight, penalty), gradient in zip(found.penalised, gradients, strict=True):
            if penalty is not None:
                add_gradient(penalty, gradient, weight)

    def move_fixed(found: _Traversal, residuals: Any) -> None:
        """Write over the running statistics and the like."""
        if net.pure_advance is None:
            return
        moved = dict(tree.named_leaves(advance(net, found.params, residuals)))
        expect_arrays(f"{net.name}'s advance", moved, found.everything)
        # All are copied before any is written: one may be the old value of another.
        changed = [(old, np.array(moved[path])) for path, old in found.everything.items() if moved[path] is not old]
        with tree.writable([old for old, _ in changed]):
            for old, new in changed:
                np.copyto(old, new)

    return step


def _same_shapes(some: Iterable[Array], others: Iterable[Array]) -> bool:
    return all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(some, others, strict=True))


def _kernels(
    net: AnyLayer, loss: Loss, optimizer: Optimizer, penalties: Mapping[str, Penalty]
) -> tuple[tuple[str, str], ...]:
    def named(part: object, has: bool) -> tuple[str, str]:
        return str(part), str(part) if has else ""

    return (
        *kernel_names(net),
        named(loss, fast_loss(loss.value_and_grad) is not None),
        *(named(penalty, penalty_kernels(penalty)) for penalty in dict.fromkeys(penalties.values())),
        named(optimizer, has_kernel(optimizer)),
    )


NUMPY = Engine("numpy", _make_step, _make_predict, _value_and_grad, _accuracy, penalty_value, _laid_out, _kernels)
