"""The lab: a network with one hidden layer, the recipe it is trained with on each data set, and the run.

    flatten -> linear -> ReLU -> linear -> softmax cross-entropy, with an L2 penalty on each weight matrix

trained with Nesterov momentum and a one-cycle learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from funcnet import random
from funcnet.combinators import chain
from funcnet.data.batches import batch_count
from funcnet.data.dataset import Dataset
from funcnet.layer import AnyLayer
from funcnet.layers.activations import relu
from funcnet.layers.linear import linear
from funcnet.layers.reshape import flatten
from funcnet.losses import softmax_cross_entropy
from funcnet.optimizers import Optimizer, nesterov, one_cycle
from funcnet.penalties import l2
from funcnet.random import make_key
from funcnet.record import RunRecord, new_run
from funcnet.step import TrainState, init_state
from funcnet.training import Callback, Training, train

__all__ = ["RECIPES", "Recipe", "lab_network", "lab_record", "lab_state", "run_lab"]


@attrs.frozen
class Recipe:
    """All that is chosen for a data set; the rest is the same for all of them.

    Attributes:
        hidden: the width of the hidden layer.
        peak_rate: the learning rate at the top of the cycle.
        l2_hidden: the coefficient of the penalty on the hidden layer's weights.
        l2_output: the same of the output layer's.
        batch_size: examples a step.
    """

    hidden: int
    peak_rate: float
    l2_hidden: float
    l2_output: float
    batch_size: int = 128


# The best of reports/choose_recipe.md, which says how they were chosen; mnist, not tried there, has the recipe of
# fashion-mnist, whose images are of the same kind.
RECIPES: Mapping[str, Recipe] = {
    "glyphs": Recipe(hidden=128, peak_rate=0.1, l2_hidden=1e-3, l2_output=1e-3),
    "mnist": Recipe(hidden=256, peak_rate=0.05, l2_hidden=1e-3, l2_output=1e-3),
    "fashion-mnist": Recipe(hidden=256, peak_rate=0.05, l2_hidden=1e-3, l2_output=1e-3),
    "cifar-10": Recipe(hidden=512, peak_rate=0.03, l2_hidden=5e-3, l2_output=5e-3),
    "cifar-100": Recipe(hidden=512, peak_rate=0.03, l2_hidden=5e-3, l2_output=5e-3),
}


def lab_network(hidden: int, classes: int) -> AnyLayer:
    """flatten, linear, ReLU, linear."""
    return chain(flatten(), linear(hidden), relu(), linear(classes))


def lab_state(dataset: Dataset, recipe: Recipe, *, epochs: int, seed: int) -> TrainState:
    """The state in which a run of the lab begins."""
    init_key, run_key = random.split(make_key(seed))
    params, _ = _network_of(dataset, recipe).init(init_key, dataset.train.in_shape)
    return init_state(params, _optimizer(dataset, recipe, epochs), run_key)


def run_lab(
    dataset: Dataset,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    state: TrainState | None = None,
    callback: Callback | None = None,
) -> Training:
    """Train the lab's network on a data set, from its beginning or a later state of the same run. See ``train``."""
    return train(
        _network_of(dataset, recipe),
        lab_state(dataset, recipe, epochs=epochs, seed=seed) if state is None else state,
        dataset,
        loss=softmax_cross_entropy(),
        optimizer=_optimizer(dataset, recipe, epochs),
        penalties={"[1].weight": l2(recipe.l2_hidden), "[3].weight": l2(recipe.l2_output)},
        epochs=epochs,
        batch_size=recipe.batch_size,
        callback=callback,
    )


def _network_of(dataset: Dataset, recipe: Recipe) -> AnyLayer:
    return lab_network(recipe.hidden, len(dataset.classes))


def _optimizer(dataset: Dataset, recipe: Recipe, epochs: int) -> Optimizer:
    return nesterov(one_cycle(recipe.peak_rate, epochs * batch_count(dataset.train, recipe.batch_size)))


def lab_record(dataset: Dataset, recipe: Recipe, *, seed: int, epochs: int, command: str = "") -> RunRecord:
    """The record of a run of ``run_lab``, before its first epoch; ``command`` is what makes it."""
    net = _network_of(dataset, recipe)
    return new_run(
        net,
        dataset,
        seed=seed,
        settings=(
            ("network", net.name),
            ("penalties", f"l2({recipe.l2_hidden:g}) on [1].weight, l2({recipe.l2_output:g}) on [3].weight"),
            (
                "optimizer",
                f"nesterov(0.9), one-cycle rate with peak {recipe.peak_rate:g}, batches of {recipe.batch_size}",
            ),
        ),
        command=command,
        epochs=epochs,
    )
