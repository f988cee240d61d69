import numpy as np
import pytest
from hypothesis import given, settings

from funcnet import tree
from funcnet.check import check_layer
from funcnet.check.strategies import chains, keys, shapes, sizes
from funcnet.layer import AnyLayer, Layer, chain
from funcnet.layers.activations import relu, tanh
from funcnet.layers.linear import linear
from funcnet.layers.reshape import flatten
from funcnet.random import Key, make_key
from funcnet.shapes import Shape, ShapeError


@settings(max_examples=12)
@given(chains(), shapes(), sizes(), keys())
def test_proof(net: AnyLayer, shape: Shape, batch: int, key: Key) -> None:
    check_layer(net, shape, batch=batch, key=key)


@given(keys())
def test_nesting_changes_nothing_but_the_names(key: Key) -> None:
    flat = chain(linear(3), tanh(), linear(2))
    nested = chain(chain(linear(3), tanh()), linear(2))
    (a, b, c), _ = flat.init(key, (4,))
    x = np.ones((2, 4), np.float32)
    assert np.array_equal(flat.forward((a, b, c), x)[0], nested.forward(((a, b), c), x)[0])
    assert nested.name == "chain(chain(linear(3), tanh), linear(2))"


def test_the_layers_of_a_chain_start_differently() -> None:
    (a, b), _ = chain(linear(4), linear(4)).init(make_key(0), (4,))
    assert not np.array_equal(a.weight, b.weight)


def test_no_dx_is_asked_of_layers_before_the_first_parameters() -> None:
    asked = []

    def spy(layer: AnyLayer) -> AnyLayer:
        def vjp(*args: object, need_dx: bool = True) -> object:
            asked.append((layer.name, need_dx))
            return layer.vjp(*args, need_dx=need_dx)

        return Layer(layer.name, layer.init, layer.forward, vjp)

    net = chain(spy(flatten()), chain(spy(tanh()), spy(linear(2))), spy(relu()), spy(linear(1)))
    params, _ = net.init(make_key(0), (2, 2))
    y, residuals = net.forward(params, np.ones((3, 2, 2), np.float32))
    dparams, dx = net.vjp(params, residuals, y, need_dx=False)
    assert asked == [("linear(1)", True), ("relu", True), ("linear(2)", False)]
    assert dx is None
    full, _ = net.vjp(params, residuals, y)
    assert tree.equal(full, dparams)


@pytest.mark.usefixtures("as_users_run")
def test_errors_name_the_place() -> None:
    net = chain(flatten(), chain(linear(3), relu(), linear(2)))
    params, _ = net.init(make_key(0), (2, 2))
    with pytest.raises(
        ShapeError, match=r"^chain\[1\]\.chain\[0\]\.linear\(3\): expected x of shape \(batch, 4\), got shape \(1, 6\)$"
    ):
        net.forward(params, np.zeros((1, 2, 3), np.float32))
    with pytest.raises(ShapeError, match=r"^chain\[0\]\.linear\(3\): expected an input shape of one axis"):
        chain(linear(3), relu()).init(make_key(0), (28, 28))
    _, residuals = net.forward(params, np.zeros((1, 2, 2), np.float32))
    with pytest.raises(ShapeError, match=r"^chain\[1\]\.chain\[2\]\.linear\(2\): expected dy of shape"):
        net.vjp(params, residuals, np.zeros((1, 3), np.float32))


@pytest.mark.usefixtures("as_users_run")
def test_the_parameters_of_another_network_are_refused() -> None:
    params, _ = chain(linear(3), relu()).init(make_key(0), (2,))
    with pytest.raises(ShapeError, match="for each of its 3 layers, got a tuple of 2"):
        chain(linear(3), relu(), linear(1)).forward(params, np.zeros((1, 2), np.float32))


def test_a_chain_has_layers() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        chain()


@pytest.mark.usefixtures("as_users_run")
def test_a_layer_that_owes_dx_is_named() -> None:
    forgetful = Layer("forgetful", relu().init, relu().forward, lambda params, residuals, dy, need_dx=True: ((), None))
    net = chain(linear(2), forgetful)
    params, _ = net.init(make_key(0), (2,))
    y, residuals = net.forward(params, np.ones((1, 2), np.float32))
    with pytest.raises(TypeError, match=r"chain\[1\].forgetful returned no dx"):
        net.vjp(params, residuals, y)


@pytest.mark.usefixtures("as_users_run")
def test_what_is_no_layer_is_named() -> None:
    with pytest.raises(TypeError, match=r"chain\[1\] is no layer but a function: .*call it to make the layer"):
        chain(linear(2), relu)
    with pytest.raises(TypeError, match=r"chain\[0\] is no layer but a list"):
        chain([linear(2), relu()])
