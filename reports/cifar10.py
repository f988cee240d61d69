"""CIFAR-10: the speed network, by the recipe of its record.

    python reports/cifar10.py --data DIR

Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (2024), with its constants for mean losses in float32.
"""

from __future__ import annotations

import math

from image_runs import Recipe, make

import funcnet as fn
from funcnet.data import Dataset, augment, batch_count, normalization
from funcnet.models import speednet

EPOCHS, BATCH = 10, 1024
RATE, BIAS_FACTOR, MOMENTUM = 1.5, 64.0, 0.85
DECAY = 0.0153 / (1 + 1 / (1 - MOMENTUM)) / RATE  # of the weights, coupled: times the rate, this is what a step takes
SMOOTHING, WHITENED, BIAS_EPOCHS = 0.2, 5000, 3


def recipe_for(data: Dataset, seed: int) -> Recipe:
    """Network, loss, optimizer and augmentation."""
    steps = batch_count(data.train, BATCH)
    last = EPOCHS * steps

    def triangle(peak: float) -> fn.optimizers.Schedule:
        return fn.optimizers.piecewise_linear([0.2 * peak, peak, 0.07 * peak], [0, math.floor(0.23 * last), last])

    def descent(rate: fn.optimizers.Schedule, decay: float) -> fn.Optimizer:
        return fn.nesterov(rate, MOMENTUM, weight_decay=decay)

    def share(step: int) -> float:
        return 1 - 0.95**5 * ((step + 1) / last) ** 3

    weights = descent(triangle(RATE), DECAY)
    shifts = descent(triangle(RATE * BIAS_FACTOR), DECAY / BIAS_FACTOR)
    first = descent(fn.optimizers.until(triangle(RATE), BIAS_EPOCHS * steps), DECAY)
    optimizer = fn.optimizers.by_path(weights, ("[1].bias", first), ("*.shift", shifts))
    images = normalization(data.train.x)(data.train.x[:WHITENED])
    return Recipe(
        net=speednet(fn.patch_whitening(images), len(data.classes)),
        loss=fn.softmax_cross_entropy(label_smoothing=SMOOTHING),
        optimizer=fn.optimizers.lookahead(optimizer, 5, share),
        augment=augment.compose(augment.alternating_flip(seed), augment.shift(2, "reflect")),
        epochs=EPOCHS,
        batch=BATCH,
        seed=seed,
    )


if __name__ == "__main__":
    make("cifar-10", recipe_for)
