"""``funcnet lab-report``: train the lab's network and write its report."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path

import attrs
from tqdm import tqdm

from funcnet.cli.pages import expect_room, write_pages
from funcnet.cli.terminal import INTERRUPTED, complain, interruptible, say, whole_number
from funcnet.data.batches import batch_count
from funcnet.data.dataset import Dataset
from funcnet.data.registry import NAMES, load
from funcnet.files import make_folder
from funcnet.lab import RECIPES, lab_record, run_lab
from funcnet.nonfinite import NonFiniteError
from funcnet.record import RunRecord
from funcnet.step import Evaluation

__all__ = ["add_to"]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    report = commands.add_parser(
        "lab-report",
        help="train the lab's network and write its report",
        description="Train the lab's network (one hidden layer, an L2 penalty on each weight matrix) on each data set "
        "and write its report (PDF, HTML, Markdown, figures, tables) and run-DATASET.json, from which `funcnet report` "
        "makes it again. Ctrl-C stops after the current step and writes the report of the epochs done.",
    )
    report.add_argument(
        "datasets",
        nargs="*",
        metavar="DATASET",
        default=["glyphs"],
        type=_dataset,
        help=f"of {', '.join(NAMES)} (default: glyphs)",
    )
    report.add_argument(
        "--data", type=Path, metavar="DIR",
        help="the folder with the data sets (after it, $FUNCNET_DATA and the cache folder are looked in; what is "
        "nowhere is downloaded)",
    )  # fmt: skip
    report.add_argument(
        "--epochs", type=whole_number(1), default=20, metavar="N",
        help="how often the whole training set is gone through (default: %(default)s)",
    )  # fmt: skip
    report.add_argument(
        "--seed", type=whole_number(0, 2**64 - 1), default=0, metavar="N",
        help="of all randomness (default: %(default)s)",
    )  # fmt: skip
    report.add_argument(
        "--out", type=Path, default=Path("lab-report"), metavar="DIR",
        help="the folder for the report (default: %(default)s)",
    )  # fmt: skip
    report.set_defaults(run=_run)


def _dataset(text: str) -> str:
    if text not in NAMES:
        raise argparse.ArgumentTypeError(f"there is no data set {text!r}; there are {', '.join(NAMES)}")
    return text


def _run(options: argparse.Namespace) -> int:
    names, out = list(dict.fromkeys(options.datasets)), options.out
    epochs, seed = options.epochs, options.seed
    make_folder(out)  # before the training, not after it
    datasets = [load(name, options.data) for name in names]
    begun = [
        lab_record(
            dataset, RECIPES[dataset.name], seed=seed, epochs=epochs,
            command=f"funcnet lab-report {dataset.name} --epochs {epochs} --seed {seed}",
        )
        for dataset in datasets
    ]  # fmt: skip
    expect_room(begun, out)
    from funcnet.report import read_run  # matplotlib, which --help can do without
    from funcnet.report.files import run_file_name

    runs: list[RunRecord] = []
    status = 0
    with interruptible() as interrupted:
        for dataset, run in zip(datasets, begun, strict=True):
            path = out / run_file_name(dataset.name)
            # The same run, made before: it stays until this one has got as far.
            earlier = read_run(path) if path.exists() else run
            # After each epoch: what is done is safe from what happens in the next one.
            keep = functools.partial(_keep, path, earlier)
            trained, status = _train(dataset, run, epochs, interrupted, keep)
            if trained.epochs < earlier.epochs:
                complain(f"{path} still holds the run of {earlier.epochs} epochs that was made before.")
                trained = earlier
            if trained.epochs:
                runs.append(trained)
                keep(trained)  # which knows by now why it ended
            if status:
                break
    if not runs:
        complain(f"No epoch was finished, so there is nothing to report in {out}.")
        return status
    try:
        write_pages(runs, out, "Lab report")
    except KeyboardInterrupt:
        complain(f"Stopped by Ctrl-C within the report. `funcnet report {out} --out {out}` makes it of the runs there.")
        return INTERRUPTED
    return status


def _keep(path: Path, earlier: RunRecord, run: RunRecord) -> None:
    from funcnet.report import write_run  # matplotlib, which --help can do without

    if run.epochs >= earlier.epochs:
        write_run(run, path)


def _train(
    dataset: Dataset, run: RunRecord, epochs: int, interrupted: Callable[[], bool], keep: Callable[[RunRecord], None]
) -> tuple[RunRecord, int]:
    """Train, showing progress, until the last epoch, Ctrl-C or divergence; the record and the exit status.

    ``keep`` is called with the record after every epoch.
    """
    recipe = RECIPES[dataset.name]
    say(f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} testing images")
    began = time.monotonic()
    bar = tqdm(
        total=batch_count(dataset.train, recipe.batch_size),
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
        bar.set_description(f"epoch 1/{epochs}")
        for record in run_lab(dataset, recipe, epochs=epochs, seed=run.seed, callback=watch):
            run = run.and_epoch(record)
            keep(run)
            left = (time.monotonic() - began) / record.epoch * (epochs - record.epoch)
            bar.clear()
            say(record)
            if record.epoch < epochs:
                bar.reset()
                bar.set_description(f"epoch {record.epoch + 1}/{epochs}, {_duration(left)} left")
    except KeyboardInterrupt:
        bar.clear()
        complain(f"Stopped by Ctrl-C after {run.epochs} of {epochs} epochs.")
        return attrs.evolve(run, ended="Stopped by Ctrl-C"), INTERRUPTED
    except NonFiniteError as error:
        bar.clear()
        complain(f"funcnet: error: {dataset.name}: {error}")
        return attrs.evolve(run, ended=f"Diverged: {error}"), 1
    finally:
        bar.close()
    return run, 0


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
