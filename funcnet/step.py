"""The step: one update from one batch. The plain step here is the reference for every engine.

batch -> forward -> loss -> vjp -> + penalties -> optimizer -> advance -> new TrainState
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, Protocol, runtime_checkable

import attrs
import numpy as np
from attrs.converters import optional

from funcnet import aligned, contract, random, tree
from funcnet.arrays import shielded
from funcnet.layer import AnyLayer, Layer, advance, run_forward
from funcnet.losses import Loss
from funcnet.optimizers import Moment, Optimizer, apply_updates, expect_optimizer
from funcnet.penalties import Penalty
from funcnet.random import Key, expect_key
from funcnet.shapes import Array, Float, Num, ShapeError, expect
from funcnet.tree import Tree

__all__ = [
    "PLAIN",
    "Batch",
    "Engine",
    "Evaluation",
    "Grad",
    "Metrics",
    "PenaltyValue",
    "Predict",
    "Progress",
    "Step",
    "TrainState",
    "init_state",
    "make_grad",
    "make_update",
]

# Steps draw from this child of the run's key, by their numbers. The children of smaller numbers are for epochs.
_STEPS = 2**32 - 1


@attrs.frozen(eq=False)
class Batch(tree.Record):
    """Examples and their targets: x (batch, ...) floating-point, y (batch, ...) labels or numbers.

    ``weight`` (batch,) says how much each example counts in the loss and in the accuracy, which are weighted means. It
    is finite and not negative, in the dtype of x. None stands for the same weight everywhere.
    """

    x: Float[Array, "batch ..."] = attrs.field(converter=tree.readonly_view)
    y: Num[Array, "batch ..."] = attrs.field(converter=tree.readonly_view)
    weight: Float[Array, "batch"] | None = attrs.field(default=None, converter=optional(tree.readonly_view))

    def __len__(self) -> int:
        return int(self.x.shape[0])

    @property
    def targets(self) -> tuple[Array, ...]:
        """What a loss takes beside the prediction: ``(y,)``, or ``(y, weight)``."""
        return (self.y,) if self.weight is None else (self.y, self.weight)


@attrs.frozen
class Progress(tree.Record):
    """How far a run of ``train`` has come, and what one of its epochs is.

    Attributes:
        epoch: how many epochs are finished.
        batches: how many batches of the next epoch are done.
        batch_size: the examples of a batch.
        examples: the training examples of an epoch.
        step: the step of the state that this is about. A state of another step was made by steps outside ``train``.
        seconds: the time of the steps done of the next epoch.
        metrics: (batches, 2 + penalties) float64: the data loss, the accuracy and the penalties of each batch done of
            the next epoch.
        ratios: (samples, arrays) float64: the update ratios sampled so far in the next epoch, NaN where there is none.
    """

    epoch: int
    batches: int
    batch_size: int
    examples: int
    step: int
    seconds: float = attrs.field(eq=False)  # no two runs have the same
    metrics: Float[Array, "batches numbers"] = tree.array_field(repr=False)
    ratios: Float[Array, "samples arrays"] = tree.array_field(repr=False)


@attrs.frozen
class TrainState(tree.Record):
    """All that a step changes, and all that is needed to go on training.

    Attributes:
        params: the network's parameters.
        opt_state: the optimizer's state, a tree.
        key: the key of the run. ``train`` draws the order of an epoch's examples from it and the epoch's number; a
            step draws what its layers need from it and the step's number.
        step: the number of updates made.
        progress: how far ``train`` has come with it; None for a state that is not one of its own. Steps keep it as it
            is.
    """

    params: Tree
    opt_state: Tree
    key: Key
    step: int = 0
    progress: Progress | None = None


def itself(value: float) -> float | str:
    """The value that equality compares: NaN is equal to NaN."""
    return "nan" if math.isnan(value) else value


@attrs.frozen
class PenaltyValue:
    """The value of one penalty: ``PenaltyValue("[1].weight", "l2", 0.37)``."""

    path: str
    name: str
    value: float = attrs.field(eq=itself)


@attrs.frozen
class Evaluation:
    """The loss and accuracy of a network on some examples. The data loss and every penalty are apart.

    Attributes:
        data_loss: the mean loss over the examples, without any penalty; if they have weights, the weighted mean.
        penalties: the value of each penalty; they depend on the parameters alone.
        accuracy: the share of right answers, weighted likewise; NaN for a loss without accuracy.
        examples: how many examples there were.
    """

    data_loss: float = attrs.field(eq=itself)
    penalties: tuple[PenaltyValue, ...]
    accuracy: float = attrs.field(eq=itself)
    examples: int

    @property
    def penalty(self) -> float:
        """The sum of the penalties."""
        return tree.exact_sum([p.value for p in self.penalties])

    @property
    def loss(self) -> float:
        """The total that training minimises: data loss and penalties."""
        return self.data_loss + self.penalty


@runtime_checkable
class Step(Protocol):
    """``step(state, batch) -> (state, metrics)``."""

    def __call__(
        self, state: TrainState, batch: Batch, *, penalty_values: bool = True
    ) -> tuple[TrainState, Evaluation]: ...


@runtime_checkable
class Grad(Protocol):
    """``grad(params, batch, key) -> (metrics, grads)``."""

    def __call__(
        self, params: Any, batch: Batch, key: Key | None = None, *, penalty_values: bool = True
    ) -> tuple[Evaluation, Any]: ...


@runtime_checkable
class Predict(Protocol):
    """``predict(x) -> y``."""

    def __call__(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]: ...


@attrs.frozen(repr=False)
class Engine:
    """A way to run steps, evaluations and predictions. All give the same numbers but for rounding.

    Attributes:
        name: how records and messages call it.
        make_step: ``(net, loss, optimizer, penalties, donate) -> step``.
        make_predict: ``(net, params) -> predict``.
        value_and_grad: ``(loss) -> the loss's value_and_grad``, or a faster function that stands for it. Both take
            weights after the target, if the batch has them.
        accuracy: ``(loss) -> the loss's accuracy``, or a faster one; None where the loss has none.
        penalty_value: ``(penalty, array) -> its value``.
        copy_state: ``(state) -> state``: a copy, in the memory layout on which the engine is fastest.
        kernels: ``(net, loss, optimizer, penalties) -> (part, kernel) pairs``: the name of the kernel for each part of
            a step. The name is empty if the pure function runs.
    """

    name: str
    make_step: Callable[[AnyLayer, Loss, Optimizer, Mapping[str, Penalty], bool], Step]
    make_predict: Callable[[AnyLayer, Tree], Predict]
    value_and_grad: Callable[[Loss], Callable[..., tuple[Any, Array]]]
    accuracy: Callable[[Loss], Callable[..., Any] | None]
    penalty_value: Callable[[Penalty, Array], float]
    copy_state: Callable[[TrainState], TrainState]
    kernels: Callable[[AnyLayer, Loss, Optimizer, Mapping[str, Penalty]], tuple[tuple[str, str], ...]]

    def __repr__(self) -> str:
        return self.name


def init_state(params: Tree, optimizer: Optimizer, key: Key) -> TrainState:
    """The state before the first step.

    Raises:
        TypeError: if the optimizer or the key is not one.
    """
    expect_optimizer(optimizer)
    expect_key(key)
    return TrainState(params, optimizer.init(params), key)


# --- pure functions, which JAX can trace


@attrs.frozen
class Metrics(tree.Record):
    """The numbers that a pure step returns: 0-d arrays or floats. Penalties are in the order of the mapping."""

    data_loss: Any
    accuracy: Any
    penalties: tuple[Any, ...]


def make_update(
    net: AnyLayer, loss: Loss, optimizer: Optimizer, penalties: Mapping[str, Penalty] | None = None
) -> Callable[..., tuple[Tree, Tree, Metrics]]:
    """The whole step as one pure function of arrays, of any namespace.

    ``update(params, opt_state, x, y, rate, step=0, key=None, weight=None, numbers=None)`` returns ``(params, opt_state,
    metrics)``. ``rate`` is the learning rate of this step, and ``weight`` those of the examples. A network that draws
    needs the key. Under ``jax.jit`` all arguments may be traced; the key is then one of ``jax.random``. Nothing is
    checked.

    ``numbers`` are those of ``optimizer.moment(step)``. By default the optimizer's schedules are asked for them. Where
    these are more than constants they cannot be asked under a tracer, and the numbers must be given.
    """
    made = dict(penalties or {})

    def update(
        params: Tree,
        opt_state: Tree,
        x: Any,
        y: Any,
        rate: Any,
        step: Any = 0,
        key: Any = None,
        weight: Any = None,
        numbers: tuple[Any, ...] | None = None,
    ) -> tuple[Tree, Tree, Metrics]:
        if numbers is None:
            numbers = tuple(schedule(step) for schedule in optimizer.schedules)
        prediction, residuals = run_forward(net, params, x, key)
        targets = (y,) if weight is None else (y, weight)
        data_loss, dprediction = loss.value_and_grad(prediction, *targets)
        accuracy = math.nan if loss.pure_accuracy is None else loss.pure_accuracy(prediction, *targets)
        grads, _ = net.pure_vjp(params, residuals, dprediction, need_dx=False)
        arrays = dict(tree.named_leaves(params)) if made else {}
        grads = add_on_paths(penalty_grads(made, arrays), grads)
        metrics = Metrics(data_loss, accuracy, tuple(p.value(arrays[path]) for path, p in made.items()))
        updates, opt_state = optimizer.pure_update(grads, opt_state, params, Moment(step, rate, data_loss, numbers))
        return advance(net, apply_updates(params, updates), residuals), opt_state, metrics

    return update


@shielded
def penalty_grads(penalties: Mapping[str, Penalty], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The gradient of each penalty, by its path."""
    return {path: penalty.grad(arrays[path]) for path, penalty in penalties.items()}


@shielded
def add_on_paths(own: Mapping[str, Array], grads: Tree) -> Tree:
    """The gradient of the total loss, from those of the penalties and that of the data loss."""
    return tree.map_named(lambda path, grad: own[path] + grad if path in own else grad, grads) if own else grads


# --- the plain engine, which checks its arguments and then runs these


def make_grad(net: AnyLayer, loss: Loss, penalties: Mapping[str, Penalty] | None = None) -> Grad:
    """The pure function ``grad(params, batch, key=None) -> (metrics, grads)``: the gradient of the total loss.

    It is the data loss's gradient by the network's vjp, plus the gradient of each penalty. With
    ``penalty_values=False`` the metrics have no penalties, as those of a step. The key is for a network that draws.

    Raises:
        TypeError: if the loss or a penalty is not one; by the function, for a missing key.
        ShapeError: by the function, where batch, parameters and network do not fit.
        ValueError: by the function, for a penalty on a path that the parameters do not have.
    """
    return partial(_grad, net, loss, checked(net, loss, penalties))


def _grad(
    net: AnyLayer,
    loss: Loss,
    penalties: Mapping[str, Penalty],
    params: Tree,
    batch: Batch,
    key: Key | None = None,
    *,
    penalty_values: bool = True,
) -> tuple[Evaluation, Tree]:
    metrics, grads, _ = _checked_gradient(net, loss, penalties, params, batch, key, penalty_values=penalty_values)
    return metrics, grads


def _checked_gradient(
    net: AnyLayer,
    loss: Loss,
    penalties: Mapping[str, Penalty],
    params: Tree,
    batch: Batch,
    key: Key | None,
    *,
    penalty_values: bool,
) -> tuple[Evaluation, Tree, Any]:
    arrays = dict(tree.named_leaves(tree.trained(params)))
    expect_paths(penalties, arrays)
    prediction, residuals = net.forward(params, batch.x, key)
    data_loss, dprediction = loss(prediction, *batch.targets)
    accuracy = math.nan if loss.accuracy is None else loss.accuracy(prediction, *batch.targets)
    grads, _ = net.vjp(params, residuals, dprediction, need_dx=False)
    # A user's layer may forget a sum over the batch, or return float64.
    expect_arrays("the gradient", dict(tree.named_leaves(grads)), arrays)
    with np.errstate(all="ignore"):
        values = penalty_values_of(penalties, arrays) if penalty_values else ()
        own = penalty_grads(penalties, arrays)
        for path, grad in own.items():
            made = np.asarray(grad) if isinstance(grad, np.generic) else grad  # arithmetic on 0-d arrays makes scalars
            expect(penalties[path].name, f"the gradient on {path}", made, arrays[path].shape, arrays[path].dtype)
        total = add_on_paths(own, grads)
    return Evaluation(data_loss, values, accuracy, len(batch)), total, residuals


def step_key(net: AnyLayer, state: TrainState) -> Key | None:
    """The key of the state's next step, for a network that draws."""
    return random.fold_in(random.fold_in(state.key, _STEPS), state.step) if net.draws else None


def _make_plain_step(
    net: AnyLayer, loss: Loss, optimizer: Optimizer, penalties: Mapping[str, Penalty], donate: bool
) -> Step:
    def step(state: TrainState, batch: Batch, *, penalty_values: bool = True) -> tuple[TrainState, Evaluation]:
        metrics, grads, residuals = _checked_gradient(
            net, loss, penalties, state.params, batch, step_key(net, state), penalty_values=penalty_values
        )
        with np.errstate(all="ignore"):
            updates, opt_state = optimizer.update(
                grads, state.opt_state, state.params, state.step, loss=metrics.data_loss
            )
            params = apply_updates(state.params, updates)
            # A user's optimizer or layer may get these wrong.
            arrays = dict(tree.named_leaves(state.params))
            expect_arrays(f"{optimizer.name}'s update", dict(tree.named_leaves(params)), arrays)
            params = advance(net, params, residuals)
            expect_arrays(f"{net.name}'s advance", dict(tree.named_leaves(params)), arrays)
        return TrainState(params, opt_state, state.key, state.step + 1, state.progress), metrics

    return step


def _make_plain_predict(net: AnyLayer, params: Tree) -> Predict:
    return partial(net.predict, params)


def _plain_penalty_value(penalty: Penalty, array: Array) -> float:
    return float(contract.penalty_value(penalty, array))


def _copy_state(state: TrainState) -> TrainState:
    def copy(array: Array) -> Array:
        return aligned.copy(array) if isinstance(array, np.ndarray) else array  # nothing writes over other arrays

    params, opt_state = (tree.map(copy, part) for part in (state.params, state.opt_state))
    return attrs.evolve(state, params=params, opt_state=opt_state)


def _plain_kernels(
    net: AnyLayer, loss: Loss, optimizer: Optimizer, penalties: Mapping[str, Penalty]
) -> tuple[tuple[str, str], ...]:
    return ()


PLAIN = Engine(
    "plain",
    make_step=_make_plain_step,
    make_predict=_make_plain_predict,
    value_and_grad=attrgetter("value_and_grad"),
    accuracy=attrgetter("pure_accuracy"),
    penalty_value=_plain_penalty_value,
    copy_state=_copy_state,
    kernels=_plain_kernels,
)


# --- checks of the parts of a step


def expect_net(net: object) -> None:
    """Require a layer.

    Raises:
        TypeError: for anything else, saying how one is made.
    """
    if not isinstance(net, Layer):
        raise TypeError(f"a network is a layer, such as a chain; got {net!r:.80}")


def checked(net: AnyLayer, loss: Loss, penalties: Mapping[str, Penalty] | None) -> dict[str, Penalty]:
    """Require a layer, a loss and penalties. Return the penalties as a dict.

    Raises:
        TypeError: for anything else, saying how they are made.
    """
    expect_net(net)
    if not isinstance(loss, Loss):
        raise TypeError(f"a loss is made by a call, such as softmax_cross_entropy(); got {loss!r:.80}")
    if not isinstance(penalties, Mapping | None) or not all(isinstance(p, Penalty) for p in (penalties or {}).values()):
        raise TypeError(
            'penalties map paths to penalties, such as {"[1].weight": l2(1e-4)} or each_weight(l2(1e-4), params); '
            f"got {penalties!r:.80}"
        )
    return dict(penalties or {})


def expect_paths(penalties: Mapping[str, Penalty], arrays: Mapping[str, Array]) -> None:
    """Require that every penalty is on a trained array.

    Raises:
        ValueError: naming the paths of those that are not.
    """
    if unknown := penalties.keys() - arrays.keys():
        raise ValueError(
            f"there is a penalty on {', '.join(sorted(unknown))}, but the parameters are {', '.join(arrays) or 'none'}"
        )


def penalty_values_of(
    penalties: Mapping[str, Penalty],
    arrays: Mapping[str, Array],
    value: Callable[[Penalty, Array], float] = PLAIN.penalty_value,
) -> tuple[PenaltyValue, ...]:
    """The value of each penalty."""
    return tuple(PenaltyValue(path, p.name, value(p, arrays[path])) for path, p in penalties.items())


def expect_arrays(what: str, made: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    """Require arrays on the same paths, in the same shapes and dtypes.

    Raises:
        ShapeError: naming ``what`` and the path.
    """
    if list(made) != list(wanted):
        given, expected = (", ".join(named) or "no arrays" for named in (made, wanted))
        raise ShapeError(what, f"a tree like params, with {expected}", given)
    for path, param in wanted.items():
        array = made[path]
        if array.shape != param.shape or array.dtype != param.dtype:
            raise ShapeError(
                f"{what} of {path or 'params'}",
                f"{param.dtype} of shape {param.shape}",
                f"{array.dtype} of shape {array.shape}",
            )


def expect_state_of(optimizer: Optimizer, state: TrainState) -> None:
    """Require an ``opt_state`` such as this optimizer makes for these parameters.

    Raises:
        ValueError: for another one.
    """
    made, given = (
        [(path, array.shape, array.dtype) for path, array in tree.named_leaves(opt_state)]
        for opt_state in (optimizer.init(state.params), state.opt_state)
    )
    if made != given:
        raise ValueError(
            f"the state's opt_state is none of {optimizer.name} for these parameters (init_state makes one): expected "
            f"{_listed(made)}, got {_listed(given)}"
        )


def _listed(arrays: list[tuple[str, tuple[int, ...], Any]]) -> str:
    return ", ".join(f"{path} {dtype} of shape {shape}" for path, shape, dtype in arrays) or "no arrays"
