"""What became non-finite first is found, wherever it begins. Everything after it is not finite either."""

import itertools
import math
from typing import Any

import attrs
import numpy as np
import pytest

from funcnet import engines, tree
from funcnet.combinators import chain, residual
from funcnet.data.dataset import Dataset, Split
from funcnet.engines.numpy import engine as numpy_engine
from funcnet.layers.activations import relu
from funcnet.layers.linear import linear
from funcnet.layers.norm import batch_norm
from funcnet.losses import Loss, mean_squared_error, softmax_cross_entropy
from funcnet.nonfinite import DivergenceError, NonFiniteError
from funcnet.optimizers import Moment, Optimizer, adam, average, sgd
from funcnet.penalties import Penalty, l2
from funcnet.random import make_key, normal
from funcnet.step import Engine, init_state
from funcnet.training import EpochRecord, train

X = normal(make_key(0), (60, 4))
DATA = Dataset("made up", Split(X, (X[:, 0] > 0).astype(np.int64)), Split(X, (X[:, 1] > 0).astype(np.int64)), ())
NET = chain(linear(5), relu(), residual(batch_norm(), linear(5)), linear(2))


def failed(
    net: Any = NET, *, loss: Loss | None = None, optimizer: Optimizer | None = None, engine: Engine | None = None,
    **options: Any,
) -> tuple[NonFiniteError, list[EpochRecord]]:  # fmt: skip
    optimizer = optimizer or sgd(0.01)
    params, _ = net.init(make_key(1), (4,))
    records: list[EpochRecord] = []
    training = train(
        net, init_state(params, optimizer, make_key(2)), DATA, loss=loss or softmax_cross_entropy(),
        optimizer=optimizer, epochs=3, batch_size=10, engine=engine, **options,
    )  # fmt: skip
    with pytest.raises(NonFiniteError) as caught:
        records.extend(training)
    return caught.value, records


def group_lasso(scale: float) -> Penalty:
    """|w|, whose gradient w / |w| is NaN at zero."""
    return Penalty(
        "group lasso", scale, lambda w: scale * np.sqrt(np.sum(w * w)), lambda w: w * (scale / np.sqrt(np.sum(w * w)))
    )


@pytest.mark.parametrize("engine", [engines.plain(), engines.numpy()], ids=str)
def test_a_penalty_whose_gradient_is_nan_at_zero_is_named(engine: Engine) -> None:
    """Biases begin at zero. The loss of that step is finite: it shows one step later, and there is nothing to blame."""
    error, _ = failed(engine=engine, penalties={"[0].bias": group_lasso(1.0)})
    assert not isinstance(error, DivergenceError)
    assert (error.epoch, error.step) == (1, 1)
    assert error.what == "the gradient of the group lasso penalty of [0].bias"
    assert "the loss became nan at step 2 of epoch 1" in str(error)
    assert "the first to become nan was the gradient of the group lasso penalty of [0].bias, at step 1" in str(error)
    assert error.state is not None
    assert error.state.step == 0


def test_the_layer_whose_vjp_is_wrong_is_named_by_its_place() -> None:
    inner = linear(5)

    def vjp(params: Any, residuals: Any, dy: Any, *, need_dx: bool = True) -> Any:
        dparams, dx = inner.vjp(params, residuals, dy, need_dx=need_dx)
        return dparams, None if dx is None else dx / np.float32(0)

    wrong = attrs.evolve(inner, vjp=vjp, name="wrong")
    error, _ = failed(chain(linear(5), relu(), residual(batch_norm(), wrong), linear(2)))
    assert error.what == "the gradient of [2][0][1].wrong with respect to its input"
    assert "funcnet.check" in str(error)


def test_the_layer_whose_output_overflows_is_named() -> None:
    forward = relu().forward
    huge = attrs.evolve(relu(), forward=lambda p, x: (np.exp(x * np.float32(1000)), forward(p, x)[1]), name="explosive")
    error, _ = failed(chain(linear(5), huge, linear(2)))
    assert isinstance(error, DivergenceError)
    assert error.what == "the output of [1].explosive"
    assert "the first to become infinite was the output of [1].explosive" in str(error)


def test_a_loss_that_is_not_finite_is_named() -> None:
    loss = Loss("mine", lambda z, t: (math.inf, np.zeros_like(z)))
    error, _ = failed(loss=loss)
    assert isinstance(error, DivergenceError)
    assert error.what == "the mine"


def test_a_gradient_of_a_loss_that_is_not_finite_is_named() -> None:
    def value_and_grad(z: Any, t: Any) -> Any:
        return 1.0, np.full_like(z, np.nan)

    error, _ = failed(loss=Loss("mine", value_and_grad))
    assert not isinstance(error, DivergenceError)
    assert error.what == "the gradient of the mine with respect to the network's output"


def test_an_update_that_is_not_finite_is_named() -> None:
    def update(grads: Any, opt_state: Any, params: Any, now: Moment) -> Any:
        return tree.map(lambda g: np.sqrt(-np.abs(g)), grads), opt_state

    error, _ = failed(optimizer=Optimizer("mine", lambda params: (), update, lambda step: 0.1))
    assert error.what == "the update by mine of [0].weight"
    assert error.step == 1


def test_an_optimizer_whose_state_overflows_is_noticed_though_the_loss_stays_finite() -> None:
    """The second moment of Adam, in float32: after it overflowed, the parameters stay as they are for ever."""
    loss = mean_squared_error()
    data = Dataset("far", *2 * (Split(X, np.full((60, 2), 1e30, np.float32)),), ())
    net, optimizer = linear(2), adam(1e-3)
    quarter = Loss("small", lambda z, t: (0.5, loss.value_and_grad(z, t)[1]), targets="numbers")
    params, _ = net.init(make_key(1), (4,))
    with pytest.raises(NonFiniteError, match=r"optimizer's state .* became infinite at step 6 of epoch 1") as caught:
        next(
            train(
                net,
                init_state(params, optimizer, make_key(2)),
                data,
                loss=quarter,
                optimizer=optimizer,
                epochs=1,
                batch_size=10,
            )
        )
    assert caught.value.step == 1
    assert "the optimizer's state" in caught.value.what


def test_an_advance_that_is_not_finite_is_named() -> None:
    norm = batch_norm()
    wrong = attrs.evolve(norm, advance=lambda p, kept: attrs.evolve(p, mean=p.mean * np.float32(np.inf)))
    error, _ = failed(chain(linear(5), wrong, linear(2)))
    assert error.what == "what advance makes of [1].mean"
    assert "[1].mean became nan at step 6 of epoch 1" in str(error)


def spoiled(step: int | None) -> Optimizer:
    """Gradient descent, whose update in one step is infinite."""

    def update(grads: Any, opt_state: Any, params: Any, now: Moment) -> Any:
        rate = np.float32(np.inf if now.step == step else 0.01)
        return tree.map(lambda g: -rate * g, grads), opt_state

    return Optimizer("mine", lambda params: (), update, lambda step: 0.01)


@pytest.mark.parametrize("step", [0, 3, 5, 8])
def test_the_error_holds_the_state_before_that_step(step: int) -> None:
    """Bit by bit, with its progress: a run with another optimizer goes on from it. An epoch has 6 steps."""
    error, records = failed(optimizer=spoiled(step))
    assert len(records) == step // 6
    assert (error.epoch, error.step) == (step // 6 + 1, step % 6 + 1)
    assert error.what.startswith("the update by mine of [0].weight")
    calm = spoiled(None)
    state = init_state(NET.init(make_key(1), (4,))[0], calm, make_key(2))
    training = train(
        NET, state, DATA, loss=softmax_cross_entropy(), optimizer=calm, epochs=3, batch_size=10
    )  # fmt: skip
    steps = (moment for moment in training.steps() if not isinstance(moment, EpochRecord))
    seen = [state, *(training.state for _ in itertools.islice(steps, step))]
    assert error.state is not None
    assert tree.equal(error.state.params, seen[-1].params)
    (*_, last) = train(
        NET, error.state, DATA, loss=softmax_cross_entropy(), optimizer=calm, epochs=3, batch_size=10
    )  # fmt: skip
    (*_, whole) = training
    assert last.running == whole.running
    assert tree.equal(last.params, whole.params)


def test_a_network_that_is_not_finite_in_evaluation_alone() -> None:
    norm = batch_norm()
    wrong = attrs.evolve(norm, predict=lambda p, x: norm.predict(p, x) / np.float32(0))
    error, _ = failed(chain(linear(5), wrong, linear(2)))
    assert isinstance(error, DivergenceError)
    assert error.what in ("the output of [1].batch_norm", f"the output of [1].{norm.name}")
    assert error.step == 6


def test_an_average_of_the_parameters_is_looked_at_too() -> None:
    error, _ = failed(optimizer=average(sgd(1e38)), penalties={"[0].weight": l2(1e-3)})
    assert "at a learning rate of 1e+38" in str(error)


def test_a_kernel_that_is_not_finite_where_its_function_is_leaves_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_engine, "_value_and_grad", lambda loss: lambda z, t: (math.inf, np.zeros_like(z)))
    error, _ = failed()
    assert "with the plain functions step 1 is finite: try engine=engines.plain()" in str(error)
    assert error.state is not None
    assert error.state.step == 0


def test_a_layer_that_is_not_pure_is_said() -> None:
    """Run again, the step is finite."""
    inner, calls = linear(2), iter([1.0] * 8 + [math.nan] + [1.0] * 100)
    wrong = attrs.evolve(
        inner, forward=lambda p, x: (inner.forward(p, x)[0] * np.float32(next(calls, 1.0)), inner.forward(p, x)[1])
    )
    error, _ = failed(chain(linear(5), wrong))
    assert "is not pure" in str(error)
