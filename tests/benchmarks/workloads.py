"""What is measured: networks with one kind of layer and many sizes, on data that no cache holds."""

from __future__ import annotations

import attrs
import numpy as np

from funcnet import random
from funcnet.random import make_key

L2, MOMENTUM, RATE = 1e-4, 0.9, 0.01


@attrs.frozen
class Workload:
    """A fully connected ReLU network, the data it is trained on, and how.

    Attributes:
        sizes: the widths from the inputs to the outputs.
        batch: examples a step.
        examples: how many there are.
    """

    sizes: tuple[int, ...]
    batch: int
    examples: int

    @property
    def name(self) -> str:
        """``784-256-10, batch 128``."""
        layers = len(self.sizes) - 1
        shape = "-".join(map(str, self.sizes)) if layers < 4 else f"{layers} layers of {self.sizes[1]}"
        return f"{shape}, batch {self.batch}"

    @property
    def steps(self) -> int:
        """Steps an epoch: the last, smaller batch is left out, so that nobody compiles for two shapes."""
        return self.examples // self.batch


TRAINING = (
    Workload((784, 256, 10), 128, 12_800),
    Workload((3072, 512, 10), 128, 6_400),
    Workload((3072, 512, 100), 128, 6_400),
    Workload((784, 1024, 10), 256, 12_800),
    Workload((512, 512, 512, 512, 512, 512, 10), 32, 3_200),
)
INFERENCE = (Workload((784, 256, 10), 1, 1_000), Workload((784, 256, 10), 1024, 10_240))


@attrs.frozen
class Problem:
    """The arrays of a workload: the same for every peer.

    Attributes:
        images: uint8, (examples, inputs).
        x: the same normalised, float32.
        y: labels.
        params: a weight matrix (in, out) and a bias for every layer.
        order: the order of an epoch's examples.
    """

    images: np.ndarray
    x: np.ndarray
    y: np.ndarray
    params: list[tuple[np.ndarray, np.ndarray]]
    order: np.ndarray


def problem(workload: Workload) -> Problem:
    """Random images, and labels that some of the pixels decide, so that there is something to learn."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (workload.examples, workload.sizes[0]), np.uint8)
    x = ((images - np.float32(127.5)) / np.float32(73.9)).astype(np.float32)
    y = x[:, : workload.sizes[-1]].argmax(axis=1)
    params = [
        (
            draw.standard_normal((before, after), np.float32) * np.float32((2 / before) ** 0.5),
            np.zeros(after, np.float32),
        )
        for before, after in zip(workload.sizes, workload.sizes[1:], strict=False)
    ]
    return Problem(images, x, y, params, random.permutation(make_key(0), workload.examples))
