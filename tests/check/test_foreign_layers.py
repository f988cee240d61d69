"""Right layers as others would write them, who have never heard of this library's helpers: none may be refuted."""

from typing import Any

import numpy as np
import pytest

from funcnet import random
from funcnet.check import CheckError, check_layer
from funcnet.layer import Layer
from funcnet.layers.activations import leaky_relu, relu
from funcnet.random import make_key
from funcnet.shapes import Shape

pytestmark = pytest.mark.usefixtures("as_users_run")


def of(f: Any, slope: Any) -> Layer[Any, Any]:
    """Of a function of one number and its derivative."""
    return Layer("mine", lambda key, shape: ((), shape), lambda params, x: (f(x), x.copy()),
                 lambda params, x, dy, need_dx=True: ((), slope(x) * dy))  # fmt: skip


def scale() -> Layer[Any, Any]:
    """One number as a parameter."""
    return Layer("scale", lambda key, shape: (np.array(1, np.float32), shape), lambda p, x: (x * p, x),
                 lambda p, x, dy, need_dx=True: (np.asarray((x * dy).sum()), dy * p))  # fmt: skip


def root_scale() -> Layer[Any, Any]:
    """A parameter that must stay positive, though it starts small."""
    return Layer(
        "root_scale",
        lambda key, shape: (np.full(shape, 0.1, np.float32), shape),
        lambda p, x: (x * np.sqrt(p), x),
        lambda p, x, dy, need_dx=True: ((x * dy).sum(axis=0) / (2 * np.sqrt(p)), dy * np.sqrt(p)),
    )


def layer_norm() -> Layer[Any, Any]:
    def forward(params: Any, x: np.ndarray) -> Any:
        centred = x - x.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-3)
        return centred / deviation, (centred / deviation, deviation)

    def vjp(params: Any, residuals: Any, dy: np.ndarray, need_dx: bool = True) -> Any:
        y, deviation = residuals
        return (), (dy - dy.mean(axis=1, keepdims=True) - y * (dy * y).mean(axis=1, keepdims=True)) / deviation

    def frozen(params: Any, x: np.ndarray) -> Any:
        y, residuals = forward(params, x)
        y.flags.writeable = False
        return y, (y, residuals[1])

    return Layer("layer_norm", lambda key, shape: ((), shape), frozen, vjp)


def batch_norm() -> Layer[Any, Any]:
    def forward(params: Any, x: np.ndarray) -> Any:
        y, deviation = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-3), np.sqrt(x.var(axis=0) + 1e-3)
        return y, (y.copy(), deviation)

    def vjp(params: Any, residuals: Any, dy: np.ndarray, need_dx: bool = True) -> Any:
        y, deviation = residuals
        return (), (dy - dy.mean(axis=0) - y * (dy * y).mean(axis=0)) / deviation

    return Layer("batch_norm", lambda key, shape: ((), shape), forward, vjp)


def valid_only(x: np.ndarray) -> np.ndarray:
    if (x <= 0).any():
        raise ValueError("a logarithm is of positive numbers")
    return np.log(x)


FAST = 2**8 * np.pi
CASES: dict[str, tuple[Layer[Any, Any], Shape, dict[str, Any]]] = {
    "a number": (scale(), (4,), {}),
    "a positive parameter": (root_scale(), (4,), {}),
    "layer norm": (layer_norm(), (5,), {}),
    "batch norm": (batch_norm(), (2,), {"mixes_examples": True, "batch": 5}),
    "batch norm of tiny inputs": (
        batch_norm(), (2,), {"mixes_examples": True, "batch": 5, "draw": lambda k, s: 1e-5 * random.normal(k, s)}
    ),
    # Its period is 2^-7: steps of powers of two would all see the same value.
    "a fast sine": (of(lambda x: np.sin(FAST * x), lambda x: FAST * np.cos(FAST * x)), (2,), {}),
    "a small part that is not analytic": (
        of(lambda x: x + 1e-8 * np.abs(x), lambda x: 1 + 1e-8 * np.sign(x)), (3,), {}
    ),
    "a domain with a door": (
        of(valid_only, lambda x: 1 / x), (3,), {"draw": lambda k, s: random.uniform(k, s, 0.001, 2)}
    ),
    "no features": (of(np.sin, np.cos), (0,), {}),
    "large inputs": (
        of(np.tanh, lambda x: 1 - np.tanh(x) ** 2), (3,), {"draw": lambda k, s: 100 * random.normal(k, s)}
    ),
    "sorting": (
        Layer(
            "sort",
            lambda key, shape: ((), shape),
            lambda p, x: (np.sort(x, axis=1), np.argsort(x, axis=1)),
            lambda p, order, dy, need_dx=True: ((), np.take_along_axis(dy, np.argsort(order, axis=1), axis=1)),
        ),
        (6,),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_right_layer_is_not_refuted(name: str) -> None:
    layer, in_shape, options = CASES[name]
    for seed in range(5):
        check_layer(layer, in_shape, key=make_key(seed), **options)


def test_a_term_that_is_forgotten_is_missed_by_nobody() -> None:
    right = layer_norm()

    def vjp(params: Any, residuals: Any, dy: np.ndarray, need_dx: bool = True) -> Any:
        return (), (dy - dy.mean(axis=1, keepdims=True)) / residuals[1]

    with pytest.raises(CheckError, match="the gradient is not the derivative"):
        check_layer(Layer("layer_norm", right.init, right.forward, vjp), (5,), key=make_key(0))


@pytest.mark.parametrize(
    ("functions", "said"),
    [
        ({"forward": lambda p, x: x}, r"forward does not return \(y, residuals\)"),
        ({"vjp": lambda p, r, dy, need_dx=True: dy}, r"vjp does not return \(dparams, dx\)"),
        ({"init": lambda key, shape: ({"w": np.ones(1)}, shape)}, "params are no tree"),
        ({"init": lambda key, shape: ((), 3)}, "init's out_shape is no tuple"),
    ],
)
def test_a_wrong_signature_is_told(functions: dict[str, Any], said: str) -> None:
    right = of(np.sin, np.cos)
    parts = {"init": right.init, "forward": right.forward, "vjp": right.vjp} | functions
    with pytest.raises(CheckError, match=said):
        check_layer(Layer("mine", parts["init"], parts["forward"], parts["vjp"]), (3,), key=make_key(0))


def test_a_layer_may_keep_what_it_returns() -> None:
    """What goes out of the door is read-only, so nobody can write to it."""
    right = of(np.sin, np.cos)

    def forward(params: Any, x: np.ndarray) -> Any:
        y = np.sin(x)
        return y, (y, x)

    def vjp(params: Any, residuals: Any, dy: np.ndarray, need_dx: bool = True) -> Any:
        return (), np.cos(residuals[1]) * dy

    layer = Layer("mine", right.init, forward, vjp)
    check_layer(layer, (3,), key=make_key(0))
    assert not layer.forward((), np.ones((2, 3)))[0].flags.writeable


def test_what_is_no_layer_or_no_key_is_told() -> None:
    with pytest.raises(TypeError, match=r"got a function \(call it to make the layer\)"):
        check_layer(scale, (3,), key=make_key(0))
    with pytest.raises(TypeError, match=r"expected a key \(make_key\(0\) makes the one of the seed 0\), got 0"):
        check_layer(scale(), (3,), key=0)


def test_the_call_shown_has_all_its_options() -> None:
    report = check_layer(batch_norm(), (2,), key=make_key(0), mixes_examples=True, batch=4, draw=random.uniform)
    assert report.claim.call == (
        f"check_layer(batch_norm, (2,), batch=4, key={make_key(0)}, draw=uniform, mixes_examples=True)"
    )


def test_an_error_on_an_empty_batch_says_so() -> None:
    picky = of(lambda x: x + 0 * x[0], np.ones_like)
    with pytest.raises(IndexError) as caught:
        check_layer(picky, (3,), key=make_key(0))
    assert "a batch of no examples" in caught.value.__notes__[0]


def one_hot(key: Any, shape: Shape) -> np.ndarray:
    return np.eye(shape[1], dtype=np.float32)[random.randint(key, (shape[0],), 0, shape[1])]


def mostly_zeros(key: Any, shape: Shape) -> np.ndarray:
    a, b = random.split(key)
    return np.where(random.uniform(a, shape) < 0.8, np.float32(0), random.normal(b, shape))


def zeros(key: Any, shape: Shape) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("draw", [one_hot, mostly_zeros, zeros])
@pytest.mark.parametrize("layer", [relu(), leaky_relu(), of(np.abs, np.sign)], ids=str)
def test_inputs_on_kinks_are_left_out_however_many(layer: Layer[Any, Any], draw: Any) -> None:
    for seed in range(10):
        check_layer(layer, (5,), key=make_key(seed), draw=draw)


def test_beside_kinks_a_wrong_slope_is_seen() -> None:
    wrong = of(np.abs, lambda x: -np.sign(x))
    for seed in range(5):
        with pytest.raises(CheckError, match="the gradient is not the derivative"):
            check_layer(wrong, (8,), batch=6, key=make_key(seed), draw=mostly_zeros)


def test_jumps_are_no_kinks() -> None:
    floor = of(lambda x: np.floor(x).astype(x.dtype), lambda x: 0 * x)
    with pytest.raises(CheckError, match="could not be differentiated where it was tried"):
        check_layer(floor, (4,), key=make_key(0), draw=lambda k, s: random.randint(k, s, -3, 3).astype(np.float32))


@pytest.mark.parametrize("frequency", [993.5, 1000.0, 1987.0])
def test_a_frequency_that_all_steps_miss_is_not_taken_for_another(frequency: float) -> None:
    sine = of(lambda x: np.sin(frequency * x), lambda x: frequency * np.cos(frequency * x))
    for seed in range(10):
        check_layer(sine, (4,), key=make_key(seed))
