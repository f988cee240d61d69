"""The public functions that run a network by an engine: steps, evaluations and predictions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from funcnet import contract, tree
from funcnet.engines.numpy.engine import NUMPY
from funcnet.layer import AnyLayer
from funcnet.losses import Loss, weights_in_means
from funcnet.optimizers import Optimizer, expect_optimizer
from funcnet.penalties import Penalty
from funcnet.shapes import Array, Float
from funcnet.step import (
    Batch,
    Engine,
    Evaluation,
    Predict,
    Step,
    TrainState,
    checked,
    expect_net,
    expect_paths,
    penalty_values_of,
)
from funcnet.tree import Tree

__all__ = ["copy_state", "evaluate", "expect_engine", "make_predict", "make_step"]


def expect_engine(engine: object) -> Engine:
    """The engine; that of NumPy for None.

    Raises:
        TypeError: for what is no engine.
    """
    if engine is None:
        return NUMPY
    if not isinstance(engine, Engine):
        raise TypeError(f"an engine is made by a call, such as engines.plain(); got {engine!r:.80}")
    return engine


def make_step(
    net: AnyLayer,
    loss: Loss,
    optimizer: Optimizer,
    penalties: Mapping[str, Penalty] | None = None,
    *,
    donate: bool = False,
    engine: Engine | None = None,
) -> Step:
    """The pure function ``step(state, batch) -> (state, metrics)`` of one update.

    The metrics are those of the batch with the parameters before the update. ``penalties`` maps paths in the
    parameters, such as ``"[1].weight"``, to penalties (``each_weight`` writes this mapping). What a network draws
    is determined by the state's key and the step's number.

    Computing the penalties' values takes a part of the step's time. If you do not need them in a step, call
    ``step(state, batch, penalty_values=False)``: the update is the same, and the metrics have no penalties.

    With ``donate=True`` the step takes over the state: it writes the new state over the old one's arrays, which must
    not be used any more. The result is the same, and no arrays as large as the parameters are made. ``copy_state``
    makes a copy to donate, or to keep.

    Args:
        net: the network.
        loss: the data loss.
        optimizer: the optimizer.
        penalties: paths in the parameters to penalties.
        donate: whether the states are donated. The plain engine leaves them as they are.
        engine: how it is run: ``engines.numpy()`` unless another is given.

    Raises:
        TypeError: if an argument is not of its kind.
        ShapeError: by the step, where batch, parameters and network do not fit.
        ValueError: by the step, for a penalty on a path that the parameters do not have, or a state of another
            optimizer; with ``donate=True``, for a state that shares its arrays, or is half-written because its update
            was cut off.
    """
    expect_optimizer(optimizer)
    recipe = (net, loss, optimizer, checked(net, loss, penalties), donate, expect_engine(engine))
    return _step_of(recipe)


@attrs.frozen(eq=False, repr=False)
class _Step:
    """A step that pickles: as what it is made of."""

    run: Step
    recipe: tuple[AnyLayer, Loss, Optimizer, dict[str, Penalty], bool, Engine]

    def __call__(
        self, state: TrainState, batch: Batch, *, penalty_values: bool = True
    ) -> tuple[TrainState, Evaluation]:
        return self.run(state, batch, penalty_values=penalty_values)

    def __reduce__(self) -> tuple[Any, ...]:
        return _step_of, (self.recipe,)


def _step_of(recipe: tuple[AnyLayer, Loss, Optimizer, dict[str, Penalty], bool, Engine]) -> _Step:
    net, loss, optimizer, penalties, donate, engine = recipe
    return _Step(engine.make_step(net, loss, optimizer, penalties, donate), recipe)


def copy_state(state: TrainState, *, engine: Engine | None = None) -> TrainState:
    """A copy of the state, to be donated to a step or to be kept.

    Its arrays have the memory layout on which the engine (``engines.numpy()`` unless another is given) is fastest.
    """
    return expect_engine(engine).copy_state(state)


def make_predict(net: AnyLayer, params: Tree, *, engine: Engine | None = None) -> Predict:
    """The pure function ``predict(x)``: what ``net.predict(params, x)`` returns, but for rounding.

    It checks params and x once for each shape of an example, and keeps nothing for a vjp. It holds the params, not a
    copy: if their state is donated to a step, the predictions change.

    Raises:
        TypeError: if the network is not a layer, or the engine is not one.
        ShapeError: by the function, where params, x and network do not fit.
    """
    expect_net(net)
    return _predict_of((net, params, expect_engine(engine)))


@attrs.frozen(eq=False, repr=False)
class _Predict:
    """A predict that pickles: as what it is made of."""

    run: Predict
    recipe: tuple[AnyLayer, Tree, Engine]

    def __call__(self, x: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        return self.run(x)

    def __reduce__(self) -> tuple[Any, ...]:
        return _predict_of, (self.recipe,)


def _predict_of(recipe: tuple[AnyLayer, Tree, Engine]) -> _Predict:
    net, params, engine = recipe
    return _Predict(engine.make_predict(net, params), recipe)


def evaluate(
    net: AnyLayer,
    params: Tree,
    batches: Iterable[Batch],
    loss: Loss,
    penalties: Mapping[str, Penalty] | None = None,
    *,
    engine: Engine | None = None,
) -> Evaluation:
    """Loss and accuracy of inference over all examples of all batches.

    Each example has the same weight, or that in its batch. Both numbers are means weighted so; a loss with class
    weights is weighted by those too.

    Raises:
        ValueError: for no batches at all, weights that are all 0, or a penalty on a path that the parameters do not
            have.
        ShapeError: where batches, parameters and network do not fit.
        TypeError: if an argument is not of its kind.
    """
    on_paths, runs = checked(net, loss, penalties), expect_engine(engine)
    arrays = dict(tree.named_leaves(tree.trained(params)))
    expect_paths(on_paths, arrays)
    predict, value_and_grad, accuracy = runs.make_predict(net, params), runs.value_and_grad(loss), runs.accuracy(loss)
    losses, accuracies, examples = [], [], 0
    weights: list[tuple[float, float]] = []
    with np.errstate(all="ignore"):
        for batch in batches:
            prediction, targets = predict(batch.x), batch.targets
            contract.expect_targets(loss, prediction, *targets)
            made = value_and_grad(prediction, *targets)
            value, _ = contract.returned_by_loss(loss, made, prediction, batch.y)
            share = math.nan if accuracy is None else contract.share(loss, accuracy(prediction, *targets))
            weights.append(weights_in_means(loss, prediction, *targets))
            losses.append(value * weights[-1][0])
            accuracies.append(share * weights[-1][1])
            examples += len(batch)
        if not examples:
            raise ValueError("there are no examples to evaluate: the batches are empty")
        of_loss, of_accuracy = (tree.exact_sum(parts) for parts in zip(*weights, strict=True))
        if of_loss == 0:
            raise ValueError("there are no examples to evaluate: all have a weight of 0")
        return Evaluation(
            tree.exact_sum(losses) / of_loss,
            penalty_values_of(on_paths, arrays, runs.penalty_value),
            tree.exact_sum(accuracies) / of_accuracy,
            examples,
        )
