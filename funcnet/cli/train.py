"""``funcnet train``: train a network on a data set and write its report."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import attrs
import numpy as np

from funcnet import optimizers, random
from funcnet.cli.runs import Run, begun_plan, make_runs
from funcnet.cli.terminal import say, text, whole_number
from funcnet.combinators import chain
from funcnet.data import augment
from funcnet.data.augment import Augmentation
from funcnet.data.batches import batch_count, normalization
from funcnet.data.dataset import DataError, Dataset
from funcnet.data.registry import NAMES, load
from funcnet.files import lock_folder, make_folder
from funcnet.layer import AnyLayer
from funcnet.layers.reshape import reshape
from funcnet.losses import softmax_cross_entropy
from funcnet.models import lenet, mlp, resnet, speednet
from funcnet.optimizers import Optimizer, Schedule
from funcnet.random import make_key
from funcnet.record import new_run
from funcnet.shapes import ShapeError
from funcnet.step import TrainState, init_state
from funcnet.training import Callback, EpochRecord, Training, train
from funcnet.whitening import patch_whitening

__all__ = ["add_to"]

_EPOCHS, _SEED, _BATCH, _OUT = 10, 0, 128, Path("training")
_WHITENED = 5000  # training images whose patches are whitened
_TIMED_STEPS, _TIMED_SECONDS = 10, 20.0

_NETWORKS: Mapping[str, Callable[[Dataset], AnyLayer]] = {
    "mlp": lambda data: mlp(256, len(data.classes)),
    "lenet": lambda data: lenet(len(data.classes)),
    "resnet-20": lambda data: resnet(20, len(data.classes)),
    "resnet-32": lambda data: resnet(32, len(data.classes)),
    "resnet-44": lambda data: resnet(44, len(data.classes)),
    "resnet-18": lambda data: resnet(18, len(data.classes)),
    "speednet": lambda data: speednet(patch_whitening(_first_images(data)), len(data.classes)),
}

# Each with the peak of its learning rate, where --rate does not say it.
_OPTIMIZERS: Mapping[str, tuple[Callable[[Schedule], Optimizer], float]] = {
    "sgd": (partial(optimizers.sgd, weight_decay=5e-4), 0.1),
    "momentum": (partial(optimizers.momentum, weight_decay=5e-4), 0.05),
    "nesterov": (partial(optimizers.nesterov, weight_decay=5e-4), 0.05),
    "adam": (optimizers.adam, 1e-3),
    "adamw": (partial(optimizers.adamw, weight_decay=1e-2), 1e-3),
    "rmsprop": (optimizers.rmsprop, 1e-3),
    "lion": (optimizers.lion, 1e-4),
    "lamb": (partial(optimizers.lamb, weight_decay=1e-2), 2e-3),
    "muon": (optimizers.muon, 0.02),
}  # fmt: skip

_AUGMENTATIONS: Mapping[str, Callable[[Dataset], Augmentation]] = {
    "flip": lambda data: augment.flip(),
    "alternating-flip": lambda data: augment.alternating_flip(),
    "shift": lambda data: augment.shift(_share_of_side(data, 8)),
    "cutout": lambda data: augment.cutout(_share_of_side(data, 4)),
    "erasing": lambda data: augment.random_erasing(),
    "rotate": lambda data: augment.rotate(15.0),
    "brightness": lambda data: augment.brightness_contrast(0.2, 0.2),
    "mixup": lambda data: augment.mixup(0.2, classes=len(data.classes)),
    "cutmix": lambda data: augment.cutmix(1.0, classes=len(data.classes)),
}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "train",
        help="train a network on a data set, or on your own, and write its report",
        description="Train a network on a data set and write its report (PDF, HTML, Markdown, figures, tables), "
        "run-DATASET.json and the trained network. DATASET is a name, a folder of images by class, or a .npz file. "
        "The learning rate rises to its peak and falls to nearly 0 in the planned epochs. Ctrl-C stops after the "
        "current step and writes the report of the epochs done. --resume goes on with it.",
    )
    add = command.add_argument
    add("dataset", nargs="?", metavar="DATASET", type=text, help=f"one of {', '.join(NAMES)}, or a path")
    add("--network", choices=_NETWORKS, metavar="NAME", help=f"one of {', '.join(_NETWORKS)} (default: mlp)")
    long = command.add_mutually_exclusive_group()
    long.add_argument(
        "--epochs", type=whole_number(1), metavar="N",
        help=f"how often the whole training set is gone through (default: {_EPOCHS})",
    )  # fmt: skip
    long.add_argument(
        "--minutes", type=_positive, metavar="M",
        help="as many epochs as fit into these minutes, after some timed steps",
    )  # fmt: skip
    add("--optimizer", choices=_OPTIMIZERS, metavar="NAME", help=f"one of {', '.join(_OPTIMIZERS)} (default: nesterov)")
    add("--rate", type=_positive, metavar="R", help="the peak of the learning rate (default: the optimizer's own)")
    add("--batch", type=whole_number(1), metavar="N", help=f"examples a step (default: {_BATCH})")
    add(
        "--augment", type=_augmentations, metavar="NAME[,NAME]",
        help=f"changes of the training images, in this order: {', '.join(_AUGMENTATIONS)}",
    )  # fmt: skip
    add("--seed", type=whole_number(0, 2**64 - 1), metavar="N", help=f"of all randomness (default: {_SEED})")
    add("--data", metavar="DIR", help="the folder with the data sets that have a name (see lab-report)")
    add("--out", type=Path, metavar="DIR", help=f"the folder for the report (default: {_OUT})")
    add("--save", type=Path, metavar="FILE", help="where the trained network is saved (default: in that folder)")
    add("--resume", type=Path, metavar="DIR", help="go on with the run in this folder, which was stopped or killed")
    command.set_defaults(run=lambda options: _run(options, command))


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number


def _augmentations(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in _AUGMENTATIONS:
            raise argparse.ArgumentTypeError(f"there is no {name!r}; there are {', '.join(_AUGMENTATIONS)}")
    return names


@attrs.frozen
class _Plan:
    """What the command was given, kept beside the checkpoints until the run is finished."""

    dataset: str
    network: str = "mlp"
    epochs: int = _EPOCHS
    minutes: float | None = None
    optimizer: str = "nesterov"
    rate: float | None = None
    batch: int = _BATCH
    augment: tuple[str, ...] = ()
    seed: int = _SEED
    data: str | None = None
    save: str | None = None

    @property
    def command(self) -> str:
        """The command that makes the run again."""
        options = {
            "network": self.network,
            "epochs": self.epochs,
            "optimizer": self.optimizer,
            "rate": self.rate,
            "batch": self.batch,
            "augment": ",".join(self.augment) or None,
            "seed": self.seed,
        }
        said = (f"--{name} {value}" for name, value in options.items() if value is not None)
        return " ".join([f"funcnet train {self.dataset}", *said])


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    names = [field.name for field in attrs.fields(_Plan)]
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if "data" in given:
        given["data"] = str(Path(given["data"]).expanduser().absolute())
    if "save" in given:
        given["save"] = str(given["save"].expanduser().absolute())
    out = (options.resume or options.out or _OUT).expanduser()
    if options.resume is not None:
        if options.out is not None or given.keys() - {"data"}:
            parser.error("--resume goes on with the run as it was begun: it goes with --data alone")
        plan = attrs.evolve(begun_plan(out, _Plan, "train"), **given)
    elif "dataset" not in given:
        parser.error(f"expected a data set: one of {', '.join(NAMES)}, a folder of images, or a .npz file")
    else:
        if given["dataset"] not in NAMES:
            given["dataset"] = str(Path(given["dataset"]).expanduser().absolute())
        plan = _Plan(**given)
    make_folder(out)  # before the training, not after it
    with lock_folder(out):
        dataset = _classes_of(load(plan.dataset, plan.data))
        if options.resume is None and plan.minutes is not None:
            plan = attrs.evolve(plan, epochs=_epochs_in(plan.minutes, plan, dataset))
        run = partial(_run_of, plan, dataset)
        title = f"{plan.network} on {dataset.name}"
        resumed = options.resume is not None
        return make_runs(plan, lambda: [run()], out, command="train", title=title, resumed=resumed)


def _classes_of(dataset: Dataset) -> Dataset:
    """The data set, if its targets are classes.

    Raises:
        DataError: otherwise.
    """
    if dataset.train.y.dtype.kind not in "iu":
        raise DataError(
            f"{dataset.name}: funcnet train tells classes apart, and the targets are no whole numbers: in a script, "
            "fn.train takes any loss"
        )
    return dataset


def _run_of(plan: _Plan, dataset: Dataset) -> Run:
    """The run that is planned.

    Raises:
        DataError: where the network cannot take the examples.
    """
    net = _network(plan.network, dataset)
    make_optimizer, default = _OPTIMIZERS[plan.optimizer]
    peak = default if plan.rate is None else plan.rate
    steps = plan.epochs * batch_count(dataset.train, plan.batch)
    optimizer = make_optimizer(optimizers.one_cycle(peak, steps))
    chosen = [_AUGMENTATIONS[name](dataset) for name in plan.augment]
    augmentation = augment.compose(*chosen) if chosen else None
    init_key, run_key = random.split(make_key(plan.seed))

    def begin() -> TrainState:
        return init_state(net.init(init_key, dataset.train.in_shape)[0], optimizer, run_key)

    def trained(state: TrainState, callback: Callback) -> Training:
        return train(
            net, state, dataset, loss=softmax_cross_entropy(), optimizer=optimizer, epochs=plan.epochs,
            batch_size=plan.batch, augment=augmentation, callback=callback,
        )  # fmt: skip

    said = f"{plan.minutes or 0:g} minutes: {plan.epochs} epochs, by timed steps"
    limit = [] if plan.minutes is None else [("limit", said)]
    settings = [
        ("network", plan.network),
        ("optimizer", f"{optimizer}, one-cycle rate with peak {peak:g}, batches of {plan.batch}"),
        *limit,
    ]
    try:
        record = new_run(net, dataset, seed=plan.seed, settings=settings, command=plan.command, epochs=plan.epochs)
    except ShapeError as error:
        raise DataError(f"{plan.network} cannot be trained on {dataset.name}: {error}") from None
    return Run(dataset, net, record, begin, trained, plan.batch, None if plan.save is None else Path(plan.save))


def _network(name: str, dataset: Dataset) -> AnyLayer:
    """The network, with a channel axis before it where the images have none."""
    in_shape = dataset.train.in_shape
    net = _NETWORKS[name](dataset)
    return chain(reshape(*in_shape, 1), net) if len(in_shape) == 2 and name != "mlp" else net


def _first_images(dataset: Dataset) -> np.ndarray:
    images = dataset.train.x[:_WHITENED]
    made = normalization(dataset.train.x)(images) if images.dtype == np.uint8 else images
    return made if made.ndim == 4 else made[..., None]


def _share_of_side(dataset: Dataset, share: int) -> int:
    return max(1, min(dataset.train.in_shape[:2], default=1) // share)


def _epochs_in(minutes: float, plan: _Plan, dataset: Dataset) -> int:
    """How many epochs fit into the minutes, with their evaluations: some steps are timed, and then forgotten."""
    run = _run_of(attrs.evolve(plan, epochs=1), dataset)
    began, timed = time.monotonic(), 0
    for made in run.train(run.state(), lambda step, metrics: None).steps():
        if isinstance(made, EpochRecord):
            break
        if not timed:
            began = time.monotonic()  # the first step finds nothing prepared
        timed += 1
        if timed > _TIMED_STEPS or time.monotonic() - began > _TIMED_SECONDS:
            break
    a_step = (time.monotonic() - began) / max(1, timed - 1)
    # A step is three times the arithmetic of an evaluation of as many examples.
    evaluations = (len(dataset.train) + len(dataset.test)) / plan.batch / 3
    epoch = a_step * (batch_count(dataset.train, plan.batch) + evaluations)
    epochs = max(1, int(60 * minutes / epoch))
    say(f"A step takes {1000 * a_step:.0f} ms: {epochs} epoch{'' if epochs == 1 else 's'} in {minutes:g} minutes.")
    return epochs
