"""``funcnet lab-report``: train the lab's network and write its report."""

from __future__ import annotations

import argparse
import functools
import json
import math
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import attrs
from tqdm import tqdm

from funcnet.checkpoints import Checkpoint, checkpointed, resume
from funcnet.cli.pages import expect_room, write_pages
from funcnet.cli.terminal import INTERRUPTED, complain, interruptible, say, whole_number
from funcnet.data.batches import batch_count
from funcnet.data.dataset import DataError, Dataset
from funcnet.data.registry import NAMES, load
from funcnet.files import lock_folder, make_folder, read_whole, write_whole
from funcnet.json_records import from_json, parse, to_json
from funcnet.lab import RECIPES, lab_network, lab_record, lab_state, run_lab
from funcnet.model_file import make_model, save_model
from funcnet.nonfinite import NonFiniteError
from funcnet.record import RunRecord
from funcnet.run_file import read_run, run_file_name, write_run
from funcnet.step import Evaluation
from funcnet.text import duration
from funcnet.tree import Tree

__all__ = ["add_to"]

_EPOCHS, _SEED, _OUT = 20, 0, Path("lab-report")
_CHECKPOINTS, _PLAN = "checkpoints", "plan.json"
_MINUTES = 1.0  # between two checkpoints: what a killed run loses


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    report = commands.add_parser(
        "lab-report",
        help="train the lab's network and write its report",
        description="Train the lab's network (one hidden layer, an L2 penalty on each weight matrix) on each data set "
        "and write its report (PDF, HTML, Markdown, figures, tables) and run-DATASET.json, from which `funcnet report` "
        "makes it again. Ctrl-C stops after the current step and writes the report of the epochs done. --resume "
        "goes on with it.",
    )
    report.add_argument(
        "datasets",
        nargs="*",
        metavar="DATASET",
        type=_dataset,
        help=f"of {', '.join(NAMES)} (default: glyphs)",
    )
    report.add_argument(
        "--data", metavar="DIR",
        help="the folder with the data sets (after it, $FUNCNET_DATA and the cache folder are looked in; what is "
        "nowhere is downloaded)",
    )  # fmt: skip
    report.add_argument(
        "--epochs", type=whole_number(1), metavar="N",
        help=f"how often the whole training set is gone through (default: {_EPOCHS})",
    )  # fmt: skip
    report.add_argument(
        "--seed", type=whole_number(0, 2**64 - 1), metavar="N", help=f"of all randomness (default: {_SEED})"
    )
    report.add_argument("--out", type=Path, metavar="DIR", help=f"the folder for the report (default: {_OUT})")
    report.add_argument(
        "--resume", type=Path, metavar="DIR",
        help="go on with the runs in this folder, which were stopped or killed, as if they had not been",
    )  # fmt: skip
    report.set_defaults(run=lambda options: _run(options, report))


def _dataset(text: str) -> str:
    if text not in NAMES:
        raise argparse.ArgumentTypeError(f"there is no data set {text!r}; there are {', '.join(NAMES)}")
    return text


@attrs.frozen
class _Plan:
    """What the command was given, kept beside the checkpoints until all runs are finished."""

    datasets: tuple[str, ...]
    epochs: int
    seed: int
    data: str | None


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    data = None if options.data is None else str(Path(options.data).expanduser().absolute())
    out = (options.resume or options.out or _OUT).expanduser()
    if options.resume is None:
        plan = _Plan(
            tuple(dict.fromkeys(options.datasets)) or ("glyphs",),
            _EPOCHS if options.epochs is None else options.epochs,
            _SEED if options.seed is None else options.seed,
            data,
        )
    else:
        if options.datasets or (options.epochs, options.seed, options.out) != (None, None, None):
            parser.error("--resume goes on with the runs as they were begun: it goes with --data alone")
        plan = _begun(out)
        plan = plan if data is None else attrs.evolve(plan, data=data)
    make_folder(out)  # before the training, not after it
    with lock_folder(out):
        return _make(plan, out, resumed=options.resume is not None)


def _begun(out: Path) -> _Plan:
    """The plan of the runs in a folder.

    Raises:
        DataError: where there is none.
    """
    path = out / _CHECKPOINTS / _PLAN
    if not path.exists():
        raise DataError(
            f"{out}: there is no run to go on with: expected {path}, which is there until a run is finished"
        )
    try:
        return from_json(parse(read_whole(path).decode()), _Plan, "plan")
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _make(plan: _Plan, out: Path, *, resumed: bool) -> int:
    checkpoints = out / _CHECKPOINTS
    if not resumed and (checkpoints / _PLAN).exists():
        raise DataError(
            f"{out} holds a run that is not finished. `funcnet lab-report --resume {out}` goes on with it. To begin "
            f"another, name another folder with --out, or remove {checkpoints}"
        )
    datasets = [load(name, plan.data) for name in plan.datasets]
    begun = [
        lab_record(
            dataset, RECIPES[dataset.name], seed=plan.seed, epochs=plan.epochs,
            command=f"funcnet lab-report {dataset.name} --epochs {plan.epochs} --seed {plan.seed}",
        )
        for dataset in datasets
    ]  # fmt: skip
    expect_room(begun, out)
    make_folder(checkpoints)
    write_whole(checkpoints / _PLAN, json.dumps(to_json(plan)) + "\n")
    runs: list[RunRecord] = []
    status = 0
    with interruptible() as interrupted:
        for dataset, run in zip(datasets, begun, strict=True):
            trained, status = _made(dataset, run, plan, out, interrupted, resumed=resumed)
            if trained.epochs:
                runs.append(trained)
            if status:
                break
    if any(checkpoints.glob("*/*")):
        complain(f"`funcnet lab-report --resume {out}` goes on from here.")
    elif status:
        shutil.rmtree(checkpoints)
    if not runs:
        complain(f"No epoch was finished, so there is nothing to report in {out}.")
        return status
    try:
        write_pages(runs, out, "Lab report")
    except KeyboardInterrupt:
        complain(f"Stopped within the report. `funcnet report {out} --out {out}` makes it of the runs there.")
        return INTERRUPTED
    if not status:
        shutil.rmtree(checkpoints)  # after the report: one that was killed before has something to go on with
    return status


def _made(
    dataset: Dataset, begun: RunRecord, plan: _Plan, out: Path, interrupted: Callable[[], int], *, resumed: bool
) -> tuple[RunRecord, int]:
    """The run on a data set, made or found in the folder, and the exit status."""
    path, folder, recipe = out / run_file_name(dataset.name), out / _CHECKPOINTS / dataset.name, RECIPES[dataset.name]
    earlier = read_run(path) if path.exists() else begun
    start = Checkpoint(lab_state(dataset, recipe, epochs=plan.epochs, seed=plan.seed), begun)
    if resumed:
        if earlier.epochs == plan.epochs and not folder.exists():
            return earlier, 0  # finished before the command was stopped
        start = resume(folder, start.state, begun)
        for message in start.skipped:
            complain(message)
    # After each epoch: what is done is safe from what happens in the next one.
    keep = _now_and_then(functools.partial(_keep, path, earlier))
    trained, params, status = _train(dataset, start, plan, folder, interrupted, keep)
    if trained.epochs < earlier.epochs:
        complain(f"{path} still holds the run of {earlier.epochs} epochs that was made before.")
        return earlier, status
    if trained.epochs:
        _keep(path, earlier, trained)  # which knows by now why it ended
    if not status:
        net = lab_network(recipe.hidden, len(dataset.classes))
        model = out / f"model-{dataset.name}.safetensors"
        save_model(model, make_model(net, params, dataset, trained))
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
    dataset: Dataset,
    start: Checkpoint,
    plan: _Plan,
    folder: Path,
    interrupted: Callable[[], int],
    keep: Callable[[RunRecord], None],
) -> tuple[RunRecord, Tree, int]:
    """Train, showing progress, until the last epoch, a signal or a number that is not finite.

    ``keep`` is called with the record after every epoch. Returns the record, the parameters and the exit status.
    """
    recipe, run, epochs = RECIPES[dataset.name], start.run, plan.epochs
    assert run is not None
    params = start.state.params
    say(f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} testing images")
    progress = start.state.progress
    if progress is not None:
        say(f"Going on after {progress.epoch} of {epochs} epochs and {progress.batches} steps of the next one.")
    began, done = time.monotonic(), run.epochs
    bar = tqdm(
        total=batch_count(dataset.train, recipe.batch_size),
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
        bar.set_description(f"epoch {run.epochs + 1}/{epochs}")
        training = run_lab(
            dataset, recipe, epochs=epochs, seed=run.seed, state=start.state, callback=watch
        )  # fmt: skip
        for record in checkpointed(training, folder, run=run, minutes=_MINUTES):
            run, params = run.and_epoch(record), record.params
            keep(run)
            left = (time.monotonic() - began) / (record.epoch - done) * (epochs - record.epoch)
            bar.clear()
            say(record)
            if record.epoch < epochs:
                bar.reset()
                bar.set_description(f"epoch {record.epoch + 1}/{epochs}, {duration(left)} left")
    except KeyboardInterrupt:
        bar.clear()
        number = interrupted() or signal.SIGINT
        why = "Stopped by Ctrl-C" if number == signal.SIGINT else f"Stopped by {signal.Signals(number).name}"
        complain(f"{why} after {run.epochs} of {epochs} epochs.")
        return attrs.evolve(run, ended=why), params, 128 + number
    except NonFiniteError as error:
        bar.clear()
        complain(f"funcnet: error: {dataset.name}: {error}")
        return attrs.evolve(run, ended=f"A number was not finite: {error}"), params, 1
    finally:
        bar.close()
    return run, params, 0
