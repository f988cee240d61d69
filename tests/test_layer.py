import tracemalloc

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import tree
from funcnet.check import check_layer
from funcnet.check.strategies import chains, keys, shapes, sizes
from funcnet.combinators import chain
from funcnet.engines.running import make_predict
from funcnet.layer import AnyLayer, Layer
from funcnet.layers.activations import leaky_relu, relu, sigmoid, softplus, tanh
from funcnet.layers.gated import gelu
from funcnet.layers.linear import linear
from funcnet.layers.reshape import flatten, identity
from funcnet.random import Key, make_key, normal
from funcnet.shapes import Shape, ShapeError


@settings(max_examples=5)
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
            return layer.pure_vjp(*args, need_dx=need_dx)

        return attrs.evolve(layer, vjp=vjp)

    net = chain(spy(flatten()), chain(spy(tanh()), spy(linear(2))), spy(relu()), spy(linear(1)))
    params, _ = net.init(make_key(0), (2, 2))
    y, residuals = net.forward(params, np.ones((3, 2, 2), np.float32))
    dparams, dx = net.vjp(params, residuals, y, need_dx=False)
    assert asked == [("linear(1)", True), ("relu", True), ("linear(2)", False)]
    assert dx is None
    full, _ = net.vjp(params, residuals, y)
    assert tree.equal(full, dparams)


@given(chains(), shapes(), sizes(), st.sampled_from([np.float32, np.float64]), st.sampled_from("CF"), keys())
def test_predictions_are_what_forward_returns_first(
    net: AnyLayer, shape: Shape, batch: int, dtype: type, order: str, key: Key
) -> None:
    """But for rounding; x is not written to, and a second call gives the same bits."""
    params, _ = net.init(key, shape)
    params = tree.map(lambda array: array.astype(dtype), params)
    x = np.asarray(normal(key, (batch, *shape)), dtype, order=order)
    before = x.copy()
    predict, (wanted, _) = make_predict(net, params), net.forward(params, x)
    first, second = predict(x), predict(x)
    assert np.array_equal(first, second)
    assert first.dtype == wanted.dtype
    np.testing.assert_allclose(
        first, wanted, rtol=0, atol=1e3 * np.finfo(dtype).eps * max(1, np.abs(wanted).max(initial=0))
    )
    assert np.array_equal(x, before)
    assert predict(x[:0]).shape == (0, *wanted.shape[1:])


def test_predictions_of_large_arrays_are_those_of_forward() -> None:
    """Where activations go by rows, and products in parts: what lies between the layers may be written over."""
    hidden = [layer for f in (relu, leaky_relu, tanh, sigmoid, softplus, gelu) for layer in (linear(300), f())]
    net = chain(relu(), *hidden, chain(sigmoid(), identity(), tanh()), gelu(), linear(3))
    params, _ = net.init(make_key(0), (200,))
    x = normal(make_key(1), (400, 200)).astype(np.float32)
    before = x.copy()
    np.testing.assert_allclose(make_predict(net, params)(x), net.forward(params, x)[0], rtol=1e-4, atol=1e-5)
    assert np.array_equal(x, before)


def test_predictions_keep_nothing() -> None:
    """Of a deep network, no more than two layers' outputs are held at once; and an activation writes over its input."""

    def outputs_held(pairs: int) -> float:
        net = chain(*[layer for _ in range(pairs) for layer in (linear(256), relu())])
        params, _ = net.init(make_key(0), (256,))
        x = np.ones((1024, 256), np.float32)
        predict = make_predict(net, params)
        predict(x)
        tracemalloc.start()
        try:
            predict(x)
            return tracemalloc.get_traced_memory()[1] / x.nbytes
        finally:
            tracemalloc.stop()

    assert outputs_held(1) < 1.5
    assert outputs_held(10) < 2.5


def test_a_forward_put_in_place_of_another_is_the_one_that_predicts() -> None:
    doubled = attrs.evolve(relu(), forward=lambda params, x: (2 * x, None))
    net = chain(linear(3, bias=False), doubled)
    params, _ = net.init(make_key(0), (2,))
    x = np.ones((1, 2), np.float32)
    np.testing.assert_allclose(make_predict(net, params)(x), 2 * (x @ params[0].weight), rtol=1e-6)


@pytest.mark.usefixtures("as_users_run")
def test_predictions_name_what_does_not_fit() -> None:
    net = chain(flatten(), chain(linear(3), relu(), linear(2)))
    params, _ = net.init(make_key(0), (2, 2))
    predict = make_predict(net, params)
    expected = r"^chain\[1\]\.chain\[0\]\.linear\(3\): expected x of "
    with pytest.raises(ShapeError, match=expected + r"shape \(batch, 4\), got shape \(1, 6\)$"):
        predict(np.zeros((1, 2, 3), np.float32))
    with pytest.raises(ShapeError, match=expected + "dtype float32, as the params, got dtype float64"):
        predict(np.zeros((1, 2, 2)))
    with pytest.raises(ShapeError, match=r"is the batch axis missing\? x\[None\] is a batch of one"):
        make_predict(net.children[1][1], params[1])(np.zeros(4, np.float32))
    with pytest.raises(ShapeError, match=r"^chain\[1\]\.chain\[2\]\.linear\(2\): expected LinearParams, got a tuple"):
        make_predict(net, (params[0], (params[1][0], (), ())))(np.zeros((1, 2, 2), np.float32))
    with pytest.raises(ShapeError, match="for each of its 2 layers, got a tuple of 3"):
        make_predict(net, params[1])(np.zeros((1, 2, 2), np.float32))
    with pytest.raises(TypeError, match="a network is a layer, such as a chain; got <function"):
        make_predict(linear, params)


def test_a_layer_that_does_not_call_its_result_fresh_keeps_it() -> None:
    """One of somebody's own, say, that keeps its y, and whose vjp returns an array that it has elsewhere."""
    slopes = np.full((2, 3), 3, np.float32)
    mine = Layer(
        "mine", tanh().init, lambda params, x: (x - 1, None), lambda params, kept, dy, need_dx=True: ((), slopes)
    )
    kept = []

    def forward(params: tuple[()], x: np.ndarray) -> tuple[np.ndarray, None]:
        kept.append(x - 1)
        return kept[-1], None

    net = chain(relu(), attrs.evolve(mine, forward=forward), relu())
    make_predict(net, ((), (), ()))(np.zeros((2, 3), np.float32))
    y, residuals = net.forward(((), (), ()), np.zeros((2, 3), np.float32))
    assert (y == 0).all()
    assert all((array == -1).all() for array in kept)
    _, dx = net.vjp(((), (), ()), residuals, np.ones((2, 3), np.float32))
    assert (dx == 0).all()
    assert (slopes == 3).all()


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
