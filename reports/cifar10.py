"""CIFAR-10: the speed network, by the recipe of its record.

    python reports/cifar10.py --data DIR

The constants are those of Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (2024), for the mean of the losses.
``image_runs.speed_recipe`` says what each is. With --validate, 5,000 images of the training set are held out.
"""

from __future__ import annotations

from image_runs import Recipe, make, speed_recipe

import funcnet as fn
from funcnet.data import Dataset, augment, normalization
from funcnet.models import speednet

WHITENED = 5000  # training images, whose patches the first layer whitens


def recipe_for(data: Dataset, seed: int) -> Recipe:
    """Network, augmentation and constants."""
    images = normalization(data.train.x)(data.train.x[:WHITENED])
    return speed_recipe(
        data,
        speednet(fn.patch_whitening(images), len(data.classes), widths=(64, 256, 256)),
        augment.compose(augment.alternating_flip(seed), augment.shift(2, "reflect")),
        epochs=10,
        batch=1024,
        seed=seed,
        rate=1.5,
        shift_factor=64.0,
        momentum=0.85,
        decay=0.002,
        smoothing=0.2,
        whitening_bias_epochs=3,
    )


if __name__ == "__main__":
    make("cifar-10", recipe_for)
