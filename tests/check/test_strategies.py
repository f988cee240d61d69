import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import tree
from funcnet.check.strategies import activations, arrays, chains, keys, layers, params, shapes, sizes
from funcnet.layer import AnyLayer
from funcnet.layers.linear import LinearParams, linear
from funcnet.random import Key
from funcnet.shapes import Array, Shape


@given(shapes(axes=2), sizes(3), shapes())
def test_sizes_and_shapes(two: Shape, size: int, any_axes: Shape) -> None:
    assert len(two) == 2
    assert 1 <= size <= 3
    assert len(any_axes) <= 3
    assert all(1 <= length <= 5 for length in two + any_axes)


# beartype, which checks every call in these tests, draws from Python's generator to do so.
beartype_draws = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


@beartype_draws
@given(arrays((2, 3)), arrays((1,), np.float64))
def test_arrays(single: Array, double: Array) -> None:
    assert (single.shape, single.dtype, double.dtype) == ((2, 3), np.float32, np.float64)
    assert not single.flags.writeable


@beartype_draws
@given(params(linear(3), (2,)))
def test_records_have_no_zeros(drawn: LinearParams) -> None:
    assert isinstance(drawn, LinearParams)
    assert all(leaf.all() for leaf in tree.leaves(drawn))


@settings(max_examples=25)
@given(st.one_of(layers(), activations()), chains(deepest=3), shapes(), keys())
def test_layers_take_what_they_are_said_to_take(layer: AnyLayer, net: AnyLayer, shape: Shape, key: Key) -> None:
    layer.init(key, (4,))
    net.init(key, shape)
