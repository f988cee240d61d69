"""The before and after of docs/messages.md: what NumPy alone says to the commonest mistakes, and what funcnet says."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from funcnet.combinators import chain
from funcnet.layers.activations import relu
from funcnet.layers.linear import linear
from funcnet.layers.norm import batch_norm
from funcnet.layers.reshape import flatten
from funcnet.losses import Loss, mean_squared_error, softmax_cross_entropy
from funcnet.random import make_key
from funcnet.shapes import Array, ShapeError

pytestmark = pytest.mark.usefixtures("as_users_run")

NET = chain(flatten(), linear(128), relu(), linear(10))
PARAMS, _ = NET.init(make_key(0), (28, 28))
IMAGES, LOGITS = np.zeros((64, 28, 28), np.float32), np.zeros((64, 10), np.float32)
LABELS = np.arange(64) % 10
COLUMN = np.zeros((64, 1), np.float32)
CHANNELS_FIRST = np.zeros((64, 3, 32, 32), np.float32)


def forward(x: Array) -> object:
    return NET.forward(PARAMS, x)


def loss(labels: Array) -> object:
    return softmax_cross_entropy()(LOGITS, labels)


def bare_loss(labels: Array, logits: Array = LOGITS) -> Array:
    """As one would write it."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean()


def bare_forward(x: Array) -> Array:
    hidden = np.maximum(x @ PARAMS[1].weight + PARAMS[1].bias, 0)
    return hidden @ PARAMS[3].weight + PARAMS[3].bias


def bare_squared_error(target: Array) -> Array:
    off = COLUMN - target
    return (off * off).mean()


def unpacked(made: object) -> object:
    value, _ = made
    return value


def bare_batch_norm(x: Array) -> Array:
    axes, scale = tuple(range(x.ndim - 1)), np.ones(3, np.float32)
    return scale * (x - x.mean(axis=axes)) / np.sqrt(x.var(axis=axes) + 1e-5)


def normalized(x: Array) -> object:
    net = chain(batch_norm(), flatten(), linear(10))
    params, _ = net.init(make_key(0), (32, 32, 3))
    return net.forward(params, x)


# For each heading of the page: the mistake without funcnet, and with it.
MISTAKES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "Wrong input width": (
        lambda: bare_forward(np.zeros((64, 1024), np.float32)),
        lambda: forward(np.zeros((64, 32, 32), np.float32)),
    ),
    "Missing flatten": (lambda: bare_forward(IMAGES), lambda: chain(*_without_flatten()).forward(PARAMS[1:], IMAGES)),
    "Batch axis forgotten": (
        lambda: bare_loss(LABELS[:1], bare_forward(IMAGES[0].ravel())),
        lambda: forward(IMAGES[0]),
    ),
    "Labels that count from 1": (lambda: bare_loss(LABELS + 1), lambda: loss(LABELS + 1)),
    "Labels of -1": (
        lambda: bare_loss(np.where(LABELS == 0, -1, LABELS)),
        lambda: loss(np.where(LABELS == 0, -1, LABELS)),
    ),
    "Labels of another dtype": (lambda: bare_loss(LABELS * 1.0), lambda: loss(LABELS * 1.0)),
    "One-hot labels": (lambda: bare_loss(np.eye(10, dtype=int)[LABELS]), lambda: loss(np.eye(10, dtype=int)[LABELS])),
    "Parameters of another network": (
        lambda: bare_forward(np.zeros((64, 28), np.float32)),
        lambda: chain(flatten(), linear(32), relu(), linear(10)).forward(PARAMS, IMAGES),
    ),
    "Labels of more classes than the network has outputs": (
        lambda: bare_loss(np.arange(64) % 12),
        lambda: loss(np.arange(64) % 12),
    ),
    "A row of targets for a column of predictions": (
        lambda: bare_squared_error(COLUMN[:, 0]),
        lambda: mean_squared_error()(COLUMN, COLUMN[:, 0]),
    ),
    "Targets of another floating-point type": (
        lambda: bare_squared_error(COLUMN.astype(float)),
        lambda: mean_squared_error()(COLUMN, COLUMN.astype(float)),
    ),
    "Examples in float64": (
        lambda: bare_forward(IMAGES.reshape(64, 784).astype(float)),
        lambda: forward(IMAGES.astype(float)),
    ),
    "A loss of one's own that broadcasts its target": (
        lambda: bare_squared_error(COLUMN[:, 0]),
        lambda: Loss("my loss", lambda z, t: (bare_squared_error(t), 2 * (z - t) / z.size))(COLUMN, COLUMN[:, 0]),
    ),
    "A loss of one's own without its gradient": (
        lambda: unpacked(bare_squared_error(COLUMN)),
        lambda: Loss("my loss", lambda z, t: bare_squared_error(t))(COLUMN, COLUMN),
    ),
    "Images with channels first": (lambda: bare_batch_norm(CHANNELS_FIRST), lambda: normalized(CHANNELS_FIRST)),
}


def _without_flatten() -> list[object]:
    return [linear(128), relu(), linear(10)]


def said_on_the_page() -> dict[str, tuple[str, str]]:
    text = (Path(__file__).parents[1] / "docs" / "messages.md").read_text(encoding="utf-8")
    found = re.findall(r"\*\*(.+?)\*\*\n\n    NumPy:   (.+)\n    funcnet: (.+)\n", text)
    return {heading: (before, after) for heading, before, after in found}


def test_the_page_shows_each() -> None:
    assert said_on_the_page().keys() == MISTAKES.keys()


@pytest.mark.parametrize("heading", MISTAKES)
def test_the_messages_are_those_of_the_page(heading: str) -> None:
    bare, ours = MISTAKES[heading]
    before, after = said_on_the_page()[heading]
    with pytest.raises((ShapeError, TypeError)) as caught:
        ours()
    assert str(caught.value) == after
    if before.startswith("no error"):
        assert np.isfinite(bare()).all()
    else:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever NumPy raises
            bare()
        assert f"{type(caught.value).__name__}: {caught.value}".startswith(before.removesuffix(" ..."))
