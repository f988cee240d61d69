"""Dropout.

    training     y = m x / (1 - rate),   dx = m dy / (1 - rate),   with m = 1 with probability 1 - rate, else 0
    inference    y = x

Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, "Dropout" (JMLR 15, 2014), section 4. The
scaling is done in training, so that the mean of y is x and inference has nothing to do. m is drawn for each entry.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs

from funcnet import random
from funcnet.arrays import namespace
from funcnet.layer import Layer
from funcnet.layers.reshape import identity, identity_init
from funcnet.shapes import Array, Float
from funcnet.tree import Record

__all__ = ["DropoutResiduals", "dropout"]


@attrs.frozen(eq=False)
class DropoutResiduals(Record):
    """The factor of every entry: 0, or 1 / (1 - rate)."""

    mask: Float[Array, "batch *shape"]


def dropout(rate: float = 0.5) -> Layer[tuple[()], DropoutResiduals]:
    """Sets a random share ``rate`` of the entries to 0, by forward's key, and scales the others up. Predict returns x.

    Raises:
        ValueError: for a rate outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"the rate of a dropout lies in [0, 1), got {rate}")
    rate = float(rate)
    return Layer(
        f"dropout({rate:g})",
        identity_init,
        partial(dropout_forward, rate),
        dropout_vjp,
        predict=dropout_predict,
        draws=True,
        frozen=identity(),
        recipe=partial(dropout, rate),
    )


def dropout_forward(
    rate: float, params: tuple[()], x: Float[Array, "batch *shape"], key: Any
) -> tuple[Float[Array, "batch *shape"], DropoutResiduals]:
    """y = m x / (1 - rate)."""
    kept = random.uniform(key, x.shape, like=x) >= rate
    mask = namespace(x).astype(kept, x.dtype) / (1 - rate)
    return mask * x, DropoutResiduals(mask)


def dropout_vjp(
    params: tuple[()], residuals: DropoutResiduals, dy: Float[Array, "batch *shape"], *, need_dx: bool = True
) -> tuple[tuple[()], Float[Array, "batch *shape"] | None]:
    """dx = m dy / (1 - rate)."""
    return (), residuals.mask * dy if need_dx else None


def dropout_predict(params: tuple[()], x: Float[Array, "batch *shape"]) -> Float[Array, "batch *shape"]:
    """y = x."""
    return x
