"""The time of each augmentation over that of a plain copy of the batch: 1,000 images of 32 x 32 pixels, 3 channels.

python tests/benchmarks/augment.py [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

import funcnet as fn
from funcnet.data import augment

PARTS = (
    augment.flip(),
    augment.alternating_flip(),
    augment.shift(4),
    augment.shift(4, "reflect"),
    augment.cutout(8),
    augment.random_erasing(),
    augment.mixup(0.2, classes=10),
    augment.cutmix(classes=10),
    augment.brightness_contrast(),
    augment.rotate(15),
    augment.compose(augment.flip(), augment.shift(4), augment.cutout(8)),
)


def main() -> None:
    """Print the table. The functions take turns, so that a slow moment of the machine meets all of them."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    x = fn.random.normal(fn.make_key(0), (1000, 32, 32, 3))
    examples = augment.Examples(x, np.arange(1000) % 10, np.arange(1000))
    runs: dict[str, Callable[[], object]] = {"np.copy": lambda: np.copy(x)}
    for part in PARTS:
        runs[str(part)] = lambda part=part: part(fn.make_key(1), examples)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    print("| augmentation | time over a copy | ms |\n|:---|---:|---:|")
    for name, taken in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(taken, seconds["np.copy"], strict=True))
        print(f"| `{name}` | {ratio:.1f} | {1000 * statistics.median(taken):.1f} |")


if __name__ == "__main__":
    main()
