"""Training: ``step`` folded over shuffled batches, one record an epoch. ``wrappers`` has what goes around it."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TypeAlias

import attrs
import numpy as np

from funcnet import contract, random, tree
from funcnet.arrays import shielded
from funcnet.data.augment import Augmentation, expect_augmentation
from funcnet.data.batches import Normalization, batch_count, batches, normalization
from funcnet.data.dataset import Dataset, Split
from funcnet.engines.running import evaluate, expect_engine, make_step
from funcnet.examination import Examination, Picture, augmented_pictures, examine
from funcnet.layer import AnyLayer
from funcnet.losses import Loss, weights_by_target
from funcnet.nonfinite import (
    DivergenceError,
    First,
    NonFiniteError,
    became_not_finite,
    first_in_evaluation,
    first_in_step,
)
from funcnet.optimizers import Optimizer, end_of_schedule, expect_optimizer
from funcnet.penalties import Penalty
from funcnet.random import Key
from funcnet.shapes import Array, ShapeError, whole_number
from funcnet.step import (
    Batch,
    Engine,
    Evaluation,
    Grad,
    PenaltyValue,
    Progress,
    Step,
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

__all__ = ["MEASURES", "Callback", "EpochFacts", "EpochNumbers", "EpochRecord", "Epochs", "Training", "train"]

# Large enough to keep the products busy, small enough to keep a batch's activations in the cache.
_EVALUATION_BATCH = 1000
# The steps of an epoch whose updates are measured: few enough to cost nothing.
_SAMPLED_STEPS = 9
# Penalties change slowly and take long to compute, so only every tenth step computes them.
_PENALTY_STEPS = 10


# What the best epoch of a run can be chosen by. The testing part is not among them: it is for the final result.
MEASURES = tuple(f"{part} {by}" for part in ("validation", "training") for by in ("loss", "accuracy"))

Numbers: TypeAlias = tuple[tuple[str, float], ...]


def _numbers(pairs: Numbers) -> Numbers:
    """The pairs with ``math.nan`` for every NaN: tuples that hold the same object are equal."""
    return tuple((path, math.nan if math.isnan(value) else value) for path, value in pairs)


def _measures_of(parts: Iterable[tuple[str, object]], *, classified: bool) -> tuple[str, ...]:
    there = [name for name, _ in parts]
    return tuple(m for m in MEASURES if m.split()[0] in there and (classified or m.endswith("loss")))


@attrs.frozen
class EpochNumbers:
    """The numbers of one epoch of training. Numbers of arrays are pairs of a path and a number.

    Attributes:
        epoch: which one, from 1.
        train: loss, penalties and accuracy over the whole training set, with the parameters at the epoch's end.
        test: the same over the whole testing set.
        running: the means over the epoch's batches, each batch with the parameters of its step and weighted by its
            number of examples, or by the sum of their weights. The parameters change from step to step, so this is not
            the loss of any one network: it lags behind ``train``. The penalties are computed in every tenth step, and
            these values stand for the nine steps after it too.
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
        validation: the same as ``test`` over the whole validation part; None for a data set that has none.
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
    validation: Evaluation | None = attrs.field(default=None, kw_only=True)

    @property
    def parts(self) -> tuple[tuple[str, Evaluation], ...]:
        """The evaluations that there are, by the names of their parts."""
        validation = () if self.validation is None else (("validation", self.validation),)
        return ("training", self.train), *validation, ("testing", self.test)

    @property
    def measures(self) -> tuple[str, ...]:
        """Those of ``MEASURES`` that the epoch has."""
        return _measures_of(self.parts, classified=not math.isnan(self.train.accuracy))

    def badness(self, measure: str) -> float:
        """What is lowest in the best epoch by one of ``MEASURES``: the data loss, or the share of wrong answers.

        What is not a number, or not there, is infinite.
        """
        part, by = measure.split()
        evaluation = dict(self.parts).get(part)
        if evaluation is None:
            return math.inf
        value = evaluation.data_loss if by == "loss" else 1 - evaluation.accuracy
        return math.inf if math.isnan(value) else value


@attrs.frozen
class EpochFacts(EpochNumbers):
    """The numbers of one epoch, and what else a report needs of it.

    Attributes:
        loss_name: the name of the data loss.
        settings: what else it was trained with, as (name, value).
        schedule_steps: after how many steps the schedule of the learning rate has come to its end; None for one that
            has no end.
        examination: how the network at the epoch's end answers the testing set.
        augmented: some training images as they are, and as they are augmented in the first epochs: a row each. Empty
            for a training without augmentation, or without images.
        chosen_by: the one of ``MEASURES`` by which the best epoch is chosen; empty where none is.
        ended: why this is the last epoch, though others were planned; empty where it is not.
    """

    loss_name: str
    settings: tuple[tuple[str, str], ...]
    schedule_steps: int | None
    examination: Examination = attrs.field(repr=False)
    augmented: tuple[tuple[Picture, ...], ...] = attrs.field(repr=False)
    chosen_by: str = attrs.field(default="", kw_only=True)
    ended: str = attrs.field(default="", kw_only=True)

    @property
    def numbers(self) -> EpochNumbers:
        """The numbers alone."""
        return EpochNumbers(**{field.name: getattr(self, field.name) for field in attrs.fields(EpochNumbers)})

    def __str__(self) -> str:
        parts = (
            f"{'' if name == 'training' else f'{name} '}loss {part.loss:.3f} (data {part.data_loss:.3f})"
            f"{'' if math.isnan(part.accuracy) else f', accuracy {part.accuracy:.3f}'}"
            for name, part in self.parts
        )
        return f"epoch {self.epoch:3d}: {'; '.join(parts)}"


@attrs.frozen
class EpochRecord(EpochFacts):
    """One epoch of training: its numbers, and the network at its end.

    Attributes:
        state: the state at the epoch's end; training goes on from here.
        params: the parameters of the network trained: those of the state, or the average that the optimizer keeps.
    """

    state: TrainState = attrs.field(repr=False)
    params: Tree = attrs.field(repr=False)

    @property
    def facts(self) -> EpochFacts:
        """All but the network."""
        return EpochFacts(**{field.name: getattr(self, field.name) for field in attrs.fields(EpochFacts)})


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
    augment: Augmentation | None = None,
    callback: Callback | None = None,
    engine: Engine | None = None,
) -> Training:
    """Train until ``epochs`` epochs have been made: an iterator of a record after each.

    Each epoch meets every training example once, in an order drawn from ``state.key`` and the epoch's number. uint8
    images are normalised by the training set's statistics, batch by batch. All data are checked before the first
    update.

    A validation part of the data set is evaluated after each epoch too. Nothing is trained on it.

    If the examples have weights, all losses and accuracies are weighted means: those of batches, of epochs and of the
    parts. The record's settings say so. The examination counts every example once.

    The iterator can be dropped at any time, also by Ctrl-C. The state of the last record stays valid. Passed as
    ``state``, it goes on from there, with the same bits as a run that was not interrupted. ``Training`` has the steps
    between the records too, and a state from within an epoch: ``checkpointed`` keeps such states in files.
    ``early_stopping``, ``averaged`` and ``logged`` go around a training too.

    A state knows how many epochs it has made, and of what. Between epochs, it may go on with another batch size or
    other data: the record's settings say so. Within an epoch, neither can change. A state that ``train`` did not make
    begins with epoch 1, whatever steps were made with it.

    Args:
        net: the network.
        state: where to start: ``init_state(params, optimizer, key)``, or the state of an earlier record.
        dataset: the training, the validation and the testing examples.
        loss: the data loss.
        optimizer: the optimizer that ``state`` was started with.
        penalties: paths in the parameters to penalties; see ``make_step``.
        epochs: the total number of epochs, including those that ``state`` has already made.
        batch_size: examples a step; the last batch of an epoch may be smaller.
        augment: changes the examples of each step, after they were normalised: see ``data.augment``. It draws from
            the state's key, the number of the epoch and that of the batch. The records' evaluations are of the
            examples as they are; only their running means are of augmented ones. Where labels are mixed, a prediction
            counts there as right if it names the class of the largest share.
        callback: called after every step with its number in the epoch, from 1, and the step's metrics. Penalties are
            computed in every tenth step; the metrics of the others repeat the last values.
        engine: how steps and evaluations are run: ``engines.numpy()`` unless another is given.

    Raises:
        ValueError: for a number of epochs or a batch size below 1; no examples; a state from within an epoch of other
            batches or data; a state with which steps were made outside ``train`` since; a state of another kind of
            optimizer.
        TypeError: if the state, data set, loss, optimizer, augmentation or a penalty is not one.
        ShapeError: where network, parameters and data do not fit, or data are not finite.
        NonFiniteError: by the iterator, when an array of the state is not finite: with the step in which this began,
            what was not finite first, and the state before that.
        DivergenceError: by the iterator, when that is the loss of a batch, or of the training set at an epoch's end.
    """
    expect_optimizer(optimizer)
    expect_augmentation(augment)
    runs = expect_engine(engine)
    for kind, name, given in ((TrainState, "init_state(...)", state), (Dataset, "load(...)", dataset)):
        if not isinstance(given, kind):
            raise TypeError(f"train takes a {kind.__name__}, such as {name} makes; got {given!r:.80}")
    epochs, batch_size = whole_number("the number of epochs", epochs, 1), whole_number("the batch size", batch_size, 1)
    if not all(len(split) for _, split in dataset.parts):
        sizes = " and ".join(f"{len(split)} {part}" for part, split in dataset.parts)
        raise ValueError(f"{dataset.name} has {sizes} examples")
    expect_state_of(optimizer, state)
    made = checked(net, loss, penalties)
    expect_paths(made, dict(tree.named_leaves(tree.trained(state.params))))
    progress, changes = _progress_of(state, len(made), len(dataset.train), batch_size)
    normalize = normalization(dataset.train.x) if dataset.train.x.dtype == "uint8" else None
    for part, split in dataset.parts:
        _expect_split(f"the {part} part of {dataset.name}", net, state.params, loss, split, normalize)
    if augment is not None:
        _expect_augmented(augment, net, state, loss, dataset.train, normalize)
    augmentation = () if augment is None else (("augmentation", str(augment)),)
    settings = (
        *_settings(net, loss, optimizer, made, batch_size, runs),
        *augmentation,
        *_weighting(loss, dataset),
        *changes,
    )
    return Training(
        _Recipe(net, dataset, normalize, loss, optimizer, made, epochs, batch_size, augment, callback, runs, settings),
        attrs.evolve(state, progress=progress),
    )


def _progress_of(
    state: TrainState, penalties: int, examples: int, batch_size: int
) -> tuple[Progress, tuple[tuple[str, str], ...]]:
    """How far the state has come, in epochs of these batches, and what is different from its epochs so far."""
    arrays = len(tree.leaves(tree.trained(state.params)))
    nothing = np.empty((0, 2 + penalties)), np.empty((0, arrays))
    progress = state.progress
    if progress is None:
        return Progress(0, 0, batch_size, examples, state.step, 0.0, *nothing), ()
    if progress.step != state.step:
        raise ValueError(
            f"since epoch {progress.epoch} of train, {state.step - progress.step} steps were made with this state "
            "outside train, so its place in an epoch is not known: attrs.evolve(state, progress=None) begins with "
            "epoch 1"
        )
    given = f"{examples:,} examples in batches of {batch_size}"
    before = f"{progress.examples:,} examples in batches of {progress.batch_size}"
    if given != before and progress.batches:
        raise ValueError(
            f"the state is {progress.batches} batches into an epoch of {before}, which cannot go on with {given}: "
            "go on with the same, or from a state between epochs"
        )
    if progress.batches and progress.metrics.shape[1] != 2 + penalties:
        raise ValueError(
            f"the state is {progress.batches} batches into an epoch with {progress.metrics.shape[1] - 2} penalties, "
            f"which cannot go on with {penalties}: go on with the same, or from a state between epochs"
        )
    if progress.batches:
        return progress, ()
    changes = () if given == before else ((f"from epoch {progress.epoch + 1} on", f"{given}; before, {before}"),)
    return Progress(progress.epoch, 0, batch_size, examples, state.step, 0.0, *nothing), changes


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
        predictions = np.broadcast_to(prediction, (len(split), *prediction.shape[1:]))
        contract.expect_targets(loss, predictions, split.y, split.weight)
    except ShapeError as error:
        raise ShapeError(f"{place}: {error.place}", error.expected, error.given) from None
    if not _weights_in_means(loss, split)[0].any():
        raise ShapeError(place, "an example that counts", "weights, or class weights, that are 0 for all examples")


def _expect_augmented(
    augment: Augmentation, net: AnyLayer, state: TrainState, loss: Loss, split: Split, normalize: Normalization | None
) -> None:
    """Require that an augmented example can be used too."""
    one = split.take(np.arange(1))
    batch = next(batches(one, 1, normalize=normalize, key=state.key, augment=augment))
    try:
        contract.expect_targets(loss, net.predict(state.params, batch.x), batch.y, batch.weight)
    except ShapeError as error:
        place = f"the training examples after {augment}: {error.place}"
        raise ShapeError(place, error.expected, error.given) from None


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


@attrs.frozen(eq=False, slots=False)
class _Recipe:
    """What a run is made with: the checked arguments of ``train``."""

    net: AnyLayer
    dataset: Dataset
    normalize: Normalization | None
    loss: Loss
    optimizer: Optimizer
    penalties: Mapping[str, Penalty]
    epochs: int
    batch_size: int
    augment: Augmentation | None
    callback: Callback | None
    engine: Engine
    settings: tuple[tuple[str, str], ...]

    @cached_property
    def sampled(self) -> list[int]:
        """The steps of an epoch whose updates are measured."""
        return _evenly_spaced(_SAMPLED_STEPS, batch_count(self.dataset.train, self.batch_size))

    def batches(self, key: Key, epoch: int, start: int) -> Iterator[Batch]:
        """The training batches of an epoch of the run with this key, from batch ``start`` on."""
        return batches(
            self.dataset.train,
            self.batch_size,
            normalize=self.normalize,
            key=random.fold_in(key, epoch),
            start=start,
            augment=self.augment,
            epoch=epoch,
        )

    def step(self) -> Step:
        """The step, which writes over the state that it is given."""
        return make_step(self.net, self.loss, self.optimizer, self.penalties, donate=True, engine=self.engine)

    def evaluated(self, state: TrainState) -> Tree:
        """The parameters of the network: those of the state, or the average that the optimizer keeps."""
        return self.optimizer.evaluated(state.params, state.opt_state)


class Epochs(Iterator[EpochRecord]):
    """An iterator of one record an epoch, with the steps between them: a training, or one with something around it."""

    @abstractmethod
    def steps(self) -> Iterator[Evaluation | EpochRecord]:
        """The rest of the run, step by step: the metrics of each step, and after an epoch's last step its record."""

    def __next__(self) -> EpochRecord:
        """The record of the next epoch."""
        return next(moment for moment in self.steps() if isinstance(moment, EpochRecord))

    @property
    @abstractmethod
    def is_whole(self) -> bool:
        """Whether the last step was finished. One that was cut off leaves no state."""

    @property
    @abstractmethod
    def state(self) -> TrainState:
        """The state after the last step, a copy. Passed to ``train``, it goes on with the next step.

        Raises:
            ValueError: where the last step was cut off, by Ctrl-C or an error: its arrays are half-written then.
        """

    @property
    @abstractmethod
    def measures(self) -> tuple[str, ...]:
        """Those of ``MEASURES`` that its records have; all of them where that is not known before the first record."""


class Training(Epochs):
    """A run of ``train``: an iterator of one record an epoch, with the steps between them.

    ``steps`` goes through the same run step by step. ``state`` is the state now, also within an epoch.
    """

    def __init__(self, recipe: _Recipe, state: TrainState) -> None:
        assert state.progress is not None
        self._recipe = recipe
        self._kept = state  # the last state that others see, which no step writes over
        self._state = recipe.engine.copy_state(state)  # the steps write over this one
        self._epoch, self._seconds = state.progress.epoch, state.progress.seconds
        self._metrics = _evaluations(state.progress, recipe.penalties, len(recipe.dataset.train))
        paths = [path for path, _ in tree.named_leaves(tree.trained(state.params))]
        self._ratios = [
            {path: ratio for path, ratio in zip(paths, sample.tolist(), strict=True) if not math.isnan(ratio)}
            for sample in state.progress.ratios
        ]
        self._paths = paths
        self._cut_off = False
        self._augmented = augmented_pictures(recipe.dataset.train, recipe.normalize, recipe.augment, state.key)
        self._moments = self._run()

    def steps(self) -> Iterator[Evaluation | EpochRecord]:
        return self._moments

    @property
    def is_whole(self) -> bool:
        return not self._cut_off

    @property
    def measures(self) -> tuple[str, ...]:
        return _measures_of(self._recipe.dataset.parts, classified=self._recipe.loss.accuracy is not None)

    @property
    def state(self) -> TrainState:
        if self._cut_off:
            raise ValueError("the last step was cut off, and the state is half-written: go on from the last record")
        return self._with_progress(self._state, len(self._metrics))

    def _with_progress(self, state: TrainState, done: int) -> TrainState:
        """A copy of the state after ``done`` batches of this epoch."""
        recipe = self._recipe
        sampled = sum(place < done for place in recipe.sampled)
        ratios = [[sample.get(path, math.nan) for path in self._paths] for sample in self._ratios[:sampled]]
        metrics = [[m.data_loss, m.accuracy, *(p.value for p in m.penalties)] for m in self._metrics[:done]]
        progress = Progress(
            self._epoch,
            done,
            recipe.batch_size,
            len(recipe.dataset.train),
            state.step,
            self._seconds,
            np.array(metrics, np.float64).reshape(done, 2 + len(recipe.penalties)),
            np.array(ratios, np.float64).reshape(len(ratios), len(self._paths)),
        )
        return attrs.evolve(recipe.engine.copy_state(state), progress=progress)

    def _run(self) -> Iterator[Evaluation | EpochRecord]:
        recipe = self._recipe
        step = recipe.step()
        data_grad = make_grad(recipe.net, recipe.loss)
        train = recipe.dataset.train
        # Evenly spaced examples, not the first ones: a set may be sorted.
        some = train.take(np.array(_evenly_spaced(_EVALUATION_BATCH, len(train))))
        while self._epoch < recipe.epochs:
            key = random.fold_in(self._state.key, self._epoch)
            began = time.perf_counter() - self._seconds
            for batch in recipe.batches(self._state.key, self._epoch, len(self._metrics)):
                self._step(step, batch)
                if recipe.callback is not None:
                    recipe.callback(len(self._metrics), self._metrics[-1])
                paused = time.perf_counter()
                self._seconds = paused - began
                yield self._metrics[-1]
                began += time.perf_counter() - paused  # what is done between two steps is not theirs
            yield self._end_of_epoch(data_grad, some, key, began)

    def _step(self, step: Step, batch: Batch) -> None:
        metrics = self._metrics
        before = tree.map(np.copy, self._state.params) if len(metrics) in self._recipe.sampled else None
        measured = len(metrics) % _PENALTY_STEPS == 0
        self._cut_off = True
        self._state, met = step(self._state, batch, penalty_values=measured)
        if not measured:
            met = attrs.evolve(met, penalties=metrics[-1].penalties)
        if before is not None:
            self._ratios.append(_update_ratios(before, self._state.params))
        if not math.isfinite(met.loss):
            raise self._not_finite(f"the loss became {met.loss}", len(metrics) + 1, met)
        metrics.append(met)
        self._cut_off = False

    def _end_of_epoch(self, data_grad: Grad, some: Split, key: Key, began: float) -> EpochRecord:
        recipe, state, metrics = self._recipe, self._state, self._metrics
        if found := self._state_not_finite(self._kept, state):
            raise self._not_finite(f"{found.what} became {found.became}", len(metrics), metrics[-1])
        net, dataset = recipe.net, recipe.dataset

        def evaluated(split: Split) -> Evaluation:
            examples = _evaluation_batches(split, recipe.normalize)
            return evaluate(net, params, examples, recipe.loss, recipe.penalties, engine=recipe.engine)

        params = recipe.evaluated(state)
        training = evaluated(dataset.train)
        if not math.isfinite(training.loss):
            raise self._not_finite(f"the loss became {training.loss}", len(metrics), training)
        _, data_grads = data_grad(params, next(_evaluation_batches(some, recipe.normalize)), key)
        own_grads = penalty_grads(recipe.penalties, dict(tree.named_leaves(params)))
        testing = evaluated(dataset.test)
        validation = None if dataset.validation is None else evaluated(dataset.validation)
        classified = recipe.loss.accuracy is not None
        examination = examine(net, params, dataset.test, recipe.normalize, classified=classified)
        of_batches = _weights_of_batches(recipe.loss, dataset.train, recipe.batch_size, key)
        running, ratios, seconds = _mean(metrics, *of_batches), _medians(self._ratios), self._seconds
        self._cut_off = True  # until the record is made: without it, a state that counts the epoch cannot go on
        self._epoch += 1
        self._metrics, self._ratios, self._seconds = [], [], 0.0
        self._kept = self._with_progress(state, 0)
        params = recipe.evaluated(self._kept)
        record = EpochRecord(
            epoch=self._epoch,
            train=training,
            test=testing,
            running=running,
            gradient_norms=_norms(add_on_paths(own_grads, data_grads)),
            data_gradient_norms=_norms(data_grads),
            parameter_norms=_norms(tree.trained(params)),
            update_ratios=ratios,
            learning_rate=recipe.optimizer.rate(state.step - 1),
            seconds=seconds,
            examples_per_second=len(dataset.train) / seconds,
            steps=state.step,
            total_seconds=time.perf_counter() - began,
            validation=validation,
            loss_name=recipe.loss.name,
            settings=recipe.settings,
            schedule_steps=end_of_schedule(recipe.optimizer.learning_rate),
            examination=examination,
            augmented=self._augmented,
            state=self._kept,
            params=params,
        )
        self._cut_off = False
        return record

    def _not_finite(self, said: str, seen: int, met: Evaluation) -> NonFiniteError:
        """The error for what is not finite. The steps since the kept state are made again, to find the first of it.

        ``said`` is what was seen at step ``seen``, and ``met`` the metrics then.
        """
        recipe, kept = self._recipe, self._kept
        assert kept.progress is not None
        state, step, number = recipe.engine.copy_state(kept), recipe.step(), kept.progress.batches
        before, first = state, None
        for batch in recipe.batches(kept.key, self._epoch, number):
            before = recipe.engine.copy_state(state)
            state, again = step(state, batch)
            number += 1
            if not math.isfinite(again.loss) or self._state_not_finite(before, state):
                parts = (recipe.net, recipe.loss, recipe.optimizer, recipe.penalties)
                first = first_in_step(*parts, before, batch) or self._state_not_finite(before, state)
                break
            before = state
            if number == seen:
                break
        found = before is not state  # the step that went wrong, and the state before it
        if not found:
            examples = _evaluation_batches(recipe.dataset.train, recipe.normalize)
            first = first_in_evaluation(recipe.net, recipe.evaluated(state), examples, recipe.loss)
        rate = recipe.optimizer.rate(self._state.step - 1)
        error = _error(said, seen, met, rate, first, self._epoch + 1, number, found=found)
        error.epoch, error.step = self._epoch + 1, number
        if first is not None:
            error.what = first.what
        if found or first is not None:
            error.state = self._with_progress(before, before.step - kept.step + kept.progress.batches)
        return error

    @staticmethod
    def _state_not_finite(before: TrainState, after: TrainState) -> First | None:
        return became_not_finite("", before.params, after.params) or became_not_finite(
            "the optimizer's state ", before.opt_state, after.opt_state
        )


def _evaluations(progress: Progress, penalties: Mapping[str, Penalty], examples: int) -> list[Evaluation]:
    """The metrics of the batches done of an epoch."""
    return [
        Evaluation(
            data_loss,
            tuple(
                PenaltyValue(path, p.name, value) for (path, p), value in zip(penalties.items(), values, strict=True)
            ),
            accuracy,
            min(progress.batch_size, examples - place * progress.batch_size),
        )
        for place, (data_loss, accuracy, *values) in enumerate(progress.metrics.tolist())
    ]


def _settings(
    net: AnyLayer,
    loss: Loss,
    optimizer: Optimizer,
    penalties: Mapping[str, Penalty],
    batch_size: int,
    engine: Engine,
) -> tuple[tuple[str, str], ...]:
    kernels = engine.kernels(net, loss, optimizer, penalties)
    on = ", ".join(f"{penalty} on {path}" for path, penalty in penalties.items())
    plain = ", ".join(dict.fromkeys(part for part, kernel in kernels if not kernel))
    return (
        ("optimizer", f"{optimizer}, batches of {batch_size}"),
        ("penalties", on or "none"),
        ("engine", f"{engine}, without kernels for {plain}" if plain else engine.name),
    )


def _weighting(loss: Loss, dataset: Dataset) -> tuple[tuple[str, str], ...]:
    """What a reader must know of weighted means."""
    said = "loss and accuracy are means weighted by these"
    of_classes = ", ".join(f"{weight:g}" for weight in loss.class_weights)
    return (
        *((f"{name} weights", said) for name, part in dataset.parts if part.weight is not None),
        *([("class weights", f"{of_classes}; the loss is a mean weighted by these")] if of_classes else []),
    )


def _evaluation_batches(split: Split, normalize: Normalization | None) -> Iterator[Batch]:
    return batches(split, _EVALUATION_BATCH, normalize=normalize)


def _evenly_spaced(count: int, steps: int) -> list[int]:
    return sorted({steps * (2 * i + 1) // (2 * count) for i in range(count)})


@shielded
def _norms(parameters: Tree) -> Numbers:
    return tuple((path, tree.norm(leaf)) for path, leaf in tree.named_leaves(parameters))


@shielded
def _update_ratios(before: Tree, after: Tree) -> dict[str, float]:
    pairs = zip(tree.named_leaves(tree.trained(before)), tree.leaves(tree.trained(after)), strict=True)
    return {path: tree.norm(new - old) / norm for (path, old), new in pairs if (norm := tree.norm(old)) > 0}


def _medians(ratios: list[dict[str, float]]) -> Numbers:
    # In the order of the last sample: biases are zero at first, so the first sample has no ratios for them.
    paths = dict.fromkeys(path for sample in reversed(ratios) for path in sample)
    return tuple((path, float(np.median([sample[path] for sample in ratios if path in sample]))) for path in paths)


def _weights_in_means(loss: Loss, split: Split) -> tuple[Array, Array]:
    """The weight of each example in means of losses, and in those of accuracies."""
    weight = np.ones(len(split)) if split.weight is None else split.weight.astype(np.float64)
    return weight * weights_by_target(loss.class_weights, split.y, weight) if loss.class_weights else weight, weight


def _weights_of_batches(loss: Loss, split: Split, size: int, key: Key) -> tuple[list[float], list[float]]:
    """The sums of these weights for each batch of the epoch whose examples ``key`` shuffles."""
    starts = np.arange(0, len(split), size)
    of_loss, of_accuracy = _weights_in_means(loss, split)
    if of_loss is not of_accuracy or split.weight is not None:
        order = random.permutation(key, len(split))
        of_loss, of_accuracy = of_loss[order], of_accuracy[order]
    return np.add.reduceat(of_loss, starts).tolist(), np.add.reduceat(of_accuracy, starts).tolist()


def _mean(metrics: list[Evaluation], of_loss: list[float], of_accuracy: list[float]) -> Evaluation:
    """The means over batches of these weights. Penalties do not depend on the batch: they are weighted by its size."""

    def mean(values: list[float], weights: Sequence[float]) -> float:
        return tree.exact_sum([value * w for value, w in zip(values, weights, strict=True)]) / tree.exact_sum(weights)

    sizes = [m.examples for m in metrics]
    penalties = tuple(
        PenaltyValue(first.path, first.name, mean([m.penalties[i].value for m in metrics], sizes))
        for i, first in enumerate(metrics[0].penalties)
    )
    data_loss, accuracy = (
        mean([m.data_loss for m in metrics], of_loss),
        mean([m.accuracy for m in metrics], of_accuracy),
    )
    return Evaluation(data_loss, penalties, accuracy, sum(sizes))


def _error(
    said: str, seen: int, met: Evaluation, rate: float, first: First | None, epoch: int, step: int, *, found: bool
) -> NonFiniteError:
    parts = "".join(f", {p.name} of {p.path} {p.value:g}" for p in met.penalties)
    message = (
        f"{said} at step {seen} of epoch {epoch} (data loss {met.data_loss:g}{parts}) at a learning rate of {rate:g}"
    )
    if first is None and found:
        return NonFiniteError(f"{message}; with the plain functions step {step} is finite: try engine=engines.plain()")
    if first is None:
        return NonFiniteError(f"{message}; run again, the steps stay finite: a layer, loss or optimizer is not pure")
    kind = DivergenceError if first.of_loss else NonFiniteError
    when = f", at step {step}" if step != seen else ""
    return kind(f"{message}; the first to become {first.became} was {first.what}{when}: {first.hint}")
