"""The pure functions run on arrays of any namespace: NumPy's, those of array-api-strict, and JAX's under jit.

JAX also differentiates them, which proves every vjp by another's hand.
"""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
from attrs import evolve
from oracles import oracle
from pure_cases import (
    KEY,
    LAYERS,
    LOSSES,
    NET,
    OPTIMIZERS,
    SMALL,
    batch_of,
    draws_of,
    example_of,
    layer_cases,
    params_of,
    target_of,
)

import funcnet as fn
from funcnet import tree
from funcnet.arrays import is_array
from funcnet.layer import AnyLayer, run_forward
from funcnet.losses import Loss
from funcnet.penalties import Penalty
from funcnet.step import make_update

# Annotations name NumPy's arrays.
pytestmark = pytest.mark.usefixtures("as_users_run")

PACKAGE = Path(fn.__file__).parent
DTYPES = [np.float32, np.float64]
ROUNDING = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12}
PENALTIES = [fn.l1(0.3), fn.l2(0.3)]
OF_FOUR = (1, 0.3, 2, 0.5)
BY_CLASS = [
    fn.softmax_cross_entropy(label_smoothing=0.2, class_weights=OF_FOUR),
    fn.focal_loss(1.5, class_weights=OF_FOUR),
    fn.hinge_loss(class_weights=OF_FOUR),
]
STEPS = 3


def short(value: Any) -> str:
    """The name of a case."""
    return str(value)[:40]


def arrays_of(made: Any) -> list[tuple[str, Any]]:
    """All arrays and numbers, with their paths."""
    if isinstance(made, np.generic | float):
        return [("", made)]
    if isinstance(made, tuple):
        return [(f"[{place}]{path}", array) for place, part in enumerate(made) for path, array in arrays_of(part)]
    return tree.named_leaves(made)


def expect_same(found: Any, wanted: Any, rtol: float, kind: type | tuple[type, ...] | None = None) -> None:
    """One structure, the same dtypes, and numbers that are equal to rounding; all of it arrays of this kind."""
    named = arrays_of(wanted)
    assert [path for path, _ in arrays_of(found)] == [path for path, _ in named]
    for (path, array), (_, other) in zip(arrays_of(found), named, strict=True):
        assert kind is None or isinstance(array, kind), f"{path} is a {type(array)}"
        dtype, in_numpy = np.asarray(other).dtype, np.asarray(array)
        # The accuracy is in the namespace's default dtype, which JAX makes float32.
        assert in_numpy.dtype == dtype or (in_numpy.dtype.kind == dtype.kind == "f" and "accuracy" in path), path
        assert in_numpy.shape == np.shape(other), path
        # A sum that cancels is as exact as its terms.
        np.testing.assert_allclose(in_numpy, other, rtol=rtol, atol=rtol, err_msg=path)


def update_case(name: str, dtype: Any, net: AnyLayer = NET) -> tuple[Callable[..., Any], Any, Any]:
    """The pure step of a network with all there is, its params and the state of its optimizer."""
    optimizer, params = OPTIMIZERS[name], params_of(net, (2, 3), dtype)
    penalties = {**fn.each_weight(fn.l2(1e-2), params), "[1].weight": fn.l1(1e-3)}
    return make_update(net, fn.softmax_cross_entropy(), optimizer, penalties), params, optimizer.init(params)


def run_updates(
    update: Callable[..., Any],
    params: Any,
    opt_state: Any,
    dtype: Any,
    convert: Callable[[Any], Any] = lambda array: array,
    key_of: Callable[[int], Any] = lambda step: fn.random.fold_in(KEY, step),
) -> Any:
    """Several updates: params, the optimizer's state and all metrics."""
    params, opt_state = (tree.map(convert, part) for part in (params, opt_state))
    found = []
    for step in range(STEPS):
        x, y = map(convert, batch_of(dtype, step))
        params, opt_state, metrics = update(params, opt_state, x, y, 0.01 / (step + 1), step, key_of(step))
        found.append(metrics)
    return params, opt_state, tuple(found)


# --- NumPy


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("layer", "in_shape"), LAYERS, ids=short)
def test_layers_keep_the_dtype(layer: AnyLayer, in_shape: tuple[int, ...], dtype: Any) -> None:
    """Nothing slips into float64; and float32 says what float64 says, but for rounding."""
    exact = {case.name: case for case in layer_cases(layer, in_shape, np.float64)}
    for case in layer_cases(layer, in_shape, dtype):
        found = case.function(*case.arguments)
        assert {array.dtype for _, array in arrays_of(found)} <= {np.dtype(dtype)}, case.name
        wanted = exact[case.name].function(*exact[case.name].arguments)
        for (path, array), (other_path, other) in zip(arrays_of(found), arrays_of(wanted), strict=True):
            assert path == other_path
            np.testing.assert_allclose(array, other, rtol=1e-4, atol=1e-4, err_msg=f"{case.name} {path}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_keep_the_dtype_and_what_is_not_trained(name: str, dtype: Any) -> None:
    update, params, opt_state = update_case(name, dtype)
    after, after_state, metrics = run_updates(update, params, opt_state, dtype)
    assert {array.dtype for array in tree.leaves((after, after_state))} == {np.dtype(dtype)}
    assert [path for path, _ in arrays_of(after)] == [path for path, _ in arrays_of(params)]
    assert not any(is_array(array) and array.flags.writeable for array in tree.leaves((after, after_state)))
    assert all(np.isfinite(float(m.data_loss)) for m in metrics)
    before = dict(tree.named_leaves(params))
    for path, array in tree.named_leaves(after):
        assert np.array_equal(array, before[path]) == path.startswith("[8].params"), path


def test_several_updates_lower_the_loss() -> None:
    """Each optimizer goes downhill: no sign is wrong everywhere at once."""
    for name in OPTIMIZERS:
        update, params, opt_state = update_case(name, np.float64, SMALL)
        x, y = batch_of(np.float64)
        first = last = None
        for step in range(30):
            params, opt_state, metrics = update(params, opt_state, x, y, 0.01, step, KEY)
            first, last = metrics.data_loss if first is None else first, metrics.data_loss
        assert last < first, name


# --- array-api-strict, which has what the standard has, and nothing else


@pytest.fixture
def strictly() -> Iterator[None]:
    """Without those parts of the standard in which a shape depends on values: there are none under a tracer."""
    with strict.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False):
        yield


def to_strict(made: Any) -> Any:
    return tree.map(lambda array: strict.asarray(np.array(array)), made)


StrictArray = type(strict.asarray(0))


@pytest.mark.usefixtures("strictly")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("layer", "in_shape"), LAYERS, ids=short)
def test_layers_are_strict(layer: AnyLayer, in_shape: tuple[int, ...], dtype: Any) -> None:
    for case in layer_cases(layer, in_shape, dtype):
        wanted = case.function(*case.arguments)
        expect_same(case.function(*to_strict(case.arguments)), wanted, ROUNDING[np.dtype(dtype)], StrictArray)


def loss_arguments(targets: str, dtype: Any) -> tuple[np.ndarray, ...]:
    prediction = 3 * draws_of(dtype, (7, 4), 5)
    if targets == "labels":
        return prediction, np.array([0, 1, 2, 3, 3, 0, 1])
    target = draws_of(dtype, (7, 4), 6)
    of_kind = {"shares": np.clip(target, 0, 1), "numbers": target, "not negative": np.abs(target)}
    return prediction, of_kind[targets] if targets in of_kind else target_of(targets, prediction)


def with_weights(arguments: tuple[np.ndarray, ...]) -> tuple[tuple[np.ndarray, ...], ...]:
    """Without weights, with some, and with weights of which one is 0."""
    weight = np.arange(7.0).astype(arguments[0].dtype)
    return arguments, (*arguments, weight + 1), (*arguments, weight)


ALL_LOSSES = [
    *LOSSES,
    *((loss, "labels") for loss in BY_CLASS),
    (BY_CLASS[0], "distributions"),
]


@pytest.mark.usefixtures("strictly")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "targets"), ALL_LOSSES, ids=str)
def test_losses_are_strict(loss: Loss, targets: str, dtype: Any) -> None:
    for arguments in with_weights(loss_arguments(targets, dtype)):
        for function in (loss.value_and_grad, loss.pure_accuracy):
            if function is not None:
                wanted = function(*arguments)
                expect_same(function(*to_strict(arguments)), wanted, ROUNDING[np.dtype(dtype)], StrictArray)


@pytest.mark.usefixtures("strictly")
@pytest.mark.parametrize("labels_dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint64])
def test_labels_of_any_integer_dtype_are_strict(labels_dtype: Any) -> None:
    logits, labels = loss_arguments("labels", np.float64)
    loss = fn.softmax_cross_entropy(label_smoothing=0.2)
    for function in (loss.value_and_grad, loss.pure_accuracy):
        found = function(*to_strict((logits, labels.astype(labels_dtype))))
        expect_same(found, function(logits, labels), 1e-12, StrictArray)


@pytest.mark.parametrize("engine", [fn.engines.plain(), fn.engines.numpy()], ids=str)
def test_there_may_be_more_classes_than_the_dtype_of_the_labels_counts(engine: Any) -> None:
    """Class 261 is not class 5, though both are 5 in eight bits."""
    logits = np.zeros((2, 300))
    logits[:, 261] = 5
    labels = np.array([5, 6])
    loss = fn.softmax_cross_entropy()
    wanted, gradient = loss(logits, labels)
    found, in_bytes = loss(logits, labels.astype(np.uint8))
    assert found == wanted
    assert np.array_equal(in_bytes, gradient)
    assert loss.accuracy(logits, labels.astype(np.uint8)) == 0
    batch = fn.Batch(logits, labels.astype(np.uint8))
    evaluation = fn.evaluate(fn.identity(), (), [batch], loss, engine=engine)
    assert evaluation.data_loss == pytest.approx(wanted)
    assert evaluation.accuracy == 0


@pytest.mark.usefixtures("strictly")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_penalties_are_strict(penalty: Penalty, dtype: Any) -> None:
    w = draws_of(dtype, (3, 4), 8)
    for function in (penalty.value, penalty.grad):
        expect_same(function(to_strict(w)), function(w), ROUNDING[np.dtype(dtype)], StrictArray)


@pytest.mark.usefixtures("strictly")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_strict(name: str, dtype: Any) -> None:
    update, params, opt_state = update_case(name, dtype)
    wanted = run_updates(update, params, opt_state, dtype)
    found = run_updates(update, params, opt_state, dtype, to_strict)
    # An error of rounding in a gradient near 0 is divided by that gradient's own size.
    expect_same(found, wanted, 50 * ROUNDING[np.dtype(dtype)], StrictArray)


@pytest.mark.usefixtures("strictly")
def test_the_door_takes_strict_arrays() -> None:
    params, x = params_of(NET, (2, 3), np.float32), example_of((2, 3), np.float32)
    y, residuals = NET.forward(*to_strict((params, x)), KEY)
    wanted, _ = NET.forward(params, x, KEY)
    expect_same(y, wanted, 1e-5, StrictArray)
    expect_same(NET.vjp(to_strict(params), residuals, y)[1], NET.vjp(params, to_numpy(residuals), wanted)[1], 1e-4)
    expect_same(NET.predict(*to_strict((params, x))), NET.predict(params, x), 1e-5, StrictArray)
    labels = np.array([0, 1, 2, 3, 0, 1])
    value, grad = fn.softmax_cross_entropy()(*to_strict((wanted, labels)))
    wanted_value, wanted_grad = fn.softmax_cross_entropy()(wanted, labels)
    expect_same(grad, wanted_grad, 1e-5, StrictArray)
    assert float(value) == pytest.approx(wanted_value)


def to_numpy(made: Any) -> Any:
    return tree.map(np.array, made)


def strict_step_of(engine: Any, *, donate: bool = False) -> tuple[Any, fn.TrainState, fn.Batch]:
    """A step, and a state and a batch of strict arrays for it."""
    net, optimizer = fn.chain(fn.linear(4), fn.batch_norm(), fn.linear(3)), fn.adam(0.1)
    state = fn.init_state(to_strict(params_of(net, (2,), np.float32)), optimizer, KEY)
    batch = fn.Batch(*to_strict((draws_of(np.float32, (3, 2), 1), np.array([0, 1, 2]))))
    penalties = {"[0].weight": fn.l2(0.1)}
    return (
        fn.make_step(net, fn.softmax_cross_entropy(), optimizer, penalties, donate=donate, engine=engine),
        state,
        batch,
    )


def test_the_plain_engine_takes_strict_arrays() -> None:
    step, state, batch = strict_step_of(fn.engines.plain())
    after, metrics = step(state, batch)
    wanted, wanted_metrics = step(to_numpy(state), to_numpy(batch))
    expect_same((after.params, after.opt_state), (wanted.params, wanted.opt_state), 1e-5, StrictArray)
    assert float(metrics.data_loss) == pytest.approx(wanted_metrics.data_loss)
    assert metrics.penalties[0].value == pytest.approx(wanted_metrics.penalties[0].value)
    kept = fn.copy_state(state, engine=fn.engines.plain())
    assert all(a is b for a, b in zip(tree.leaves(kept), tree.leaves(state), strict=True))


def test_the_numpy_engine_takes_numpy_arrays_alone() -> None:
    """It writes over arrays and knows their memory. The message names the first one that it cannot take."""
    step, state, batch = strict_step_of(fn.engines.numpy())
    for call in (partial(step, state, batch), partial(fn.copy_state, state)):
        with pytest.raises(
            fn.ShapeError, match=r"the NumPy engine: expected \[0\].weight as a NumPy array, got an Array"
        ):
            call()
    step, state, batch = strict_step_of(fn.engines.numpy(), donate=True)
    with pytest.raises(ValueError, match="arrays of its own"):
        step(state, batch)
    with pytest.raises(fn.ShapeError, match="the NumPy engine: expected x as a NumPy array, got an Array"):
        fn.make_predict(fn.relu(), ())(batch.x)


@pytest.mark.parametrize("engine", [fn.engines.plain(), fn.engines.numpy()], ids=str)
def test_targets_of_another_namespace_than_the_prediction_are_refused(engine: Any) -> None:
    """Their values could not be checked: the label -1 would stand for the last class."""
    step, state, batch = strict_step_of(engine)
    state, x, labels = to_numpy(state), to_numpy(batch.x), strict.asarray([0, 1, -1])
    for call in (
        lambda: step(state, fn.Batch(x, labels)),
        lambda: fn.evaluate(fn.identity(), (), [fn.Batch(x, labels)], fn.softmax_cross_entropy(), engine=engine),
        lambda: fn.mean_squared_error()(x, batch.x),
    ):
        with pytest.raises(fn.ShapeError, match="expected the target as a NumPy array, got an Array"):
            call()


# --- JAX


@pytest.fixture
def jax() -> Iterator[Any]:
    """JAX. XLA leaves out most optimizations, which take longer than all that is computed here."""
    module = oracle("jax")
    module.config.update("jax_disable_most_optimizations", True)
    yield module
    module.config.update("jax_disable_most_optimizations", False)


def precision(jax: Any, dtype: Any) -> AbstractContextManager[None]:
    """Within, JAX has float64 for that dtype."""
    enable_x64 = getattr(jax, "enable_x64", None)
    if enable_x64 is None:  # before JAX 0.8
        from jax.experimental import enable_x64
    return enable_x64(dtype == np.float64)  # type: ignore[no-any-return]


def to_jax(made: Any) -> Any:
    from jax import numpy

    return tree.map(numpy.asarray, made)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("layer", "in_shape"), LAYERS[:-1], ids=short)
def test_layers_under_jit(jax: Any, layer: AnyLayer, in_shape: tuple[int, ...], dtype: Any) -> None:
    """All functions in one compilation; records go in and come out. Funcnet's key draws the same bits there."""
    with precision(jax, dtype):
        cases = layer_cases(layer, in_shape, dtype)
        wanted = tuple(case.function(*case.arguments) for case in cases)

        def everything(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(case.function(*given) for case, given in zip(cases, arguments, strict=True))

        found = jax.jit(everything)(to_jax(tuple(case.arguments for case in cases)))
        expect_same(found, wanted, ROUNDING[np.dtype(dtype)], jax.Array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_and_penalties_under_jit(jax: Any, dtype: Any) -> None:
    """All functions in one compilation."""
    cases = [(p, (draws_of(dtype, (3, 4), 8),)) for penalty in PENALTIES for p in (penalty.value, penalty.grad)]
    shares = []
    for loss, targets in ALL_LOSSES:
        for arguments in with_weights(loss_arguments(targets, dtype))[::2]:
            cases.append((loss.value_and_grad, arguments))
            if loss.pure_accuracy is not None:
                shares.append((loss.pure_accuracy, arguments))
    with precision(jax, dtype):
        for some, compare in (
            (cases, partial(expect_same, rtol=ROUNDING[np.dtype(dtype)], kind=jax.Array)),
            (shares, same_share),
        ):

            def everything(arguments: Any, some: Any = some) -> Any:
                return [function(*given) for (function, _), given in zip(some, arguments, strict=True)]

            found = jax.jit(everything)([tuple(map(jax.numpy.asarray, arguments)) for _, arguments in some])
            for made, (function, arguments) in zip(found, some, strict=True):
                compare(made, function(*arguments))


def same_share(found: Any, wanted: Any) -> None:
    """The accuracy is in the namespace's default dtype, which JAX makes float32."""
    assert float(found) == pytest.approx(float(wanted))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_under_jit(jax: Any, name: str, dtype: Any) -> None:
    """One compilation serves all steps: step, rate and key data are traced."""
    update, params, opt_state = update_case(name, dtype, NET if name == "adam" else SMALL)
    jax.config.update("jax_disable_most_optimizations", name != "adam")
    # Draws that are the same in both: those of Funcnet's keys, of which a traced step chooses one.
    wanted = run_updates(update, params, opt_state, dtype, key_of=lambda step: KEY)
    traces = []

    def traced(params: Any, opt_state: Any, x: Any, y: Any, rate: Any, step: Any) -> Any:
        traces.append(step)
        return update(params, opt_state, x, y, rate, step, KEY)

    compiled = jax.jit(traced)
    with precision(jax, dtype):
        found = run_updates(
            lambda *arguments: compiled(*arguments[:6]), params, opt_state, dtype, to_jax, lambda step: None
        )
    assert len(traces) == 1
    expect_same(found, wanted, 50 * ROUNDING[np.dtype(dtype)], jax.Array)


def test_the_numpy_engine_names_params_of_jax(jax: Any) -> None:
    """After training under JAX, one may forget to turn the params into NumPy arrays."""
    params, x = params_of(SMALL, (2, 3), np.float32), example_of((2, 3), np.float32)
    with pytest.raises(fn.ShapeError, match=r"the NumPy engine: expected params\[1\].weight as a NumPy array"):
        fn.make_predict(SMALL, to_jax(params))(x)
    assert np.array_equal(fn.make_predict(SMALL, to_numpy(to_jax(params)))(x), fn.make_predict(SMALL, params)(x))


@pytest.mark.parametrize(("layer", "in_shape"), LAYERS[:-1], ids=short)
def test_the_vjp_is_that_of_jax(jax: Any, layer: AnyLayer, in_shape: tuple[int, ...]) -> None:
    """An independent proof: JAX differentiates the forward, and knows nothing of the vjp."""
    with precision(jax, np.float64):
        for of in (layer, layer.frozen):
            if of is not None:
                params, x = to_jax(params_of(layer, in_shape, np.float64)), to_jax(example_of(in_shape, np.float64))
                found, wanted = jax.jit(partial(both_vjps, jax, of))(params, x)
                assert jax.tree.structure(found) == jax.tree.structure(wanted)
                expect_same(found, wanted, 1e-9)


def both_vjps(jax: Any, layer: AnyLayer, params: Any, x: Any) -> Any:
    def output(trained: Any, x: Any) -> Any:
        return run_forward(layer, tree.combine(trained, params), x, KEY)[0]

    y, residuals = run_forward(layer, params, x, KEY)
    dy = jax.numpy.asarray(draws_of(np.float64, y.shape, 4))
    _, pull_back = jax.vjp(output, tree.trained(params), x)
    return layer.pure_vjp(params, residuals, dy), pull_back(dy)


@pytest.mark.parametrize(("loss", "targets"), ALL_LOSSES, ids=str)
def test_the_gradient_of_a_loss_is_that_of_jax(jax: Any, loss: Loss, targets: str) -> None:
    with precision(jax, np.float64):
        for arguments in with_weights(loss_arguments(targets, np.float64))[::2]:
            prediction, *given = (jax.numpy.asarray(array) for array in arguments)
            value, found = loss.value_and_grad(prediction, *given)
            other, wanted = jax.value_and_grad(lambda z, given=given: loss.value_and_grad(z, *given)[0])(prediction)
            assert value == other
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_the_loss_of_jax_is_the_same(jax: Any) -> None:
    """Written with JAX's own functions, since a value and a gradient may be wrong together."""
    nn = jax.nn
    with precision(jax, np.float64):
        z, labels = (jax.numpy.asarray(array) for array in loss_arguments("labels", np.float64))
        one_hot = 0.9 * nn.one_hot(labels, 4) + 0.1 / 4
        wanted = -(one_hot * nn.log_softmax(z)).sum(axis=1).mean()
        loss = fn.softmax_cross_entropy(label_smoothing=0.1)
        assert float(loss.value_and_grad(z, labels)[0]) == pytest.approx(float(wanted), rel=1e-12)
        z, shares = (jax.numpy.asarray(array) for array in loss_arguments("shares", np.float64))
        wanted = -(shares * nn.log_sigmoid(z) + (1 - shares) * nn.log_sigmoid(-z)).mean()
        found = fn.binary_cross_entropy().value_and_grad(z, shares)[0]
        assert float(found) == pytest.approx(float(wanted), rel=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_the_gradient_of_a_penalty_is_that_of_jax(jax: Any, penalty: Penalty) -> None:
    with precision(jax, np.float64):
        w = jax.numpy.asarray(draws_of(np.float64, (3, 4), 8))
        np.testing.assert_allclose(penalty.grad(w), jax.grad(penalty.value)(w), rtol=1e-9)


def test_the_gradient_through_a_whole_network_is_that_of_jax(jax: Any) -> None:
    """Of the data loss and of the total, with respect to all that is trained, and to the input."""
    loss = fn.softmax_cross_entropy(label_smoothing=0.05)
    params = params_of(NET, (2, 3), np.float64)
    penalties = {**fn.each_weight(fn.l2(1e-2), params), "[2].scale": fn.l1(0.1)}
    x, labels = batch_of(np.float64)

    def data_loss(trained: Any, x: Any) -> Any:
        y, _ = run_forward(NET, tree.combine(trained, in_jax), x, KEY)
        return loss.value_and_grad(y, labels)[0]

    def total(trained: Any, x: Any) -> Any:
        arrays = dict(tree.named_leaves(trained))
        return data_loss(trained, x) + sum(penalty.value(arrays[path]) for path, penalty in penalties.items())

    prediction, residuals = NET.forward(params, x, KEY)
    _, dprediction = loss(prediction, labels)
    dparams, dx = NET.vjp(params, residuals, dprediction)
    _, grads = fn.make_grad(NET, loss, penalties)(params, fn.Batch(x, labels), KEY)
    with precision(jax, np.float64):
        in_jax, x = to_jax(params), jax.numpy.asarray(x)
        wanted = jax.jit(jax.grad(data_loss, argnums=(0, 1)))(tree.trained(in_jax), x)
        expect_same((dparams, dx), to_numpy(wanted), 1e-9)
        expect_same(grads, to_numpy(jax.jit(jax.grad(total))(tree.trained(in_jax), x)), 1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_draws_by_keys_of_jax(jax: Any, dtype: Any) -> None:
    """The same key the same result, traced or not; another key another one; and the share that was asked for."""
    layer = fn.dropout(0.25)
    forward = jax.jit(layer.pure_forward)
    with precision(jax, dtype):
        x = jax.numpy.ones((50, 200), dtype)
        y, residuals = forward((), x, jax.random.key(0))
        assert y.dtype == dtype
        assert (y == forward((), x, jax.random.key(0))[0]).all()
        assert (y == layer.forward((), x, jax.random.key(0))[0]).all()
        assert not (y == forward((), x, jax.random.key(1))[0]).all()
        assert 0.22 < float((y == 0).mean()) < 0.28
        np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)
        np.testing.assert_array_equal(layer.pure_vjp((), residuals, x)[1], y)


def test_a_traced_key_makes_the_keys_of_a_network(jax: Any) -> None:
    """The whole step with a key of JAX: the same key the same step, and each dropout a mask of its own."""
    update, params, opt_state = update_case("adam", np.float32, SMALL)
    x, y = map(to_jax, batch_of(np.float32))
    step = jax.jit(update)
    params, opt_state = to_jax(params), to_jax(opt_state)

    def loss_of(key: Any) -> float:
        return float(step(params, opt_state, x, y, 0.1, 0, key)[2].data_loss)

    assert loss_of(jax.random.key(0)) == loss_of(jax.random.key(0))
    assert len({loss_of(jax.random.key(seed)) for seed in range(5)}) == 5
    twice = fn.chain(fn.dropout(), fn.dropout())
    _, (first, second) = jax.jit(twice.pure_forward)(((), ()), jax.numpy.ones((9, 9)), jax.random.key(0))
    assert not np.array_equal(first.mask, second.mask)


def test_a_key_that_is_none_of_jax_is_refused_under_jit(jax: Any) -> None:
    with pytest.raises(TypeError, match="expected a key"):
        fn.dropout().pure_forward((), jax.numpy.ones((2, 2)), 0)


def test_records_are_pytrees(jax: Any) -> None:
    """Structure apart from arrays: a shape is not traced. What goes through is what came."""
    params = params_of(NET, (2, 3), np.float32)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    assert [name.lstrip(".") for name in names] == [path for path, _ in tree.named_leaves(params)]
    _, residuals = NET.forward(params, example_of((2, 3), np.float32), KEY)
    for record in (params, tree.trained(params), residuals, OPTIMIZERS["adam"].init(params)):
        leaves, structure = jax.tree.flatten(record)
        assert all(isinstance(leaf, np.ndarray) for leaf in leaves)
        again = jax.tree.unflatten(structure, leaves)
        assert jax.tree.structure(again) == structure
        assert tree.equal(again, record)
        assert tree.equal(to_numpy(jax.jit(lambda record: record)(record)), record)


def test_the_door_stands_under_jit(jax: Any) -> None:
    """The public methods work on tracers too; shapes are checked, values cannot be."""
    params, (x, labels) = to_jax(params_of(SMALL, (2, 3), np.float32)), map(to_jax, batch_of(np.float32))
    loss = fn.softmax_cross_entropy()

    def public(params: Any, x: Any, labels: Any) -> Any:
        y, residuals = SMALL.forward(params, x, KEY)
        value, dy = loss(y, labels)
        return value, loss.accuracy(y, labels), SMALL.vjp(params, residuals, dy)[0], SMALL.predict(params, x)

    def pure(params: Any, x: Any, labels: Any) -> Any:
        y, residuals = SMALL.pure_forward(params, x, KEY)
        value, dy = loss.value_and_grad(y, labels)
        dparams = SMALL.pure_vjp(params, residuals, dy)[0]
        return value, loss.pure_accuracy(y, labels), dparams, SMALL.pure_predict(params, x)

    expect_same(jax.jit(public)(params, x, labels), jax.jit(pure)(params, x, labels), 1e-6)
    with pytest.raises(fn.ShapeError, match=r"chain\[1\]\.linear\(6\): expected x of shape \(batch, 6\)"):
        jax.jit(public)(params, x[:, :1], labels)


def test_funcnet_does_not_import_jax() -> None:
    """With every public name touched, and steps made: JAX takes a second, and is for those who want it."""
    code = (
        "import sys, numpy as np, funcnet as fn;"
        "[getattr(fn, name) for name in fn.__all__];"
        "net = fn.chain(fn.linear(2), fn.batch_norm(), fn.dropout());"
        "params, _ = net.init(fn.make_key(0), (3,));"
        "state = fn.init_state(params, fn.adam(0.1), fn.make_key(0));"
        "step = fn.make_step(net, fn.softmax_cross_entropy(), fn.adam(0.1));"
        "step(state, fn.Batch(np.ones((4, 3), np.float32), np.zeros(4, int)));"
        "print({'jax', 'jaxlib', 'torch', 'array_api_strict'} & {name.partition('.')[0] for name in sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "set()"


def test_params_made_before_jax_was_imported_go_through_jit() -> None:
    code = (
        "import numpy as np, funcnet as fn;"
        "params, _ = fn.linear(2).init(fn.make_key(0), (3,));"
        "import jax;"
        "from funcnet import tree;"
        "params = tree.map(jax.numpy.asarray, params);"
        "y, _ = jax.jit(fn.linear(2).pure_forward)(params, np.ones((4, 3), np.float32));"
        "print(y.shape)"
    )
    oracle("jax")
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "(4, 2)"


def test_a_missing_oracle_is_skipped_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUNCNET_ORACLES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no_such_oracle is not here"):
        oracle("no_such_oracle")
    monkeypatch.setenv("FUNCNET_ORACLES", "1")
    with pytest.raises(pytest.fail.Exception, match="FUNCNET_ORACLES=1 asks for it"):
        oracle("no_such_oracle")
    assert oracle("numpy") is np


# --- what the equations may say, whatever is run


EQUATIONS = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in (
        *(PACKAGE / "layers").glob("*.py"),
        *(PACKAGE / "optimizers").glob("*.py"),
        *(PACKAGE / name for name in ("losses.py", "penalties.py", "combinators.py", "views.py", "whitening.py")),
    )
)

# Where an argument may be refused: public factories, init, and the checks that they call. Schedules are Python
# functions of a Python number, and run outside of traces.
MAY_RAISE = {
    "views.py": {"average_views", "views_init"},
    "combinators.py": {
        "_expect_frozen_variant",
        "_expect_layers",
        "_init_children",
        "parallel",
        "parallel_init",
        "residual_init",
        "frozen_init",
        "tied_init",
    },
    "layers/activations.py": {"leaky_relu", "elu"},
    "layers/bias.py": {"bias_init"},
    "layers/conv.py": {"_conv", "conv_init", "conv_transpose2d"},
    "layers/dropout.py": {"dropout"},
    "layers/group_norm.py": {"group_norm_shape"},
    "layers/initializers.py": {"given"},
    "layers/layer_norm.py": {"norm_init", "positive_epsilon"},
    "layers/linear.py": {"linear_init"},
    "layers/norm.py": {"batch_norm", "batch_norm_init"},
    "layers/pool.py": {"_pooling", "global_shape"},
    "layers/prelu.py": {"prelu_init"},
    "layers/reshape.py": {"reshape", "reshape_shape", "transpose", "transpose_shape"},
    "layers/scaling.py": {"scaling"},
    "layers/softmax.py": {"log_softmax_init"},
    "layers/upsample.py": {"upsample2d", "upsample_shape"},
    "layers/windows.py": {"_each", "_image", "_padding", "in_image", "out_image"},
    "whitening.py": {"patch_whitening"},
    "losses.py": {"_class_weights", "focal_loss", "huber_loss", "softmax_cross_entropy"},
    "penalties.py": {"_coefficient"},
    "optimizers/arguments.py": {"positive", "not_negative", "decay_rate"},
    "optimizers/optimizer.py": {"expect_optimizer", "compose"},
    "optimizers/groups.py": {"by_path", "by_path_init"},
    "optimizers/schedules.py": {"one_cycle", "joined", "piecewise_linear"},
    "optimizers/transformations.py": {"reduce_on_plateau"},
    "optimizers/wrappers.py": {"lookahead", "_share"},
}

# Where a Python number is made: of an argument of a factory, or, for factor_for, of what is known to be one.
MAY_MAKE_FLOATS = {
    "layers/activations.py": {"leaky_relu", "elu"},
    "layers/dropout.py": {"dropout"},
    "layers/initializers.py": {"truncated_normal"},
    "layers/layer_norm.py": {"positive_epsilon"},
    "layers/norm.py": {"batch_norm"},
    "layers/scaling.py": {"scaling"},
    "whitening.py": {"patch_whitening"},
    "losses.py": {"_class_weights", "focal_loss", "huber_loss", "softmax_cross_entropy", "weights_in_means"},
    "penalties.py": {"_coefficient"},
    "optimizers/arguments.py": {"positive", "not_negative", "decay_rate"},
    "optimizers/schedules.py": {"one_cycle"},
    "optimizers/transformations.py": {"factor_for", "reduce_on_plateau"},
    "optimizers/wrappers.py": {"_share"},
}

# Methods that NumPy's arrays have and those of the standard have not.
METHODS = {
    "all", "any", "argmax", "argmin", "argsort", "astype", "clip", "copy", "cumsum", "dot", "fill", "flatten", "item",
    "max", "mean", "min", "prod", "ravel", "repeat", "reshape", "round", "sort", "squeeze", "std", "sum", "swapaxes",
    "take", "tolist", "transpose", "var", "view",
}  # fmt: skip


class Reader(ast.NodeVisitor):
    """What one file says that equations may not, each with the outermost function in which it stands."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str, int]] = []
        self.function = ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, self.function = self.function, self.function or node.name
        self.generic_visit(node)
        self.function = outer

    def note(self, what: str, node: Any) -> None:
        self.found.append((what, self.function, node.lineno))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.partition(".")[0] in {"numpy", "jax", "torch"}:
                self.note("import", node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if (node.module or "").partition(".")[0] in {"numpy", "jax", "torch"}:
            self.note("import", node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.note("raise", node)
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        self.note("assert", node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in {"np", "numpy"}:
            self.note("np", node)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        if isinstance(called, ast.Name) and called.id == "float":
            self.note("float", node)
        if isinstance(called, ast.Name) and called.id == "isinstance" and "ndarray" in ast.unparse(node):
            self.note("ndarray", node)
        if any(keyword.arg == "out" for keyword in node.keywords):
            self.note("out=", node)
        if isinstance(called, ast.Attribute) and called.attr in METHODS and not is_namespace(called.value):
            self.note(f".{called.attr}()", node)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        # Integers that count may grow; an array would be written over, which JAX's cannot be.
        if ast.unparse(node.target) != "begin":
            self.note("in place", node)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Subscript) and ast.unparse(target.value) != "dparams" for target in node.targets):
            self.note("in place", node)
        self.generic_visit(node)


def is_namespace(node: ast.expr) -> bool:
    """``xp`` or ``namespace(x)``."""
    if isinstance(node, ast.Name):
        return node.id in {"xp", "math"}
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "namespace"


def read(text: str) -> list[tuple[str, str, int]]:
    """What stands there that may not, with the function and the line."""
    reader = Reader()
    reader.visit(ast.parse(text))
    return reader.found


@pytest.mark.parametrize("file", EQUATIONS)
def test_equations_are_of_no_namespace(file: str) -> None:
    found = read((PACKAGE / file).read_text(encoding="utf-8"))
    allowed = {"raise": MAY_RAISE.get(file, set()), "float": MAY_MAKE_FLOATS.get(file, set())}
    assert [hit for hit in found if hit[1] not in allowed.get(hit[0], set())] == []


@pytest.mark.parametrize("allowed", [MAY_RAISE, MAY_MAKE_FLOATS])
def test_no_exception_outlives_its_reason(allowed: dict[str, set[str]]) -> None:
    what = "raise" if allowed is MAY_RAISE else "float"
    for file, functions in allowed.items():
        found = read((PACKAGE / file).read_text(encoding="utf-8"))
        assert functions == {function for kind, function, _ in found if kind == what}, file


def test_what_the_equations_may_not_say_is_found() -> None:
    text = (
        "import numpy as np\n"
        "def f(x, xp):\n"
        "    y = x.sum(axis=0) + xp.sum(x) + namespace(x).mean(x)\n"
        "    if isinstance(x, np.ndarray):\n"
        "        raise ValueError\n"
        "    xp.exp(x, out=y)\n"
        "    y += float(x)\n"
        "    y[0] = 1\n"
    )
    wanted = ["import", ".sum()", "ndarray", "np", "raise", "out=", "in place", "float", "in place"]
    assert [what for what, _, _ in read(text)] == wanted


def test_a_whole_state_passes_through_jit() -> None:
    """With its key, which is part of the structure."""
    jax = oracle("jax")
    params, _ = fn.linear(2).init(fn.make_key(0), (3,))
    state = fn.init_state(params, fn.adam(0.1), fn.make_key(1))
    passed = jax.jit(lambda state: evolve(state, step=state.step + 1))(state)
    assert passed.key == state.key
    assert int(passed.step) == 1
    assert np.array_equal(np.asarray(passed.params.weight), params.weight)


def test_records_made_before_jax_was_imported_are_pytrees_too() -> None:
    oracle("jax")
    code = """
import funcnet as fn
params, _ = fn.chain(fn.linear(2), fn.batch_norm()).init(fn.make_key(0), (3,))
import jax
fn.make_key(1)
assert len(jax.tree.leaves(params)) == 6
assert jax.jit(lambda params: params)(params)[0].weight.shape == (3, 2)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
