"""Training runs in a folder, as ``lab-report`` and ``train`` make them: checkpointed, resumed, and reported."""

from __future__ import annotations

import functools
import json
import math
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
from tqdm import tqdm

from funcnet.checkpoints import Checkpoint, checkpointed, resume
from funcnet.cli.pages import expect_room, write_pages
from funcnet.cli.terminal import INTERRUPTED, complain, interruptible, say
from funcnet.data.batches import batch_count
from funcnet.data.dataset import DataError, Dataset
from funcnet.files import make_folder, read_whole, write_whole
from funcnet.json_records import from_json, parse, to_json
from funcnet.layer import AnyLayer
from funcnet.model_file import make_model, save_model
from funcnet.nonfinite import NonFiniteError
from funcnet.record import RunRecord
from funcnet.run_file import read_run, run_file_name, write_run
from funcnet.step import Evaluation, TrainState
from funcnet.text import duration
from funcnet.training import Callback, Training
from funcnet.tree import Tree

__all__ = ["Run", "begun_plan", "make_runs"]

P = TypeVar("P")
_CHECKPOINTS, _PLAN = "checkpoints", "plan.json"
_MINUTES = 1.0  # between two checkpoints: what a killed run loses


@attrs.frozen
class Run:
    """A training that a command makes.

    Attributes:
        dataset: what it trains on.
        net: the network, for the file of the model.
        record: its record before the first epoch, which says how many epochs are planned.
        state: ``state()`` is where it begins.
        train: ``train(state, callback)``: the training from a state on.
        batch_size: examples a step.
        model: the file that the trained network is saved in; by default in the folder of the report.
    """

    dataset: Dataset
    net: AnyLayer
    record: RunRecord
    state: Callable[[], TrainState]
    train: Callable[[TrainState, Callback], Training]
    batch_size: int
    model: Path | None = None


def begun_plan(out: Path, kind: type[P], command: str) -> P:
    """The plan of the runs in a folder, which were begun by ``command`` and are not finished.

    Raises:
        DataError: where there is none.
    """
    path = out / _CHECKPOINTS / _PLAN
    if not path.exists():
        raise DataError(
            f"{out}: there is no run to go on with: expected {path}, which is there until a run is finished"
        )
    try:
        return from_json(parse(read_whole(path).decode()), kind, "plan")
    except ValueError as error:
        raise DataError(f"{path}: {error}. Was it begun by another command than funcnet {command}?") from error


def make_runs(
    plan: Any, runs: Callable[[], Sequence[Run]], out: Path, *, command: str, title: str, resumed: bool
) -> int:
    """Make the runs one after the other, keep what is needed to go on with them, and write their report.

    Args:
        plan: what the command was given, kept beside the checkpoints until all runs are finished.
        runs: makes the runs.
        out: the folder.
        command: the command's name, for what is said of going on.
        title: of the report.
        resumed: whether the folder's runs are gone on with.

    Returns:
        The exit status.

    Raises:
        DataError: where the folder holds other runs.
    """
    checkpoints = out / _CHECKPOINTS
    if not resumed and (checkpoints / _PLAN).exists():
        raise DataError(
            f"{out} holds a run that is not finished. `funcnet {command} --resume {out}` goes on with it. To begin "
            f"another, name another folder with --out, or remove {checkpoints}"
        )
    made = runs()
    expect_room([run.record for run in made], out)
    make_folder(checkpoints)
    write_whole(checkpoints / _PLAN, json.dumps(to_json(plan)) + "\n")
    records: list[RunRecord] = []
    status = 0
    with interruptible() as interrupted:
        for run in made:
            record, status = _make(run, out, interrupted, resumed=resumed)
            if record.epochs:
                records.append(record)
            if status:
                break
    if any(checkpoints.glob("*/*")):
        complain(f"`funcnet {command} --resume {out}` goes on from here.")
    elif status:
        shutil.rmtree(checkpoints)
    if not records:
        complain(f"No epoch was finished, so there is nothing to report in {out}.")
        return status
    try:
        write_pages(records, out, title)
    except KeyboardInterrupt:
        complain(f"Stopped within the report. `funcnet report {out} --out {out}` makes it of the runs there.")
        return INTERRUPTED
    if not status:
        shutil.rmtree(checkpoints)  # after the report: one that was killed before has something to go on with
    return status


def _make(run: Run, out: Path, interrupted: Callable[[], int], *, resumed: bool) -> tuple[RunRecord, int]:
    """The record of a run, made or found in the folder, and the exit status."""
    name, begun = run.dataset.name, run.record
    path, folder = out / run_file_name(name), out / _CHECKPOINTS / name
    earlier = read_run(path) if path.exists() else begun
    if resumed and earlier.epochs == begun.planned_epochs and not folder.exists():
        return earlier, 0  # finished before the command was stopped
    start = Checkpoint(run.state(), begun)
    if resumed:
        start = resume(folder, start.state, begun)
        for message in start.skipped:
            complain(message)
    # After each epoch: what is done is safe from what happens in the next one.
    keep = _now_and_then(functools.partial(_keep, path, earlier))
    trained, params, status = _train(run, start, folder, interrupted, keep)
    if trained.epochs < earlier.epochs:
        complain(f"{path} still holds the run of {earlier.epochs} epochs that was made before.")
        return earlier, status
    if trained.epochs:
        _keep(path, earlier, trained)  # which knows by now why it ended
    if not status:
        model = out / f"model-{name}.safetensors" if run.model is None else run.model
        save_model(model, make_model(run.net, params, run.dataset, trained))
        say(f"Wrote {model}.")
        shutil.rmtree(folder)
    return trained, status


def _keep(path: Path, earlier: RunRecord, run: RunRecord) -> None:
    if run.epochs >= earlier.epochs:
        write_run(run, path)


def _now_and_then(write: Callable[[RunRecord], None]) -> Callable[[RunRecord], None]:
    """``write``, done only so often that it takes a twentieth of the time: a file grows with the number of epochs."""
    due = -math.inf

    def written(run: RunRecord) -> None:
        nonlocal due
        if (began := time.monotonic()) >= due:
            write(run)
            due = began + 20 * (time.monotonic() - began)

    return written


def _train(
    run: Run, start: Checkpoint, folder: Path, interrupted: Callable[[], int], keep: Callable[[RunRecord], None]
) -> tuple[RunRecord, Tree, int]:
    """Train, showing progress, until the last epoch, a signal or a number that is not finite.

    ``keep`` is called with the record after every epoch. Returns the record, the parameters and the exit status.
    """
    dataset, record, epochs = run.dataset, start.run, run.record.planned_epochs
    assert record is not None
    assert epochs is not None
    params = start.state.params
    held = "" if dataset.validation is None else f", {len(dataset.validation):,} validation"
    say(f"{dataset.name}: {len(dataset.train):,} training{held} and {len(dataset.test):,} testing images")
    progress = start.state.progress
    if progress is not None:
        say(f"Going on after {progress.epoch} of {epochs} epochs and {progress.batches} steps of the next one.")
    began, done = time.monotonic(), record.epochs
    bar = tqdm(
        total=batch_count(dataset.train, run.batch_size),
        initial=0 if progress is None else progress.batches,
        unit="step",
        disable=None,  # where nobody watches, the lines below are enough
        leave=False,
        dynamic_ncols=True,
    )

    def watch(step: int, metrics: Evaluation) -> None:
        bar.update()
        if step % 10 == 0:
            bar.set_postfix(loss=f"{metrics.loss:.3f}", accuracy=f"{metrics.accuracy:.3f}", refresh=False)
        if interrupted():
            raise KeyboardInterrupt

    try:
        bar.set_description(f"epoch {record.epochs + 1}/{epochs}")
        for epoch in checkpointed(run.train(start.state, watch), folder, run=record, minutes=_MINUTES):
            record, params = record.and_epoch(epoch), epoch.params
            keep(record)
            left = (time.monotonic() - began) / (epoch.epoch - done) * (epochs - epoch.epoch)
            bar.clear()
            say(epoch)
            if epoch.epoch < epochs:
                bar.reset()
                bar.set_description(f"epoch {epoch.epoch + 1}/{epochs}, {duration(left)} left")
    except KeyboardInterrupt:
        bar.clear()
        number = interrupted() or signal.SIGINT
        why = "Stopped by Ctrl-C" if number == signal.SIGINT else f"Stopped by {signal.Signals(number).name}"
        complain(f"{why} after {record.epochs} of {epochs} epochs.")
        return attrs.evolve(record, ended=why), params, 128 + number
    except NonFiniteError as error:
        bar.clear()
        complain(f"funcnet: error: {dataset.name}: {error}")
        return attrs.evolve(record, ended=f"A number was not finite: {error}"), params, 1
    finally:
        bar.close()
    return record, params, 0
