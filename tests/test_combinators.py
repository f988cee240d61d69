"""Residual, parallel and frozen layers, keys and advance. Those of chains alone are in test_layer.py."""

import pickle
from typing import Any

import attrs
import numpy as np
import pytest

import funcnet as fn
from funcnet import random, tree
from funcnet.combinators import FrozenParams, ParallelResiduals
from funcnet.engines.numpy.planner import kernel_names
from funcnet.examination import describe
from funcnet.layer import AnyLayer
from funcnet.shapes import Array

KEY = fn.make_key(0)
PLAIN, NUMPY = fn.engines.plain(), fn.engines.numpy()
ENGINES = [(PLAIN, False), (PLAIN, True), (NUMPY, False), (NUMPY, True)]
rng = np.random.default_rng(0)
x, dy = rng.standard_normal((2, 6, 4))


def made(layer: AnyLayer, in_shape: tuple[int, ...] = (4,)) -> Any:
    """Params in float64, moved off their zeros and ones."""
    draws = np.random.default_rng(1)
    params, _ = layer.init(KEY, in_shape)
    return tree.map(lambda a: a + 0.1 * draws.uniform(size=a.shape), params)


def everything() -> AnyLayer:
    """A network with every layer."""
    return fn.chain(
        fn.flatten(),
        fn.linear(6),
        fn.batch_norm(),
        fn.relu(),
        fn.residual(fn.linear(6), fn.dropout(0.2), fn.tanh()),
        fn.parallel(fn.linear(4), fn.chain(fn.linear(4, bias=False), fn.gelu())),
        fn.parallel(fn.linear(3), fn.chain(fn.softplus(), fn.batch_norm()), merge="concatenation"),
        fn.frozen(fn.chain(fn.linear(5), fn.batch_norm(), fn.dropout(), fn.residual(fn.batch_norm()))),
        fn.sigmoid(),
        fn.leaky_relu(),
        fn.identity(),
        fn.linear(4),
    )


# --- by hand


def test_residual_by_hand() -> None:
    """y = tanh(x W + b) + x."""
    net = fn.residual(fn.linear(4), fn.tanh())
    params = made(net)
    (inner, _), nothing = params
    y, residuals = net.forward(params, x)
    f = np.tanh(x @ inner.weight + inner.bias)
    np.testing.assert_allclose(y, f + x, rtol=1e-14)
    np.testing.assert_allclose(net.predict(params, x), f + x, rtol=1e-14)
    dparams, dx = net.vjp(params, residuals, dy)
    before = (1 - f**2) * dy
    np.testing.assert_allclose(dx, before @ inner.weight.T + dy, rtol=1e-13)
    np.testing.assert_allclose(dparams[0][0].weight, x.T @ before, rtol=1e-13)
    np.testing.assert_allclose(dparams[0][0].bias, before.sum(axis=0), rtol=1e-13)
    assert nothing == dparams[1] == ()
    assert net.vjp(params, residuals, dy, need_dx=False)[1] is None
    assert str(net) == "residual(linear(4), tanh)"


def test_a_sum_by_hand() -> None:
    net = fn.parallel(fn.linear(3), fn.chain(fn.tanh(), fn.linear(3)), fn.linear(3, bias=False))
    params = made(net)
    a, (_, b), c = params
    dy = rng.standard_normal((6, 3))
    y, residuals = net.forward(params, x)
    wanted = x @ a.weight + a.bias + np.tanh(x) @ b.weight + b.bias + x @ c.weight
    np.testing.assert_allclose(y, wanted, rtol=1e-13)
    np.testing.assert_allclose(net.predict(params, x), wanted, rtol=1e-13)
    dparams, dx = net.vjp(params, residuals, dy)
    through = (1 - np.tanh(x) ** 2) * (dy @ b.weight.T)
    np.testing.assert_allclose(dx, dy @ a.weight.T + through + dy @ c.weight.T, rtol=1e-13)
    np.testing.assert_allclose(dparams[1][1].weight, np.tanh(x).T @ dy, rtol=1e-13)
    np.testing.assert_allclose(dparams[2].weight, x.T @ dy, rtol=1e-13)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4)])
def test_a_concatenation_by_hand(shape: tuple[int, ...]) -> None:
    """Along the last axis, however many there are before it."""
    net = fn.parallel(fn.tanh(), fn.identity(), fn.sigmoid(), merge="concatenation")
    params, out_shape = net.init(KEY, shape)
    assert out_shape == (*shape[:-1], 12)
    x, dy = rng.standard_normal((5, *shape)), rng.standard_normal((5, *out_shape))
    y, residuals = net.forward(params, x)
    sigmoid = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(y, np.concatenate([np.tanh(x), x, sigmoid], axis=-1), rtol=1e-13)
    np.testing.assert_array_equal(net.predict(params, x), y)
    _, dx = net.vjp(params, residuals, dy)
    slopes = (1 - np.tanh(x) ** 2, np.ones_like(x), sigmoid * (1 - sigmoid))
    wanted = sum(slope * part for slope, part in zip(slopes, np.split(dy, 3, axis=-1), strict=True))
    np.testing.assert_allclose(dx, wanted, rtol=1e-12)


def test_outputs_of_different_widths_join_and_part_again() -> None:
    net = fn.parallel(fn.linear(1), fn.linear(3), fn.linear(2), merge="concatenation")
    params, dy = made(net), rng.standard_normal((6, 6))
    assert net.init(KEY, (4,))[1] == (6,)
    y, residuals = net.forward(params, x)
    dparams, dx = net.vjp(params, residuals, dy)
    begin, total = 0, np.zeros_like(x)
    for p, dp in zip(params, dparams, strict=True):
        end = begin + p.weight.shape[1]
        np.testing.assert_allclose(y[:, begin:end], x @ p.weight + p.bias, rtol=1e-13)
        np.testing.assert_allclose(dp.weight, x.T @ dy[:, begin:end], rtol=1e-13)
        total, begin = total + dy[:, begin:end] @ p.weight.T, end
    np.testing.assert_allclose(dx, total, rtol=1e-13)


def test_one_branch_is_the_layer_itself() -> None:
    for merge in ("sum", "concatenation"):
        net = fn.parallel(fn.linear(3), merge=merge)
        params = made(net)
        assert np.array_equal(net.forward(params, x)[0], fn.linear(3).forward(params[0], x)[0])


@pytest.mark.parametrize(
    "net",
    [
        fn.residual(fn.linear(4), fn.relu()),
        fn.residual(fn.identity()),
        fn.residual(fn.residual(fn.linear(4))),
        fn.parallel(fn.relu(), fn.identity(), fn.linear(4)),
        fn.parallel(fn.linear(4), fn.linear(4), fn.linear(4)),
        fn.parallel(fn.identity(), fn.flatten(), merge="concatenation"),
        fn.chain(fn.relu(), fn.residual(fn.relu(), fn.relu()), fn.relu(), fn.parallel(fn.relu(), fn.relu()), fn.relu()),
        everything(),
    ],
    ids=lambda net: str(net)[:40],
)
def test_both_engines_agree_where_memory_is_shared(net: AnyLayer) -> None:
    """What one branch may not write over, the other still reads."""
    loss, optimizer = fn.mean_squared_error(), fn.momentum(0.1)
    params, out_shape = made(net), net.init(KEY, (4,))[1]
    batch = fn.Batch(x.copy(), rng.standard_normal((6, *out_shape)))
    before = batch.x.copy()
    states = []
    for engine, donate in ENGINES:
        state = fn.copy_state(fn.init_state(params, optimizer, KEY), engine=engine)
        step = fn.make_step(net, loss, optimizer, donate=donate, engine=engine)
        for _ in range(3):
            state, metrics = step(state, batch)
        states.append((state, metrics.data_loss, fn.make_predict(net, state.params, engine=engine)(batch.x)))
        assert np.array_equal(batch.x, before)
    for state, found_loss, y in states[1:]:
        assert found_loss == pytest.approx(states[0][1], rel=1e-10)
        np.testing.assert_allclose(y, states[0][2], rtol=1e-9, atol=1e-10)
        for a, b in zip(tree.leaves(state.params), tree.leaves(states[0][0].params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


# --- init


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            fn.residual(fn.linear(3)),
            r"^residual\[0\]\.linear\(3\): expected an output of shape \(4,\), as the input, to add, got \(3,\)$",
        ),
        (
            fn.residual(fn.linear(4), fn.linear(5)),
            r"^residual\[0\]\.chain\(linear\(4\), linear\(5\)\): expected an output of shape \(4,\), as the input",
        ),
        (
            fn.chain(fn.linear(4), fn.residual(fn.chain(fn.relu(), fn.residual(fn.linear(2))))),
            r"^chain\[1\]\.residual\[0\]\.chain\[1\]\.residual\[0\]\.linear\(2\): expected an output of shape \(4,\)",
        ),
        (
            fn.parallel(fn.linear(3), fn.linear(3), fn.linear(2)),
            r"^parallel\[2\]\.linear\(2\): expected an output of shape \(3,\), as that of \[0\], to add, got \(2,\)$",
        ),
        (
            fn.frozen(fn.parallel(fn.linear(3), fn.identity())),
            r"^frozen\.parallel\[1\]\.identity: expected an output of shape \(3,\), as that of \[0\], to add",
        ),
    ],
)
def test_shapes_that_do_not_add_up_are_named(net: AnyLayer, message: str) -> None:
    with pytest.raises(fn.ShapeError, match=message):
        net.init(KEY, (4,))


@pytest.mark.usefixtures("as_users_run")
def test_shapes_that_do_not_join_are_named() -> None:
    net = fn.parallel(fn.identity(), fn.flatten(), merge="concatenation")
    wanted = (
        r"^parallel\[1\]\.flatten: expected an output with a last axis, and \(2,\) before it, as that of \[0\], got"
    )
    with pytest.raises(fn.ShapeError, match=wanted):
        net.init(KEY, (2, 3))
    with pytest.raises(fn.ShapeError, match=r"^parallel\[0\]\.identity: expected an output with a last axis"):
        fn.parallel(fn.identity(), merge="concatenation").init(KEY, ())


@pytest.mark.usefixtures("as_users_run")
def test_an_error_inside_init_is_named_by_its_place() -> None:
    net = fn.chain(fn.parallel(fn.residual(fn.relu(), fn.linear(3)), fn.frozen(fn.linear(3))))
    with pytest.raises(
        fn.ShapeError, match=r"^chain\[0\]\.parallel\[0\]\.residual\[0\]\.chain\[1\]\.linear\(3\): expected"
    ):
        net.init(KEY, (2, 3))


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize("combinator", [fn.chain, fn.parallel, fn.residual, fn.frozen])
def test_layers_are_layers(combinator: Any) -> None:
    name = combinator.__name__
    with pytest.raises(TypeError, match=rf"{name}\[0\] is no layer but a function: .*\(call it to make the layer\)"):
        combinator(fn.relu)
    with pytest.raises(TypeError, match=rf"{name}\[0\] is no layer but a list"):
        combinator([fn.relu()])
    if combinator is not fn.frozen:
        with pytest.raises(ValueError, match=rf"a {name} needs at least one layer"):
            combinator()


@pytest.mark.usefixtures("as_users_run")
def test_there_are_two_ways_to_merge() -> None:
    with pytest.raises(ValueError, match="parallel layers merge by sum or concatenation, got 'mean'"):
        fn.parallel(fn.relu(), merge="mean")


# --- keys


def spying_layer(keys: list[Any]) -> AnyLayer:
    """It draws, and says by which key."""

    def forward(params: tuple[()], x: Array, key: Any) -> tuple[Array, tuple[()]]:
        keys.append(key)
        return x * 1, ()

    def vjp(params: tuple[()], residuals: tuple[()], dy: Array, *, need_dx: bool = True) -> Any:
        return (), dy * 1

    return fn.Layer(
        "spy", lambda key, shape: ((), shape), forward, vjp, predict=lambda params, x: x * 1, draws=True
    )  # fmt: skip


@pytest.mark.parametrize("public", [True, False])
def test_every_layer_that_draws_has_a_key_of_its_own(public: bool) -> None:
    keys: list[Any] = []
    spy = spying_layer(keys)
    net = fn.chain(spy, fn.linear(4), fn.residual(spy, spy), fn.parallel(spy, fn.chain(spy, fn.relu()), spy), spy)
    params = made(net)
    forward = net.forward if public else net.pure_forward
    forward(params, x, KEY)
    first = list(keys)
    assert len(set(first)) == len(first) == 7
    assert KEY not in first
    # By the place: what stands before or after changes nothing.
    assert first[0] == random.fold_in(KEY, 0)
    assert first[1] == random.fold_in(random.fold_in(random.fold_in(KEY, 2), 0), 0)
    keys.clear()
    forward(params, x, KEY)
    assert keys == first
    keys.clear()
    forward(params, x, fn.make_key(1))
    assert not set(keys) & set(first)


def test_the_engines_give_the_same_keys() -> None:
    keys: list[Any] = []
    spy = spying_layer(keys)
    net = fn.chain(spy, fn.residual(spy, fn.linear(4)), fn.parallel(fn.linear(3), fn.chain(spy, fn.linear(3))))
    found = []
    for engine, donate in ENGINES:
        state = fn.copy_state(fn.init_state(made(net), fn.sgd(0.1), KEY), engine=engine)
        step = fn.make_step(net, fn.softmax_cross_entropy(), fn.sgd(0.1), donate=donate, engine=engine)
        for _ in range(2):
            state, _ = step(state, fn.Batch(x, np.arange(6) % 3))
        found.append(list(keys))
        keys.clear()
    assert len(set(found[0])) == 6
    assert found == [found[0]] * 4


def test_only_layers_that_draw_are_given_keys() -> None:
    net = fn.chain(fn.linear(3), fn.parallel(fn.relu(), fn.tanh()))
    assert not net.draws
    params = made(net)
    assert np.array_equal(net.forward(params, x)[0], net.forward(params, x, KEY)[0])
    assert fn.chain(fn.relu(), fn.residual(fn.dropout())).draws
    assert not fn.frozen(fn.chain(fn.relu(), fn.residual(fn.dropout()))).draws


@pytest.mark.usefixtures("as_users_run")
@pytest.mark.parametrize(
    "net", [fn.chain(fn.dropout(0.5)), fn.residual(fn.dropout(0.5)), fn.parallel(fn.relu(), fn.chain(fn.dropout(0.5)))]
)
def test_a_missing_key_is_named(net: AnyLayer) -> None:
    params, _ = net.init(KEY, (4,))
    with pytest.raises(TypeError) as caught:
        net.forward(params, x)
    assert str(caught.value).startswith(f"{net} draws random numbers: forward(params, x, key) takes a key")
    net.predict(params, x)


# --- frozen


def test_the_gradient_of_frozen_params_is_none() -> None:
    net = fn.chain(fn.linear(3), fn.frozen(fn.chain(fn.linear(4), fn.relu(), fn.linear(3))), fn.linear(2))
    params = made(net)
    y, residuals = net.forward(params, x)
    dparams, dx = net.vjp(params, residuals, np.ones_like(y))
    assert dparams[1] == FrozenParams(None)
    assert [path for path, _ in tree.named_leaves(dparams)] == ["[0].weight", "[0].bias", "[2].weight", "[2].bias"]
    # All else is as without it.
    inner, thawed = net.children[1][1].children[0][1], (params[0], params[1].params, params[2])
    plain = fn.chain(fn.linear(3), inner, fn.linear(2))
    wanted, wanted_dx = plain.vjp(thawed, plain.forward(thawed, x)[1], np.ones_like(y))
    np.testing.assert_allclose(dx, wanted_dx, rtol=1e-12)
    np.testing.assert_allclose(dparams[0].weight, wanted[0].weight, rtol=1e-12)


@pytest.mark.parametrize("optimizer", [fn.momentum(0.1, weight_decay=0.1), fn.adamw(0.1, weight_decay=0.1)], ids=str)
@pytest.mark.parametrize(("engine", "donate"), ENGINES)
def test_frozen_params_are_moved_by_nothing(engine: fn.engines.Engine, donate: bool, optimizer: fn.Optimizer) -> None:
    """Neither by the gradient, nor by the velocity, nor by weight decay; and a batch norm inside does not advance."""
    inner = fn.chain(fn.linear(4), fn.batch_norm(), fn.relu(), fn.residual(fn.batch_norm(keep=0)))
    net = fn.chain(fn.linear(4), fn.batch_norm(), fn.frozen(inner), fn.linear(3))
    params = made(net)
    penalties = fn.each_weight(fn.l2(0.1), params, biases=True)
    assert [path for path in penalties if path.startswith("[2]")] == []
    state = fn.copy_state(fn.init_state(params, optimizer, KEY), engine=engine)
    step = fn.make_step(net, fn.softmax_cross_entropy(), optimizer, penalties, donate=donate, engine=engine)
    for seed in range(5):
        batch = fn.Batch(5 * np.random.default_rng(seed).standard_normal((6, 4)), np.arange(6) % 3)
        state, _ = step(state, batch)
    assert tree.equal(state.params[2], params[2])
    before = dict(tree.named_leaves(params))
    for path, array in tree.named_leaves(state.params):
        assert np.array_equal(array, before[path]) == path.startswith("[2]"), path
    assert not any(".params" in path for path, _ in tree.named_leaves(state.opt_state))


def test_a_frozen_network_computes_what_predict_does() -> None:
    inner = fn.chain(
        fn.linear(5), fn.batch_norm(), fn.dropout(0.5), fn.parallel(fn.relu(), fn.residual(fn.batch_norm()))
    )
    net = fn.frozen(inner)
    params = made(net)
    y, residuals = net.forward(params, x)
    np.testing.assert_allclose(y, inner.predict(params.params, x), rtol=1e-12)
    np.testing.assert_allclose(y, net.predict(params, x), rtol=1e-12)
    _, dx = net.vjp(params, residuals, np.ones_like(y))
    direction = rng.standard_normal(x.shape)
    high, low = (inner.predict(params.params, x + t * direction).sum() for t in (1e-6, -1e-6))
    assert (high - low) / 2e-6 == pytest.approx(float((dx * direction).sum()), rel=1e-5)
    assert tree.leaves(tree.trained(params)) == []


def test_nothing_trained_at_all_is_a_step_too() -> None:
    net = fn.frozen(fn.linear(3))
    params = made(net)
    for engine, donate in ENGINES:
        state = fn.copy_state(fn.init_state(params, fn.adam(0.1), KEY), engine=engine)
        step = fn.make_step(net, fn.softmax_cross_entropy(), fn.adam(0.1), donate=donate, engine=engine)
        state, metrics = step(state, fn.Batch(x, np.arange(6) % 3))
        assert tree.equal(state.params, params)
        assert metrics.data_loss > 0


def test_freezing_twice_is_freezing_once() -> None:
    net = fn.frozen(fn.frozen(fn.linear(3)))
    params = made(net)
    y, residuals = net.forward(params, x)
    assert np.array_equal(y, fn.linear(3).forward(params.params.params, x)[0])
    assert tree.leaves(net.vjp(params, residuals, y)[0]) == []


# --- advance


@pytest.mark.parametrize(("engine", "donate"), ENGINES)
def test_every_batch_norm_advances_wherever_it_stands(engine: fn.engines.Engine, donate: bool) -> None:
    """By its own residuals: what a layer sees is told from a network that ends before it."""
    norm = fn.batch_norm(keep=0.6)
    net = fn.chain(norm, fn.residual(fn.tanh(), norm), fn.parallel(fn.chain(fn.sigmoid(), norm), norm), fn.linear(3))
    params = made(net)
    state = fn.copy_state(fn.init_state(params, fn.sgd(1e-300), KEY), engine=engine)  # the rest stays as it is
    step = fn.make_step(net, fn.softmax_cross_entropy(), fn.sgd(1e-300), donate=donate, engine=engine)
    statistics = [(p.mean, p.variance) for p in norms_of(params)]
    for seed in range(4):
        x = np.random.default_rng(seed).standard_normal((6, 4))
        a, (_, b), _ = params[0], params[1][0], None
        y0 = norm.forward(a, x)[0]
        seen1 = np.tanh(y0)
        y1 = norm.forward(b, seen1)[0] + y0
        reaches = [x, seen1, 1 / (1 + np.exp(-y1)), y1]
        statistics = [
            (0.6 * mean + 0.4 * seen.mean(axis=0), 0.6 * variance + 0.4 * seen.var(axis=0))
            for (mean, variance), seen in zip(statistics, reaches, strict=True)
        ]
        state, _ = step(state, fn.Batch(x, np.arange(6) % 3))
    for p, (mean, variance) in zip(norms_of(state.params), statistics, strict=True):
        np.testing.assert_allclose(p.mean, mean, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(p.variance, variance, rtol=1e-10)


def norms_of(params: Any) -> list[Any]:
    """The params of the four batch norms, in order."""
    return [params[0], params[1][0][1], params[2][0][1], params[2][1]]


def test_what_has_nothing_to_advance_keeps_its_params() -> None:
    for net in (fn.chain(fn.linear(4), fn.relu()), fn.residual(fn.linear(4)), fn.frozen(fn.batch_norm())):
        params = made(net)
        assert net.advance(params, net.forward(params, x)[1]) is params
        assert net.pure_advance is None


# --- as values


def test_networks_pickle() -> None:
    """For other processes. And the engine knows their functions there, too."""
    net = everything()
    again = pickle.loads(pickle.dumps(net))
    assert str(again) == str(net)
    assert kernel_names(again) == kernel_names(net)
    assert dict(kernel_names(again))["linear(6)"] == "linear"
    params = made(net)
    assert tree.equal(again.init(KEY, (4,))[0], net.init(KEY, (4,))[0])
    y, residuals = net.forward(params, x, KEY)
    other, other_residuals = again.forward(pickle.loads(pickle.dumps(params)), x, KEY)
    assert np.array_equal(y, other)
    grads, _ = net.vjp(params, residuals, y)
    assert tree.equal(again.vjp(params, pickle.loads(pickle.dumps(other_residuals)), y)[0], grads)
    assert tree.equal(again.advance(params, other_residuals), net.advance(params, residuals))
    for part in (fn.softmax_cross_entropy(label_smoothing=0.1), fn.l2(0.1), fn.adamw(0.1)):
        assert str(pickle.loads(pickle.dumps(part))) == str(part)


def test_children_know_their_paths() -> None:
    """As the tree of their params has them."""

    def named(layer: AnyLayer, params: Any, path: str) -> list[str]:
        if not layer.children:
            return [name for name, _ in tree.named_leaves(params, path)]
        around = layer.kind == "around"
        inside = f"{path}.params" if around else path
        entries = (params.params,) if around else params
        of_place = dict(zip(dict(layer.children), entries, strict=True))  # tied layers are in one place
        return [name for place, child in layer.children for name in named(child, of_place[place], f"{inside}{place}")]

    net = everything()
    params = made(net)
    assert named(net, params, "") == [path for path, _ in tree.named_leaves(params)]


@pytest.mark.parametrize(
    "net", [fn.residual(fn.linear(4), fn.dropout(0.5)), fn.parallel(fn.linear(4), fn.batch_norm())]
)
def test_a_composition_is_made_again_of_its_layers(net: AnyLayer) -> None:
    again = net.remake(tuple(child for _, child in net.children))
    params = made(net)
    assert np.array_equal(again.forward(params, x, KEY)[0], net.forward(params, x, KEY)[0])
    assert (again.kind, again.draws, again.children) == (net.kind, net.draws, net.children)
    assert again.name.partition("(")[0] == net.name.partition("(")[0]


def test_a_network_whose_function_was_replaced_runs_the_new_one() -> None:
    """At the door, in predictions and in steps."""
    net = fn.chain(fn.linear(3), fn.tanh())
    params = made(net)
    doubled = attrs.evolve(net, forward=lambda params, x: (2 * net.pure_forward(params, x)[0], ()), predict=None)
    y = net.forward(params, x)[0]
    assert np.array_equal(doubled.forward(params, x)[0], 2 * y)
    assert np.array_equal(doubled.predict(params, x), 2 * y)
    for engine, _ in ENGINES:
        np.testing.assert_allclose(fn.make_predict(doubled, params, engine=engine)(x), 2 * y, rtol=1e-12)
    silent = attrs.evolve(net, vjp=lambda params, residuals, dy, need_dx=True: (tree.map(np.zeros_like, params), dy))
    assert tree.norm(silent.vjp(params, net.forward(params, x)[1], np.ones_like(y))[0]) == 0


def test_residuals_of_a_parallel_pickle() -> None:
    net = fn.parallel(fn.linear(2), fn.linear(3), merge="concatenation")
    _, residuals = net.forward(made(net), x)
    again = pickle.loads(pickle.dumps(residuals))
    assert isinstance(again, ParallelResiduals)
    assert again.widths == (2, 3)


def test_what_an_evolved_combinator_is_when_frozen_nobody_knows() -> None:
    net = fn.chain(fn.linear(3), fn.dropout(0.5))
    for changes in (
        {"predict": lambda params, x: 100 * x},
        {"vjp": lambda params, residuals, dy, need_dx=True: ((), dy)},
    ):
        with pytest.raises(TypeError, match="was replaced, and nothing says what the layer is when frozen"):
            fn.frozen(attrs.evolve(net, **changes))


def test_running_state_may_refer_to_its_own_old_value() -> None:
    """The mean of the batch before, and the one before that: the same under both engines."""

    @attrs.frozen
    class Before(tree.Record):
        weight: Any = tree.array_field()
        now: Any = tree.array_field(trained=False, default=None)
        before: Any = tree.array_field(trained=False, default=None)

    zeros = np.zeros(3, np.float32)
    layer = fn.Layer(
        "before",
        lambda key, in_shape: (Before(zeros + 1, zeros, zeros), in_shape),
        lambda params, x: (x * params.weight, x),
        lambda params, x, dy, need_dx=True: (Before((dy * x).sum(axis=0)), dy * params.weight),
        advance=lambda params, x: attrs.evolve(params, before=params.now, now=x.mean(axis=0)),
    )
    params, _ = layer.init(fn.make_key(0), (3,))
    found = []
    for engine in (fn.engines.plain(), fn.engines.numpy()):
        step = fn.make_step(layer, fn.mean_squared_error(), fn.sgd(0.1), engine=engine)
        state = fn.init_state(params, fn.sgd(0.1), fn.make_key(1))
        for number in range(3):
            x = random.normal(fn.make_key(number), (4, 3))
            state, _ = step(state, fn.Batch(x, x))
        found.append(state.params)
    for a, b in zip(*map(tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    np.testing.assert_allclose(found[1].before, random.normal(fn.make_key(1), (4, 3)).mean(axis=0), rtol=1e-6)


# --- repeat and checkpoint

BLOCK = fn.chain(fn.linear(4), fn.batch_norm(), fn.dropout(0.3), fn.tanh())


def results(net: AnyLayer, params: Any, key: Any = KEY) -> tuple[Any, ...]:
    """All that the functions of a network compute."""
    y, residuals = net.forward(params, x, key)
    return y, *net.vjp(params, residuals, dy), net.predict(params, x), net.advance(params, residuals)


def test_repeated_layers_have_params_of_their_own() -> None:
    net = fn.repeat(fn.linear(4), 3)
    params = made(net)
    assert net.name == "chain(linear(4), linear(4), linear(4))"
    assert len(params) == 3
    assert not np.array_equal(params[0].weight, params[1].weight)


@pytest.mark.parametrize("layer", [BLOCK, fn.frozen(fn.linear(4)), fn.tanh(), fn.residual(fn.batch_norm())], ids=str)
def test_tied_layers_have_the_same_params_and_their_gradients_are_added(layer: AnyLayer) -> None:
    tied, apart = fn.repeat(layer, 3, tied=True), fn.repeat(layer, 3)
    params = made(tied)
    assert len(params) == 1
    y, grads, dx, prediction, advanced = results(tied, params)
    wanted = results(apart, params * 3)
    assert np.array_equal(y, wanted[0])
    (total,) = grads
    assert tree.structure(total) == tree.structure(tree.trained(params[0]))
    for sum_of, *parts in zip(tree.leaves(total), *map(tree.leaves, wanted[1]), strict=True):
        np.testing.assert_allclose(sum_of, sum(parts), rtol=1e-12)
    assert np.array_equal(dx, wanted[2])
    assert np.array_equal(prediction, wanted[3])
    one_by_one = params[0]
    for kept in tied.forward(params, x, KEY)[1]:
        one_by_one = layer.advance(one_by_one, kept)
    assert tree.equal(advanced, (one_by_one,))


def test_checkpoint_computes_what_the_chain_does() -> None:
    """With the same masks of dropout, and statistics of the params of forward, not of those after the update."""
    layers = (fn.linear(4), BLOCK, fn.frozen(fn.batch_norm()), fn.residual(fn.dropout(0.5)), fn.batch_norm())
    net, chain = fn.checkpoint(*layers), fn.chain(*layers)
    params = made(chain)
    assert tree.equal(net.init(KEY, (4,))[0], chain.init(KEY, (4,))[0])
    assert tree.equal(results(net, params), results(chain, params))
    updated = tree.map(lambda old, _: old + 1, params, params)
    updated = tree.combine(tree.trained(updated), params)
    kept, of_chain = (layer.forward(params, x, KEY)[1] for layer in (net, chain))
    assert tree.equal(net.advance(updated, kept), chain.advance(updated, of_chain))
    assert not tree.equal(net.advance(updated, kept), updated)


def test_checkpoint_keeps_its_input_alone() -> None:
    net = fn.checkpoint(fn.linear(64), fn.tanh(), fn.linear(4))
    _, residuals = net.forward(made(net), x)
    assert [array is x for array in tree.leaves(residuals)] == [True]


@pytest.mark.parametrize("net", [fn.repeat(BLOCK, 2, tied=True), fn.checkpoint(BLOCK, fn.linear(4))], ids=str)
def test_repeat_and_checkpoint_in_steps_of_every_engine(net: AnyLayer) -> None:
    net = fn.chain(fn.linear(4), fn.relu(), net, fn.checkpoint(fn.identity(), fn.relu(), fn.linear(3)))
    optimizer, params = fn.momentum(0.05), made(net)
    found = []
    for engine, donate in ENGINES:
        step = fn.make_step(net, fn.mean_squared_error(), optimizer, donate=donate, engine=engine)
        state = fn.copy_state(fn.init_state(params, optimizer, KEY), engine=engine)
        for _ in range(3):
            state, metrics = step(state, fn.Batch(x, x[:, :3]))
        found.append((metrics.loss, *tree.leaves(state.params)))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_kernels_run_inside_a_checkpoint() -> None:
    net = fn.checkpoint(fn.linear(4), fn.tanh())
    assert kernel_names(net) == (("linear(4)", "linear"), ("tanh", "tanh"))
    assert kernel_names(fn.checkpoint(fn.batch_norm())) == (("checkpoint(batch_norm)", ""),)


@pytest.mark.parametrize("net", [fn.repeat(BLOCK, 2, tied=True), fn.checkpoint(BLOCK)], ids=str)
def test_frozen_ones_predict_and_do_not_move(net: AnyLayer) -> None:
    layer, inner = fn.frozen(net), made(net)
    params = FrozenParams(inner)
    y, residuals = layer.forward(params, x)
    np.testing.assert_allclose(y, net.predict(inner, x), rtol=1e-12)
    assert tree.leaves(layer.vjp(params, residuals, dy)[0]) == []
    assert layer.advance(params, residuals) is params


def test_tied_params_are_counted_once() -> None:
    facts = describe(fn.repeat(fn.chain(fn.linear(4), fn.relu()), 3, tied=True), (4,))
    assert [(layer.path, layer.parameters, layer.multiply_adds) for layer in facts] == [
        ("[0][0]", 20, 16), ("[0][1]", 0, 0), ("[0][0]", 0, 16), ("[0][1]", 0, 0), ("[0][0]", 0, 16), ("[0][1]", 0, 0),
    ]  # fmt: skip


@pytest.mark.usefixtures("as_users_run")
def test_what_repeat_and_checkpoint_refuse() -> None:
    with pytest.raises(ValueError, match="how many times a layer is repeated is a whole number from 1 up, got 0"):
        fn.repeat(fn.relu(), 0)
    with pytest.raises(TypeError, match=r"repeat\[0\] is no layer but a function: .*call it to make the layer"):
        fn.repeat(fn.relu, 2)
    with pytest.raises(
        fn.ShapeError, match=r"repeat\[0\].linear\(3\): expected an output of shape \(4,\), as the input"
    ):
        fn.repeat(fn.linear(3), 2, tied=True).init(KEY, (4,))
    tied, net = fn.repeat(fn.linear(4), 2, tied=True), fn.checkpoint(fn.linear(4))
    with pytest.raises(
        fn.ShapeError, match="repeat: expected params with an entry for each of its 1 layers, got a tuple"
    ):
        tied.forward(made(tied) * 2, x)
    with pytest.raises(
        fn.ShapeError, match=r"checkpoint: expected CheckpointResiduals, got a tuple \(the residuals of"
    ):
        net.vjp(made(net), (x,), dy)
    with pytest.raises(fn.ShapeError, match=r"checkpoint\[0\].linear\(4\): expected x of shape \(batch, 4\)"):
        net.forward(made(net), x[:, :3])
