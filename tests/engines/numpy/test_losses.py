from typing import Any

import numpy as np
import pytest
from pure_cases import target_of

from funcnet import engines, tree
from funcnet.combinators import chain
from funcnet.engines.numpy.losses import fast_loss
from funcnet.engines.running import make_step
from funcnet.layers.activations import tanh
from funcnet.layers.linear import linear
from funcnet.losses import (
    Loss,
    binary_cross_entropy,
    focal_loss,
    huber_loss,
    kl_divergence,
    mean_squared_error,
    softmax_cross_entropy,
)
from funcnet.optimizers import momentum
from funcnet.random import make_key
from funcnet.step import Batch, init_state

CASES = [
    (softmax_cross_entropy(), "labels"),
    (softmax_cross_entropy(label_smoothing=0.1), "distributions"),
    (softmax_cross_entropy(class_weights=(1, 0.5, 2)), "labels"),
    (kl_divergence(), "distributions"),
    (focal_loss(), "labels"),
    (binary_cross_entropy(), "shares"),
    (mean_squared_error(), "numbers"),
    (huber_loss(), "numbers"),
]


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize(("loss", "kind"), CASES, ids=str)
def test_both_engines_make_the_same_steps_of_weighted_batches(loss: Loss, kind: str, donate: bool) -> None:
    """Batches with weights, without, and with weights of 0 in turn: what the engine keeps of one serves no other."""
    net, optimizer = chain(linear(5), tanh(), linear(3)), momentum(0.1)
    params = tree.map(lambda a: a.astype(np.float64), net.init(make_key(0), (4,))[0])
    x = np.random.default_rng(0).standard_normal((6, 4))
    y = target_of(kind, x[:, :3])
    weights: list[Any] = [np.arange(6.0), None, np.zeros(6), np.array([0, 0, 3.0, 0, 0, 1])]
    steps = [make_step(net, loss, optimizer, donate=donate, engine=e) for e in (engines.plain(), engines.numpy())]
    states = [engine.copy_state(init_state(params, optimizer, make_key(1))) for engine in (engines.numpy(),) * 2]
    for weight in weights:
        made = [step(state, Batch(x, y, weight)) for step, state in zip(steps, states, strict=True)]
        states, metrics = [state for state, _ in made], [met for _, met in made]
        assert metrics[1].data_loss == pytest.approx(metrics[0].data_loss, rel=1e-12)
        assert metrics[1].accuracy == pytest.approx(metrics[0].accuracy, rel=1e-12, nan_ok=True)
        for a, b in zip(*(tree.leaves(state.params) for state in states), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-13)


def test_losses_without_class_weights_have_their_kernels() -> None:
    for loss in (softmax_cross_entropy(), softmax_cross_entropy(label_smoothing=0.1), binary_cross_entropy()):
        assert fast_loss(loss.value_and_grad) is not None
        assert fast_loss(loss.pure_accuracy) is not None
    assert fast_loss(mean_squared_error().value_and_grad) is not None
    for loss in (softmax_cross_entropy(class_weights=(1, 2)), huber_loss()):
        assert fast_loss(loss.value_and_grad) is None
