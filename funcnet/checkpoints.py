"""Checkpoints: the whole state of a training run in a file, so that a run that was killed goes on where it was.

    folder/checkpoint-0000001200.safetensors    the state after 1,200 steps, and the record of the run until then

A file is written beside the earlier ones and then renamed, so the newest good one is always whole. See ``tensor_file``.
Arrays have the names of their places in the state: ``params[1].weight``. ``run`` holds the bytes of the run's JSON.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from funcnet import tree
from funcnet.data.dataset import DataError
from funcnet.files import lock_folder, make_folder, remove_unfinished
from funcnet.json_records import from_json, to_json
from funcnet.nonfinite import NonFiniteError
from funcnet.optimizers.arguments import positive
from funcnet.random import Key
from funcnet.record import RunRecord
from funcnet.run_file import run_of_json, run_to_json
from funcnet.shapes import Array, whole_number
from funcnet.step import Progress, TrainState
from funcnet.tensor_file import constants_of, fill, read_tensors, write_tensors
from funcnet.training import EpochFacts, EpochRecord, Epochs
from funcnet.tree import Record, Tree

__all__ = ["Checkpoint", "checkpointed", "load_checkpoint", "load_epoch", "resume", "save_checkpoint", "save_epoch"]

_FORM, _EPOCH, _VERSION = "funcnet checkpoint", "funcnet epoch", 1
_NAME = re.compile(r"checkpoint-(\d{10,})\.safetensors")


@attrs.frozen
class Checkpoint:
    """A training run at one moment.

    Attributes:
        state: the whole state of training.
        run: the record of the run until then, if one is kept.
        skipped: of a checkpoint that was loaded: why newer files in the folder could not be used. One message a file.
    """

    state: TrainState
    run: RunRecord | None = None
    skipped: tuple[str, ...] = ()


@attrs.frozen
class _Trees(Record):
    """The arrays of a state. Their paths here are their names in the file."""

    params: Tree
    opt_state: Tree


@attrs.frozen
class _ProgressNumbers:
    epoch: int
    batches: int
    batch_size: int
    examples: int
    step: int
    seconds: float


@attrs.frozen
class _Facts:
    """What is no array. ``constants`` are those of ``constants_of``."""

    step: int
    key: Key
    progress: _ProgressNumbers | None
    constants: dict[str, str]


@attrs.frozen
class _Evaluated(Record):
    """The parameters of an epoch's network, where they are not those of its state."""

    evaluated: Tree


@attrs.frozen
class _EpochFacts:
    """What is no array in the file of an epoch."""

    state: _Facts
    record: EpochFacts


def save_checkpoint(folder: Path | str, checkpoint: Checkpoint, keep: int = 3) -> Path:
    """Write the checkpoint into a folder, and return its path. The folder is made if it is not there.

    The last ``keep`` good checkpoints stay. Older ones are removed once the new one is on the disk.

    Raises:
        OSError: where the file cannot be written, naming it. The earlier checkpoints are then as they were.
        DataError: where the folder holds a good checkpoint of another run: one of a later step, or with another key.
        TypeError: for an array of a dtype that the file cannot hold, naming it.
        ValueError: for ``keep`` below 1.
    """
    keep = whole_number("the number of checkpoints to keep", keep, 1)
    step = whole_number("the step of a state", checkpoint.state.step, 0)
    folder = Path(folder)
    make_folder(folder)
    remove_unfinished(folder)
    path = folder / f"checkpoint-{step:010d}.safetensors"
    there = _checkpoints(folder)
    good = [path]
    for other in there:
        if len(good) == max(keep, 2):
            break
        if (facts := _facts_of(other)) is None:
            continue
        if facts.step > step or facts.key != checkpoint.state.key:
            what = f"of a later step than {step}, the one to be saved" if facts.step > step else "made with another key"
            raise DataError(
                f"{other}: this checkpoint is {what}, and so of another run. Resume from it, remove it, or name "
                "another folder."
            )
        if other != path:
            good.append(other)
    _write(path, checkpoint)
    if len(good) >= keep:
        for other in there:
            if _step_of(other) < _step_of(good[keep - 1]):
                other.unlink(missing_ok=True)
    return path


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of the folder, the newest first."""
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), key=_step_of, reverse=True)


def _step_of(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def _read(path: Path) -> tuple[_Facts, dict[str, Array]]:
    """The facts and the arrays of a good checkpoint."""
    content, arrays = read_tensors(path, _FORM, _VERSION)
    try:
        return from_json(content, _Facts, "facts"), arrays
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _facts_of(path: Path) -> _Facts | None:
    """The facts of a good checkpoint; None for a damaged one."""
    try:
        return _read(path)[0]
    except (DataError, OSError):
        return None


def _write(path: Path, checkpoint: Checkpoint) -> None:
    facts, arrays = _parts_of(checkpoint.state)
    if checkpoint.run is not None:
        arrays["run"] = np.frombuffer(run_to_json(checkpoint.run).encode(), np.uint8)
    write_tensors(path, _FORM, _VERSION, to_json(facts), arrays)


def _parts_of(state: TrainState) -> tuple[_Facts, dict[str, Array]]:
    """The facts and the arrays of a state."""
    progress = state.progress
    trees = _Trees(state.params, state.opt_state)
    arrays = dict(tree.named_leaves(trees))
    numbers = None
    if progress is not None:
        numbers = _ProgressNumbers(
            **{field.name: getattr(progress, field.name) for field in attrs.fields(_ProgressNumbers)}
        )
        arrays |= {"progress.metrics": progress.metrics, "progress.ratios": progress.ratios}
    return _Facts(int(state.step), state.key, numbers, constants_of(trees)), arrays


def save_epoch(path: Path, record: EpochRecord) -> None:
    """Write the record of an epoch, with its network, whole or not at all.

    Raises:
        OSError: where the file cannot be written.
        TypeError: for an array of a dtype that the file cannot hold, naming it.
    """
    state, arrays = _parts_of(record.state)
    if record.params is not record.state.params:  # an average that the optimizer keeps
        arrays |= dict(tree.named_leaves(_Evaluated(record.params)))
    write_tensors(path, _EPOCH, _VERSION, to_json(_EpochFacts(state, record.facts)), arrays)


def load_epoch(path: Path, like: TrainState) -> EpochRecord:
    """The record that ``save_epoch`` wrote, with the structure of ``like``: a state of the same run.

    Raises:
        DataError: for a damaged file, or the epoch of another run.
        OSError: where the file cannot be read.
    """
    content, arrays = read_tensors(path, _EPOCH, _VERSION)
    try:
        facts = from_json(content, _EpochFacts, "facts")
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if facts.state.key != like.key:
        raise DataError(
            f"{path}: this epoch is one of another run, with the key {facts.state.key}; this one has {like.key}"
        )
    average = {name: arrays.pop(name) for name in list(arrays) if name.startswith("evaluated")}
    state = _state_of(path, facts.state, arrays, like)
    params = fill(path, _Evaluated(state.params), average, {}).evaluated if average else state.params
    return EpochRecord(**attrs.asdict(facts.record, recurse=False), state=state, params=params)


def load_checkpoint(place: Path | str, like: TrainState) -> Checkpoint:
    """The newest good checkpoint of a folder, or that of one file.

    Args:
        place: the folder, or the file.
        like: a state of the same network and optimizer, such as ``init_state(params, optimizer, key)`` makes. The
            loaded state has its structure. Its numbers are not used.

    Raises:
        DataError: for a file that is damaged, a folder without a good checkpoint, or a checkpoint of another network
            or optimizer, naming the first difference.
        OSError: where the file or folder cannot be read.
    """
    place = Path(place)
    if not place.is_dir():
        return _checkpoint_of(place, *_read(place), like)
    skipped: list[str] = []
    for path in _checkpoints(place):
        try:
            content = _read(path)
        except (DataError, OSError) as error:
            skipped.append(str(error))
            continue
        return attrs.evolve(_checkpoint_of(path, *content, like), skipped=tuple(skipped))
    if skipped:
        raise DataError(f"{place}: no checkpoint here can be used: {'; '.join(skipped)}")
    raise DataError(f"{place}: there is no checkpoint in this folder")


def _checkpoint_of(path: Path, facts: _Facts, arrays: dict[str, Array], like: TrainState) -> Checkpoint:
    """The checkpoint of what a file holds, in the structure of ``like``."""
    run = arrays.pop("run", None)
    state = _state_of(path, facts, arrays, like)
    return Checkpoint(state, None if run is None else run_of_json(run.tobytes(), path))


def _state_of(path: Path, facts: _Facts, arrays: dict[str, Array], like: TrainState) -> TrainState:
    progress = _progress(path, facts.progress, arrays)
    trees = _Trees(like.params, like.opt_state)
    filled = fill(path, trees, arrays, facts.constants)
    return TrainState(filled.params, filled.opt_state, facts.key, facts.step, progress)


def _progress(path: Path, numbers: _ProgressNumbers | None, arrays: dict[str, Array]) -> Progress | None:
    if numbers is None:
        return None
    found = {name: arrays.pop(f"progress.{name}", None) for name in ("metrics", "ratios")}
    for name, array in found.items():
        if array is None or array.ndim != 2 or array.dtype != np.float64:
            given = "nothing" if array is None else tree.describe_array(array)
            raise DataError(f"{path}: progress.{name}: expected float64 of two axes, found {given}")
    arguments: dict[str, Any] = attrs.asdict(numbers) | found
    return Progress(**arguments)


def resume(folder: Path | str, state: TrainState, run: RunRecord | None = None) -> Checkpoint:
    """Where a run goes on: at the newest good checkpoint of the folder, or at ``state`` if the folder holds none.

    So a script that calls this goes on where it was killed when it is started again.

    Args:
        folder: the folder of the checkpoints; it need not be there yet.
        state: the state that the run begins with.
        run: the record that it begins with. The record of the checkpoint gets its number of planned epochs and its
            command.

    Raises:
        DataError: where the checkpoints are of another network, optimizer or key, the record is of another data set or
            seed, or none of the checkpoints can be used.
        OSError: where they cannot be read.
    """
    folder = Path(folder)
    if not folder.exists() or (folder.is_dir() and not _checkpoints(folder)):
        return Checkpoint(state, run)
    found = load_checkpoint(folder, state)
    if found.state.key != state.key:
        raise DataError(f"{folder}: {_another_run('key', found.state.key, state.key)}")
    if run is None:
        return found
    if found.run is None:
        raise DataError(f"{folder}: its checkpoints hold no record of the run, to which this one could be added")
    for what, there, here in zip(("data set", "seed", "data"), _identity(found.run), _identity(run), strict=True):
        if there != here:
            raise DataError(f"{folder}: {_another_run(what, there, here)}")
    ended = found.run.ended if found.run.chosen_by else ""  # by early stopping, which ends it again
    same = attrs.evolve(found.run, planned_epochs=run.planned_epochs, command=run.command, ended=ended)
    return attrs.evolve(found, run=same)


def _identity(run: RunRecord) -> tuple[object, ...]:
    if run.data is None:
        return run.dataset, run.seed, None
    sums = (run.data.train_sha256, run.data.validation_sha256, run.data.test_sha256)
    return run.dataset, run.seed, f"with checksums {' and '.join(f'{digits:.8}' for digits in sums if digits)}"


def _another_run(what: str, there: object, here: object) -> str:
    return (
        f"its checkpoints are those of another run, with the {what} {there}; this one has {here}. Name another folder, "
        "or remove them."
    )


def checkpointed(
    training: Epochs,
    folder: Path | str,
    *,
    run: RunRecord | None = None,
    steps: int | None = None,
    minutes: float = 5.0,
    keep: int = 3,
) -> Iterator[EpochRecord]:
    """The records of a training whose state is kept in a folder meanwhile, also within its epochs.

    A checkpoint is written as often as ``steps`` or ``minutes`` say, whichever comes first, and at the end; also where
    the training is dropped, or stopped by Ctrl-C or an error between two steps. After a ``NonFiniteError`` it is the
    state before the step that went wrong.

    Args:
        training: what ``train`` returned, or ``early_stopping``, ``averaged`` and ``logged`` made of it.
        folder: the folder for the checkpoints. No other run can write to it at the same time.
        run: the record of the run until now. The checkpoints hold it with the epochs that are finished.
        steps: the number of steps between two checkpoints; None for no limit.
        minutes: the time between two checkpoints.
        keep: how many checkpoints stay.

    Raises:
        ValueError: for a number of steps or checkpoints below 1, or minutes that are not positive.
        TypeError: for records without the steps between them.
        FolderInUseError: by the iterator, where another run writes to the folder.
        OSError: by the iterator, where a checkpoint cannot be written. The earlier ones are then as they were.
    """
    if not isinstance(training, Epochs):
        raise TypeError(f"checkpointed takes what train returned, or what goes around that; got {training!r:.80}")
    steps = None if steps is None else whole_number("the number of steps between checkpoints", steps, 1)
    keep = whole_number("the number of checkpoints to keep", keep, 1)
    return _checkpointed(training, Path(folder), run, steps, positive("the time between checkpoints", minutes), keep)


def _checkpointed(
    training: Epochs, folder: Path, run: RunRecord | None, steps: int | None, minutes: float, keep: int
) -> Iterator[EpochRecord]:
    made, last = 0, time.monotonic()  # since the last checkpoint: the steps made, and when it was written
    unsaved = False

    def save(state: TrainState) -> None:
        nonlocal made, last, unsaved
        made, unsaved = 0, False
        save_checkpoint(folder, Checkpoint(state, run), keep)
        last = time.monotonic()

    with lock_folder(folder):
        try:
            for moment in training.steps():
                unsaved = True
                if isinstance(moment, EpochRecord):
                    run = run if run is None else run.and_epoch(moment)
                    yield moment
                else:
                    made += 1
                if made == steps or time.monotonic() - last > 60 * minutes:
                    save(training.state)
            if unsaved:
                save(training.state)
        except OSError:  # the disk is full, or the like
            raise
        except NonFiniteError as error:
            if error.state is not None:
                for path in _checkpoints(folder):  # they hold what is not finite
                    if _step_of(path) > error.state.step:
                        path.unlink()
                save(error.state)
            raise
        except BaseException:
            if unsaved and training.is_whole:
                save(training.state)
            raise
