"""Examples divided into a training and a testing part, the same way each time."""

from __future__ import annotations

from typing import Any

import numpy as np

from funcnet import random
from funcnet.data.dataset import DataError, Split
from funcnet.random import make_key
from funcnet.shapes import Array, Num

__all__ = ["TEST_SHARE", "are_labels", "divided", "expect_share", "said_divided"]

TEST_SHARE = 0.2


def expect_share(share: Any) -> float:
    """The share of the examples that is held out for testing.

    Raises:
        ValueError: for a number that does not lie between 0 and 1.
    """
    if isinstance(share, bool) or not isinstance(share, float | int) or not 0 < share < 1:
        raise ValueError(f"the share that is held out for testing lies between 0 and 1, got {share!r:.40}")
    return float(share)


def are_labels(y: Num[Array, "n ..."]) -> bool:
    """Whether targets are class labels: one whole number an example."""
    return y.ndim == 1 and y.dtype.kind in "iu"


def divided(examples: Split, share: float) -> tuple[Split, Split]:
    """A training and a testing part. Of each class, that share is held out for testing, drawn by the key of the seed 0.

    Of a class with two examples or more, at least one is in each part. A class with one example is trained on.
    Targets that are no labels count as one class.

    Raises:
        DataError: for too few examples.
    """
    count = len(examples)
    y = examples.y if are_labels(examples.y) else np.zeros(count, np.int64)
    order = random.permutation(make_key(0), count)
    order = order[np.argsort(y[order], kind="stable")]
    _, starts, sizes = np.unique(y[order], return_index=True, return_counts=True)
    held = np.where(sizes > 1, np.clip(np.rint(share * sizes), 1, sizes - 1), 0)
    testing = np.arange(count) - np.repeat(starts, sizes) < np.repeat(held, sizes)
    if not testing.any():
        raise DataError(f"of {count} examples none can be held out for testing: no class has two")
    return examples.take(np.sort(order[~testing])), examples.take(np.sort(order[testing]))


def said_divided(train: Split, test: Split) -> str:
    """What an origin says of data that were divided."""
    each = ", the same share of each class," if are_labels(train.y) else ""
    return f"{len(test):,} of its {len(train) + len(test):,} examples{each} held out at random for testing"
