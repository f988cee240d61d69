"""What the image recipes share: the run with its checkpoints, its report, and the accuracy with averaged views.

    cifar10.py, cifar100.py, fashion_mnist.py    each holds a whole recipe, and calls ``make`` with it

A run that was stopped goes on where it was. With --validate a part of the training set is held out and tested on: this
is how a recipe is chosen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
from tqdm import tqdm

import funcnet as fn
from funcnet.data import Dataset, batch_count, batches, hold_out, normalization
from funcnet.files import write_whole
from funcnet.layer import AnyLayer
from funcnet.optimizers import Schedule, by_path, lookahead, piecewise_linear, until
from funcnet.report import write_report
from funcnet.run_file import run_file_name, write_run
from funcnet.step import Evaluation

__all__ = ["Recipe", "make", "speed_recipe"]

HERE = Path(__file__).parent


@attrs.frozen
class Recipe:
    """How a network is trained.

    Attributes:
        net: the network.
        loss: the data loss.
        optimizer: the optimizer, whose schedules end with the last step.
        augment: the augmentation of the training images.
        epochs: how many epochs.
        batch: examples a step.
        seed: of all randomness.
    """

    net: AnyLayer
    loss: fn.Loss
    optimizer: fn.Optimizer
    augment: fn.data.augment.Augmentation
    epochs: int
    batch: int
    seed: int


def speed_recipe(
    data: Dataset,
    net: AnyLayer,
    augment: fn.data.augment.Augmentation,
    *,
    epochs: int,
    batch: int,
    seed: int,
    rate: float,
    shift_factor: float,
    momentum: float,
    decay: float,
    smoothing: float,
    whitening_bias_epochs: int,
) -> Recipe:
    """The recipe of CIFAR-10's speed record (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024).

    Args:
        data: the data set.
        net: a ``speednet``.
        augment: the augmentation.
        epochs: as of a recipe, as are the next two.
        batch: examples a step.
        seed: of all randomness.
        rate: the peak of the learning rate, for the mean loss. It rises from a fifth of it in the first 23% of the
            steps, and falls to 7%, along straight lines.
        shift_factor: how many times larger the rate of the normalizations' shifts is.
        momentum: Nesterov's.
        decay: the share of the weights that a step at the peak takes away.
        smoothing: of the labels.
        whitening_bias_epochs: for how many epochs the bias after the first layer is trained.
    """
    steps = batch_count(data.train, batch)
    last = epochs * steps

    def triangle(peak: float) -> Schedule:
        return piecewise_linear([0.2 * peak, peak, 0.07 * peak], [0, int(0.23 * last), last])

    def descent(schedule: Schedule, peak: float) -> fn.Optimizer:
        return fn.nesterov(schedule, momentum, weight_decay=decay / peak)

    def share(step: int) -> float:
        return 1 - 0.95**5 * ((step + 1) / last) ** 3

    bias = descent(until(triangle(rate), whitening_bias_epochs * steps), rate)
    shifts = descent(triangle(shift_factor * rate), shift_factor * rate)
    each = by_path(descent(triangle(rate), rate), ("*[1].bias", bias), ("*.shift", shifts))
    loss = fn.softmax_cross_entropy(label_smoothing=smoothing)
    return Recipe(net, loss, lookahead(each, 5, share), augment, epochs, batch, seed)


def make(name: str, recipe_for: Callable[[Dataset, int], Recipe]) -> None:
    """Train on the data set ``name`` by ``recipe_for(dataset, seed)``, and write the report beside this file."""
    parser = argparse.ArgumentParser(description=f"Train on {name} and write the report.")
    parser.add_argument("--data", metavar="DIR", help="the folder with the data sets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / name, metavar="DIR")
    parser.add_argument("--validate", action="store_true", help="test on 5,000 images of the training set")
    options = parser.parse_args()
    dataset = fn.load(name, options.data)
    if options.validate:
        held_out = hold_out(dataset, 5000, fn.make_key(0))
        assert held_out.validation is not None
        dataset = attrs.evolve(held_out, test=held_out.validation, validation=None)  # nobody looks at the testing part
    recipe = recipe_for(dataset, options.seed)
    init_key, run_key = fn.random.split(fn.make_key(options.seed))
    params, _ = recipe.net.init(init_key, dataset.train.in_shape)
    script = f"python reports/{Path(sys.argv[0]).name} --seed {options.seed}"
    settings = [("optimizer", recipe.optimizer), ("batch size", recipe.batch), ("augmentation", recipe.augment)]
    run = fn.new_run(recipe.net, dataset, seed=options.seed, settings=settings, command=script, epochs=recipe.epochs)
    state = fn.init_state(params, recipe.optimizer, run_key)
    start = fn.resume(options.out / "checkpoints", state, run)
    run, params = start.run or run, start.state.params
    steps = batch_count(dataset.train, recipe.batch)
    with tqdm(total=recipe.epochs * steps, initial=start.state.step, unit="step", dynamic_ncols=True) as bar:

        def watch(step: int, metrics: Evaluation) -> None:
            bar.set_postfix(loss=f"{metrics.loss:.3f}", accuracy=f"{metrics.accuracy:.3f}", refresh=False)
            bar.update()

        training = fn.train(
            recipe.net, start.state, dataset, loss=recipe.loss, optimizer=recipe.optimizer, epochs=recipe.epochs,
            batch_size=recipe.batch, augment=recipe.augment, callback=watch,
        )  # fmt: skip
        for record in fn.checkpointed(training, options.out / "checkpoints", run=run):
            run, params = run.and_epoch(record), record.params
            write_run(run, options.out / run_file_name(dataset.name))
            bar.write(f"{record}, {sum(epoch.seconds for epoch in run.history) / 60:.1f} min of steps")
    write_report([run], options.out, f"{dataset.name}: {recipe.epochs} epochs of steps")
    views = fn.average_views(recipe.net)
    tested = batches(dataset.test, 500, normalize=normalization(dataset.train.x))
    averaged = fn.evaluate(views, (params,), tested, recipe.loss)
    minutes = sum(epoch.seconds for epoch in run.history) / 60
    total = sum(epoch.total_seconds for epoch in run.history) / 60
    lines = (
        f"accuracy on the testing part: {run.history[-1].test.accuracy:.4f}, "
        f"and {averaged.accuracy:.4f} as the mean of six views; {minutes:.1f} minutes of steps, {total:.1f} in all"
    )
    write_whole(options.out / "accuracy.txt", lines + "\n")
    print(lines)
