"""``funcnet lab-report``: train the lab's network and write its report."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import attrs

from funcnet.cli.runs import Run, begun_plan, make_runs
from funcnet.cli.terminal import whole_number
from funcnet.data.registry import NAMES, load
from funcnet.files import lock_folder, make_folder
from funcnet.lab import RECIPES, lab_network, lab_record, lab_state, run_lab
from funcnet.step import TrainState
from funcnet.training import Callback, Training

__all__ = ["add_to"]

_EPOCHS, _SEED, _OUT = 20, 0, Path("lab-report")


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
        plan = begun_plan(out, _Plan, "lab-report")
        plan = plan if data is None else attrs.evolve(plan, data=data)
    make_folder(out)  # before the training, not after it
    with lock_folder(out):
        return make_runs(
            plan, partial(_runs, plan), out,
            command="lab-report", title="Lab report", resumed=options.resume is not None,
        )  # fmt: skip


def _runs(plan: _Plan) -> list[Run]:
    return [_run_of(name, plan) for name in plan.datasets]


def _run_of(name: str, plan: _Plan) -> Run:
    dataset, recipe = load(name, plan.data), RECIPES[name]

    def trained(state: TrainState, callback: Callback) -> Training:
        return run_lab(dataset, recipe, epochs=plan.epochs, seed=plan.seed, state=state, callback=callback)

    return Run(
        dataset,
        lab_network(recipe.hidden, len(dataset.classes)),
        lab_record(
            dataset, recipe, seed=plan.seed, epochs=plan.epochs,
            command=f"funcnet lab-report {name} --epochs {plan.epochs} --seed {plan.seed}",
        ),
        partial(lab_state, dataset, recipe, epochs=plan.epochs, seed=plan.seed),
        trained,
        recipe.batch_size,
    )  # fmt: skip
