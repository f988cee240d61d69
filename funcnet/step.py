"""The step: one batch, one update; and the evaluation of a network over many examples.

batch -> forward -> loss -> vjp -> + penalties -> optimizer -> new TrainState
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import attrs

from funcnet import aligned, tree
from funcnet.inplace import twin_of
from funcnet.layer import AnyLayer, add_vjp, make_predict
from funcnet.losses import Loss
from funcnet.optimizers import Gradient, Optimizer, expect_optimizer
from funcnet.penalties import Penalty, add_grad
from funcnet.random import Key, expect_key
from funcnet.shapes import Array, Float, Num, ShapeError, expect
from funcnet.tree import Tree

__all__ = [
    "Batch",
    "Evaluation",
    "Grad",
    "PenaltyValue",
    "Step",
    "TrainState",
    "copy_state",
    "evaluate",
    "make_grad",
    "make_step",
    "start",
]


@attrs.frozen(eq=False)
class Batch(tree.Record):
    """Examples and what is to be said of them: x (batch, ...) floating-point, y (batch, ...) labels or targets."""

    x: Float[Array, "batch ..."] = attrs.field(converter=tree.readonly_view)
    y: Num[Array, "batch ..."] = attrs.field(converter=tree.readonly_view)

    def __len__(self) -> int:
        return len(self.x)


@attrs.frozen
class TrainState:
    """All that a step changes, and all that is needed to go on training.

    Attributes:
        params: the network's parameters.
        opt_state: the optimizer's state, a tree.
        key: the key of the run; ``train`` draws the order of each epoch's examples from it and the epoch's number.
        step: the number of updates made.
    """

    params: Tree
    opt_state: Tree
    key: Key
    step: int = 0


def _itself(value: float) -> float | str:
    """What a number is compared by: records of which some are not a number are equal all the same."""
    return "nan" if math.isnan(value) else value


@attrs.frozen
class PenaltyValue:
    """What one penalty came to: ``PenaltyValue("[1].weight", "l2", 0.37)``."""

    path: str
    name: str
    value: float = attrs.field(eq=_itself)


@attrs.frozen
class Evaluation:
    """How a network did on some examples, the data loss and every penalty apart.

    Attributes:
        data_loss: the mean loss over the examples, without any penalty.
        penalties: the value of each penalty; they depend on the parameters alone.
        accuracy: the share of right answers, not a number for a loss that has none.
        examples: how many examples there were.
    """

    data_loss: float = attrs.field(eq=_itself)
    penalties: tuple[PenaltyValue, ...]
    accuracy: float = attrs.field(eq=_itself)
    examples: int

    @property
    def penalty(self) -> float:
        """The sum of the penalties."""
        return math.fsum(p.value for p in self.penalties)

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
    """``grad(params, batch) -> (metrics, grads)``."""

    def __call__(self, params: Any, batch: Batch, *, penalty_values: bool = True) -> tuple[Evaluation, Any]: ...


def start(params: Tree, optimizer: Optimizer, key: Key) -> TrainState:
    """The state before the first step.

    Raises:
        TypeError: for an optimizer or a key that is none.
    """
    expect_optimizer(optimizer)
    expect_key(key)
    return TrainState(params, optimizer.init(params), key)


def make_step(
    net: AnyLayer,
    loss: Loss,
    optimizer: Optimizer,
    penalties: Mapping[str, Penalty] | None = None,
    *,
    donate: bool = False,
) -> Step:
    """The pure function ``step(state, batch) -> (state, metrics)`` of one update.

    The metrics are those of the batch with the parameters before the update. ``penalties`` maps paths in the
    parameters, such as ``"[1].weight"``, to penalties (``each_weight`` writes this mapping).

    The values of the penalties cost as much as a large part of the update, since one core reads arrays that several
    keep in their caches (784-256-10 and 3072-512-10 at batch 128: 1.02 to 1.15 times the step, AMD EPYC of 2 cores).
    Whoever does not need them every time may call ``step(state, batch, penalty_values=False)``: the update is the
    same, and the metrics have no penalties.

    With ``donate=True`` the step is given the state for good: it writes the new one over the old one's arrays, which
    must not be used any more. What comes out is the same but for rounding, and saves making arrays as large as the
    parameters, several times a step. ``copy_state`` makes a state of one's own to give up, or to keep. An optimizer
    whose update has no twin in place ignores ``donate``.

    Raises:
        TypeError: for a loss or penalties that are none.
        ShapeError: by the step, where batch, parameters and network do not fit.
        ValueError: by the step, for a penalty on a path that the parameters do not have; with ``donate=True`` for a
            state whose arrays are not its own, that is none of the optimizer's, or whose last update was cut off.
    """
    expect_optimizer(optimizer)
    in_place = twin_of(optimizer.update)
    if donate and in_place is not None:
        return _donating_step(net, loss, optimizer, in_place, checked(loss, penalties))
    grad = make_grad(net, loss, penalties)

    def step(state: TrainState, batch: Batch, *, penalty_values: bool = True) -> tuple[TrainState, Evaluation]:
        metrics, grads = grad(state.params, batch, penalty_values=penalty_values)
        params, opt_state = optimizer.update(grads, state.opt_state, state.params, state.step)
        _expect_like_params(f"{optimizer.name}'s update", params, state.params)
        return TrainState(params, opt_state, state.key, state.step + 1), metrics

    return step


def copy_state(state: TrainState) -> TrainState:
    """The state with arrays of its own."""
    params, opt_state = (tree.map(aligned.copy, part) for part in (state.params, state.opt_state))
    return attrs.evolve(state, params=params, opt_state=opt_state)


@attrs.frozen(eq=False)
class _Look:
    """What a donating step finds in a state.

    Attributes:
        params: the state's own.
        opt_state: the state's own.
        arrays: the parameters' arrays by their paths.
        penalised: the same, in order, each with its penalty or None.
        opt_arrays: the optimizer's arrays.
        own: the arrays of parameters and optimizer, which are to be written over.
    """

    params: Tree
    opt_state: Tree
    arrays: Mapping[str, Array]
    penalised: list[tuple[Array, Penalty | None]]
    opt_arrays: list[Array]
    own: list[Array]


def _look(state: TrainState, optimizer: Optimizer, penalties: Mapping[str, Penalty]) -> _Look:
    arrays = dict(tree.named_leaves(state.params))
    _expect_paths(penalties, arrays)
    expect_state_of(optimizer, state)
    opt_arrays = tree.leaves(state.opt_state)
    own = [*arrays.values(), *opt_arrays]
    tree.expect_own(own)
    penalised = [(array, penalties.get(path)) for path, array in arrays.items()]
    return _Look(state.params, state.opt_state, arrays, penalised, opt_arrays, own)


def _donating_step(
    net: AnyLayer, loss: Loss, optimizer: Optimizer, update: Callable[..., None], penalties: Mapping[str, Penalty]
) -> Step:
    # Gradients between two steps, each with its arrays, so that their memory is not made again: what they hold then
    # means nothing. A list, whose pop and append are atomic, keeps two threads apart that use one step.
    spares: list[tuple[Tree, list[Array]]] = []
    # The last state comes back in the next step, and so does what was found in it: to walk through its records again
    # would cost a network of six small layers a tenth of the step.
    last: _Look | None = None
    # The parameters that are being written over, by their ids; those of an update that Ctrl-C or an error cut off stay.
    torn: dict[int, Tree] = {}

    def step(state: TrainState, batch: Batch, *, penalty_values: bool = True) -> tuple[TrainState, Evaluation]:
        nonlocal last
        params, opt_state, look = state.params, state.opt_state, last
        if id(params) in torn:
            raise ValueError(
                "the update of this state was cut off, and its arrays hold neither the old state nor the new one: go "
                "on from a copy (copy_state makes one beforehand)"
            )
        if look is None or look.params is not params or look.opt_state is not opt_state:
            last = look = _look(state, optimizer, penalties)
        metrics, residuals, dprediction = _forward(net, loss, penalties, params, look.arrays, batch, penalty_values)

        def onto(total: Tree, keep: float) -> Iterator[tuple[Array, Array]]:
            add_vjp(net, params, residuals, dprediction, total, keep, need_dx=False)
            gradients = look.opt_arrays if total is opt_state else tree.leaves(total)
            for (weight, penalty), gradient in zip(look.penalised, gradients, strict=True):
                if penalty is not None:
                    add_grad(penalty, gradient, weight)
                yield weight, gradient

        def alone() -> Iterator[tuple[Array, Array]]:
            spare, arrays = spares.pop() if spares else (None, [])
            if spare is None or not _alike(arrays, look.arrays.values()):
                spare = tree.map(aligned.empty_like, params)
                arrays = tree.leaves(spare)
            with tree.writable(arrays):
                yield from onto(spare, 0.0)
            spares.append((spare, arrays))

        torn[id(params)] = params
        with tree.writable(look.own):
            update(Gradient(onto, alone), opt_state, state.step)
        del torn[id(params)]
        return TrainState(params, opt_state, state.key, state.step + 1), metrics

    return step


def _alike(some: Iterable[Array], others: Iterable[Array]) -> bool:
    return all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(some, others, strict=True))


def expect_state_of(optimizer: Optimizer, state: TrainState) -> None:
    """Require that the optimizer's state is one of this optimizer, for these parameters.

    Raises:
        ValueError: where it is none.
    """
    made, given = (
        [(path, array.shape, array.dtype) for path, array in tree.named_leaves(opt_state)]
        for opt_state in (optimizer.init(state.params), state.opt_state)
    )
    if made != given:
        raise ValueError(
            f"the state's opt_state is none of {optimizer.name} for these parameters (start makes one): expected "
            f"{_listed(made)}, got {_listed(given)}"
        )


def _listed(arrays: list[tuple[str, tuple[int, ...], Any]]) -> str:
    return ", ".join(f"{path} {dtype} of shape {shape}" for path, shape, dtype in arrays) or "no arrays"


def make_grad(net: AnyLayer, loss: Loss, penalties: Mapping[str, Penalty] | None = None) -> Grad:
    """The pure function ``grad(params, batch) -> (metrics, grads)``: the gradient of the total loss.

    It is the data loss's gradient by the network's vjp, plus the gradient of each penalty. With
    ``penalty_values=False`` the metrics have no penalties, as those of a step.

    Raises:
        TypeError: for a loss or penalties that are none.
        ShapeError: by the function, where batch, parameters and network do not fit.
        ValueError: by the function, for a penalty on a path that the parameters do not have.
    """
    penalties = checked(loss, penalties)

    def grad(params: Tree, batch: Batch, *, penalty_values: bool = True) -> tuple[Evaluation, Tree]:
        arrays = dict(tree.named_leaves(params))
        _expect_paths(penalties, arrays)
        metrics, residuals, dprediction = _forward(net, loss, penalties, params, arrays, batch, penalty_values)
        grads, _ = net.vjp(params, residuals, dprediction, need_dx=False)
        _expect_like_params("the gradient", grads, params)
        return metrics, add_penalty_grads(penalties, params, grads)

    return grad


def _forward(
    net: AnyLayer,
    loss: Loss,
    penalties: Mapping[str, Penalty],
    params: Tree,
    arrays: Mapping[str, Array],
    batch: Batch,
    penalty_values: bool,
) -> tuple[Evaluation, Any, Array]:
    """The metrics of a batch, and what the way back needs: the residuals, and the gradient of the prediction.

    ``arrays`` are the leaves of the parameters by their paths.
    """
    prediction, residuals = net.forward(params, batch.x)
    data_loss, dprediction = loss(prediction, batch.y)
    accuracy = _accuracy(loss, prediction, batch.y)
    values = _penalty_values(penalties, arrays) if penalty_values else ()
    return Evaluation(data_loss, values, accuracy, len(batch)), residuals, dprediction


def evaluate(
    net: AnyLayer,
    params: Tree,
    batches: Iterable[Batch],
    loss: Loss,
    penalties: Mapping[str, Penalty] | None = None,
) -> Evaluation:
    """Loss and accuracy over all examples of all batches, each example with the same weight.

    Raises:
        ValueError: for no batches at all, or a penalty on a path that the parameters do not have.
        ShapeError: where batches, parameters and network do not fit.
        TypeError: for a loss or penalties that are none.
    """
    penalties = checked(loss, penalties)
    arrays = dict(tree.named_leaves(params))
    _expect_paths(penalties, arrays)
    predict = make_predict(net, params)
    losses, accuracies, examples = [], [], 0
    for batch in batches:
        prediction = predict(batch.x)
        losses.append(loss(prediction, batch.y)[0] * len(batch))
        accuracies.append(_accuracy(loss, prediction, batch.y) * len(batch))
        examples += len(batch)
    if not examples:
        raise ValueError("there are no examples to evaluate: the batches are empty")
    return Evaluation(
        math.fsum(losses) / examples,
        _penalty_values(penalties, arrays),
        math.fsum(accuracies) / examples,
        examples,
    )


def checked(loss: Loss, penalties: Mapping[str, Penalty] | None) -> dict[str, Penalty]:
    """The penalties, where the loss is one and they are some.

    Raises:
        TypeError: where not, saying how they are made.
    """
    if not isinstance(loss, Loss):
        raise TypeError(f"a loss is made by a call, such as softmax_cross_entropy(); got {loss!r:.80}")
    if not isinstance(penalties, Mapping | None) or not all(isinstance(p, Penalty) for p in (penalties or {}).values()):
        raise TypeError(
            'penalties map paths to penalties, such as {"[1].weight": l2(1e-4)} or each_weight(l2(1e-4), params); '
            f"got {penalties!r:.80}"
        )
    return dict(penalties or {})


def _expect_like_params(what: str, made_tree: Tree, params: Tree) -> None:
    """What layers and optimizers of one's own may get wrong: a sum over the batch forgotten, a float64 slipped in."""
    made, wanted = tree.named_leaves(made_tree), tree.named_leaves(params)
    if [path for path, _ in made] != [path for path, _ in wanted]:
        given, expected = (", ".join(path for path, _ in named) or "no arrays" for named in (made, wanted))
        raise ShapeError(what, f"a tree like params, with {expected}", given)
    for (path, array), (_, param) in zip(made, wanted, strict=True):
        if array.shape != param.shape or array.dtype != param.dtype:
            raise ShapeError(
                f"{what} of {path or 'params'}",
                f"{param.dtype} of shape {param.shape}",
                f"{array.dtype} of shape {array.shape}",
            )


def _accuracy(loss: Loss, prediction: Array, target: Array) -> float:
    return math.nan if loss.accuracy is None else loss.accuracy(prediction, target)


def _expect_paths(penalties: Mapping[str, Penalty], arrays: Mapping[str, Array]) -> None:
    if unknown := penalties.keys() - arrays.keys():
        raise ValueError(
            f"there is a penalty on {', '.join(sorted(unknown))}, but the parameters are {', '.join(arrays) or 'none'}"
        )


def _penalty_values(penalties: Mapping[str, Penalty], arrays: Mapping[str, Array]) -> tuple[PenaltyValue, ...]:
    return tuple(PenaltyValue(path, p.name, float(p.value(arrays[path]))) for path, p in penalties.items())


def add_penalty_grads(penalties: Mapping[str, Penalty], params: Tree, grads: Tree) -> Tree:
    """The gradient of the total loss, from that of the data loss."""

    def add(path: str, grad: Array, weight: Array) -> Array:
        if path not in penalties:
            return grad
        penalty = penalties[path]
        own = penalty.grad(weight)
        expect(penalty.name, f"the gradient on {path}", own, weight.shape, weight.dtype)
        return own + grad  # an array of its own: a penalty may keep its gradient

    return tree.map_named(add, grads, params) if penalties else grads
