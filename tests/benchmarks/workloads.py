"""What is measured: fully connected networks of many sizes, on data that no cache holds."""

from __future__ import annotations

import itertools
from functools import cached_property

import attrs
import numpy as np

from funcnet import random, tree
from funcnet.data import Normalization
from funcnet.random import make_key

# So slow that rounding does not grow: the losses of all peers can be compared after many steps of a deep network.
L2, MOMENTUM, RATE = 1e-4, 0.9, 0.001  # the rate is Adam's own default too
# Those of uniform bytes.
MEAN, DEVIATION = np.float32(127.5), np.float32(73.9)


def normalization(inputs: int) -> Normalization:
    """What makes ``Problem.x`` of ``Problem.images``: one number for all entries, as of all images in grey."""
    scale, shift = (tree.freeze(np.array(number)) for number in (1 / DEVIATION, -MEAN / DEVIATION))
    return Normalization(np.broadcast_to(scale, (inputs,)), np.broadcast_to(shift, (inputs,)))


@attrs.frozen
class Workload:
    """A fully connected network, the data it is trained on, and how.

    Attributes:
        sizes: the widths from the inputs to the outputs.
        batch: examples a step.
        examples: how many there are.
        activation: what stands between its linear layers.
        optimizer: ``momentum``, or ``adam`` with its defaults. The L2 penalty is part of the gradient that it is given.
    """

    sizes: tuple[int, ...]
    batch: int
    examples: int
    activation: str = "relu"
    optimizer: str = "momentum"

    @property
    def name(self) -> str:
        """``784-256-10, batch 128``; an activation that is no ReLU comes first, and so does Adam."""
        layers = len(self.sizes) - 1
        shape = "-".join(map(str, self.sizes)) if layers < 4 else f"{layers} layers of {self.sizes[1]}"
        others = [part for part in (self.optimizer, self.activation) if part not in ("momentum", "relu")]
        return ", ".join([*others, shape]) if others else f"{shape}, batch {self.batch}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """The workload on a command line: what ``workload_of`` reads."""
        return ("-".join(map(str, self.sizes)), str(self.batch), str(self.examples), self.activation, self.optimizer)

    @property
    def steps(self) -> int:
        """Steps an epoch: the last, smaller batch is left out, so that nobody compiles for two shapes."""
        return self.examples // self.batch


def workload_of(sizes: str, batch: str, examples: str, activation: str, optimizer: str) -> Workload:
    """The workload of its arguments."""
    return Workload(tuple(map(int, sizes.split("-"))), int(batch), int(examples), activation, optimizer)


TRAINING = (
    Workload((784, 256, 10), 128, 12_800),
    Workload((3072, 512, 10), 128, 6_400),
    Workload((3072, 512, 100), 128, 6_400),
    Workload((784, 1024, 10), 256, 12_800),
    Workload((512, 512, 512, 512, 512, 512, 10), 32, 3_200),
)
ACTIVATIONS = tuple(
    Workload(*of, activation)
    for activation in ("tanh", "sigmoid", "softplus", "gelu", "leaky_relu")
    for of in (((784, 256, 10), 128, 12_800), ((784, 1024, 10), 256, 12_800))
)
ADAM = tuple(Workload(*of, optimizer="adam") for of in (((784, 256, 10), 128, 12_800), ((784, 1024, 10), 256, 12_800)))
INFERENCE = (Workload((784, 256, 10), 1, 5_000), Workload((784, 256, 10), 1024, 10_240))


@attrs.frozen(slots=False)
class Problem:
    """The arrays of a workload, the same for every peer; each is made when it is first asked for."""

    workload: Workload

    @cached_property
    def images(self) -> np.ndarray:
        """Random uint8 (examples, inputs)."""
        return self._draw_images()

    @cached_property
    def x(self) -> np.ndarray:
        """The images normalised, float32."""
        x = self._draw_images().astype(np.float32)
        x -= MEAN
        x /= DEVIATION
        return x

    @cached_property
    def y(self) -> np.ndarray:
        """Labels that some of the pixels decide, so that there is something to learn."""
        return self._draw_images()[:, : self.workload.sizes[-1]].argmax(axis=1)

    @cached_property
    def params(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """A weight matrix (in, out) and a bias for every layer."""
        draw = np.random.default_rng(1)
        sizes = self.workload.sizes
        return [
            (
                draw.standard_normal((before, after), np.float32) * np.float32((2 / before) ** 0.5),
                np.zeros(after, np.float32),
            )
            for before, after in itertools.pairwise(sizes)
        ]

    @cached_property
    def order(self) -> np.ndarray:
        """The order of an epoch's examples."""
        return random.permutation(make_key(0), self.workload.examples)

    def _draw_images(self) -> np.ndarray:
        # Drawn anew for all that is made of them: a peer that works on floats should not hold the bytes as well.
        shape = (self.workload.examples, self.workload.sizes[0])
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
