"""What goes around a training: functions from records of epochs to records of epochs.

    early_stopping(train(...), patience=5)    ends it, and keeps the best epoch
    averaged(train(...), last=5)              keeps the mean of the parameters of the last epochs
    logged(train(...), writer)                calls a function with each record

They take what ``train`` returned, what one of them returned, or any iterable of records, and can be put around each
other in any order. The steps between the records pass through, so ``checkpointed`` can be the outermost.
"""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import attrs
import numpy as np

from funcnet import random, tree
from funcnet.arrays import shielded
from funcnet.checkpoints import load_epoch, save_epoch
from funcnet.data.dataset import DataError
from funcnet.files import make_folder, read_whole, write_whole
from funcnet.json_records import from_json, to_json
from funcnet.layer import AnyLayer
from funcnet.random import Key
from funcnet.shapes import Array, whole_number
from funcnet.step import Batch, Evaluation, TrainState
from funcnet.tensor_file import constants_of, fill, read_tensors, write_tensors
from funcnet.training import MEASURES, EpochRecord, Epochs
from funcnet.tree import Record, Tree

__all__ = [
    "Averaged",
    "EarlyStopping",
    "Writer",
    "averaged",
    "early_stopping",
    "json_lines",
    "logged",
    "renew_statistics",
]

_BEST, _AVERAGED = "best.safetensors", "averaged.safetensors"
_FORM, _VERSION = "funcnet averaged epochs", 1


class _Around(Epochs):
    """Records that pass through ``_passed``. The steps between them pass as they are."""

    def __init__(self, records: Iterable[EpochRecord]) -> None:
        self.ended = ""
        self._records = records
        self._newest: EpochRecord | None = None
        self._moments = self._run()

    @abstractmethod
    def _passed(self, record: EpochRecord) -> EpochRecord: ...

    def _run(self) -> Iterator[Evaluation | EpochRecord]:
        inner = self._records.steps() if isinstance(self._records, Epochs) else iter(self._records)
        try:
            while not self.ended and (moment := next(inner, None)) is not None:
                if isinstance(moment, EpochRecord):
                    moment = self._newest = self._passed(moment)
                yield moment
        finally:
            if isinstance(inner, Generator):  # checkpointed writes its last checkpoint
                inner.close()

    def steps(self) -> Iterator[Evaluation | EpochRecord]:
        return self._moments

    @property
    def is_whole(self) -> bool:
        return self._records.is_whole if isinstance(self._records, Epochs) else self._newest is not None

    @property
    def state(self) -> TrainState:
        if isinstance(self._records, Epochs):
            return self._records.state
        if self._newest is None:
            raise ValueError("no epoch was finished, so there is no state yet")
        return self._newest.state

    @property
    def measures(self) -> tuple[str, ...]:
        return self._records.measures if isinstance(self._records, Epochs) else MEASURES


def early_stopping(
    records: Iterable[EpochRecord],
    patience: int = 5,
    *,
    part: str = "validation",
    by: str = "loss",
    folder: Path | str | None = None,
) -> EarlyStopping:
    """The records of a training until ``patience`` epochs in a row were not better than the best one before.

    ``best`` of what is returned is the record of the best epoch, with its network. Each record says by what it is
    chosen (``chosen_by``), and the last one why it is the last (``ended``): so do the run's record and its report.

    The loss is the data loss, since penalties say nothing of new examples. Of several epochs that are as good, the
    first is the best. What is not a number is no improvement. Goodfellow, Bengio & Courville, Deep Learning (2016),
    algorithm 7.1, with an evaluation an epoch.

    Args:
        records: what ``train`` returned, or what goes around it.
        patience: how many epochs in a row may bring no improvement.
        part: ``validation``, or ``training`` to end where training stands still. The testing part chooses nothing.
        by: ``loss`` or ``accuracy``.
        folder: where the best record is kept in the file ``best.safetensors``, so that a training that goes on from a
            checkpoint knows it. It may be the folder of the checkpoints. Without one, it knows the epochs since then.

    Raises:
        ValueError: for a patience below 1, another part or number, or one that the training does not have.
        DataError: where the folder holds the best epoch of another run.
        OSError: where the best record cannot be read or, by the iterator, written.
    """
    patience = whole_number("the patience", patience, 1)
    if part in ("test", "testing"):
        raise ValueError(
            'nothing is chosen by the testing part, whose result would then be too good: take part="validation". '
            "hold_out(dataset, count, key) makes one of training examples"
        )
    if (measure := f"{part} {by}") not in MEASURES:
        raise ValueError(f"expected part and by to be one of {', '.join(MEASURES)}, got {measure:.80}")
    if isinstance(records, Epochs):
        _expect_measure(measure, records.measures)
    return EarlyStopping(records, patience, measure, None if folder is None else Path(folder) / _BEST)


def _expect_measure(measure: str, there: tuple[str, ...]) -> None:
    if measure in there:
        return
    if not any(name.startswith(measure.split()[0]) for name in there):
        raise ValueError(
            "there is no validation part to choose by: hold_out(dataset, count, key) makes one of training examples, "
            "or Dataset(..., validation=Split(x, y)) takes yours"
        )
    raise ValueError(f'there is no {measure}, since the loss knows no right answers: take by="loss"')


class EarlyStopping(_Around):
    """The records until there was no improvement. See ``early_stopping``.

    ``ended`` says why they ended before the training did; it is empty where they did not.
    """

    def __init__(self, records: Iterable[EpochRecord], patience: int, measure: str, path: Path | None) -> None:
        super().__init__(records)
        self._patience, self._measure, self._path = patience, measure, path
        self._best: EpochRecord | None = None
        if isinstance(records, Epochs) and path is not None and path.exists():
            self._recall(records.state)

    @property
    def best(self) -> EpochRecord:
        """The record of the best epoch until now.

        Raises:
            ValueError: before the first epoch was finished.
        """
        if self._best is None:
            raise ValueError("no epoch was finished, so there is no best one yet")
        return self._best

    def _recall(self, state: TrainState) -> None:
        """Take up the best epoch of the file, if the training goes on from a later one than its beginning."""
        done = 0 if state.progress is None else state.progress.epoch
        if self._path is not None and self._path.exists() and done:
            self._best = load_epoch(self._path, state)
            self._judge(done)

    def _judge(self, epoch: int) -> None:
        if epoch - self.best.epoch >= self._patience:
            after = "epoch" if self._patience == 1 else f"{self._patience} epochs"
            self.ended = (
                f"The {self._measure} was best in epoch {self.best.epoch}, and not better in the {after} after it"
            )

    def _passed(self, record: EpochRecord) -> EpochRecord:
        if self._newest is None and not isinstance(self._records, Epochs):
            _expect_measure(self._measure, record.measures)
            if record.epoch > 1:
                self._recall(record.state)
        said = ("early stopping", f"patience {self._patience}, by {self._measure}")
        record = attrs.evolve(record, chosen_by=self._measure, settings=(*record.settings, said))
        if self._best is None or record.badness(self._measure) < self._best.badness(self._measure):
            self._best = record
            if self._path is not None:
                make_folder(self._path.parent)
                save_epoch(self._path, record)
        self._judge(record.epoch)
        return attrs.evolve(record, ended=self.ended or record.ended)


def averaged(records: Iterable[EpochRecord], last: int = 5, *, folder: Path | str | None = None) -> Averaged:
    """The records of a training, and the mean of the parameters after the last epochs (stochastic weight averaging).

    The records pass as they are. ``params`` of what is returned are the mean, w = (w_1 + ... + w_n) / n of the records'
    ``params``: Izmailov et al., "Averaging weights leads to wider optima and better generalization" (UAI 2018),
    algorithm 1, with a cycle of an epoch. It helps where the learning rate is still high in these epochs.

    What is not trained, such as the running statistics of batch normalization, is averaged likewise. These are then
    about right, but not the statistics of the mean network: ``renew_statistics`` makes those.

    Args:
        records: what ``train`` returned, or what goes around it.
        last: of how many epochs the mean is.
        folder: where the parameters of these epochs are kept in the file ``averaged.safetensors``, so that a training
            that goes on from a checkpoint knows them. It may be the folder of the checkpoints. Without one, only epochs
            since then are averaged.

    Raises:
        ValueError: for a number of epochs below 1.
        DataError: where the folder holds the epochs of another run.
        OSError: where its file cannot be read or, by the iterator, written.
    """
    last = whole_number("the number of epochs to average", last, 1)
    return Averaged(records, last, None if folder is None else Path(folder) / _AVERAGED)


@attrs.frozen
class _Kept(Record):
    """The parameters of some epochs."""

    params: tuple[Tree, ...]


@attrs.frozen
class _KeptFacts:
    key: Key
    epochs: tuple[int, ...]
    constants: dict[str, str]


class Averaged(_Around):
    """The records of a training, and the mean of the last parameters. See ``averaged``."""

    def __init__(self, records: Iterable[EpochRecord], last: int, path: Path | None) -> None:
        super().__init__(records)
        self._kept: deque[tuple[int, Tree]] = deque(maxlen=last)
        self._path = path
        if isinstance(records, Epochs) and path is not None and path.exists():
            self._recall(records.state, 0 if (progress := records.state.progress) is None else progress.epoch)

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs whose parameters are averaged."""
        return tuple(epoch for epoch, _ in self._kept)

    @property
    def params(self) -> Tree:
        """The mean of their parameters.

        Raises:
            ValueError: before the first epoch was finished.
        """
        if not self._kept:
            raise ValueError("no epoch was finished, so there are no parameters to average")
        return tree.map(_mean, *(params for _, params in self._kept))

    def _recall(self, state: TrainState, done: int) -> None:
        """Take up the epochs of the file, if the training goes on from a later one than its beginning."""
        if self._path is None or not self._path.exists() or not done:
            return
        content, arrays = read_tensors(self._path, _FORM, _VERSION)
        try:
            facts = from_json(content, _KeptFacts, "facts")
        except ValueError as error:
            raise DataError(f"{self._path}: {error}") from error
        if facts.key != state.key:
            raise DataError(
                f"{self._path}: these epochs are of another run, with the key {facts.key}; this one has {state.key}"
            )
        like = _Kept((state.params,) * len(facts.epochs))
        self._kept.extend(zip(facts.epochs, fill(self._path, like, arrays, facts.constants).params, strict=True))

    def _passed(self, record: EpochRecord) -> EpochRecord:
        if self._newest is None and not isinstance(self._records, Epochs):
            self._recall(record.state, record.epoch - 1)
        if record.epoch not in self.epochs:  # it is there where a training goes on from an earlier checkpoint
            self._kept.append((record.epoch, record.params))
            if self._path is not None:
                kept = _Kept(tuple(params for _, params in self._kept))
                facts = to_json(_KeptFacts(record.state.key, self.epochs, constants_of(kept)))
                make_folder(self._path.parent)
                write_tensors(self._path, _FORM, _VERSION, facts, dict(tree.named_leaves(kept)))
        return record


@shielded
def _mean(first: Array, *others: Array) -> Array:
    """The mean, added up in float64. Whole numbers have none: of those it is the last."""
    if first.dtype.kind not in "fc":
        return others[-1] if others else first
    total = first.astype(np.result_type(first.dtype, np.float64))
    for other in others:
        total += other
    return (total / (1 + len(others))).astype(first.dtype)


def renew_statistics(net: AnyLayer, params: Tree, batches: Iterable[Batch], key: Key) -> Tree:
    """The parameters with running statistics, such as those of batch normalization, that belong to them.

    The network goes forward over the batches as in training, and its statistics advance, while nothing is trained:
    Izmailov et al. (UAI 2018), section 3.2. A step keeps a share of the statistics before (``batch_norm(keep=0.9)``),
    so of those that ``params`` came with, keep^n is left after n batches: let there be 50 or more.

    Args:
        net: the network.
        params: its parameters, such as ``averaged(...).params``.
        batches: examples as in training: ``data.batches(train, 100, normalize=normalization(train.x), key=key)``.
        key: what the network's layers draw from, such as dropout.

    Raises:
        ShapeError: where network, params and batches do not fit.
    """
    for number, batch in enumerate(batches):
        _, residuals = net.forward(params, batch.x, random.fold_in(key, number))
        params = net.advance(params, residuals)
    return params


Writer = Callable[[EpochRecord], object]


def logged(records: Iterable[EpochRecord], writer: Writer) -> Epochs:
    """The records, each after ``writer`` was called with it. ``json_lines`` makes a writer."""
    return _Logged(records, writer)


class _Logged(_Around):
    def __init__(self, records: Iterable[EpochRecord], writer: Writer) -> None:
        super().__init__(records)
        self._writer = writer

    def _passed(self, record: EpochRecord) -> EpochRecord:
        self._writer(record)
        return record


def json_lines(path: Path | str) -> Writer:
    """A writer that keeps a file of one line of JSON an epoch: the fields of ``EpochNumbers``, by their names.

    NaN and the infinities are the texts "nan", "inf" and "-inf". A training that goes on from a checkpoint goes on with
    the file: lines of its epochs that are there already are replaced.

    Raises:
        DataError: by the writer, where the file holds something else.
        OSError: by the writer, where it cannot be written.
    """
    path, begun = Path(path), False

    def write(record: EpochRecord) -> None:
        nonlocal begun
        if not begun and path.exists():
            lines = read_whole(path).decode().splitlines()
            write_whole(path, "".join(f"{line}\n" for line in lines if _epoch_of(path, line, lines[-1]) < record.epoch))
        begun = True
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(to_json(record.numbers), allow_nan=False) + "\n")

    return write


def _epoch_of(path: Path, line: str, last: str) -> float:
    """The epoch of a line; that of a last line that was cut off is infinite."""
    try:
        epoch = json.loads(line)["epoch"]
    except (ValueError, KeyError, TypeError) as error:
        if line is last and line.startswith("{"):
            return math.inf
        raise DataError(f"{path}: expected the JSON of an epoch, found {line!r:.40}") from error
    return int(epoch)
