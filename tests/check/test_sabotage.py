"""The checker checked: every kind of mistake, in every layer, loss, penalty, optimizer and step, must be caught."""

import random as python_random
import re
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import pytest
from saboteurs import EDITS, LAYERS, edited, one_entry_slightly

from funcnet import tree
from funcnet.check import (
    CheckError,
    check_layer,
    check_loss,
    check_optimizer,
    check_penalty,
    check_step,
    class_labels,
    counts,
    distributions,
    real_numbers,
    shares,
)
from funcnet.check.registry import LAYERS as REGISTERED
from funcnet.check.registry import LOSSES as LOSS_ENTRIES
from funcnet.check.registry import OPTIMIZERS, LayerEntry, OptimizerEntry
from funcnet.combinators import chain
from funcnet.engines.numpy import losses as loss_kernels
from funcnet.engines.numpy import optimizers as optimizer_kernels
from funcnet.engines.numpy import penalties as penalty_kernels
from funcnet.engines.numpy import planner
from funcnet.engines.numpy.kernel import LayerKernel
from funcnet.engines.numpy.losses import fast_loss
from funcnet.layer import AnyLayer
from funcnet.layers.activations import leaky_relu, relu, sigmoid, softplus, tanh
from funcnet.layers.dropout import dropout
from funcnet.layers.gated import gelu
from funcnet.layers.linear import LinearParams, linear
from funcnet.layers.norm import batch_norm
from funcnet.layers.reshape import flatten, identity
from funcnet.losses import (
    Loss,
    binary_cross_entropy,
    focal_loss,
    hinge_loss,
    mean_squared_error,
    poisson_loss,
    softmax_cross_entropy,
)
from funcnet.optimizers import (
    Optimizer,
    add_decayed_weights,
    clip_by_global_norm,
    clip_by_value,
    compose,
    momentum,
    nesterov,
    scale_by_adagrad,
    scale_by_adam,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_rms,
    sgd,
    trace,
)
from funcnet.penalties import Penalty, l1, l2
from funcnet.random import make_key
from funcnet.shapes import Array, Shape

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
    return ["dx", *(path for path, _ in tree.named_leaves(tree.trained(params)))]


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
    if (layer.name, mistake) == ("identity", "stale residuals"):
        pytest.skip("identity keeps nothing, so nothing of it can be stale")
    sabotage, said = LAYERS[mistake]
    refuses(lambda: check_layer(sabotage(layer), in_shape, key=KEY), said)


def case_of(entry: LayerEntry) -> dict[str, Any]:
    """The shape of an example, and what else the check of a registered layer takes."""
    return {"in_shape": entry.in_shape, "key": KEY, "batch": 4, "mixes_examples": entry.mixes_examples}


@pytest.mark.parametrize("mistake", ["flipped sign", "odd factor", "slight error in one entry", "never computed"])
@pytest.mark.parametrize(
    ("entry", "target"),
    [
        pytest.param(entry, target, id=f"{entry.name}-{target}")
        for entry in REGISTERED
        for target in targets(entry.layer, entry.in_shape)
    ],
)
def test_a_wrong_gradient_of_any_layer_of_the_library(entry: LayerEntry, target: str, mistake: str) -> None:
    edit, said = EDITS[mistake]
    refuses(
        lambda: check_layer(edited(entry.layer, target, edit), **case_of(entry)),
        f"{said}|not the derivative|adjoint identity",
    )


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
        dparams, dx = layer.pure_vjp(params, residuals, dy, need_dx=need_dx)
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


def test_a_predict_that_is_wrong() -> None:
    def predicting(predict: Callable[[np.ndarray], np.ndarray]) -> AnyLayer:
        return attrs.evolve(tanh(), predict=lambda params, x: predict(x))

    in_place = predicting(lambda x: np.tanh(x, out=x))
    refuses(lambda: check_layer(in_place, (4,), key=KEY), "predict writes to an argument")
    by_batch = predicting(lambda x: x - x.mean(axis=0))
    refuses(lambda: check_layer(by_batch, (4,), key=KEY), "predict answers an example otherwise in another batch")
    of_another_shape = predicting(lambda x: x[:, :2])
    refuses(lambda: check_layer(of_another_shape, (4,), key=KEY), "a shape is wrong\n  where     the y of predict")
    net = chain(linear(3), tanh())
    wrong = attrs.evolve(net, predict=lambda params, x: net.pure_forward(params, x)[0] * 2)
    refuses(lambda: check_layer(wrong, (4,), key=KEY), "predict gives other numbers than forward")


def test_an_advance_that_is_wrong() -> None:
    layer = batch_norm()

    def advancing(advance: Callable[..., Any]) -> None:
        check_layer(attrs.evolve(layer, advance=advance), (3,), key=KEY, batch=4, mixes_examples=True)

    refuses(
        lambda: advancing(lambda params, kept: attrs.evolve(params, scale=params.scale * 2)),
        "advance moves what is trained",
    )
    refuses(lambda: advancing(lambda params, kept: ()), "a tree has another structure")
    drawn = np.random.default_rng(0)
    refuses(
        lambda: advancing(lambda params, kept: attrs.evolve(params, mean=params.mean + drawn.random())),
        "advance changes what it captured|advance gives other bits",
    )


def test_a_gradient_of_what_is_not_trained_and_none_of_what_is() -> None:
    layer = batch_norm()

    def with_gradient(change: Callable[[Any, Any], Any]) -> AnyLayer:
        def vjp(params: Any, residuals: Any, dy: np.ndarray, *, need_dx: bool = True) -> Any:
            dparams, dx = layer.pure_vjp(params, residuals, dy, need_dx=need_dx)
            return change(dparams, params), dx

        return attrs.evolve(layer, vjp=vjp)

    def check(change: Callable[[Any, Any], Any]) -> None:
        check_layer(with_gradient(change), (3,), key=KEY, batch=4, mixes_examples=True)

    refuses(
        lambda: check(lambda dparams, params: attrs.evolve(dparams, mean=params.mean)),
        "what is not trained has a gradient\n  where     dparams.mean",
    )
    refuses(lambda: check(lambda dparams, params: attrs.evolve(dparams, shift=None)), "another structure")


def test_a_key_that_is_not_all_that_is_drawn_from() -> None:
    layer, generator = dropout(0.5), np.random.default_rng(0)

    def forward(params: tuple[()], x: np.ndarray, key: Any) -> Any:
        y, residuals = layer.pure_forward(params, x, key)
        return y * generator.integers(1, 3), residuals

    wrong = attrs.evolve(layer, forward=forward)
    refuses(
        lambda: check_layer(wrong, (4,), key=KEY, mixes_examples=True), "forward changes what it captured|other bits"
    )


def test_parameters_read_in_the_order_of_memory() -> None:
    layer = linear(4)

    def forward(params: LinearParams, x: np.ndarray) -> Any:
        return layer.pure_forward(
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
        dparams, dx = layer.pure_vjp(params, residuals, dy, need_dx=need_dx)
        return (dparams if len(dy) else tree.map(np.ones_like, dparams)), dx

    refuses(lambda: check_layer(attrs.evolve(layer, vjp=vjp), (5,), key=KEY), "a batch of no examples has a gradient")


LOSSES = [
    (softmax_cross_entropy(), class_labels),
    (softmax_cross_entropy(class_weights=(1, 0.5, 2, 0.3)), distributions),
    (focal_loss(), class_labels),
    (hinge_loss(), class_labels),
    (binary_cross_entropy(), shares),
    (mean_squared_error(), real_numbers),
    (poisson_loss(), counts),
]
OF_VALUES: dict[str, tuple[Callable[..., Any], str]] = {
    "flipped sign": (lambda v, g: (v, -g), "a flipped sign"),
    "factor of 2": (lambda v, g: (v, 2 * g), "a factor of 2 too many"),
    "slight error in one entry": (lambda v, g: (v, one_entry_slightly(g, g)), "1 of [0-9]+ entries"),
    "never computed": (lambda v, g: (v, np.zeros_like(g)), "the gradient is zero"),
    "factor 1/batch missing": (lambda v, g: (v, g * len(g)), "the batch: a factor of 1/batch is missing"),
    "a sum where a mean belongs": (lambda v, g: (v * len(g), g * len(g)), "is not the mean"),
    "a value of another dtype": (lambda v, g: (np.float64(v), g), "a dtype is wrong"),
    "a value with axes": (lambda v, g: (np.full(2, v), g), "no single number"),
    "float64 from float32": (lambda v, g: (v, g.astype(np.float64)), "a dtype is wrong"),
    "half precision": (lambda v, g: (float(np.float16(v)), g), "could not be differ|further|not the"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", OF_VALUES)
@pytest.mark.parametrize(("loss", "draw"), LOSSES, ids=[str(loss) for loss, _ in LOSSES])
def test_a_wrong_loss(loss: Loss, draw: Any, mistake: str) -> None:
    change, said = OF_VALUES[mistake]
    wrong = attrs.evolve(loss, value_and_grad=lambda z, t: change(*loss.value_and_grad(z, t)))
    refuses(lambda: check_loss(wrong, (4,), targets=draw, key=KEY), said)


def _weighing(wrong: Callable[..., Any]) -> Callable[[Loss], Loss]:
    """The loss with ``wrong(value_and_grad, prediction, target, weight)`` in the place of what weighs."""

    def sabotaged(loss: Loss) -> Loss:
        def value_and_grad(z: Array, t: Array, weight: Array | None = None) -> Any:
            return loss.value_and_grad(z, t) if weight is None else wrong(loss.value_and_grad, z, t, weight)

        return attrs.evolve(loss, value_and_grad=value_and_grad)

    return sabotaged


def _in_place(of: Callable[..., Any], z: Array, t: Array, weight: Array) -> Any:
    made = of(z, t, weight)
    weight *= 2
    return made


def _unweighted_accuracy(loss: Loss) -> Loss:
    accuracy = loss.pure_accuracy
    return attrs.evolve(loss, accuracy=lambda z, t, weight=None: accuracy(z, t))


OF_WEIGHTS: dict[str, tuple[Callable[[Loss], Loss], str]] = {
    "left out of the gradient": (_weighing(lambda of, z, t, w: (of(z, t, w)[0], of(z, t)[1])), "not the derivative"),
    "left out of the value": (_weighing(lambda of, z, t, w: (of(z, t)[0], of(z, t, w)[1])), "not the derivative"),
    "left out": (_weighing(lambda of, z, t, w: of(z, t)), "not the weighted mean"),
    "not divided by their sum": (
        _weighing(lambda of, z, t, w: tuple(part * w.mean() for part in of(z, t, w))),
        "not the weighted mean",
    ),
    "of the examples before": (_weighing(lambda of, z, t, w: of(z, t, np.roll(w, 1))), "not the weighted mean"),
    "squared": (_weighing(lambda of, z, t, w: of(z, t, w * w)), "not the weighted mean"),
    "of 0 taken for a little": (_weighing(lambda of, z, t, w: of(z, t, np.maximum(w, w.max() / 50))), "weighted mean"),
    "of 0 divided by": (
        _weighing(lambda of, z, t, w: of(z, t, w) if w.any() else (0.0, 0 * z / w.sum())),
        "nan|give 0",
    ),
    "of 0 taken for 1": (_weighing(lambda of, z, t, w: of(z, t, w if w.any() else w + 1)), "all 0 do not give 0"),
    "written over": (_weighing(_in_place), "writes to an argument"),
    "in float64": (_weighing(lambda of, z, t, w: of(z, t, w.astype(np.float64))), "a dtype is wrong"),
    "left out of the accuracy": (_unweighted_accuracy, "not the weighted mean"),
}


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("mistake", OF_WEIGHTS)
@pytest.mark.parametrize(("loss", "draw"), LOSSES[1:6:2], ids=[str(loss) for loss, _ in LOSSES[1:6:2]])
def test_wrong_weights(loss: Loss, draw: Any, mistake: str) -> None:
    sabotage, said = OF_WEIGHTS[mistake]
    if sabotage is _unweighted_accuracy and loss.pure_accuracy is None:
        pytest.skip("it has no accuracy")
    refuses(lambda: check_loss(sabotage(loss), (4,), targets=draw, key=KEY, batch=4), said)


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


def test_an_accuracy_that_takes_nan_for_an_answer() -> None:
    """In a loss, and in a kernel alone: that of one NaN among the logits."""

    def by_argmax(z: np.ndarray, t: np.ndarray) -> float:
        return float(np.mean(z.argmax(axis=1) == t))

    def of_ones(key: Any, z: np.ndarray) -> np.ndarray:
        return np.zeros(len(z), int)

    for loss, draw in ((softmax_cross_entropy(), of_ones), (binary_cross_entropy(), shares)):
        wrong = {
            "softmax cross-entropy": by_argmax,
            "binary cross-entropy": lambda z, t: float(np.mean((z > 0) == (t > 0.5))),
        }[loss.name]
        sabotaged = attrs.evolve(loss, accuracy=wrong)
        said = "predictions that are NaN count as right answers"
        refuses(lambda loss=sabotaged, draw=draw: check_loss(loss, (4,), targets=draw, key=KEY), said)


def test_a_kernel_that_takes_nan_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_argmax(z: np.ndarray, t: np.ndarray) -> float:
        return float(np.mean(z.argmax(axis=1) == t))

    loss = softmax_cross_entropy()
    monkeypatch.setitem(loss_kernels._KERNELS, loss.pure_accuracy.args[0], by_argmax)
    first = lambda key, z: np.zeros(len(z), int)  # noqa: E731
    refuses(lambda: check_loss(loss, (4,), targets=first, key=KEY), "a kernel gives other numbers")


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
    """The optimizer with ``change(grads, params, updates, new_state)`` for its results."""

    def update(grads: Any, opt_state: Any, params: Any, now: Any) -> Any:
        return change(grads, params, *optimizer.pure_update(grads, opt_state, params, now))

    return attrs.evolve(optimizer, update=update)


def _hidden_velocity(optimizer: Optimizer) -> Optimizer:
    hidden: list[Any] = []

    def update(grads: Any, opt_state: Any, params: Any, now: Any) -> Any:
        held = tree.map(lambda g, v: (0.5 * v + g).astype(g.dtype), grads, hidden[0]) if hidden else grads
        hidden[:] = [held]
        return tree.map(lambda v: (-0.1 * v).astype(v.dtype), held), opt_state

    return attrs.evolve(optimizer, update=update)


OF_OPTIMIZERS: dict[str, tuple[Callable[[Optimizer], Optimizer], str]] = {
    "uphill": (
        lambda o: _update(o, lambda g, p, u, state: (tree.map(lambda a: -a, u), state)), "does not go downhill"
    ),
    "half the rate": (
        lambda o: _update(o, lambda g, p, u, state: (tree.map(lambda a: a / 2, u), state)), "do not follow the rule"
    ),
    "nothing changes": (
        lambda o: _update(o, lambda g, p, u, state: (tree.map(np.zeros_like, u), state)), "does not go downhill"
    ),
    "biases forgotten": (
        lambda o: _update(o, lambda g, p, u, state: (tree.map(lambda a: a if a.ndim == 2 else 0 * a, u), state)),
        r"does not go downhill\n  where     params\[1\].bias",
    ),
    "hidden velocity": (_hidden_velocity, "other bits|changes what it captured"),
    "float64 from float32": (
        lambda o: _update(o, lambda g, p, u, state: (tree.map(lambda a: a.astype(np.float64), u), state)),
        "a dtype is wrong",
    ),
    "another structure": (
        lambda o: _update(o, lambda g, p, u, state: (tuple(tree.leaves(u)), state)), "another structure"
    ),
    "a rate of zero": (lambda o: attrs.evolve(o, learning_rate=lambda step: 0.0), "not positive"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", OF_OPTIMIZERS)
@pytest.mark.parametrize("entry", [e for e in OPTIMIZERS if e.rule], ids=lambda entry: entry.name)
def test_a_wrong_optimizer(entry: OptimizerEntry, mistake: str) -> None:
    sabotage, said = OF_OPTIMIZERS[mistake]
    check_optimizer(entry.optimizer, key=KEY, rule=entry.rule)
    refuses(lambda: check_optimizer(sabotage(entry.optimizer), key=KEY, rule=entry.rule), said)


@pytest.mark.parametrize("optimizer", [momentum(0.1), nesterov(0.1)], ids=str)
def test_a_state_that_can_be_written_to(optimizer: Optimizer) -> None:
    def writable(grads: Any, params: Any, updates: Any, state: Any) -> Any:
        ((empty, linear_velocity), *_) = (state[0].velocity,)
        return updates, (attrs.evolve(state[0], velocity=(empty, _writable_copy(linear_velocity))), *state[1:])

    wrong = _update(optimizer, writable)
    refuses(
        lambda: check_optimizer(wrong, key=KEY),
        r"results can be written to\n  where     opt_state\[0\].velocity\[1\].weight",
    )


def _writable_copy(params: LinearParams) -> LinearParams:
    copied = LinearParams(params.weight.copy(), params.bias)
    copied.weight.setflags(write=True)
    return copied


# --- kernels: each is made wrong in turn, where it is registered

KERNEL = "a kernel gives other numbers than the function it stands for"


def _replace_kernel(monkeypatch: pytest.MonkeyPatch, layer: AnyLayer, change: Callable[[LayerKernel], Any]) -> None:
    key = next(key for key, make in planner._KERNELS.items() if planner.kernel_key(layer) == key)
    right = planner._KERNELS[key]
    monkeypatch.setitem(planner._KERNELS, key, lambda layer: attrs.evolve(right(layer), **change(right(layer))))


def _negative(function: Callable[..., Any]) -> Callable[..., Any]:
    def negative(*arguments: Any) -> Any:
        made = function(*arguments)
        return (-made[0], made[1]) if isinstance(made, tuple) else -made

    return negative


@pytest.mark.parametrize("what", ["forward", "predict", "backward"])
@pytest.mark.parametrize("layer", [linear(3), tanh(), gelu(), relu(), flatten(), identity()], ids=str)
def test_a_kernel_with_a_flipped_sign(layer: AnyLayer, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_layer(layer, (4,), key=KEY)
    _replace_kernel(monkeypatch, layer, lambda kernel: {what: _negative(getattr(kernel, what))})
    refuses(lambda: check_layer(layer, (4,), key=KEY), KERNEL)
    refuses(lambda: check_layer(chain(linear(4), layer), (4,), key=KEY), KERNEL)


def _scaled_accumulator(function: Callable[..., Any]) -> Callable[..., Any]:
    def backward(params: Any, kept: Any, dy: Any, owned: bool, accumulator: Any, beta: float, need_dx: bool) -> Any:
        dx = function(params, kept, dy, owned, accumulator, beta, need_dx)
        for array in tree.leaves(accumulator):
            array *= 2
        return dx

    return backward


def test_a_kernel_whose_gradient_is_added_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    _replace_kernel(monkeypatch, linear(3), lambda kernel: {"backward": _scaled_accumulator(kernel.backward)})
    refuses(lambda: check_layer(linear(3), (4,), key=KEY), KERNEL)
    refuses(
        lambda: check_step(linear(3), softmax_cross_entropy(), sgd(0.1), in_shape=(4,), targets=class_labels, key=KEY),
        KERNEL,
    )


def test_a_kernel_that_forgets_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetting(backward: Callable[..., Any]) -> Callable[..., Any]:
        return lambda params, kept, dy, owned, accumulator, beta, need_dx: backward(
            params, kept, dy, owned, accumulator, 0.0, need_dx
        )

    _replace_kernel(monkeypatch, linear(3), lambda kernel: {"backward": forgetting(kernel.backward)})
    refuses(lambda: check_layer(linear(3), (4,), key=KEY), KERNEL)


def test_an_output_that_is_kept_though_it_is_said_to_be_owned(monkeypatch: pytest.MonkeyPatch) -> None:
    _replace_kernel(monkeypatch, tanh(), lambda kernel: {"y": "own"})
    refuses(lambda: check_layer(tanh(), (4,), key=KEY), f"{KERNEL}|read-only")


@pytest.mark.parametrize("function", list(optimizer_kernels._ENTRYWISE), ids=lambda f: f.__name__)
def test_an_update_by_a_wrong_kernel(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clipping before it keeps BLAS's own kernel for momentum out of the way."""
    part = next(part for part in PARTS if planner.base(part.pure_update) is function)
    optimizer = compose(clip_by_global_norm(100.0), part, scale_by_learning_rate(0.1))
    check_optimizer(optimizer, key=KEY)
    right = optimizer_kernels._ENTRYWISE[function]

    def wrong(hyperparameters: tuple[Any, ...]) -> Callable[..., None]:
        run = right(hyperparameters)

        def slightly_wrong(now: Any, w: np.ndarray, g: np.ndarray, *state: np.ndarray) -> None:
            run(now, w, g, *state)
            g *= 1.0001

        return slightly_wrong

    monkeypatch.setitem(optimizer_kernels._ENTRYWISE, function, wrong)
    refuses(lambda: check_optimizer(optimizer, key=KEY), KERNEL)


PARTS = [
    trace(0.9), scale_by_adam(), scale_by_rms(), scale_by_lion(), scale_by_adagrad(), add_decayed_weights(0.1),
    clip_by_value(0.5),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", [sgd(0.1), momentum(0.1), nesterov(0.1)], ids=str)
def test_an_update_by_blas_with_another_sign(optimizer: Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    right = optimizer_kernels.blas.axpy
    monkeypatch.setattr(optimizer_kernels.blas, "axpy", lambda y, factor, x: right(y, -factor, x))
    refuses(lambda: check_optimizer(optimizer, key=KEY), KERNEL)
    refuses(
        lambda: check_step(linear(3), softmax_cross_entropy(), optimizer, in_shape=(4,), targets=class_labels, key=KEY),
        KERNEL,
    )


def test_a_penaltys_kernel_with_another_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    (function, right), *_ = penalty_kernels._ADD.items()
    monkeypatch.setitem(penalty_kernels._ADD, function, lambda c, accumulator, w: right(-c, accumulator, w))
    refuses(lambda: check_penalty(l2(0.3), (2, 3), key=KEY), KERNEL)


@pytest.mark.parametrize(
    ("loss", "draw"),
    [(e.loss, e.targets) for e in LOSS_ENTRIES if fast_loss(e.loss.value_and_grad) and e.targets is not distributions],
    ids=lambda case: str(case)[:20],
)
def test_a_losss_kernel_that_is_wrong(loss: Loss, draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    function = planner.base(loss.value_and_grad.args[0])
    right = loss_kernels._KERNELS[function]

    def wrong(*arguments: Any) -> Any:
        value, gradient = right(*arguments)
        return value, gradient * 1.0001

    monkeypatch.setitem(loss_kernels._KERNELS, function, wrong)
    refuses(lambda: check_loss(loss, (4,), targets=draw, key=KEY), KERNEL)


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
