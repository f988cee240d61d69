"""Fashion-MNIST: the speed network of CIFAR-10, for images of 28 x 28 without colours.

    python reports/fashion_mnist.py --data DIR

``image_runs.speed_recipe`` says what each constant is. With --validate, 5,000 images of the training set are held out.
"""

from __future__ import annotations

from image_runs import Recipe, make, speed_recipe

import funcnet as fn
from funcnet.data import Dataset, augment, normalization
from funcnet.models import speednet

WHITENED = 5000  # training images, whose patches the first layer whitens


def recipe_for(data: Dataset, seed: int) -> Recipe:
    """Network, augmentation and constants."""
    images = normalization(data.train.x)(data.train.x[:WHITENED])[..., None]
    net = speednet(fn.patch_whitening(images), len(data.classes), widths=(64, 256, 256))
    return speed_recipe(
        data,
        fn.chain(fn.reshape(28, 28, 1), net),
        augment.compose(augment.alternating_flip(seed), augment.shift(2, "reflect")),
        epochs=8,
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
    make("fashion-mnist", recipe_for)
