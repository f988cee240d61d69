"""The checker checked: every kind of mistake, in every layer, loss, penalty, optimizer and step, must be caught."""

import random as python_random
import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import pytest
from saboteurs import EDITS, LAYERS, edited, one_entry_slightly

from funcnet import blas, tree
from funcnet.check import (
    CheckError,
    check_layer,
    check_loss,
    check_optimizer,
    check_penalty,
    check_step,
    class_labels,
    real_numbers,
    shares,
)
from funcnet.inplace import fresh, over_of, twin_of, with_bound, with_over, with_twin
from funcnet.layer import AnyLayer, chain
from funcnet.layers.activations import gelu, leaky_relu, relu, sigmoid, softplus, tanh
from funcnet.layers.linear import LinearParams, linear
from funcnet.layers.reshape import flatten, identity
from funcnet.losses import Loss, binary_cross_entropy, mean_squared_error, softmax_cross_entropy
from funcnet.optimizers import Optimizer, momentum, nesterov, sgd
from funcnet.penalties import Penalty, l1, l2
from funcnet.random import make_key
from funcnet.shapes import Shape

pytestmark = pytest.mark.usefixtures("as_users_run", "own_random_state")

KEY = make_key(7)
SUBJECTS: list[tuple[AnyLayer, Shape]] = [
    (linear(4), (5,)),
    (linear(2, bias=False), (3,)),
    *((layer, (4,)) for layer in (relu(), leaky_relu(0.1), tanh(), sigmoid(), softplus(), gelu(), identity())),
    (flatten(), (2, 3)),
    (chain(linear(4), tanh(), linear(2)), (5,)),
    (chain(flatten(), linear(4), relu(), linear(3), gelu(), linear(3), softplus(), linear(2)), (2, 2)),
]


@pytest.fixture
def own_random_state() -> Iterator[None]:
    """What the saboteurs draw from the global random states is put back."""
    numpy_state, python_state = np.random.get_state(), python_random.getstate()  # noqa: NPY002
    yield
    np.random.set_state(numpy_state)  # noqa: NPY002
    python_random.setstate(python_state)


def targets(layer: AnyLayer, in_shape: Shape) -> list[str]:
    params, _ = layer.init(KEY, in_shape)
    return ["dx", *(path for path, _ in tree.named_leaves(params))]


def refuses(check: Callable[[], object], said: str) -> None:
    with pytest.raises(CheckError) as caught:
        check()
    assert re.search(said, str(caught.value)), caught.value


@pytest.mark.parametrize("mistake", EDITS)
@pytest.mark.parametrize(
    ("layer", "in_shape", "target"),
    [
        pytest.param(layer, in_shape, target, id=f"{layer.name:.40}-{target}")
        for layer, in_shape in SUBJECTS
        for target in targets(layer, in_shape)
    ],
)
def test_a_wrong_gradient_of_a_layer(layer: AnyLayer, in_shape: Shape, target: str, mistake: str) -> None:
    edit, said = EDITS[mistake]
    refuses(lambda: check_layer(edited(layer, target, edit), in_shape, key=KEY), said)


@pytest.mark.parametrize("mistake", LAYERS)
@pytest.mark.parametrize(("layer", "in_shape"), [pytest.param(*case, id=f"{case[0].name:.40}") for case in SUBJECTS])
def test_a_layer_that_breaks_the_contract(layer: AnyLayer, in_shape: Shape, mistake: str) -> None:
    sabotage, said = LAYERS[mistake]
    refuses(lambda: check_layer(sabotage(layer), in_shape, key=KEY), said)


# Mistakes that only a linear layer has room for: its square weight, and a batch as long as it is wide.
OF_LINEAR: dict[str, tuple[Callable[..., LinearParams], str]] = {
    "transposed": (lambda d, x, dy: LinearParams(d.weight.T.copy(), d.bias), "the matrix is transposed"),
    "bias of one example": (
        lambda d, x, dy: LinearParams(d.weight, dy[:1].sum(axis=0)),
        "sum over the batch is missing|adds|not the sums|shape",
    ),
    "bias summed over the wrong axis": (
        lambda d, x, dy: LinearParams(d.weight, dy.sum(axis=1) if len(dy) == dy.shape[1] else d.bias),
        "dy is summed over the wrong axis",
    ),
    "bias not summed": (lambda d, x, dy: LinearParams(d.weight, dy.copy()), "the sum over the batch is missing"),
    "rows and columns of x mixed up": (
        lambda d, x, dy: LinearParams(x.T[::-1] @ dy, d.bias),
        "right numbers in the wrong places|not the derivative",
    ),
    "a tuple for a record": (lambda d, x, dy: (d.weight, d.bias), "another structure"),
}


@pytest.mark.parametrize("mistake", OF_LINEAR)
def test_a_wrong_gradient_of_a_linear_layer(mistake: str) -> None:
    layer = linear(3)
    change, said = OF_LINEAR[mistake]

    def vjp(params: Any, residuals: Any, dy: np.ndarray, *, need_dx: bool = True) -> Any:
        dparams, dx = layer.vjp(params, residuals, dy, need_dx=need_dx)
        return change(dparams, residuals.x, dy), dx

    refuses(lambda: check_layer(attrs.evolve(layer, vjp=vjp), (3,), key=KEY), said)


def test_a_slope_that_is_forgotten_or_taken_at_the_wrong_place() -> None:
    layer = tanh()
    forgotten = attrs.evolve(layer, vjp=lambda params, residuals, dy, need_dx=True: ((), dy.copy()))
    refuses(lambda: check_layer(forgotten, (4,), key=KEY), "the layer's own slope is missing")
    # A slope may be a function of the output or of the input, which are as long: no error of shape tells.
    wrong_place = attrs.evolve(
        layer, vjp=lambda params, residuals, dy, need_dx=True: ((), (1 - np.tanh(residuals.kept) ** 2) * dy)
    )
    refuses(lambda: check_layer(wrong_place, (4,), key=KEY), "the gradient is not the derivative")


def test_predictions_that_are_not_those_of_forward() -> None:
    def predicting(predict: Callable[[np.ndarray], np.ndarray]) -> AnyLayer:
        def forward(params: tuple[()], x: np.ndarray) -> Any:
            return tanh().forward(params, x)

        return attrs.evolve(tanh(), forward=with_bound(forward, lambda params, over: predict))

    rounded_otherwise = predicting(lambda x: np.sinh(x) / np.cosh(x))
    refuses(lambda: check_layer(rounded_otherwise, (4,), key=KEY), "predict gives other bits than forward")
    in_place = predicting(lambda x: np.tanh(x, out=x))
    refuses(lambda: check_layer(in_place, (4,), key=KEY), "predict writes to an argument")


def test_parameters_read_in_the_order_of_memory() -> None:
    layer = linear(4)

    def forward(params: LinearParams, x: np.ndarray) -> Any:
        return layer.forward(
            attrs.evolve(params, weight=params.weight.ravel(order="K").reshape(params.weight.shape)), x
        )

    refuses(lambda: check_layer(attrs.evolve(layer, forward=forward), (5,), key=KEY), "lie in memory")


def test_losses_and_penalties_that_read_memory_in_order() -> None:
    def value_and_grad(y: np.ndarray, t: np.ndarray) -> Any:
        off = y.ravel(order="K") - t.ravel(order="K")
        return float((off * off).mean()), (2 / y.size * off).reshape(y.shape)

    wrong = attrs.evolve(mean_squared_error(), value_and_grad=value_and_grad)
    refuses(lambda: check_loss(wrong, (4,), targets=real_numbers, key=KEY), "lies in memory")
    penalty = attrs.evolve(l2(1), grad=lambda w: w.ravel(order="K").reshape(w.shape) * 1.0)
    refuses(lambda: check_penalty(penalty, (3, 2), key=KEY), "lie in memory")


def test_one_wrong_entry_of_a_large_matrix() -> None:
    """There are too many entries to measure each: the random directions see it."""
    layer = linear(40)
    slightly = np.ones((50, 40))
    slightly[19, 17] += 1e-4
    wrong = edited(layer, "weight", lambda a, dy: (a * slightly).astype(a.dtype))
    refuses(lambda: check_layer(wrong, (50,), key=KEY), "adjoint identity")


def test_a_gradient_of_no_examples() -> None:
    layer = linear(4)

    def vjp(params: LinearParams, residuals: Any, dy: np.ndarray, *, need_dx: bool = True) -> Any:
        dparams, dx = layer.vjp(params, residuals, dy, need_dx=need_dx)
        return (dparams if len(dy) else tree.map(np.ones_like, dparams)), dx

    refuses(lambda: check_layer(attrs.evolve(layer, vjp=vjp), (5,), key=KEY), "a batch of no examples has a gradient")


LOSSES = [
    (softmax_cross_entropy(), class_labels),
    (binary_cross_entropy(), shares),
    (mean_squared_error(), real_numbers),
]
OF_VALUES: dict[str, tuple[Callable[..., Any], str]] = {
    "flipped sign": (lambda v, g: (v, -g), "a flipped sign"),
    "factor of 2": (lambda v, g: (v, 2 * g), "a factor of 2 too many"),
    "slight error in one entry": (lambda v, g: (v, one_entry_slightly(g, g)), "1 of [0-9]+ entries"),
    "never computed": (lambda v, g: (v, np.zeros_like(g)), "the gradient is zero"),
    "factor 1/batch missing": (lambda v, g: (v, g * len(g)), "the batch: a factor of 1/batch is missing"),
    "a sum where a mean belongs": (lambda v, g: (v * len(g), g * len(g)), "is not the mean"),
    "a value of NumPy's": (lambda v, g: (np.float64(v), g), "no Python float"),
    "float64 from float32": (lambda v, g: (v, g.astype(np.float64)), "a dtype is wrong"),
    "half precision": (lambda v, g: (float(np.float16(v)), g), "could not be differ|further|not the"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", OF_VALUES)
@pytest.mark.parametrize(("loss", "draw"), LOSSES, ids=[str(loss) for loss, _ in LOSSES])
def test_a_wrong_loss(loss: Loss, draw: Any, mistake: str) -> None:
    change, said = OF_VALUES[mistake]
    wrong = attrs.evolve(loss, value_and_grad=lambda z, t: change(*loss.value_and_grad(z, t)))
    refuses(lambda: check_loss(wrong, (4,), targets=draw, key=KEY), said)


@pytest.mark.parametrize(("loss", "draw"), LOSSES, ids=[str(loss) for loss, _ in LOSSES])
def test_an_impure_loss(loss: Loss, draw: Any) -> None:
    def in_place(z: np.ndarray, t: np.ndarray) -> Any:
        z += 1
        return loss.value_and_grad(z, t)

    def drawing(z: np.ndarray, t: np.ndarray) -> Any:
        np.random.random()  # noqa: NPY002
        return loss.value_and_grad(z, t)

    def aliased(z: np.ndarray, t: np.ndarray) -> Any:
        value, gradient = loss.value_and_grad(z, t)
        if z.flags.writeable:
            z[...] = gradient
            return value, z
        return value, gradient

    for value_and_grad, said in ((in_place, "writes to"), (drawing, "global random"), (aliased, "shares its memory")):
        wrong = attrs.evolve(loss, value_and_grad=value_and_grad)
        refuses(lambda wrong=wrong: check_loss(wrong, (4,), targets=draw, key=KEY), said)


def test_an_accuracy_that_is_none() -> None:
    wrong = attrs.evolve(softmax_cross_entropy(), accuracy=lambda z, t: 100.0)
    refuses(lambda: check_loss(wrong, (4,), targets=class_labels, key=KEY), "no share from 0 to 1")


OF_PENALTIES: dict[str, tuple[Callable[[Penalty], Penalty], str]] = {
    "left out of the gradient": (lambda p: attrs.evolve(p, grad=np.zeros_like), "the gradient is zero"),
    "wrong sign": (lambda p: attrs.evolve(p, grad=lambda w: -p.grad(w)), "a flipped sign"),
    "coefficient left out of the value": (
        lambda p: attrs.evolve(p, value=lambda w: p.value(w) / p.coefficient), "a constant factor of 0.3"
    ),
    "factor of 2": (lambda p: attrs.evolve(p, grad=lambda w: 2 * p.grad(w)), "a factor of 2 too many"),
    "slight error in one entry": (
        lambda p: attrs.evolve(p, grad=lambda w: one_entry_slightly(p.grad(w), w)), "1 of 6 entries"
    ),
    "in-place change": (lambda p: attrs.evolve(p, grad=lambda w: np.multiply(w, 0.3, out=w)), "writes to"),
    "the weights themselves": (lambda p: attrs.evolve(p, grad=lambda w: w), "shares its memory"),
    "float64 from float32": (lambda p: attrs.evolve(p, grad=lambda w: p.grad(w) * np.float64(1)), "a dtype is wrong"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", OF_PENALTIES)
@pytest.mark.parametrize("penalty", [l1(0.3), l2(0.3)], ids=str)
def test_a_wrong_penalty(penalty: Penalty, mistake: str) -> None:
    sabotage, said = OF_PENALTIES[mistake]
    refuses(lambda: check_penalty(sabotage(penalty), (2, 3), key=KEY), said)
    if mistake in ("left out of the gradient", "wrong sign", "coefficient left out of the value"):
        # The same in a step, where the penalty is a small part of the total.
        net = chain(linear(4), relu(), linear(3))
        penalties = {"[2].weight": sabotage(attrs.evolve(penalty, coefficient=0.3))}
        refuses(
            lambda: check_step(
                net, softmax_cross_entropy(), sgd(0.1), penalties, in_shape=(3,), targets=class_labels, key=KEY
            ),
            r"params\[2\].weight",
        )


def _update(optimizer: Optimizer, change: Callable[..., Any]) -> Optimizer:
    """The optimizer with ``change(grads, opt_state, params, step, new_params, new_state)`` for its results."""
    return attrs.evolve(optimizer, update=lambda g, s, p, step: change(g, s, p, step, *optimizer.update(g, s, p, step)))


def _half_the_rate(optimizer: Optimizer) -> Optimizer:
    return _update(optimizer, lambda g, s, p, step, new, state: (tree.map(lambda a, b: (a + b) / 2, p, new), state))


def _hidden_velocity(optimizer: Optimizer) -> Optimizer:
    hidden: list[Any] = []

    def update(grads: Any, opt_state: Any, params: Any, step: int) -> Any:
        held = hidden[0] if hidden else tree.map(np.zeros_like, params)
        held = tree.map(lambda v, g: (0.5 * v + g).astype(g.dtype), held, grads) if len(hidden) else grads
        hidden[:] = [held]
        return tree.map(lambda w, v: (w - 0.1 * v).astype(w.dtype), params, held), opt_state

    return attrs.evolve(optimizer, update=update)


OF_OPTIMIZERS: dict[str, tuple[Callable[[Optimizer], Optimizer], str]] = {
    "uphill": (
        lambda o: _update(o, lambda g, s, p, step, new, state: (tree.map(lambda w, v: 2 * w - v, p, new), state)),
        "does not go downhill",
    ),
    "half the rate": (_half_the_rate, "do not follow the rule"),
    "nothing changes": (lambda o: _update(o, lambda g, s, p, step, new, state: (p, s)), "does not go downhill"),
    "biases forgotten": (
        lambda o: _update(
            o,
            lambda g, s, p, step, new, state: (
                tree.map(lambda w, v: v if w.ndim == 2 else w, p, new),
                state,
            ),
        ),
        r"does not go downhill\n  where     params\[1\].bias",
    ),
    "hidden velocity": (_hidden_velocity, "other bits|changes what it captured"),
    "float64 from float32": (
        lambda o: _update(o, lambda g, s, p, step, new, state: (tree.map(lambda w: w.astype(np.float64), new), state)),
        "a dtype is wrong",
    ),
    "another structure": (
        lambda o: _update(o, lambda g, s, p, step, new, state: (tuple(tree.leaves(new)), state)),
        "another structure",
    ),
    "a rate of zero": (lambda o: attrs.evolve(o, learning_rate=lambda step: 0.0), "not positive"),
}


def _rule(decay: float, nesterov: bool) -> Callable[..., float]:
    def rule(w: float, gradients: Any) -> float:
        v = 0.0
        for g in gradients:
            v = decay * v + g
            w -= 0.1 * (g + decay * v if nesterov else v)
        return w

    return rule


@pytest.mark.parametrize("mistake", OF_OPTIMIZERS)
@pytest.mark.parametrize(
    ("optimizer", "rule"),
    [(sgd(0.1), _rule(0.0, False)), (momentum(0.1), _rule(0.9, False)), (nesterov(0.1), _rule(0.9, True))],
    ids=["sgd", "momentum", "nesterov"],
)
def test_a_wrong_optimizer(optimizer: Optimizer, rule: Any, mistake: str) -> None:
    sabotage, said = OF_OPTIMIZERS[mistake]
    check_optimizer(optimizer, key=KEY, rule=rule)
    refuses(lambda: check_optimizer(sabotage(optimizer), key=KEY, rule=rule), said)


@pytest.mark.parametrize("optimizer", [momentum(0.1), nesterov(0.1)], ids=str)
def test_a_state_that_can_be_written_to(optimizer: Optimizer) -> None:
    wrong = _update(optimizer, lambda g, s, p, step, new, state: (new, (state[0], _writable_copy(state[1]))))
    refuses(lambda: check_optimizer(wrong, key=KEY), r"results can be written to\n  where     opt_state\[1\].weight")


def _writable_copy(params: LinearParams) -> LinearParams:
    copied = LinearParams(params.weight.copy(), params.bias)
    copied.weight.setflags(write=True)
    return copied


IN_PLACE = "in place, other numbers come out"


def _twin_of_another_sign(vjp: Any) -> Any:
    """The vjp of a layer whose gradient added in place has another sign."""
    right = twin_of(vjp)

    def twin(params: Any, residuals: Any, dy: np.ndarray, onto: Any, keep: float, *, need_dx: bool = True) -> Any:
        dx = right(params, residuals, dy, onto, keep, need_dx=need_dx)
        blas.scale(onto.weight, -1.0)
        return dx

    return with_twin(_wrapper(vjp), twin)


def _wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
    """Another function that does the same, and to which nothing is bound."""
    return lambda *arguments, **options: function(*arguments, **options)


def test_a_layers_gradient_in_place() -> None:
    layer = linear(3)
    wrong = attrs.evolve(layer, vjp=_twin_of_another_sign(layer.vjp))
    refuses(lambda: check_layer(wrong, (4,), key=KEY), IN_PLACE)
    net = chain(linear(4), relu(), wrong)
    refuses(lambda: check_layer(net, (4,), key=KEY), IN_PLACE)
    refuses(
        lambda: check_step(net, softmax_cross_entropy(), sgd(0.1), in_shape=(4,), targets=class_labels, key=KEY),
        IN_PLACE,
    )


def test_what_a_layer_writes_over_arrays_that_are_given_up() -> None:
    layer = tanh()
    forward = with_over(_wrapper(layer.forward), lambda params, x: layer.forward(params, -x))
    refuses(lambda: check_layer(attrs.evolve(layer, forward=forward), (4,), key=KEY), IN_PLACE)
    right = over_of(layer.vjp)
    vjp = with_over(_wrapper(layer.vjp), lambda params, kept, dy, need_dx=True: ((), -right(params, kept, dy)[1]))
    refuses(lambda: check_layer(attrs.evolve(layer, vjp=vjp), (4,), key=KEY), IN_PLACE)


def test_an_output_that_is_kept_though_it_is_said_to_be_the_callers() -> None:
    layer = tanh()

    def forward(params: tuple[()], x: np.ndarray) -> Any:
        y = np.tanh(x)
        return y, attrs.evolve(layer.forward(params, x)[1], kept=y)

    refuses(lambda: check_layer(attrs.evolve(layer, forward=fresh(forward)), (4,), key=KEY), f"{IN_PLACE}|shares")


@pytest.mark.parametrize("optimizer", [sgd(0.1), momentum(0.1), nesterov(0.1)], ids=str)
def test_an_update_in_place(optimizer: Optimizer) -> None:
    right = twin_of(optimizer.update)

    def uphill(gradient: Any, opt_state: Any, step: int) -> None:
        def turned(pairs: Iterator[Any]) -> Iterator[Any]:
            for w, g in pairs:
                blas.scale(g, -1.0)
                yield w, g

        turned_over = attrs.evolve(
            gradient,
            onto=lambda total, keep: turned(gradient.onto(total, keep)),
            alone=lambda: turned(gradient.alone()),
        )
        right(turned_over, opt_state, step)

    wrong = attrs.evolve(optimizer, update=with_twin(_wrapper(optimizer.update), uphill))
    refuses(lambda: check_optimizer(wrong, key=KEY), IN_PLACE)
    refuses(
        lambda: check_step(linear(3), softmax_cross_entropy(), wrong, in_shape=(4,), targets=class_labels, key=KEY),
        IN_PLACE,
    )


def test_a_penaltys_gradient_in_place() -> None:
    penalty = l2(0.3)
    wrong = attrs.evolve(
        penalty, grad=with_twin(_wrapper(penalty.grad), lambda onto, w: blas.add_scaled(onto, -0.3, w))
    )
    refuses(lambda: check_penalty(wrong, (2, 3), key=KEY), IN_PLACE)


OF_STEPS: dict[str, tuple[Any, Any, Any, str]] = {
    "a layer's sign": (edited(linear(3), "bias", lambda a, dy: -a), None, None, "a flipped sign"),
    "a loss without 1/batch": (
        None,
        attrs.evolve(softmax_cross_entropy(), value_and_grad=lambda z, t: _scaled(softmax_cross_entropy()(z, t))),
        None,
        "a factor of 3, the batch",
    ),
    "a sum where a mean belongs": (
        None,
        attrs.evolve(
            softmax_cross_entropy(),
            value_and_grad=lambda z, t: tuple(len(z) * part for part in softmax_cross_entropy()(z, t)),
        ),
        None,
        "are not the means",
    ),
    "an optimizer that keeps count": (None, None, _hidden_velocity(sgd(0.1)), "step gives other bits|captured"),
}


def _scaled(value_and_grad: tuple[float, np.ndarray]) -> tuple[float, np.ndarray]:
    value, gradient = value_and_grad
    return value, gradient * len(gradient)


@pytest.mark.parametrize("mistake", OF_STEPS)
def test_a_wrong_step(mistake: str) -> None:
    last, loss, optimizer, said = OF_STEPS[mistake]
    refuses(
        lambda: check_step(
            chain(linear(4), relu(), last or linear(3)),
            loss or softmax_cross_entropy(),
            optimizer or sgd(0.1),
            in_shape=(5,),
            targets=class_labels,
            key=KEY,
        ),
        said,
    )
