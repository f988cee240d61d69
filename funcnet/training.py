"""Training: ``step`` folded over shuffled batches, one record an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import attrs
import numpy as np

from funcnet import contract, random, tree
from funcnet.data.batches import Normalization, batch_count, batches, normalization
from funcnet.data.dataset import Dataset, Split
from funcnet.engines.running import evaluate, expect_engine, make_step
from funcnet.examination import Examination, examine
from funcnet.layer import AnyLayer
from funcnet.losses import Loss
from funcnet.optimizers import Optimizer, expect_optimizer
from funcnet.penalties import Penalty
from funcnet.shapes import Array, ShapeError, whole_number
from funcnet.step import (
    Batch,
    Engine,
    Evaluation,
    PenaltyValue,
    TrainState,
    add_on_paths,
    checked,
    expect_paths,
    expect_state_of,
    itself,
    make_grad,
    penalty_grads,
)
from funcnet.tree import Tree

__all__ = ["Callback", "DivergenceError", "EpochNumbers", "EpochRecord", "train"]

# Large enough to keep the products busy, small enough to keep a batch's activations in the cache.
_EVALUATION_BATCH = 1000
# The steps of an epoch whose updates are measured: few enough to cost nothing.
_SAMPLED_STEPS = 9
# Penalties change slowly and take long to compute, so only every tenth step computes them.
_PENALTY_STEPS = 10


class DivergenceError(ArithmeticError):
    """The loss is no longer a finite number: training cannot go on from here."""


Numbers: TypeAlias = tuple[tuple[str, float], ...]


def _numbers(pairs: Numbers) -> Numbers:
    """The pairs with ``math.nan`` for every NaN: tuples that hold the same object are equal."""
    return tuple((path, math.nan if math.isnan(value) else value) for path, value in pairs)


@attrs.frozen
class EpochNumbers:
    """The numbers of one epoch of training. Numbers of arrays are pairs of a path and a number.

    Attributes:
        epoch: which one, from 1.
        train: loss, penalties and accuracy over the whole training set, with the parameters at the epoch's end.
        test: the same over the whole testing set.
        running: the means over the epoch's batches, each batch with the parameters of its step. The parameters change
            from step to step, so this is not the loss of any one network: it lags behind ``train``. The penalties are
            computed in every tenth step, and these values stand for the nine steps after it too.
        gradient_norms: for each array of the parameters, the norm of the total loss's gradient with the parameters
            at the epoch's end, over 1,000 training examples, evenly spaced (all of them where there are fewer).
        data_gradient_norms: the same of the data loss's gradient, without the penalties.
        parameter_norms: the norm of each array of the parameters at the epoch's end.
        update_ratios: the norm of a step's update of each array over that array's norm before it; the median of some
            of the epoch's steps, evenly spaced. An array that is still all zeros is left out.
        learning_rate: the rate of the epoch's last step.
        seconds: the time of the epoch's steps, without the evaluations.
        examples_per_second: the training examples of the epoch over these seconds.
        steps: the number of updates made when the epoch ended, from the beginning of the run; 0 where it is not known.
        total_seconds: the time of the epoch with its evaluations; NaN where it is not known.
    """

    epoch: int
    train: Evaluation
    test: Evaluation
    running: Evaluation
    gradient_norms: Numbers = attrs.field(converter=_numbers)
    data_gradient_norms: Numbers = attrs.field(converter=_numbers)
    parameter_norms: Numbers = attrs.field(converter=_numbers)
    update_ratios: Numbers = attrs.field(converter=_numbers)
    learning_rate: float
    seconds: float
    examples_per_second: float
    steps: int = attrs.field(default=0, kw_only=True)
    total_seconds: float = attrs.field(default=math.nan, kw_only=True, eq=itself)


@attrs.frozen
class EpochRecord(EpochNumbers):
    """One epoch of training: its numbers, and the network at its end.

    Attributes:
        loss_name: the name of the data loss.
        settings: what else it was trained with, as (name, value).
        examination: how the network at the epoch's end answers the testing set.
        state: the state at the epoch's end; training goes on from here.
        params: the parameters of the network trained: those of the state, or the average that the optimizer keeps.
    """

    loss_name: str
    settings: tuple[tuple[str, str], ...]
    examination: Examination = attrs.field(repr=False)
    state: TrainState = attrs.field(repr=False)
    params: Tree = attrs.field(repr=False)

    def __str__(self) -> str:
        training, testing = (
            f"loss {part.loss:.3f} (data {part.data_loss:.3f})"
            f"{'' if math.isnan(part.accuracy) else f', accuracy {part.accuracy:.3f}'}"
            for part in (self.train, self.test)
        )
        return f"epoch {self.epoch:3d}: {training}; testing {testing}"


Callback = Callable[[int, Evaluation], None]


def train(
    net: AnyLayer,
    state: TrainState,
    dataset: Dataset,
    *,
    loss: Loss,
    optimizer: Optimizer,
    penalties: Mapping[str, Penalty] | None = None,
    epochs: int,
    batch_size: int,
    callback: Callback | None = None,
    engine: Engine | None = None,
) -> Iterator[EpochRecord]:
    """Train until ``epochs`` epochs have been made, yielding a record after each.

    Each epoch meets every training example once, in an order drawn from ``state.key`` and the epoch's number. uint8
    images are normalised by the training set's statistics, batch by batch. All data are checked before the first
    update.

    The generator can be dropped at any time, also by Ctrl-C. The state of the last record stays valid. Passed as
    ``state``, it goes on from there, with the same bits as a run that was not interrupted.

    Args:
        net: the network.
        state: where to start: ``init_state(params, optimizer, key)``, or the state of an earlier record.
        dataset: the training and the testing examples.
        loss: the data loss.
        optimizer: the optimizer that ``state`` was started with.
        penalties: paths in the parameters to penalties; see ``make_step``.
        epochs: the total number of epochs, including those that ``state`` has already made.
        batch_size: examples a step; the last batch of an epoch may be smaller.
        callback: called after every step with its number in the epoch, from 1, and the step's metrics. Penalties are
            computed in every tenth step; the metrics of the others repeat the last values.
        engine: how steps and evaluations are run: ``engines.numpy()`` unless another is given.

    Raises:
        ValueError: for a number of epochs or a batch size below 1, no examples, or a state from within an epoch or of
            another kind of optimizer.
        TypeError: if the state, data set, loss, optimizer or a penalty is not one.
        DivergenceError: when the loss of a batch, or of the training set at an epoch's end, is not finite.
        ShapeError: where network, parameters and data do not fit, or data are not finite.
    """
    expect_optimizer(optimizer)
    runs = expect_engine(engine)
    for kind, name, given in ((TrainState, "init_state(...)", state), (Dataset, "load(...)", dataset)):
        if not isinstance(given, kind):
            raise TypeError(f"train takes a {kind.__name__}, such as {name} makes; got {given!r:.80}")
    epochs, batch_size = whole_number("the number of epochs", epochs, 1), whole_number("the batch size", batch_size, 1)
    if not (len(dataset.train) and len(dataset.test)):
        raise ValueError(f"{dataset.name} has {len(dataset.train)} training and {len(dataset.test)} testing examples")
    steps = batch_count(dataset.train, batch_size)
    done, within = divmod(state.step, steps)
    if within:
        raise ValueError(f"the state is {within} steps into an epoch of {steps}; training starts between epochs")
    expect_state_of(optimizer, state)
    made = checked(net, loss, penalties)
    expect_paths(made, dict(tree.named_leaves(tree.trained(state.params))))
    normalize = normalization(dataset.train.x) if dataset.train.x.dtype == "uint8" else None
    for part, split in (("training", dataset.train), ("testing", dataset.test)):
        _expect_split(f"the {part} part of {dataset.name}", net, state.params, loss, split, normalize)
    return _epochs(
        net, state, dataset, normalize, loss, optimizer, made, range(done, epochs), batch_size, callback, runs
    )


def _expect_split(
    place: str, net: AnyLayer, params: Tree, loss: Loss, split: Split, normalize: Normalization | None
) -> None:
    """Require that every example of a part of the data set can be used, before training begins."""
    for name, array in (("examples", split.x), ("targets", split.y)):
        if array.dtype.kind == "f" and (row := _first_not_finite(array)) is not None:
            raise ShapeError(place, f"finite {name}", f"a number that is not finite at index {row}")
    wanted = next((leaf.dtype for leaf in tree.leaves(params)), split.x.dtype)
    if normalize is None and split.x.dtype != wanted:
        given = f"dtype {split.x.dtype}{_hint_for_dtype(split.x, wanted)}"
        raise ShapeError(place, f"examples of dtype {wanted}, as the parameters", given)
    try:
        x = next(batches(split.take(np.arange(1)), 1, normalize=normalize)).x
        prediction = net.predict(params, x)
        contract.expect_targets(loss, np.broadcast_to(prediction, (len(split), *prediction.shape[1:])), split.y)
    except ShapeError as error:
        raise ShapeError(f"{place}: {error.place}", error.expected, error.given) from None


def _hint_for_dtype(x: Array, wanted: np.dtype) -> str:
    as_wanted = f"x.astype(np.{wanted})"
    if x.dtype.kind in "iu" and x.size and x.min() >= 0 and x.max() <= 255:
        return f" (pixels from 0 to 255? x.astype(np.uint8), which training normalises; other numbers? {as_wanted})"
    return f" ({as_wanted}?)" if x.dtype.kind in "biuf" else ""


def _first_not_finite(array: Array) -> int | None:
    for begin in range(0, len(array), 4096):  # in blocks, so that a mapped file need not fit in memory
        finite = np.isfinite(array[begin : begin + 4096])
        if not finite.all():
            return begin + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
    return None


def _epochs(
    net: AnyLayer,
    state: TrainState,
    dataset: Dataset,
    normalize: Normalization | None,
    loss: Loss,
    optimizer: Optimizer,
    penalties: Mapping[str, Penalty],
    epochs: range,
    batch_size: int,
    callback: Callback | None,
    engine: Engine,
) -> Iterator[EpochRecord]:
    # The steps write over this copy of the state. Records get copies of their own, which nothing writes to.
    state = engine.copy_state(state)
    step = make_step(net, loss, optimizer, penalties, donate=True, engine=engine)
    data_grad = make_grad(net, loss)
    # Evenly spaced examples, not the first ones: a set may be sorted.
    some = dataset.train.take(np.array(_evenly_spaced(_EVALUATION_BATCH, len(dataset.train))))
    kernels = engine.kernels(net, loss, optimizer, penalties)
    settings = _settings(optimizer, penalties, batch_size, engine, kernels)
    sampled = _evenly_spaced(_SAMPLED_STEPS, batch_count(dataset.train, batch_size))
    for epoch in epochs:
        key = random.fold_in(state.key, epoch)
        metrics: list[Evaluation] = []
        ratios: list[dict[str, float]] = []
        began = time.perf_counter()
        for batch in batches(dataset.train, batch_size, normalize=normalize, key=key):
            before = tree.map(np.copy, state.params) if len(metrics) in sampled else None
            measured = len(metrics) % _PENALTY_STEPS == 0
            state, met = step(state, batch, penalty_values=measured)
            if not measured:
                met = attrs.evolve(met, penalties=metrics[-1].penalties)
            if before is not None:
                ratios.append(_update_ratios(before, state.params))
            if not math.isfinite(met.loss):
                raise DivergenceError(_diverged(epoch, len(metrics) + 1, met, optimizer.rate(state.step - 1)))
            metrics.append(met)
            if callback is not None:
                callback(len(metrics), met)
        seconds = time.perf_counter() - began
        params = optimizer.evaluated(state.params, state.opt_state)
        training = evaluate(net, params, _evaluation_batches(dataset.train, normalize), loss, penalties, engine=engine)
        if not math.isfinite(training.loss):
            raise DivergenceError(_diverged(epoch, len(metrics), training, optimizer.rate(state.step - 1)))
        _, data_grads = data_grad(params, next(_evaluation_batches(some, normalize)), key)
        own_grads = penalty_grads(penalties, dict(tree.named_leaves(params)))
        yield EpochRecord(
            epoch=epoch + 1,
            train=training,
            test=evaluate(net, params, _evaluation_batches(dataset.test, normalize), loss, penalties, engine=engine),
            running=_mean(metrics),
            gradient_norms=_norms(add_on_paths(own_grads, data_grads)),
            data_gradient_norms=_norms(data_grads),
            parameter_norms=_norms(tree.trained(params)),
            update_ratios=_medians(ratios),
            learning_rate=optimizer.rate(state.step - 1),
            seconds=seconds,
            examples_per_second=len(dataset.train) / seconds,
            loss_name=loss.name,
            settings=settings,
            examination=examine(net, params, dataset.test, normalize, classified=loss.accuracy is not None),
            state=(kept := engine.copy_state(state)),
            params=optimizer.evaluated(kept.params, kept.opt_state),
        )


def _settings(
    optimizer: Optimizer,
    penalties: Mapping[str, Penalty],
    batch_size: int,
    engine: Engine,
    kernels: tuple[tuple[str, str], ...],
) -> tuple[tuple[str, str], ...]:
    on = ", ".join(f"{penalty} on {path}" for path, penalty in penalties.items())
    plain = ", ".join(dict.fromkeys(part for part, kernel in kernels if not kernel))
    return (
        ("optimizer", f"{optimizer}, batches of {batch_size}"),
        ("penalties", on or "none"),
        ("engine", f"{engine}, without kernels for {plain}" if plain else engine.name),
    )


def _evaluation_batches(split: Split, normalize: Normalization | None) -> Iterator[Batch]:
    return batches(split, _EVALUATION_BATCH, normalize=normalize)


def _evenly_spaced(count: int, steps: int) -> list[int]:
    return sorted({steps * (2 * i + 1) // (2 * count) for i in range(count)})


def _norms(parameters: Tree) -> Numbers:
    return tuple((path, tree.norm(leaf)) for path, leaf in tree.named_leaves(parameters))


def _update_ratios(before: Tree, after: Tree) -> dict[str, float]:
    pairs = zip(tree.named_leaves(tree.trained(before)), tree.leaves(tree.trained(after)), strict=True)
    return {path: tree.norm(new - old) / norm for (path, old), new in pairs if (norm := tree.norm(old)) > 0}


def _medians(ratios: list[dict[str, float]]) -> Numbers:
    # In the order of the last sample: biases are zero at first, so the first sample has no ratios for them.
    paths = dict.fromkeys(path for sample in reversed(ratios) for path in sample)
    return tuple((path, float(np.median([sample[path] for sample in ratios if path in sample]))) for path in paths)


def _mean(metrics: list[Evaluation]) -> Evaluation:
    """The mean over batches of different sizes, every example with the same weight."""
    examples = sum(m.examples for m in metrics)

    def mean(values: list[float]) -> float:
        return math.fsum(value * m.examples for value, m in zip(values, metrics, strict=True)) / examples

    penalties = tuple(
        PenaltyValue(first.path, first.name, mean([m.penalties[i].value for m in metrics]))
        for i, first in enumerate(metrics[0].penalties)
    )
    return Evaluation(mean([m.data_loss for m in metrics]), penalties, mean([m.accuracy for m in metrics]), examples)


def _diverged(epoch: int, step: int, met: Evaluation, rate: float) -> str:
    parts = ", ".join(f"{p.name} of {p.path} {p.value:g}" for p in met.penalties)
    return (
        f"the loss became {met.loss} at step {step} of epoch {epoch + 1} (data loss {met.data_loss:g}"
        f"{', ' + parts if parts else ''}) at a learning rate of {rate:g}: lower the rate, or look for values that are"
        " not finite in the data"
    )
