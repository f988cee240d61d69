import copy
import functools
import math
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import engines, random, tree
from funcnet.check import check_step, class_labels
from funcnet.check.strategies import keys, sizes
from funcnet.combinators import chain
from funcnet.engines.running import copy_state, evaluate, make_step
from funcnet.layer import AnyLayer, Layer
from funcnet.layers.activations import relu, tanh
from funcnet.layers.linear import LinearParams, linear
from funcnet.layers.norm import batch_norm
from funcnet.layers.reshape import flatten
from funcnet.losses import Loss, mean_squared_error, softmax_cross_entropy
from funcnet.optimizers import Optimizer, adam, momentum, nesterov, sgd
from funcnet.penalties import Penalty, each_weight, l1, l2
from funcnet.random import Key, make_key, normal
from funcnet.shapes import ShapeError
from funcnet.step import Batch, Engine, Evaluation, PenaltyValue, TrainState, init_state, make_grad


def network() -> AnyLayer:
    return chain(linear(4), tanh(), linear(3))


def batch_of(key: Key, count: int, dtype: type = np.float64) -> Batch:
    a, b = random.split(key)
    return Batch(random.normal(a, (count, 2), dtype), random.randint(b, (count,), 0, 3))


@settings(max_examples=10)
@given(sizes(), keys())
def test_proof(count: int, key: Key) -> None:
    """The total gradient, data loss and penalties together, and the purity of the step."""
    penalties = {"[0].weight": l2(0.3), "[2].bias": l2(0.2), "[2].weight": l1(0.1)}
    check_step(
        network(), softmax_cross_entropy(), momentum(0.1), penalties,
        in_shape=(2,), targets=class_labels, batch=count, key=key,
    )  # fmt: skip


def test_a_step_counts_and_keeps_the_key() -> None:
    key = make_key(3)
    params, _ = network().init(key, (2,))
    step = make_step(network(), softmax_cross_entropy(), sgd(0.1))
    new, _ = step(init_state(params, sgd(0.1), key), batch_of(key, 5, np.float32))
    assert (new.step, new.key) == (1, key)
    assert not tree.equal(new.params, params)


def test_metrics_keep_data_loss_and_penalties_apart() -> None:
    net, batch = network(), batch_of(make_key(0), 5)
    params = tree.map(lambda a: a.astype(np.float64), net.init(make_key(0), (2,))[0])
    penalties = {"[0].weight": l2(0.3), "[2].weight": l1(0.1)}
    _, metrics = make_step(net, softmax_cross_entropy(), sgd(0.1), penalties)(
        init_state(params, sgd(0.1), make_key(0)), batch
    )
    alone = softmax_cross_entropy()(net.forward(params, batch.x)[0], batch.y)[0]
    assert metrics.data_loss == alone
    assert metrics.penalties == (
        PenaltyValue("[0].weight", "l2", 0.15 * float((params[0].weight ** 2).sum())),
        PenaltyValue("[2].weight", "l1", 0.1 * float(np.abs(params[2].weight).sum())),
    )
    assert metrics.penalty == sum(p.value for p in metrics.penalties)
    assert metrics.loss == metrics.data_loss + metrics.penalty
    assert metrics.examples == 5


def test_steps_lower_the_loss() -> None:
    net, batch = chain(linear(16), relu(), linear(3)), batch_of(make_key(0), 30, np.float32)
    optimizer = momentum(0.1)
    state = init_state(net.init(make_key(0), (2,))[0], optimizer, make_key(0))
    step = make_step(net, softmax_cross_entropy(), optimizer)
    losses = []
    for _ in range(100):
        state, metrics = step(state, batch)
        losses.append(metrics.loss)
    assert losses[-1] < 0.6 * losses[0]


@given(st.integers(1, 20), st.integers(1, 25), keys())
def test_evaluation_does_not_depend_on_the_batches(count: int, size: int, key: Key) -> None:
    net, batch = network(), batch_of(key, count)
    params = tree.map(lambda a: a.astype(np.float64), net.init(key, (2,))[0])
    penalties = each_weight(l2(0.1), params)
    parts = [Batch(batch.x[i : i + size], batch.y[i : i + size]) for i in range(0, count, size)]
    whole = evaluate(net, params, [batch], softmax_cross_entropy(), penalties)
    split = evaluate(net, params, iter(parts), softmax_cross_entropy(), penalties)
    assert split.data_loss == pytest.approx(whole.data_loss, rel=1e-12)
    assert split.accuracy == pytest.approx(whole.accuracy, rel=1e-12)
    assert (split.penalties, split.examples) == (whole.penalties, count)


def test_a_loss_without_right_answers_has_no_accuracy() -> None:
    net, params = linear(1), linear(1).init(make_key(0), (2,))[0]
    x = np.ones((3, 2), np.float32)
    result = evaluate(net, params, [Batch(x, x[:, :1])], mean_squared_error())
    assert math.isnan(result.accuracy)
    assert math.isfinite(result.loss)


def test_nothing_to_evaluate_is_refused() -> None:
    params, _ = network().init(make_key(0), (2,))
    with pytest.raises(ValueError, match="no examples to evaluate"):
        evaluate(network(), params, [], softmax_cross_entropy())


def test_a_penalty_on_nothing_is_refused() -> None:
    params, _ = network().init(make_key(0), (2,))
    step = make_step(network(), softmax_cross_entropy(), sgd(0.1), {"[1].weight": l2(0.1)})
    with pytest.raises(ValueError, match=r"penalty on \[1\].weight, but the parameters are \[0\].weight, \[0\].bias"):
        step(init_state(params, sgd(0.1), make_key(0)), batch_of(make_key(0), 2, np.float32))


def test_evaluations_add_up() -> None:
    e = Evaluation(1.5, (PenaltyValue("a", "l2", 0.25), PenaltyValue("b", "l2", 0.5)), 0.5, 10)
    assert (e.penalty, e.loss) == (0.75, 2.25)


@pytest.mark.usefixtures("as_users_run")
def test_what_is_no_loss_or_penalty_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"a loss is made by a call, such as softmax_cross_entropy\(\)"):
        make_step(network(), softmax_cross_entropy, sgd(0.1))
    for wrong in (l2(0.1), {"[0].weight": 0.1}):
        with pytest.raises(TypeError, match="penalties map paths to penalties, such as"):
            make_step(network(), softmax_cross_entropy(), sgd(0.1), wrong)


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda dy: dy, r"the gradient of bias: expected float32 of shape \(3,\), got float32 of shape \(4, 3\)"),
        (lambda dy: dy.sum(axis=0, dtype=np.float64), r"expected float32 of shape \(3,\), got float64 of shape \(3,\)"),
    ],
)
def test_a_gradient_unlike_its_parameter_is_refused(spoil: object, message: str) -> None:
    """The commonest mistakes in a layer of one's own: a sum over the batch forgotten, a float64 slipped in."""
    right = linear(3)

    def vjp(params: object, residuals: object, dy: np.ndarray, *, need_dx: bool = True) -> object:
        dparams, dx = right.vjp(params, residuals, dy, need_dx=need_dx)
        return attrs.evolve(dparams, bias=spoil(dy)), dx

    wrong = attrs.evolve(right, vjp=vjp)
    params, _ = wrong.init(make_key(0), (2,))
    with pytest.raises(ShapeError, match=message):
        make_grad(wrong, softmax_cross_entropy())(params, batch_of(make_key(0), 4, np.float32))


OPTIMIZERS = (sgd(0.1), momentum(0.1), nesterov(lambda step: 0.1 / (step + 1)))


def own_layer() -> AnyLayer:
    """A layer with parameters and no twin: y = x scale."""

    def vjp(params: LinearParams, x: np.ndarray, dy: np.ndarray, *, need_dx: bool = True) -> object:
        return LinearParams((x * dy).sum(axis=0, keepdims=True)), dy * params.weight if need_dx else None

    return Layer(
        "scale", lambda key, shape: (LinearParams(np.ones((1, *shape), np.float32)), shape),
        lambda params, x: (x * params.weight, x), vjp,
    )  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
@given(widths=st.lists(st.integers(1, 40), max_size=3), batch=st.integers(1, 20), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_a_state_given_up_comes_to_the_same(optimizer: Optimizer, widths: list[int], batch: int, seed: int) -> None:
    """Five steps of chains with layers and penalties of every kind, in place and fresh, but for rounding."""
    hidden = [layer for width in widths for layer in (linear(width), relu(), own_layer())]
    net = chain(flatten(), *hidden, chain(linear(5, bias=False), tanh()), linear(3))
    params, _ = net.init(make_key(seed), (4, 4))
    paths = [path for path, leaf in tree.named_leaves(params) if leaf.ndim == 2]
    penalties = {path: (l2(0.1), l1(0.01))[i % 2] for i, path in enumerate(paths)}
    plain = make_step(net, softmax_cross_entropy(), optimizer, penalties)
    donating = make_step(net, softmax_cross_entropy(), optimizer, penalties, donate=True)
    fresh = init_state(params, optimizer, make_key(0))
    given_up = copy_state(fresh)
    for step in range(5):
        x = normal(make_key(seed + step), (batch, 4, 4))
        examples = Batch(x, np.arange(batch) % 3)
        fresh, met = plain(fresh, examples)
        given_up, met_in_place = donating(given_up, examples)
        assert met_in_place.data_loss == pytest.approx(met.data_loss, rel=1e-4)
        assert (met_in_place.examples, given_up.step) == (met.examples, fresh.step)
    for a, b in zip(
        tree.leaves((fresh.params, fresh.opt_state)), tree.leaves((given_up.params, given_up.opt_state)), strict=True
    ):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
def test_without_the_penalties_values_the_update_is_the_same(optimizer: Optimizer, donate: bool) -> None:
    net = chain(linear(4), relu(), linear(3))
    params, _ = net.init(make_key(0), (2,))
    step = make_step(net, softmax_cross_entropy(), optimizer, each_weight(l2(0.1), params), donate=donate)
    with_values = without = init_state(params, optimizer, make_key(0))
    with_values, without = copy_state(with_values), copy_state(without)
    for i in range(3):
        batch = batch_of(make_key(i), 5, np.float32)
        with_values, stated = step(with_values, batch)
        without, left_out = step(without, batch, penalty_values=False)
        assert [p.path for p in stated.penalties] == ["[0].weight", "[2].weight"]
        assert left_out == attrs.evolve(stated, penalties=())
    assert tree.equal((with_values.params, with_values.opt_state), (without.params, without.opt_state))


@pytest.mark.parametrize("donate", [False, True])
def test_a_penalty_on_nothing_is_refused_without_its_value_too(donate: bool) -> None:
    params, _ = linear(2).init(make_key(0), (2,))
    step = make_step(linear(2), softmax_cross_entropy(), sgd(0.1), {"wieght": l2(0.1)}, donate=donate)
    with pytest.raises(ValueError, match="penalty on wieght, but the parameters are weight, bias"):
        step(
            copy_state(init_state(params, sgd(0.1), make_key(0))),
            Batch(np.ones((1, 2), np.float32), np.array([1])),
            penalty_values=False,
        )


def test_a_donating_step_looks_again_when_another_state_comes() -> None:
    """Two trainings by one step, in turns, come to what each comes to alone."""
    net, optimizer = chain(linear(4), relu(), linear(3)), momentum(0.1)
    batch = batch_of(make_key(9), 5, np.float32)

    def begin(seed: int) -> TrainState:
        return copy_state(init_state(net.init(make_key(seed), (2,))[0], optimizer, make_key(0)))

    step, alone = make_step(net, softmax_cross_entropy(), optimizer, donate=True), []
    for seed in (0, 1):
        state = begin(seed)
        for _ in range(4):
            state, _ = make_step(net, softmax_cross_entropy(), optimizer, donate=True)(state, batch)
        alone.append(state)
    one, other = begin(0), begin(1)
    for _ in range(4):
        one, _ = step(one, batch)
        other, _ = step(other, batch)
    assert tree.equal((one.params, other.params), tuple(state.params for state in alone))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
def test_a_donating_step_makes_no_array_as_large_as_the_parameters(optimizer: Optimizer) -> None:
    net = chain(linear(500), relu(), linear(2))
    params, _ = net.init(make_key(0), (500,))
    step = make_step(net, softmax_cross_entropy(), optimizer, each_weight(l2(0.1), params), donate=True)
    state = copy_state(init_state(params, optimizer, make_key(0)))
    batch = Batch(normal(make_key(1), (4, 500)), np.array([0, 1, 0, 1]))
    memory = [leaf.ctypes.data for leaf in tree.leaves((state.params, state.opt_state))]
    state, _ = step(state, batch)
    tracemalloc.start()
    state, _ = step(state, batch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500 * 500 * 4 / 4
    assert [leaf.ctypes.data for leaf in tree.leaves((state.params, state.opt_state))] == memory
    assert not any(leaf.flags.writeable for leaf in tree.leaves((state.params, state.opt_state)))


def test_a_state_of_ones_own_stays_as_it_is() -> None:
    net, optimizer = linear(2), momentum(0.1)
    params, _ = net.init(make_key(0), (3,))
    state = init_state(params, optimizer, make_key(0))
    before = copy_state(state)
    step = make_step(net, softmax_cross_entropy(), optimizer, donate=True)
    step(copy_state(state), Batch(np.ones((2, 3), np.float32), np.array([0, 1])))
    assert tree.equal(state.params, before.params)
    assert tree.equal(state.opt_state, before.opt_state)


def test_what_takes_a_gradients_place_counts_in_place_too() -> None:
    """A penalty whose gradient was left out must be left out by the fast path as well."""
    net, optimizer = linear(2, bias=False), momentum(0.1)
    params, _ = net.init(make_key(0), (3,))
    batch = Batch(np.zeros((2, 3), np.float32), np.array([0, 1]))  # the data loss has no gradient
    for penalty, moves in ((l2(1.0), True), (attrs.evolve(l2(1.0), grad=np.zeros_like), False)):
        step = make_step(net, softmax_cross_entropy(), optimizer, {"weight": penalty}, donate=True)
        state, _ = step(copy_state(init_state(params, optimizer, make_key(0))), batch)
        assert tree.equal(state.params, params) != moves


def test_arrays_that_others_see_are_not_given_up() -> None:
    net, optimizer = linear(2, bias=False), sgd(0.1)
    step = make_step(net, softmax_cross_entropy(), optimizer, donate=True)
    outside = np.ones((4, 2), np.float32)
    outside.flags.writeable = False
    params = LinearParams(outside[:3])
    with pytest.raises(ValueError, match="copy_state makes such a state"):
        step(init_state(params, optimizer, make_key(0)), Batch(np.ones((1, 3), np.float32), np.array([0])))


def test_an_array_that_stands_in_two_places_is_not_given_up() -> None:
    """A velocity that is the parameters' own array would be written to twice."""
    params, _ = linear(2, bias=False).init(make_key(0), (3,))
    step = make_step(linear(2, bias=False), softmax_cross_entropy(), momentum(0.1), donate=True)
    state = init_state(params, momentum(0.1), make_key(0))
    state = attrs.evolve(state, opt_state=(attrs.evolve(state.opt_state[0], velocity=params), ()))
    with pytest.raises(ValueError, match="copy_state makes such a state"):
        step(state, Batch(np.ones((1, 3), np.float32), np.array([0])))


def test_an_optimizer_without_a_kernel_is_followed_as_it_is() -> None:
    plain = momentum(0.1)
    own = attrs.evolve(plain, update=lambda g, v, w, now: plain.pure_update(g, v, w, now))
    params, _ = linear(2).init(make_key(0), (3,))
    batch = Batch(np.ones((1, 3), np.float32), np.array([0]))
    followed, known = (copy_state(init_state(params, optimizer, make_key(0))) for optimizer in (own, plain))
    for _ in range(3):
        followed, _ = make_step(linear(2), softmax_cross_entropy(), own, donate=True)(followed, batch)
        known, _ = make_step(linear(2), softmax_cross_entropy(), plain, donate=True)(known, batch)
    for a, b in zip(tree.leaves(followed.params), tree.leaves(known.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert not tree.equal(followed.params, params)


@pytest.mark.usefixtures("as_users_run")
def test_a_gradient_of_the_wrong_shape_is_refused_in_place_too() -> None:
    def vjp(params: LinearParams, x: np.ndarray, dy: np.ndarray, *, need_dx: bool = True) -> object:
        return LinearParams(x * dy), None  # the sum over the batch is forgotten

    net = attrs.evolve(own_layer(), vjp=vjp)
    params, _ = net.init(make_key(0), (3,))
    step = make_step(net, softmax_cross_entropy(), sgd(0.1), donate=True)
    batch = Batch(np.ones((2, 3), np.float32), np.array([0, 1]))
    with pytest.raises(
        ShapeError, match=r"scale: expected the gradient of params\.weight of shape \(1, 3\), got shape \(2, 3\)"
    ):
        step(copy_state(init_state(params, sgd(0.1), make_key(0))), batch)


def test_an_update_around_another_is_followed_in_place_too() -> None:
    inner = sgd(1.0)

    @functools.wraps(inner.pure_update)
    def still(grads: object, opt_state: object, params: object, now: object) -> tuple[object, object]:
        return tree.map(np.zeros_like, grads), opt_state

    optimizer = attrs.evolve(inner, update=still)
    params, _ = linear(3).init(make_key(0), (2,))
    step = make_step(linear(3), softmax_cross_entropy(), optimizer, donate=True)
    after, _ = step(copy_state(init_state(params, optimizer, make_key(0))), batch_of(make_key(1), 4, np.float32))
    assert tree.equal(after.params, params)


@pytest.mark.parametrize("optimizer", [sgd(0.1), momentum(0.1), nesterov(0.1)])
@pytest.mark.parametrize("width", [1, 4])
def test_parameters_that_are_one_array_are_a_tree_too(optimizer: Optimizer, width: int) -> None:
    factors = Layer(
        "factors",
        lambda key, in_shape: (np.ones(in_shape, np.float32), in_shape),
        lambda p, x: (x * p, x),
        lambda p, x, dy, *, need_dx=True: ((x * dy).sum(axis=0), dy * p if need_dx else None),
    )
    net = chain(factors, linear(3))
    params, _ = net.init(make_key(0), (width,))
    batch = Batch(normal(make_key(1), (5, width)), np.array([0, 1, 2, 0, 1]))
    plain = init_state(params, optimizer, make_key(0))
    given_up = copy_state(plain)
    plain, _ = make_step(net, softmax_cross_entropy(), optimizer)(plain, batch)
    given_up, _ = make_step(net, softmax_cross_entropy(), optimizer, donate=True)(given_up, batch)
    for a, b in zip(tree.leaves(plain), tree.leaves(given_up), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_a_gradient_in_another_trees_order_is_refused_in_place_too() -> None:
    @attrs.frozen
    class Two(tree.Record):
        a: object = tree.array_field()
        b: object = tree.array_field()

    swapped = Layer(
        "swapped",
        lambda key, in_shape: (Two(np.ones(in_shape, np.float32), np.ones(in_shape, np.float32)), in_shape),
        lambda p, x: (x * p.a + p.b, x),
        lambda p, x, dy, *, need_dx=True: ((dy.sum(axis=0), (x * dy).sum(axis=0)), dy * p.a),
    )
    params, _ = swapped.init(make_key(0), (2,))
    state = copy_state(init_state(params, momentum(0.1), make_key(0)))
    batch = Batch(np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32))
    with pytest.raises(ShapeError, match="swapped: expected a gradient that is a tree like params, got a tuple"):
        make_step(swapped, mean_squared_error(), momentum(0.1), donate=True)(state, batch)


@pytest.mark.parametrize("optimizer", [sgd(0.1), momentum(0.1), nesterov(0.1)])
def test_one_donating_step_serves_states_of_any_size_and_dtype(optimizer: Optimizer) -> None:
    net = linear(300, bias=False)
    step = make_step(net, mean_squared_error(), optimizer, donate=True)
    for width, dtype in ((200, np.float32), (400, np.float32), (400, np.float64), (20, np.float32)):
        params = tree.map(lambda a, d=dtype: a.astype(d), net.init(make_key(0), (width,))[0])
        state = init_state(params, optimizer, make_key(0))
        batch = Batch(normal(make_key(1), (64, width), dtype), normal(make_key(2), (64, 300), dtype))
        expected, _ = make_step(net, mean_squared_error(), optimizer)(state, batch)
        given, _ = step(copy_state(state), batch)
        np.testing.assert_allclose(given.params.weight, expected.params.weight, rtol=1e-4, atol=1e-5)


def test_another_optimizers_state_is_refused_before_anything_is_written() -> None:
    params, _ = linear(3).init(make_key(0), (2,))
    batch = batch_of(make_key(1), 4, np.float32)
    for own, other, got in (
        (momentum(0.1), sgd(0.1), "got no arrays"),
        (sgd(0.1), nesterov(0.1), "expected no arrays, got [0].velocity.weight float32"),
    ):
        state = copy_state(init_state(params, other, make_key(0)))
        with pytest.raises(ValueError, match=r"opt_state is none of .* for these parameters") as error:
            make_step(linear(3), softmax_cross_entropy(), own, donate=True)(state, batch)
        assert got in str(error.value)
        assert tree.equal(state.params, params)
    wide = tree.map(lambda a: a.astype(np.float64), momentum(0.1).init(params))
    state = copy_state(TrainState(params, wide, make_key(0)))
    with pytest.raises(ValueError, match="weight float64 of shape"):
        make_step(linear(3), softmax_cross_entropy(), momentum(0.1), donate=True)(state, batch)


def test_a_state_whose_update_was_cut_off_is_not_taken_again() -> None:
    class Breaks:
        armed = True

        def __call__(self, w: np.ndarray) -> np.ndarray:
            if self.armed:
                raise KeyboardInterrupt
            return np.zeros_like(w)

    gradient = Breaks()
    params, _ = linear(3).init(make_key(0), (2,))
    optimizer, batch = sgd(0.1), batch_of(make_key(1), 4, np.float32)
    penalties = {"weight": Penalty("breaks", 1.0, lambda w: 0.0, gradient)}
    step = make_step(linear(3), softmax_cross_entropy(), optimizer, penalties, donate=True)
    state, kept = (copy_state(init_state(params, optimizer, make_key(0))) for _ in range(2))
    with pytest.raises(KeyboardInterrupt):
        step(state, batch)
    assert not any(array.flags.writeable for array in tree.leaves(state.params))
    gradient.armed = False
    with pytest.raises(ValueError, match="the update of this state was cut off"):
        step(state, batch)
    after, _ = step(kept, batch)
    assert after.step == 1
    step(after, batch)
    with pytest.raises(ValueError, match="the update of this state was cut off"):  # whatever was made since
        step(state, batch)


@pytest.mark.parametrize("donate", [False, True])
def test_a_penaltys_own_array_stays_as_it_is(donate: bool) -> None:
    """A linear penalty, whose gradient is always the same."""
    ones = np.ones((2, 3), np.float32)
    penalty = Penalty("linear", 1.0, lambda w: float(w.sum()), lambda w: ones)
    params, _ = linear(3).init(make_key(0), (2,))
    step = make_step(linear(3), softmax_cross_entropy(), sgd(0.1), {"weight": penalty}, donate=donate)
    state = copy_state(init_state(params, sgd(0.1), make_key(0)))
    for _ in range(2):
        state, _ = step(state, batch_of(make_key(1), 4, np.float32))
    assert (ones == 1).all()
    assert ones.flags.writeable


@pytest.mark.parametrize("donate", [False, True])
def test_a_penaltys_gradient_of_another_dtype_is_refused(donate: bool) -> None:
    penalty = Penalty("wide", 1.0, lambda w: float(w.sum()), lambda w: np.ones(w.shape))
    params, _ = linear(3).init(make_key(0), (2,))
    step = make_step(linear(3), softmax_cross_entropy(), sgd(0.1), {"weight": penalty}, donate=donate)
    with pytest.raises(ShapeError, match="dtype float64"):
        step(copy_state(init_state(params, sgd(0.1), make_key(0))), batch_of(make_key(1), 4, np.float32))


def test_a_pure_step_follows_the_schedule() -> None:
    params, _ = linear(3).init(make_key(0), (2,))
    batch = batch_of(make_key(1), 4, np.float32)
    moved = []
    for step in (0, 3):
        optimizer = sgd(lambda n: 0.1 * 2**n)
        state = attrs.evolve(init_state(params, optimizer, make_key(0)), step=step)
        after, _ = make_step(linear(3), softmax_cross_entropy(), optimizer)(state, batch)
        moved.append(after.params.weight - params.weight)
    np.testing.assert_allclose(moved[1], 8 * moved[0], rtol=1e-5)


@pytest.mark.usefixtures("as_users_run")
def test_an_evaluation_refuses_what_a_step_refuses() -> None:
    params, _ = linear(3).init(make_key(0), (2,))
    batches, loss = [batch_of(make_key(1), 4, np.float32)], softmax_cross_entropy()
    with pytest.raises(TypeError, match="a loss is made by a call"):
        evaluate(linear(3), params, batches, softmax_cross_entropy)
    with pytest.raises(TypeError, match="penalties map paths to penalties"):
        evaluate(linear(3), params, batches, loss, l2(1.0))
    with pytest.raises(ValueError, match="there is a penalty on nothing"):
        evaluate(linear(3), params, batches, loss, {"nothing": l2(1.0)})


@pytest.mark.usefixtures("as_users_run")
def test_a_seed_is_no_key() -> None:
    params, _ = linear(3).init(make_key(0), (2,))
    with pytest.raises(TypeError, match=r"expected a key \(make_key\(0\) makes the one of the seed 0\), got 1"):
        init_state(params, sgd(0.1), 1)


def test_a_batch_comes_back_as_read_only_as_before() -> None:
    batch = batch_of(make_key(0), 3)
    for other in (pickle.loads(pickle.dumps(batch)), copy.deepcopy(batch)):
        assert (other.x == batch.x).all()
        assert not other.x.flags.writeable
        assert not other.y.flags.writeable


def test_a_gradient_of_another_structure_is_refused() -> None:
    """A layer of one's own that forgets an array."""
    layer = linear(3)
    forgetful = attrs.evolve(layer, vjp=lambda params, residuals, dy, need_dx=True: ((), None))
    params, _ = layer.init(make_key(0), (2,))
    grad = make_grad(forgetful, softmax_cross_entropy())
    with pytest.raises(ShapeError, match="the gradient: expected a tree like params, with weight, bias, got no arrays"):
        grad(params, batch_of(make_key(1), 4, np.float32))


@pytest.mark.usefixtures("as_users_run")
def test_an_optimizer_that_makes_other_arrays_is_named() -> None:
    widening = attrs.evolve(sgd(0.1), update=lambda g, s, p, now: (tree.map(lambda w: w.astype(np.float64), g), s))
    params, _ = linear(3).init(make_key(0), (2,))
    step = make_step(linear(3), softmax_cross_entropy(), widening)
    with pytest.raises(ShapeError, match=r"sgd's update of weight: expected float32 of shape \(2, 3\), got float64"):
        step(init_state(params, widening, make_key(0)), batch_of(make_key(1), 4, np.float32))


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("engine", [engines.plain(), engines.numpy()], ids=str)
def test_an_advance_that_makes_other_arrays_is_named(engine: Engine) -> None:
    layer = attrs.evolve(batch_norm(), advance=lambda p, kept: tree.map(lambda a: a.astype(np.float64), p))
    params, _ = layer.init(make_key(0), (2,))
    step = make_step(layer, mean_squared_error(), sgd(0.1), engine=engine)
    batch = Batch(np.ones((4, 2), np.float32), np.ones((4, 2), np.float32))
    with pytest.raises(ShapeError, match=r"batch_norm.*'s advance of scale: expected float32 of shape \(2,\)"):
        step(init_state(params, sgd(0.1), make_key(0)), batch)


@pytest.mark.parametrize("donate", [False, True])
def test_an_advance_may_move_any_array(donate: bool) -> None:
    """Also those that are trained, and one to the old value of another."""
    layer = attrs.evolve(
        batch_norm(), advance=lambda p, kept: attrs.evolve(p, scale=p.shift, shift=p.scale, mean=p.variance)
    )
    batch = Batch(np.arange(8.0).reshape(4, 2), np.ones((4, 2)))
    params, _ = layer.init(make_key(0), (2,))
    params = tree.map(lambda a: np.float64(a) + 1, params)
    after = []
    for engine in (engines.plain(), engines.numpy()):
        step = make_step(layer, mean_squared_error(), sgd(0.1), donate=donate, engine=engine)
        state, _ = step(copy_state(init_state(params, sgd(0.1), make_key(0))), batch)
        after.append(step(state, batch)[0].params)
    for plain, fast in zip(*map(tree.leaves, after), strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-12)
        assert not fast.flags.writeable


@pytest.mark.parametrize("engine", [engines.plain(), engines.numpy()], ids=str)
def test_a_step_pickles(engine: Engine) -> None:
    """For other processes: with what it is made of. So does a gradient."""
    net, optimizer = chain(linear(4), relu(), linear(3)), adam(0.1)
    params, _ = net.init(make_key(0), (2,))
    step = make_step(net, softmax_cross_entropy(), optimizer, each_weight(l2(0.1), params), engine=engine)
    state, batch = init_state(params, optimizer, make_key(1)), batch_of(make_key(2), 5, np.float32)
    (here, met), (there, met_there) = (made(state, batch) for made in (step, pickle.loads(pickle.dumps(step))))
    assert tree.equal(here.params, there.params)
    assert met == met_there
    grad = make_grad(net, softmax_cross_entropy(), each_weight(l2(0.1), params))
    (met, here), (met_there, there) = (made(params, batch) for made in (grad, pickle.loads(pickle.dumps(grad))))
    assert tree.equal(here, there)
    assert met == met_there


def test_a_state_that_was_given_up_is_not_taken_again() -> None:
    net, optimizer = linear(3), momentum(0.1)
    params, _ = net.init(make_key(0), (2,))
    step, batch = make_step(net, softmax_cross_entropy(), optimizer, donate=True), batch_of(make_key(1), 4, np.float32)
    first = copy_state(init_state(params, optimizer, make_key(0)))
    second, _ = step(first, batch)
    with pytest.raises(ValueError, match="this state, of step 0, was given up to an earlier step"):
        step(first, batch)
    third, _ = step(second, batch)
    assert third.step == 2


def test_what_an_optimizer_keeps_of_the_parameters_is_not_written_over() -> None:
    """One of somebody's own, whose state is the parameters that it was given."""
    keeping = Optimizer(
        "keeping", lambda params: params, lambda g, kept, params, now: (tree.map(lambda a: -0.1 * a, g), params),
        lambda step: 0.1,
    )  # fmt: skip
    net, batch = linear(3), batch_of(make_key(1), 4, np.float32)
    params, _ = net.init(make_key(0), (2,))
    states = {}
    for donate in (False, True):
        step = make_step(net, softmax_cross_entropy(), keeping, donate=donate)
        state = copy_state(init_state(params, keeping, make_key(0)))
        for _ in range(3):
            state, _ = step(state, batch)
        states[donate] = state
    for a, b in zip(*(tree.leaves(states[donate].opt_state) for donate in (False, True)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_loss_whose_gradient_has_another_shape_is_refused() -> None:
    """NumPy would broadcast it."""
    column = Loss("column", lambda y, t: (float((y - t).mean()), np.ones((len(y), 1), y.dtype)))
    params, _ = chain(linear(3), tanh()).init(make_key(0), (2,))
    step = make_step(chain(linear(3), tanh()), column, sgd(0.1))
    with pytest.raises(
        ShapeError, match=r"column: expected a gradient dprediction of shape \(4, 3\), got shape \(4, 1\)"
    ):
        step(
            init_state(params, sgd(0.1), make_key(0)),
            Batch(np.ones((4, 2), np.float32), np.zeros((4, 3), np.float32)),
        )


def test_eight_threads_may_share_a_step() -> None:
    net, optimizer, batch = chain(linear(30), relu(), linear(3)), adam(0.01), batch_of(make_key(1), 4, np.float32)
    params, _ = net.init(make_key(0), (2,))
    step, begun = make_step(net, softmax_cross_entropy(), optimizer), init_state(params, optimizer, make_key(0))

    def train(_: int) -> TrainState:
        state = begun
        for _ in range(20):
            state, _met = step(state, batch)
        return state

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(train, range(16)))
    assert all(tree.equal(state.params, found[0].params) for state in found)


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ((), 0.0),
        ((1.0, 2.0), 3.0),
        ((1e308, 1e308), math.inf),
        ((math.inf, -math.inf), math.nan),
        ((math.nan,), math.nan),
    ],
)
def test_penalties_of_any_size_have_a_sum(values: tuple[float, ...], total: float) -> None:
    evaluation = Evaluation(1.0, tuple(PenaltyValue("", "l2", value) for value in values), math.nan, 1)
    assert evaluation.penalty == pytest.approx(total, nan_ok=True)
    assert evaluation.loss == pytest.approx(1.0 + total, nan_ok=True)
