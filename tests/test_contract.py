"""The door: what layers and losses refuse, before any arithmetic, and with what words."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
import jaxtyping
import numpy as np
import pytest
from pure_cases import LAYERS, LOSSES, example_of, target_of

import funcnet as fn
from funcnet import tree
from funcnet.layer import AnyLayer
from funcnet.losses import Loss
from funcnet.shapes import Array

pytestmark = pytest.mark.usefixtures("as_users_run")

KEY = fn.make_key(0)
F4 = np.float32

# A layer of every kind on examples of 4 numbers, and how messages call the place where x is looked at.
PLACES: dict[str, AnyLayer] = {
    "linear(3)": fn.linear(3),
    "relu": fn.relu(),
    "leaky_relu(0.1)": fn.leaky_relu(0.1),
    "tanh": fn.tanh(),
    "sigmoid": fn.sigmoid(),
    "softplus": fn.softplus(),
    "gelu": fn.gelu(),
    "flatten": fn.flatten(),
    "identity": fn.identity(),
    "dropout(0.5)": fn.dropout(),
    "batch_norm": fn.batch_norm(),
    "chain[0].linear(3)": fn.chain(fn.linear(3), fn.relu()),
    "residual[0].linear(4)": fn.residual(fn.linear(4)),
    "parallel[0].linear(3)": fn.parallel(fn.linear(3), fn.linear(2), merge="concatenation"),
    "frozen.linear(3)": fn.frozen(fn.linear(3)),
    "frozen.chain[0].batch_norm": fn.frozen(fn.chain(fn.batch_norm(), fn.linear(3))),
    "chain[0].residual[0].chain[0].parallel[0].frozen.linear(4)": fn.chain(
        fn.residual(fn.parallel(fn.frozen(fn.linear(4)), fn.identity()), fn.tanh())
    ),
}
WITH_LAYERS = [pytest.param(place, layer, id=place) for place, layer in PLACES.items()]
x = np.random.default_rng(0).standard_normal((2, 4)).astype(F4)


class DataFrame:
    """As much of a data frame as matters here."""

    def __init__(self, values: Array) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.asarray(self.values, dtype)


def made(layer: AnyLayer) -> Any:
    return layer.init(KEY, (4,))[0]


def refused(place: str, expected: str, function: Callable[..., Any], *arguments: Any) -> str:
    """The whole message, which begins so."""
    with pytest.raises(fn.ShapeError) as caught:
        function(*arguments)
    assert str(caught.value).startswith(f"{place}: expected {expected}, got "), str(caught.value)
    assert caught.value.place == place
    return str(caught.value)


# --- layers


@pytest.mark.parametrize(("place", "layer"), WITH_LAYERS)
def test_what_is_no_array_is_no_input(place: str, layer: AnyLayer) -> None:
    params, outer = made(layer), place.partition("[")[0].partition(".linear")[0].partition(".chain")[0]
    convert = " (np.asarray(x, np.float32)?)"
    others: list[tuple[object, str]] = [
        ([[1.0]], convert),
        (DataFrame(x), convert),
        (x.view(np.matrix), convert),
        (np.ma.masked_array(x), " (x.filled(...) has all entries)"),
        *((other, "") for other in ("x", None, F4(1), {"x": x})),
    ]
    for other, hint in others:
        for function in (lambda x: layer.forward(params, x, KEY), lambda x: layer.predict(params, x)):
            message = refused(outer, "x as a NumPy array", function, other)
            assert message.endswith(f"got a {type(other).__name__}{hint}")


@pytest.mark.parametrize(("place", "layer"), WITH_LAYERS)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, object, "U1"])
def test_inputs_are_floating_point(place: str, layer: AnyLayer, dtype: Any) -> None:
    params, wrong = made(layer), np.ones((2, 4), dtype)
    for function in (lambda: layer.forward(params, wrong, KEY), lambda: layer.predict(params, wrong)):
        message = refused(place, "x of a floating-point dtype", function)
        assert ("(of images, data.normalization makes floats)" in message) == (dtype == np.uint8)
        assert ("(x.astype(np.float32)?)" in message) == (dtype not in (np.uint8, "U1"))


def test_whole_numbers_that_may_be_images() -> None:
    """Obeyed to the letter, the message would have them trained on without a normalization."""
    for dtype in (np.int64, np.uint16, np.int32):
        message = refused("relu", "x of a floating-point dtype", fn.relu().forward, (), np.array([[0, 255]], dtype))
        assert message.endswith("(images from 0 to 255? x.astype(np.uint8), of which data.normalization makes floats)")
    for numbers in ([[0, 256]], [[-1, 9]], [[0, 1]]):
        message = refused("relu", "x of a floating-point dtype", fn.relu().forward, (), np.array(numbers))
        assert message.endswith("got dtype int64 (x.astype(np.float32)?)")


@pytest.mark.parametrize(("place", "layer"), WITH_LAYERS)
def test_an_input_has_a_batch_axis(place: str, layer: AnyLayer) -> None:
    params = made(layer)
    with pytest.raises(fn.ShapeError, match=r"expected x of shape \(batch, .*\), got shape \(\)"):
        layer.forward(params, np.array(1, F4), KEY)


@pytest.mark.parametrize(("place", "layer"), WITH_LAYERS)
def test_params_know_the_shape_and_dtype_of_inputs(place: str, layer: AnyLayer) -> None:
    params = made(layer)
    if not tree.leaves(params):
        for other in (np.ones((2, 5), F4), np.ones((2, 4)), np.ones((3, 2, 4), F4)):
            layer.forward(params, other, KEY)  # any shape will do
        return
    wanted = "x of shape (batch, ..., 4)" if "batch_norm" in place else "x of shape (batch, 4)"
    for function in (lambda x: layer.forward(params, x, KEY), lambda x: layer.predict(params, x)):
        message = refused(place, wanted, function, np.ones((2, 5), F4))
        assert message.endswith("got shape (2, 5)")
        message = refused(place, wanted, function, np.ones(4, F4))
        assert message.endswith("got shape (4,) (is the batch axis missing? x[None] is a batch of one)")
        for dtype in (np.float64, np.float16, ">f4"):
            message = refused(place, "x of dtype float32, as the params", function, np.ones((2, 4), dtype))
            assert message.endswith(f"got dtype {np.dtype(dtype)} (x.astype(np.float32)?)")


@pytest.mark.parametrize(("place", "layer"), WITH_LAYERS)
def test_params_of_another_network_are_refused(place: str, layer: AnyLayer) -> None:
    """By every public call; and the empty ones too, where there should be some."""
    params = made(layer)
    y, residuals = layer.forward(params, x, KEY)
    strangers = [None, [1], {}, made(fn.linear(7)), fn.batch_norm().init(KEY, (9,))[0], (made(fn.linear(7)),) * 3]
    strangers += [()] if tree.leaves(params) else []
    for stranger in strangers:
        calls = [
            partial(layer.forward, stranger, x, KEY),
            partial(layer.predict, stranger, x),
            partial(layer.vjp, stranger, residuals, y),
        ]
        for call in calls:
            with pytest.raises(fn.ShapeError):
                call()
    if layer.children:
        return
    wanted = {"linear(3)": "LinearParams", "batch_norm": "BatchNormParams"}.get(place, "no params, the empty tuple")
    message = refused(place, wanted, layer.forward, None, x, KEY)
    assert message.endswith("got a NoneType (the params of another network?)")


def test_params_of_one_name_but_other_lengths_are_told_apart() -> None:
    """From an input of another width: x is not to blame where the params do not fit together."""
    net = fn.chain(fn.linear(3), fn.batch_norm(), fn.linear(2))
    params = made(net)
    other, _ = net.init(KEY, (5,))
    refused("chain[0].linear(3)", "x of shape (batch, 5)", net.forward, other, x)
    wider = fn.batch_norm().init(KEY, (7,))[0]
    message = refused(
        "chain[1].batch_norm",
        "x of shape (batch, ..., 7)",
        net.forward,
        (params[0], wider, params[2]),
        x,
    )
    assert message.endswith("got shape (2, 3)")
    mixed = attrs.evolve(params[1], shift=np.zeros(2, F4))
    refused("batch_norm", "params.shift of shape (3,)", fn.batch_norm().forward, mixed, x[:, :3])
    mixed = attrs.evolve(params[1], variance=np.zeros(3))
    refused("batch_norm", "params.variance of dtype float32", fn.batch_norm().forward, mixed, x[:, :3])
    refused("linear(4)", "params.weight of shape (in, 4)", fn.linear(4).forward, params[0], x)


@pytest.mark.parametrize(("place", "layer"), WITH_LAYERS)
def test_residuals_of_another_layer_are_refused(place: str, layer: AnyLayer) -> None:
    params = made(layer)
    y, _ = layer.forward(params, x, KEY)
    if place == "identity":
        assert np.array_equal(layer.vjp(params, (), y)[1], y)  # it has none
        return
    strangers = [
        None,
        (),
        x,
        [1, 2, 3],
        fn.linear(9).forward(fn.linear(9).init(KEY, (3,))[0], x[:, :3])[1],
        ((), (), ()),
    ]
    for stranger in strangers:
        with pytest.raises(fn.ShapeError, match=r"expected .*Residuals|expected residuals with|expected x of shape"):
            layer.vjp(params, stranger, y)


@pytest.mark.parametrize(("place", "layer"), WITH_LAYERS)
def test_dy_is_like_y(place: str, layer: AnyLayer) -> None:
    """Whatever it is: nothing is broadcast, and nothing is left out."""
    params = made(layer)
    y, residuals = layer.forward(params, x, KEY)
    if place == "identity":
        return  # it does not know what it was given
    wrong = [np.ones((1, *y.shape[1:]), F4), np.ones((2, 9), F4), np.ones((2, 1), F4), np.ones(2, F4), np.array(1, F4)]
    wrong += [np.ones((3, *y.shape[1:]), F4), y[None], y.astype(int)]
    wrong += [] if place == "flatten" else [y.astype(np.float64)]
    for dy in wrong:
        with pytest.raises(fn.ShapeError, match="expected dy of"):
            layer.vjp(params, residuals, dy)
    for other in (y.tolist(), None, "dy"):
        with pytest.raises(fn.ShapeError, match="expected dy as a NumPy array, got a"):
            layer.vjp(params, residuals, other)


def test_hints() -> None:
    """What was probably forgotten."""
    dense, norm, image = fn.linear(3), fn.batch_norm(), np.ones((8, 5, 6, 3), F4)
    params, _ = norm.init(KEY, (5, 6, 3))
    first = np.ascontiguousarray(np.moveaxis(image, -1, 1))
    message = refused("batch_norm", "x of shape (batch, ..., 3)", norm.forward, params, first)
    assert message.endswith("got shape (8, 3, 5, 6) (channels first? x.transpose(0, 2, 3, 1) puts them last)")
    assert norm.forward(params, first.transpose(0, 2, 3, 1))[0].shape == image.shape
    net = fn.chain(fn.residual(norm))
    with pytest.raises(
        fn.ShapeError, match=r"chain\[0\]\.residual\[0\]\.batch_norm: .* \(channels first\? x\.transpose"
    ):
        net.forward((((params), ()),), first)
    message = refused("batch_norm", "x of shape (batch, ..., 3)", norm.forward, params, np.ones((8, 5, 6, 4), F4))
    assert message.endswith("got shape (8, 5, 6, 4)")
    message = refused("linear(3)", "x of shape (batch, 4)", dense.forward, made(dense), np.ones((8, 2, 2), F4))
    assert message.endswith("(put flatten() before it)")


def test_messages_name_the_place_within_the_whole_network() -> None:
    inner = fn.residual(fn.chain(fn.linear(4), fn.frozen(fn.parallel(fn.tanh(), fn.linear(4)))))
    net = fn.chain(fn.linear(4), inner, fn.parallel(fn.relu(), fn.linear(4)))
    params = list(made(net))
    good = tuple(params)
    place = "chain[1].residual[0].chain[1].frozen.parallel[1].linear(4)"
    ((first, fixed), nothing) = params[1]
    wrong = attrs.evolve(fixed, params=((), made(fn.linear(7))))
    params[1] = ((first, wrong), nothing)
    bad = tuple(params)
    y, residuals = net.forward(good, x)
    for call in (
        lambda: net.forward(bad, x),
        lambda: net.predict(bad, x),
        lambda: net.vjp(bad, residuals, y),
        lambda: fn.make_predict(net, bad)(x),
        lambda: fn.make_predict(net, bad, engine=fn.engines.plain())(x),
        lambda: fn.evaluate(net, bad, [fn.Batch(x, x)], fn.mean_squared_error()),
        lambda: fn.make_grad(net, fn.mean_squared_error())(bad, fn.Batch(x, x)),
        *(
            lambda engine=engine: fn.make_step(net, fn.mean_squared_error(), fn.sgd(0.1), engine=engine)(
                fn.init_state(bad, fn.sgd(0.1), KEY), fn.Batch(x, x)
            )
            for engine in (fn.engines.plain(), fn.engines.numpy())
        ),
    ):
        assert refused(place, "params.weight of shape (in, 4)", call).endswith("got shape (4, 7)")


def test_the_door_is_passed_by_what_fits() -> None:
    """Every layer takes what it was made for, in both precisions; the memory may lie as it likes."""
    for layer, in_shape in LAYERS:
        params, out_shape = layer.init(KEY, in_shape)
        for dtype in (np.float32, np.float64):
            cast = tree.map(partial(np.asarray, dtype=dtype), params)
            inputs = example_of(in_shape, dtype)
            y, residuals = layer.forward(cast, inputs, KEY)
            assert y.shape == (len(inputs), *out_shape)
            strange = np.asfortranarray(inputs)
            y_of_strange, _ = layer.forward(cast, strange, KEY)
            np.testing.assert_allclose(y_of_strange, y, rtol=1e-5, atol=1e-5)
            assert layer.vjp(cast, residuals, np.asfortranarray(y))[1].shape == inputs.shape
            assert layer.predict(cast, inputs[::2]).shape == (len(inputs[::2]), *out_shape)


# --- what goes out


def arrays_in(*made: Any) -> Iterator[np.ndarray]:
    for part in made:
        if isinstance(part, np.ndarray):
            yield part
        elif isinstance(part, tuple | list):
            yield from arrays_in(*part)
        elif attrs.has(type(part)):
            yield from arrays_in(*(getattr(part, field.name) for field in attrs.fields(type(part))))


@pytest.mark.parametrize(("layer", "in_shape"), LAYERS, ids=lambda value: str(value)[:40])
def test_outputs_are_read_only_and_inputs_stay_the_callers(layer: AnyLayer, in_shape: tuple[int, ...]) -> None:
    params, _ = layer.init(KEY, in_shape)
    mine = example_of(in_shape, np.float32)
    before = mine.copy()
    y, residuals = layer.forward(params, mine, KEY)
    dy = np.array(y)
    dparams, dx = layer.vjp(params, residuals, dy)
    prediction = layer.predict(params, mine)
    advanced = layer.advance(params, residuals)
    for array in (y, dx, prediction, *tree.leaves(dparams), *tree.leaves(advanced)):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    for array in (mine, dy):
        assert array.flags.writeable
    assert np.array_equal(mine, before)
    assert np.array_equal(dy, y)
    mine += 1
    dy += 1


@pytest.mark.parametrize(("loss", "targets"), LOSSES, ids=str)
def test_gradients_of_losses_are_read_only(loss: Loss, targets: str) -> None:
    prediction = np.ones((3, 2))
    target = target_of(targets, prediction)
    value, gradient = loss(prediction, target)
    assert type(value) is float
    assert not gradient.flags.writeable
    assert prediction.flags.writeable
    assert target.flags.writeable
    if loss.accuracy is not None:
        assert type(loss.accuracy(prediction, target)) is float


@pytest.mark.parametrize("penalty", [fn.l1(0.5), fn.l2(0.5)], ids=str)
def test_penalties_stand_at_the_door_too(penalty: fn.Penalty) -> None:
    w = np.array([[1.0, -2]], F4)
    value, gradient = penalty(w)
    assert type(value) is float
    assert gradient.dtype == F4
    assert w.flags.writeable
    assert not gradient.flags.writeable
    refused(penalty.name, "the array as a NumPy array", penalty, [[1.0]])


def test_advance_is_shielded() -> None:
    """Running statistics that die away end in numbers below the smallest normal one."""
    norm = fn.batch_norm()
    params = attrs.evolve(made(norm), mean=np.full(4, 1.2e-38, F4))
    with np.errstate(all="raise"):
        _, residuals = norm.forward(params, np.zeros((2, 4), F4))
        np.testing.assert_allclose(norm.advance(params, residuals).mean, 0.9 * 1.2e-38, rtol=1e-5)


def test_functions_of_ones_own_are_shielded_too() -> None:
    def tiny(z: Array, t: Array) -> Array:
        return np.mean(z * z)

    loss = fn.Loss("mine", lambda z, t: (tiny(z, t), z * z), tiny)
    penalty = fn.Penalty("mine", 1.0, lambda w: np.sum(w * w), lambda w: w * w)
    small = np.full((2, 3), 1e-30, F4)
    batch = fn.Batch(small, small)
    with np.errstate(all="raise"):
        assert loss(small, small)[0] == loss.accuracy(small, small) == penalty(small)[0] == 0
        for engine in (fn.engines.plain(), fn.engines.numpy()):
            assert fn.evaluate(fn.identity(), (), [batch], loss, engine=engine).loss == 0


# --- losses


@pytest.mark.parametrize("loss", [fn.mean_squared_error(), fn.binary_cross_entropy()], ids=str)
def test_a_column_is_no_row(loss: Loss) -> None:
    """(n,) and (n, 1) would be broadcast to (n, n), and the loss would be a wrong one without a word."""
    column, row = np.ones((5, 1), F4), np.ones(5, F4)
    message = refused(loss.name, "the target of shape (5, 1), as the prediction", loss, column, row)
    assert message.endswith("got shape (5,) (one output an example? target[:, None] is such a column)")
    assert loss(column, row[:, None])[1].shape == (5, 1)
    message = refused(loss.name, "the target of shape (5,), as the prediction", loss, row, column)
    assert message.endswith("got shape (5, 1) (target[..., 0] leaves the last axis out)")
    assert loss(row, column[..., 0])[1].shape == (5,)
    for target in (np.ones((1, 1), F4), np.ones((5, 2), F4), np.ones((), F4)):
        refused(loss.name, "the target of shape (5, 1), as the prediction", loss, column, target)
    big = row.astype(">f4")
    message = refused(loss.name, "the target of dtype >f4, as the prediction", loss, big, row)
    assert message.endswith("got dtype float32 (target.astype('>f4')?)")
    assert loss(big, big)[1].dtype == F4
    message = refused(loss.name, "the target of dtype float32, as the prediction", loss, row, row.astype(float))
    assert message.endswith("got dtype float64 (target.astype(np.float32)?)")
    refused(loss.name, "the target of dtype float32, as the prediction", loss, row, row.astype(int))
    refused(loss.name, "the target as a NumPy array", loss, row, [1.0] * 5)
    for prediction in ([1.0], None, column.view(np.matrix)):
        refused(loss.name, "the prediction as a NumPy array", loss, prediction, row)
    refused(loss.name, "the prediction of a floating-point dtype", loss, row.astype(int), row)
    refused(loss.name, "the prediction of a floating-point dtype", loss, row.astype(complex), row)


LABELS: list[tuple[Any, str, str]] = [
    ([1, 2, 3], "labels from 0 to 2", "labels from 1 to 3 (do they count from 1? labels - 1)"),
    ([0, 1, -1], "labels from 0 to 2", "labels from -1 to 1"),
    ([0, 7, 1], "labels from 0 to 2", "labels from 0 to 7 (the network has 3 outputs: are there more classes?)"),
    ([0, 1], "labels of shape (3,)", "shape (2,)"),
    ([[0], [1], [2]], "labels of shape (3,)", "shape (3, 1) (a column? labels[:, 0] are its labels)"),
    *(
        (
            np.eye(3, dtype=dtype),
            "labels of shape (3,)",
            "shape (3, 3) (one-hot rows? labels.argmax(axis=1) are their labels)",
        )
        for dtype in (int, np.uint8, bool)  # rows of floating-point numbers are distributions
    ),
    ([0.0, 1, 2], "integer labels, one a row of logits", "dtype float64 (labels.astype(int)?)"),
    ([0.5, 1, 2], "integer labels, one a row of logits", "dtype float64 (they are no whole numbers)"),
    ([np.nan, 1, 2], "integer labels, one a row of logits", "dtype float64 (they are no whole numbers)"),
    (
        ["a", "b", "a"],
        "integer labels, one a row of logits",
        "dtype <U1 (names? np.unique(labels, return_inverse=True)[1] numbers them)",
    ),
    ([True, False, True], "integer labels, one a row of logits", "dtype bool (labels.astype(int)?)"),
]


def test_labels() -> None:
    """Accuracy is as careful as the loss."""
    loss, logits = fn.softmax_cross_entropy(), np.zeros((3, 3), F4)
    name = "softmax cross-entropy"
    for use in (loss, loss.accuracy):
        for labels, expected, given in LABELS:
            message = refused(name, expected, use, logits, np.array(labels))
            assert message.endswith(f"got {given}")
        message = refused(name, "labels as a NumPy array", use, logits, [0, 1, 2])
        assert message.endswith("got a list (np.asarray(labels)?)")
        refused(name, "logits of shape (batch, classes)", use, logits[0], np.array([0, 1, 2]))
        nothing = logits[:0], np.zeros(0, int)
        wanted = "at least one example with an output (the mean over none is undefined)"
        refused(name, wanted, use, *nothing)


def test_a_loss_of_ones_own_is_checked_as_it_says() -> None:
    def value_and_grad(z: Array, t: Array) -> tuple[float, Array]:
        return float(z.mean()), np.full_like(z, 1 / z.size)

    free, strict = fn.Loss("mine", value_and_grad), fn.Loss("mine", value_and_grad, targets="numbers")
    z, t = np.ones((2, 3), F4), np.ones(2, F4)
    assert free(z, t)[0] == 1
    refused("mine", "the target of shape (2, 3), as the prediction", strict, z, t)
    labelled = fn.Loss("mine", value_and_grad, targets="labels")
    refused("mine", "labels from 0 to 2", labelled, z, np.array([0, 3]))


def mine(value_and_grad: Any, accuracy: Any = None) -> Loss:
    return fn.Loss("mine", value_and_grad, accuracy)


def squared(z: Array, t: Array) -> tuple[Any, Array]:
    off = z - t
    return (off * off).mean(), 2 * off / off.size


WRONG_LOSSES: dict[str, tuple[Loss, str]] = {
    "a number alone": (mine(lambda z, t: squared(z, t)[0]), r"value_and_grad returns .* got a float32"),
    "nothing": (mine(lambda z, t: None), r"value_and_grad returns .* got a NoneType"),
    "three things": (mine(lambda z, t: (*squared(z, t), 1)), r"value_and_grad returns .* got 3 things"),
    "a value for each": (mine(lambda z, t: ((z - t) ** 2, z - t)), r"expected the loss as one number.* \(4, 1\)"),
    "a value in an array": (mine(lambda z, t: (np.ones(1), z - t)), r"expected the loss as one number.* \(1,\)"),
    "a value that is none": (mine(lambda z, t: ("1", z - t)), "expected the loss as one number.*got a str"),
    "a complex value": (mine(lambda z, t: (1j, z - t)), "expected the loss as one number.*got a complex"),
    "a truth": (mine(lambda z, t: (np.True_, z - t)), "expected the loss as one number.*got dtype bool"),
    "a gradient summed up": (
        mine(lambda z, t: (1.0, (z - t).sum(axis=0))),
        r"expected a gradient dprediction of shape \(4, 1\), got shape \(1,\)$",
    ),
    "a gradient in float64": (
        mine(lambda z, t: (1.0, (z - t).astype(float))),
        r"expected a gradient dprediction of dtype float32, got dtype float64 \(dprediction.astype\(np.float32\)\?\)",
    ),
    "a gradient that is a number": (
        mine(lambda z, t: (1.0, 0.5)),
        "expected the gradient dprediction as a NumPy array, got a float",
    ),
    "both the other way round": (mine(lambda z, t: squared(z, t)[::-1]), r"expected a gradient dprediction of shape"),
    "an accuracy for each": (mine(squared, lambda z, t: z > t), "expected the accuracy as one number"),
    "an accuracy in percent": (mine(squared, lambda z, t: 50.0), "expected an accuracy from 0 to 1, .*got 50"),
    "no accuracy": (mine(squared, lambda z, t: None), "expected the accuracy as one number.*got a NoneType"),
}  # fmt: skip


def all_uses(loss: Loss, x: Array, y: Array) -> list[Callable[[], object]]:
    """Whatever calls the loss on a batch."""
    params, batch = made(fn.linear(1)), fn.Batch(x, y)
    net = fn.linear(1)
    uses: list[Callable[[], object]] = [lambda: fn.make_grad(net, loss)(params, batch)]
    for engine in (fn.engines.plain(), fn.engines.numpy()):
        uses.append(lambda engine=engine: fn.evaluate(net, params, [batch], loss, engine=engine))
        step = fn.make_step(net, loss, fn.sgd(0.1), engine=engine)
        uses.append(lambda step=step: step(fn.init_state(params, fn.sgd(0.1), KEY), batch))
    return uses


@pytest.mark.parametrize("mistake", WRONG_LOSSES)
def test_what_a_loss_of_ones_own_returns_is_looked_at(mistake: str) -> None:
    """The message names the loss, not the last layer, whatever runs it."""
    loss, said = WRONG_LOSSES[mistake]
    z = np.ones((4, 1), F4)
    here = loss if loss.accuracy is None else loss.accuracy
    for use in (lambda: here(z, z), *all_uses(loss, np.ones((4, 4), F4), z)):
        with pytest.raises((fn.ShapeError, TypeError), match=f"^mine: {said}"):
            use()


def test_a_target_that_a_loss_of_ones_own_broadcasts_is_blamed_on_it() -> None:
    row = np.arange(4, dtype=F4)
    hint = " (a target of shape (4,) was broadcast: give it the shape of the prediction)"
    loss = mine(squared)
    for use in (lambda: loss(np.ones((4, 1), F4), row), *all_uses(loss, np.ones((4, 4), F4), row)):
        message = refused("mine", "a gradient dprediction of shape (4, 1)", use)
        assert message.endswith(f"got shape (4, 4){hint}")


def test_losses_are_made_of_functions() -> None:
    for wrong in ({"value_and_grad": None}, {"value_and_grad": squared, "accuracy": 0.5}):
        with pytest.raises(TypeError, match="must be callable"):
            fn.Loss("mine", **wrong)
    with pytest.raises(ValueError, match="'targets' must be in"):
        fn.Loss("mine", squared, targets="label")


WRONG_PENALTIES: dict[str, tuple[Callable[[Array], Any], Callable[[Array], Any], str]] = {
    "a value for each": (lambda w: w, lambda w: w, r"expected the value as one number.*of shape \(4, 1\)"),
    "no value": (lambda w: None, lambda w: w, "expected the value as one number.*got a NoneType"),
    "a gradient summed up": (lambda w: 1.0, lambda w: w.sum(0), r"expected a gradient dw of shape \(4, 1\)"),
    "a gradient in float64": (lambda w: 1.0, lambda w: w.astype(float), "expected a gradient dw of dtype float32"),
    "a gradient that is a list": (lambda w: 1.0, lambda w: [w], "expected the gradient dw as a NumPy array"),
}


@pytest.mark.parametrize("mistake", WRONG_PENALTIES)
def test_what_a_penalty_of_ones_own_returns_is_looked_at(mistake: str) -> None:
    value, grad, said = WRONG_PENALTIES[mistake]
    penalty = fn.Penalty("mine", 1.0, value, grad)
    with pytest.raises(fn.ShapeError, match=f"^mine: {said}"):
        penalty(np.ones((4, 1), F4))
    net, batch = fn.linear(1), fn.Batch(x, x[:, :1])
    step = fn.make_step(net, fn.mean_squared_error(), fn.sgd(0.1), {"weight": penalty})
    with pytest.raises(fn.ShapeError, match=r"^mine: expected (a|the) (gradient|value)"):
        step(fn.init_state(made(net), fn.sgd(0.1), KEY), batch)


def test_penalties_are_on_floating_point_numbers() -> None:
    for penalty in (fn.l1(1.0), fn.l2(1.0)):
        refused(penalty.name, "the array of a floating-point dtype", penalty, np.ones((2, 2), int))
        assert penalty(np.array(2.0, F4))[1].shape == ()


# --- layers of one's own


def plain_layer() -> AnyLayer:
    """Three plain functions, without annotations: y = x s."""

    def init(key, in_shape):  # type: ignore[no-untyped-def]
        return (np.ones(in_shape, np.float32),), in_shape

    def forward(params, x):  # type: ignore[no-untyped-def]
        return x * params[0], x

    def vjp(params, residuals, dy, need_dx=True):  # type: ignore[no-untyped-def]
        return ((residuals * dy).sum(axis=0),), dy * params[0]

    return fn.Layer("scale", init, forward, vjp)


@attrs.frozen
class ScaleParams(tree.Record):
    """A factor for each feature."""

    factor: jaxtyping.Float[np.ndarray, "features"] = tree.array_field()


@attrs.frozen
class ScaleResiduals(tree.Record):
    """The input."""

    x: jaxtyping.Float[np.ndarray, "batch features"]


def annotated_layer() -> AnyLayer:
    """The same with jaxtyping's annotations, as the library's own layers have them."""

    def init(key: fn.Key, in_shape: tuple[int, ...]) -> tuple[ScaleParams, tuple[int, ...]]:
        return ScaleParams(np.ones(in_shape, np.float32)), in_shape

    def forward(
        params: ScaleParams, x: jaxtyping.Float[np.ndarray, "batch features"]
    ) -> tuple[jaxtyping.Float[np.ndarray, "batch features"], ScaleResiduals]:
        return x * params.factor, ScaleResiduals(x)

    def vjp(
        params: ScaleParams,
        residuals: ScaleResiduals,
        dy: jaxtyping.Float[np.ndarray, "batch features"],
        need_dx: bool = True,
    ) -> tuple[ScaleParams, Array]:
        return ScaleParams((residuals.x * dy).sum(axis=0)), dy * params.factor

    return fn.Layer("scale", init, forward, vjp)


OWN = [pytest.param(plain_layer(), id="plain"), pytest.param(annotated_layer(), id="annotated")]


@pytest.mark.parametrize("layer", OWN)
def test_a_layer_of_ones_own_goes_through_the_same_door(layer: AnyLayer) -> None:
    params = made(layer)
    mine = x.copy()
    y, residuals = layer.forward(params, mine)
    dy = np.ones((2, 4), F4)
    dparams, dx = layer.vjp(params, residuals, dy)
    for array in (y, layer.predict(params, mine), dx, *tree.leaves(dparams)):
        assert not array.flags.writeable
    assert mine.flags.writeable
    assert dy.flags.writeable
    for other in ([[1.0]], None, x.view(np.matrix), np.ma.masked_array(x)):
        refused("scale", "x as a NumPy array", layer.forward, params, other)
        refused("scale", "dy as a NumPy array", layer.vjp, params, residuals, other)
    with pytest.raises(fn.ShapeError, match=r"scale: expected x of shape \(batch, .*\), got shape \(\)"):
        layer.forward(params, np.array(1, F4))
    listing = attrs.evolve(fn.linear(4), forward=lambda params, x: ([1.0], ()))
    net = fn.chain(listing, layer)
    refused("chain[1].scale", "x as a NumPy array", net.forward, made(net), x)


@pytest.mark.parametrize("layer", OWN)
def test_and_trains_under_both_engines(layer: AnyLayer) -> None:
    net = fn.chain(fn.linear(5), layer, fn.relu(), fn.residual(layer), fn.linear(3))
    params, losses = made(net), []
    for engine in (fn.engines.plain(), fn.engines.numpy()):
        state = fn.init_state(params, fn.momentum(0.1), KEY)
        step = fn.make_step(net, fn.softmax_cross_entropy(), fn.momentum(0.1), engine=engine)
        for _ in range(5):
            state, metrics = step(state, fn.Batch(x, np.array([0, 1])))
        losses.append(metrics.data_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert (
        losses[0] < 0.9 * fn.make_grad(net, fn.softmax_cross_entropy())(params, fn.Batch(x, np.array([0, 1])))[0].loss
    )


def test_annotations_are_read() -> None:
    """What they say is checked, with the names that they give."""
    layer = annotated_layer()
    params = made(layer)
    refused("scale", "x of shape (batch, 4)", layer.forward, params, np.ones((2, 3), F4))
    refused("scale", "x of shape (batch, 4)", layer.forward, params, np.ones((2, 2, 4), F4))
    refused("scale", "x of dtype float32, as the params", layer.forward, params, np.ones((2, 4)))
    refused("scale", "x of a floating-point dtype", layer.predict, params, np.ones((2, 4), int))
    refused("scale", "ScaleParams", layer.forward, (np.ones(4, F4),), x)
    _, residuals = layer.forward(params, x)
    refused("scale", "ScaleResiduals", layer.vjp, params, x, x)
    refused("scale", "dy of shape (2, 4)", layer.vjp, params, residuals, x[:1])
    refused("scale", "dy of dtype float32, as the params", layer.vjp, params, residuals, x.astype(float))


def rows(params: "tuple[()]", x: "jaxtyping.Float[np.ndarray, 'batch 4']") -> Any:
    return x + 0, ()


def anything(params: Any, x: jaxtyping.Float[np.ndarray, "_ _"]) -> Any:
    return x + 0, ()


def computed(params: Any, x: jaxtyping.Float[np.ndarray, "batch 2*batch"]) -> Any:
    return x + 0, ()


def any_number(params: Any, x: jaxtyping.Num[np.ndarray, "batch *_"]) -> Any:
    return x + 0.0, ()


def test_annotations_of_many_kinds() -> None:
    """Those in quotes, with names of modules; axes without a name, of any length; and those left to jaxtyping."""

    def layer_of(forward: Any) -> AnyLayer:
        return fn.Layer("mine", lambda key, shape: ((), shape), forward, lambda *_: None)

    assert layer_of(rows).forward((), x)[0].shape == (2, 4)
    refused("mine", "x of shape (batch, 4)", layer_of(rows).forward, (), x[:, :3])
    refused("mine", "x of a floating-point dtype", layer_of(rows).forward, (), np.ones((2, 4), int))
    assert layer_of(anything).forward((), x)[0].shape == (2, 4)
    with pytest.raises(fn.ShapeError, match="expected x of shape"):
        layer_of(anything).forward((), x[None])
    assert layer_of(computed).forward((), x)[0].shape == (2, 4)
    assert layer_of(any_number).forward((), np.ones((2, 3, 4), int))[0].shape == (2, 3, 4)


def test_what_a_layer_of_ones_own_returns_is_looked_at() -> None:
    def layer_with(forward: Any = None, vjp: Any = None) -> AnyLayer:
        identity = fn.identity()
        return fn.Layer("mine", identity.init, forward or identity.pure_forward, vjp or identity.pure_vjp)

    with pytest.raises(TypeError, match=r"the forward of mine does not return \(y, residuals\), but a ndarray"):
        layer_with(forward=lambda params, x: x).forward((), x)
    with pytest.raises(TypeError, match=r"the vjp of mine does not return \(dparams, dx\), but a ndarray"):
        layer_with(vjp=lambda params, residuals, dy, need_dx=True: dy).vjp((), (), x)
    lazy = layer_with(vjp=lambda params, residuals, dy, need_dx=True: ((), None))
    net = fn.chain(fn.linear(4), lazy)
    params = made(net)
    _, residuals = net.forward(params, x)
    with pytest.raises(TypeError, match=r"the vjp of chain\[1\]\.mine returned no dx, which was asked for"):
        net.vjp(params, residuals, x)
    assert lazy.vjp((), (), x, need_dx=False) == ((), None)


def test_a_gradient_that_is_wrong_in_shape_is_refused_by_steps() -> None:
    """A sum over the batch that was forgotten; under both engines."""
    own = plain_layer()
    wrong = attrs.evolve(own, vjp=lambda params, residuals, dy, need_dx=True: ((residuals * dy,), dy * params[0]))
    net = fn.chain(wrong, fn.linear(3))
    for engine in (fn.engines.plain(), fn.engines.numpy()):
        step = fn.make_step(net, fn.softmax_cross_entropy(), fn.adam(0.1), engine=engine)
        with pytest.raises(fn.ShapeError, match=r"gradient of .*\[0\]"):
            step(fn.init_state(made(net), fn.adam(0.1), KEY), fn.Batch(x, np.array([0, 1])))
