"""The record of a run: what it was made with and the numbers of its epochs, without the parameters."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import numpy as np

from funcnet.data.dataset import Dataset, Split, examples_as_bytes
from funcnet.environment import environment
from funcnet.examination import Examination, LayerFacts, Picture, describe
from funcnet.layer import AnyLayer
from funcnet.shapes import Array, Shape
from funcnet.step import Evaluation
from funcnet.table import Table, to_html, to_markdown
from funcnet.training import MEASURES, EpochNumbers, EpochRecord

__all__ = ["DataFacts", "RunRecord", "data_facts", "new_run"]

_MOST_CLASSES = 1 << 16
_BLOCK = 1024


def _counts(record: Any, attribute: attrs.Attribute[Any], counts: int | tuple[int, ...] | None) -> None:
    for count in counts if isinstance(counts, tuple) else (counts,):
        if count is not None and count < 0:
            raise ValueError(f"expected a number of {attribute.name.replace('_', ' ')} from 0 up, found {count}")


@attrs.frozen
class DataFacts:
    """What a data set is.

    Attributes:
        in_shape: the shape of one example.
        dtype: the type of its numbers, as they are stored.
        train_examples: how many training examples there are.
        test_examples: how many for testing.
        classes: the names of the classes.
        train_counts: how many training examples each class has; empty where the targets are no labels.
        test_counts: the same of the testing examples.
        train_sha256: the checksum of the training examples followed by their targets, in hexadecimal.
        test_sha256: the same of the testing examples.
        description: a few words on what the examples are.
        origin: where the examples come from, and whether their checksums are known.
        common_examples: how many testing examples are training examples too; None where it is not known.
        validation_examples: how many examples are for validation; 0 for a data set without that part.
        validation_counts: how many of these each class has; empty where the targets are no labels.
        validation_sha256: the checksum of the validation examples followed by their targets; empty without them.

    Raises:
        ValueError: for a negative number of examples.
    """

    in_shape: Shape
    dtype: str
    train_examples: int = attrs.field(validator=_counts)
    test_examples: int = attrs.field(validator=_counts)
    classes: tuple[str, ...]
    train_counts: tuple[int, ...] = attrs.field(validator=_counts)
    test_counts: tuple[int, ...] = attrs.field(validator=_counts)
    train_sha256: str
    test_sha256: str
    description: str = ""
    origin: str = ""
    common_examples: int | None = attrs.field(default=None, validator=_counts)
    validation_examples: int = attrs.field(default=0, validator=_counts)
    validation_counts: tuple[int, ...] = attrs.field(default=(), validator=_counts)
    validation_sha256: str = ""


def _one_run(run: RunRecord, attribute: attrs.Attribute[Any], history: tuple[EpochNumbers, ...]) -> None:
    """What every reader of a history relies on."""
    for place, epoch in enumerate(history, 1):
        _expect_epoch(place, epoch, history[0])


def _expect_epoch(place: int, epoch: EpochNumbers, first: EpochNumbers) -> None:
    if epoch.epoch != place:
        raise ValueError(f"expected the epochs of a run from 1 on, found {epoch.epoch} in place {place}")
    measured = (
        *epoch.gradient_norms, *epoch.data_gradient_norms, *epoch.parameter_norms, *epoch.update_ratios,
        ("learning rate", epoch.learning_rate), ("time", epoch.seconds), ("speed", epoch.examples_per_second),
        ("number of steps", epoch.steps), ("time with evaluations", epoch.total_seconds),
    )  # fmt: skip
    if below := [name for name, value in measured if value < 0]:
        raise ValueError(f"expected norms, rates and times from 0 up, found a negative {below[0]} in epoch {place}")
    if (epoch.validation is None) != (first.validation is None):
        raise ValueError(f"expected a validation part in every epoch or in none, found another in epoch {place}")
    for _, side in epoch.parts:
        if [(p.path, p.name) for p in side.penalties] != [(p.path, p.name) for p in first.train.penalties]:
            raise ValueError(f"expected the same penalties in every epoch, found others in epoch {place}")
        if side.examples < 1 or not (math.isnan(side.accuracy) or 0 <= side.accuracy <= 1):
            raise ValueError(
                f"expected an accuracy between 0 and 1 of one example or more, found {side.accuracy} of "
                f"{side.examples} in epoch {place}"
            )


def _equally_long(run: RunRecord, attribute: attrs.Attribute[Any], rows: tuple[tuple[Picture, ...], ...]) -> None:
    if rows and (not rows[0] or len({len(row) for row in rows}) > 1):
        raise ValueError(f"expected rows of as many images each, found {', '.join(str(len(row)) for row in rows)}")


def _texts(settings: Mapping[str, object] | Iterable[Sequence[object]]) -> tuple[tuple[str, str], ...]:
    pairs = tuple(settings.items() if isinstance(settings, Mapping) else settings)
    if wrong := [pair for pair in pairs if isinstance(pair, str) or len(pair) != 2]:
        raise TypeError(f"settings are pairs of a name and a value, or a mapping; found {wrong[0]!r:.40}")
    return tuple((str(name), str(value)) for name, value in pairs)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"expected a whole number, found {value!r:.40}")
    return int(value)  # NumPy's have no place in a file


@attrs.frozen
class RunRecord:
    """One training run, as reports need it. A value: ``and_epoch`` returns a longer one.

    ``new_run`` begins one with all that can be known beforehand. All fields but the first two may be missing; reports
    then lack what they would say.

    Attributes:
        dataset: the name of the data set.
        seed: the seed that everything random in the run was drawn from.
        settings: what else the run was made with, as (name, value) to be printed, whatever they are.
        command: the command that makes the run again.
        planned_epochs: how many epochs there were to be.
        ended: why the run ended before that; empty for one that did not.
        environment: the versions, the processor and the BLAS, as (name, value).
        data: what the data set is.
        layers: the network, layer by layer.
        loss_name: the name of the data loss; empty before the first epoch.
        history: the numbers of each epoch.
        examination: how the network answered the testing set after the last epoch.
        started: when the run began, in ISO 8601 with its time zone; empty where it is not known.
        schedule_steps: after how many steps the schedule of the learning rate has come to its end; None for one that
            has no end.
        augmented: some training images as they are, and as they were augmented in the first epochs: a row each. Empty
            for a run without augmentation, or without images.
        chosen_by: by which number the best epoch was chosen: ``validation loss``, ``validation accuracy``, or the same
            of training; empty where no epoch was chosen. It is never a number of the testing set.

    Raises:
        ValueError: for a history that is not that of one run: epochs missing, or other penalties in some; for a
            negative number of planned epochs; for rows of augmented images that are not equally long; for an epoch
            chosen by something else.
        TypeError: for a seed or a number of planned epochs that is no whole number.
    """

    dataset: str
    seed: int = attrs.field(converter=_whole)
    settings: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_texts)
    command: str = ""
    planned_epochs: int | None = attrs.field(
        default=None, converter=attrs.converters.optional(_whole), validator=_counts
    )
    ended: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    data: DataFacts | None = None
    layers: tuple[LayerFacts, ...] = ()
    loss_name: str = ""
    history: tuple[EpochNumbers, ...] = attrs.field(default=(), repr=False, validator=_one_run)
    examination: Examination | None = attrs.field(default=None, repr=False)
    started: str = ""
    schedule_steps: int | None = attrs.field(
        default=None, converter=attrs.converters.optional(_whole), validator=_counts
    )

    augmented: tuple[tuple[Picture, ...], ...] = attrs.field(default=(), repr=False, validator=_equally_long)
    chosen_by: str = attrs.field(default="", validator=attrs.validators.in_(("", *MEASURES)))

    @property
    def weighted(self) -> tuple[str, ...]:
        """The parts, such as ``training`` and ``testing``, whose loss and accuracy are means weighted by example."""
        parts = ("training", "validation", "testing")
        return tuple(part for part in parts if f"{part} weights" in dict(self.settings))

    @property
    def epochs(self) -> int:
        """The number of epochs recorded."""
        return len(self.history)

    @property
    def train(self) -> tuple[Evaluation, ...]:
        """Loss, penalties and accuracy over the training set after each epoch."""
        return tuple(epoch.train for epoch in self.history)

    @property
    def test(self) -> tuple[Evaluation, ...]:
        """The same over the testing set."""
        return tuple(epoch.test for epoch in self.history)

    @property
    def validation(self) -> tuple[Evaluation, ...]:
        """The same over the validation part; empty where there is none."""
        return tuple(epoch.validation for epoch in self.history if epoch.validation is not None)

    @property
    def parts(self) -> tuple[tuple[str, tuple[Evaluation, ...]], ...]:
        """The evaluations of each part that there is, by its name."""
        validation = (("validation", self.validation),) if self.validation else ()
        return ("training", self.train), *validation, ("testing", self.test)

    @property
    def judged(self) -> tuple[str, tuple[Evaluation, ...]]:
        """The part by which a run is judged while it can still be changed: validation, or else testing."""
        return ("validation", self.validation) if self.validation else ("testing", self.test)

    @property
    def best(self) -> EpochNumbers | None:
        """The epoch that was chosen, by ``chosen_by``: the first of several that are as good; None where none was."""
        if not (self.chosen_by and self.history):
            return None
        return min(self.history, key=lambda epoch: epoch.badness(self.chosen_by))

    def and_epoch(self, record: EpochRecord) -> RunRecord:
        """The run with one more epoch, and with what that was trained with, where ``settings`` do not say it already.

        Raises:
            ValueError: where that epoch is not the next one, or one of its numbers cannot be, such as a negative norm.
        """
        if record.epoch != self.epochs + 1:
            raise ValueError(f"a run of {self.epochs} epochs cannot go on with epoch {record.epoch}")
        named = dict(self.settings)
        settings = (*self.settings, *(pair for pair in record.settings if pair[0] not in named))
        made = record.numbers
        _expect_epoch(record.epoch, made, self.history[0] if self.history else made)
        longer = attrs.evolve(
            self,
            settings=settings,
            loss_name=record.loss_name,
            history=(),
            examination=record.examination,
            schedule_steps=record.schedule_steps,
            augmented=record.augmented,
            chosen_by=record.chosen_by or self.chosen_by,
            ended=record.ended,
        )
        # Without the validator, which would look at all epochs again: a record of many epochs would take long.
        object.__setattr__(longer, "history", (*self.history, made))
        return longer

    def _repr_markdown_(self) -> str:
        return to_markdown(_epochs_table(self))

    def _repr_html_(self) -> str:
        return to_html(_epochs_table(self))


def new_run(
    net: AnyLayer,
    dataset: Dataset,
    *,
    seed: int,
    settings: Mapping[str, object] | Iterable[Sequence[object]] = (),
    command: str = "",
    epochs: int | None = None,
) -> RunRecord:
    """The record of a run before its first epoch: what is trained, on what data and what machine.

    Args:
        net: the network to be trained.
        dataset: what on.
        seed: the seed of all randomness.
        settings: what else the run is made with, to be printed: a mapping, or pairs of a name and a value.
        command: the command that makes the run.
        epochs: how many epochs there are to be.

    Raises:
        ShapeError: where the network does not fit the examples.
    """
    return RunRecord(
        dataset.name,
        seed,
        settings=settings,
        command=command,
        planned_epochs=epochs,
        environment=environment(),
        data=data_facts(dataset),
        layers=describe(net, dataset.train.in_shape),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def data_facts(dataset: Dataset) -> DataFacts:
    """What a data set is, with its checksums, the sizes of its classes, and what its parts have in common.

    The data are read once, by blocks. The examples that both parts have are counted by 64 bits of a hash of each: that
    two different ones have the same is not to be expected in less than 10^9 such data sets.
    """
    train, test, classes = dataset.train, dataset.test, tuple(map(str, dataset.classes))
    train_sha256, train_hashes = _hashed(train)
    test_sha256, test_hashes = _hashed(test)
    held = dataset.validation
    return DataFacts(
        tuple(train.in_shape),
        str(train.x.dtype),
        len(train),
        len(test),
        classes,
        _class_counts(train, len(classes)),
        _class_counts(test, len(classes)),
        train_sha256,
        test_sha256,
        description=dataset.description,
        origin=dataset.origin,
        common_examples=int(np.isin(test_hashes, train_hashes).sum()),
        validation_examples=0 if held is None else len(held),
        validation_counts=() if held is None else _class_counts(held, len(classes)),
        validation_sha256="" if held is None else _hashed(held)[0],
    )


def _class_counts(split: Split, classes: int) -> tuple[int, ...]:
    if split.y.ndim != 1 or split.y.dtype.kind not in "iu":
        return ()
    if not len(split) or split.y.min() < 0 or split.y.max() >= max(classes, _MOST_CLASSES):
        return ()  # no labels, of which the loss says what they should be
    return tuple(np.bincount(split.y, minlength=classes).tolist())


def _hashed(split: Split) -> tuple[str, Array]:
    """The checksum of a part, and a hash of the bytes of each of its examples."""
    import hashlib  # imported where it is needed

    digest = hashlib.sha256()
    hashes = np.empty(len(split), np.int64)
    for begin in range(0, len(split), _BLOCK):  # a mapped file need not come in whole
        block = np.ascontiguousarray(split.x[begin : begin + _BLOCK])
        digest.update(block.data)
        hashes[begin : begin + len(block)] = np.fromiter(map(hash, examples_as_bytes(block)), np.int64, len(block))
    for begin in range(0, len(split), _BLOCK):
        digest.update(np.ascontiguousarray(split.y[begin : begin + _BLOCK]).data)
    return digest.hexdigest(), hashes


def _epochs_table(run: RunRecord) -> Table:
    """Every epoch of the run in a line."""
    rows = tuple(
        (str(e.epoch), *(f"{v:.3f}" for _, s in e.parts for v in (s.loss, s.data_loss, s.penalty, s.accuracy)))
        for e in run.history
    )
    parts = ("loss", run.loss_name.removeprefix("softmax ") or "data loss", "penalty", "accuracy")
    columns = ("Epoch", *(f"{name.capitalize()} {part}" for name, _ in run.parts for part in parts))
    return Table(f"{run.dataset}, seed {run.seed}", columns, rows)
