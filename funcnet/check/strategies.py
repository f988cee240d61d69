"""Hypothesis strategies for property tests of your own code. They need hypothesis (``pip install hypothesis``).

@given(shapes(axes=1), keys())
def test_my_layer(in_shape, key):
    check_layer(my_layer(), in_shape, key=key)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from funcnet import random, tree
from funcnet.check.registry import ACTIVATIONS, LAYERS
from funcnet.combinators import chain
from funcnet.layer import AnyLayer
from funcnet.layers.activations import leaky_relu
from funcnet.layers.linear import linear
from funcnet.layers.reshape import flatten
from funcnet.random import Key, make_key
from funcnet.shapes import Array, Shape
from funcnet.tree import Tree, freeze

__all__ = ["activations", "arrays", "chains", "keys", "layers", "params", "shapes", "sizes"]


def sizes(high: int = 5) -> st.SearchStrategy[int]:
    """A batch, a width or the length of an axis: 1 to ``high``."""
    return st.integers(1, high)


def keys() -> st.SearchStrategy[Key]:
    """Keys, which shrink to that of seed 0."""
    return st.integers(0, 2**32).map(make_key)


def shapes(axes: int | None = None) -> st.SearchStrategy[Shape]:
    """Shapes of so many axes, or of 0 to 3."""
    low, high = (0, 3) if axes is None else (axes, axes)
    return st.lists(sizes(), min_size=low, max_size=high).map(tuple)


def arrays(shape: Shape, dtype: Any = np.float32) -> st.SearchStrategy[Array]:
    """Read-only arrays of standard normal numbers."""
    return keys().map(lambda key: freeze(random.normal(key, shape, dtype)))


def params(layer: AnyLayer, in_shape: Shape) -> st.SearchStrategy[Tree]:
    """Parameter records of a layer, all of whose entries are random: no bias is zero."""

    def draw(key: Key) -> Tree:
        made, _ = layer.init(key, in_shape)
        leaf_keys = iter(random.split(key, len(tree.leaves(made)) + 1))
        return tree.map(lambda leaf: random.normal(next(leaf_keys), leaf.shape, leaf.dtype), made)

    return keys().map(draw)


def activations() -> st.SearchStrategy[AnyLayer]:
    """Any activation of the library."""
    # No slope so small that its products lose their digits: their derivative could not be measured.
    slopes = (st.just(0.0) | st.floats(1e-3, 0.5)).map(leaky_relu)
    return st.sampled_from(ACTIVATIONS) | slopes


def layers() -> st.SearchStrategy[AnyLayer]:
    """Any layer of the library that takes examples of one axis, each by itself."""
    linears = st.builds(linear, sizes(), bias=st.booleans())
    others = [entry.layer for entry in LAYERS if entry.axes in (None, 1) and not entry.mixes_examples]
    return linears | activations() | st.sampled_from(others)


def chains(deepest: int = 6) -> st.SearchStrategy[AnyLayer]:
    """Chains, and chains of chains, that take examples of any shape; a part has up to ``deepest`` layers."""
    part = st.lists(layers(), min_size=1, max_size=deepest).map(lambda inner: chain(flatten(), *inner))
    return part | st.lists(part, min_size=2, max_size=3).map(lambda parts: chain(*parts))
