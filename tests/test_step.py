import math

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import random, tree
from funcnet.check import check_step, class_labels
from funcnet.check.strategies import keys, sizes
from funcnet.layer import AnyLayer, chain
from funcnet.layers.activations import relu, tanh
from funcnet.layers.linear import linear
from funcnet.losses import mean_squared_error, softmax_cross_entropy
from funcnet.optimizers import momentum, sgd
from funcnet.penalties import each_weight, l1, l2
from funcnet.random import Key, make_key
from funcnet.shapes import ShapeError
from funcnet.step import Batch, Evaluation, PenaltyValue, evaluate, make_grad, make_step, start


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
    new, _ = step(start(params, sgd(0.1), key), batch_of(key, 5, np.float32))
    assert (new.step, new.key) == (1, key)
    assert not tree.equal(new.params, params)


def test_metrics_keep_data_loss_and_penalties_apart() -> None:
    net, batch = network(), batch_of(make_key(0), 5)
    params = tree.map(lambda a: a.astype(np.float64), net.init(make_key(0), (2,))[0])
    penalties = {"[0].weight": l2(0.3), "[2].weight": l1(0.1)}
    _, metrics = make_step(net, softmax_cross_entropy(), sgd(0.1), penalties)(
        start(params, sgd(0.1), make_key(0)), batch
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
    state = start(net.init(make_key(0), (2,))[0], optimizer, make_key(0))
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
        step(start(params, sgd(0.1), make_key(0)), batch_of(make_key(0), 2, np.float32))


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
