"""The same in PyTorch, where it is installed: values and gradients of layers and losses, and whole training steps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import random, tree
from funcnet.check import class_labels, counts, distributions, real_numbers, shares
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.combinators import chain
from funcnet.engines.running import make_step
from funcnet.layer import AnyLayer
from funcnet.layers.activations import elu, leaky_relu, relu, sigmoid, softplus, tanh
from funcnet.layers.gated import gelu, hard_swish, mish, silu
from funcnet.layers.linear import linear
from funcnet.layers.reshape import flatten, identity
from funcnet.losses import (
    Loss,
    binary_cross_entropy,
    focal_loss,
    hinge_loss,
    huber_loss,
    kl_divergence,
    mean_absolute_error,
    mean_squared_error,
    poisson_loss,
    softmax_cross_entropy,
)
from funcnet.optimizers import Optimizer, momentum, nesterov, sgd
from funcnet.penalties import each_weight, l2
from funcnet.random import Key, make_key
from funcnet.shapes import Array, Shape
from funcnet.step import Batch, init_state

torch = pytest.importorskip("torch", reason="PyTorch is not here: pip install torch", exc_type=ImportError)
from torch.nn import functional  # noqa: E402 - only where there is a torch

ACTIVATIONS: list[tuple[AnyLayer, Callable[[Any], Any]]] = [
    (relu(), functional.relu),
    (leaky_relu(0.1), lambda x: functional.leaky_relu(x, 0.1)),
    (tanh(), torch.tanh),
    (sigmoid(), torch.sigmoid),
    (softplus(), functional.softplus),
    (gelu(), lambda x: functional.gelu(x, approximate="tanh")),
    (elu(0.7), lambda x: functional.elu(x, 0.7)),
    (silu(), functional.silu),
    (mish(), functional.mish),
    (hard_swish(), functional.hardswish),
    (identity(), lambda x: x + 0),
    (flatten(), lambda x: x.reshape(len(x), -1)),
]
LOSSES: list[tuple[Loss, Any, Callable[[Any, Any], Any]]] = [
    (softmax_cross_entropy(), class_labels, functional.cross_entropy),
    (
        softmax_cross_entropy(label_smoothing=0.2),
        class_labels,
        lambda z, t: functional.cross_entropy(z, t, label_smoothing=0.2),
    ),
    (binary_cross_entropy(), shares, functional.binary_cross_entropy_with_logits),
    (mean_squared_error(), real_numbers, functional.mse_loss),
    (softmax_cross_entropy(), distributions, functional.cross_entropy),
    (
        softmax_cross_entropy(label_smoothing=0.2),
        distributions,
        lambda z, t: functional.cross_entropy(z, t, label_smoothing=0.2),
    ),
    (kl_divergence(), distributions, lambda z, t: functional.kl_div(log_softmax(z), t, reduction="batchmean")),
    (focal_loss(1.5), class_labels, lambda z, t: their_focal(1.5, z, t).mean()),
    (hinge_loss(), class_labels, lambda z, t: their_hinge(z, t).mean()),
    (mean_absolute_error(), real_numbers, functional.l1_loss),
    (huber_loss(0.7), real_numbers, lambda z, t: functional.huber_loss(z, t, delta=0.7)),
    (poisson_loss(), counts, functional.poisson_nll_loss),
]
# Each with PyTorch's loss of every example, and the class weights of both.
BY_CLASS = (1.0, 0.4, 2.0)
WEIGHTED: list[tuple[Loss, Any, Callable[[Any, Any], Any], tuple[float, ...]]] = [
    (softmax_cross_entropy(), class_labels, lambda z, t: cross_entropies(z, t), ()),
    (
        softmax_cross_entropy(class_weights=BY_CLASS),
        class_labels,
        lambda z, t: cross_entropies(z, t, BY_CLASS),
        BY_CLASS,
    ),
    (
        softmax_cross_entropy(label_smoothing=0.3, class_weights=BY_CLASS),
        class_labels,
        lambda z, t: cross_entropies(z, t, BY_CLASS, 0.3),
        BY_CLASS,
    ),
    (
        softmax_cross_entropy(label_smoothing=0.3, class_weights=BY_CLASS),
        distributions,
        lambda z, t: cross_entropies(z, t, BY_CLASS, 0.3),
        BY_CLASS,
    ),
    (kl_divergence(), distributions, lambda z, t: functional.kl_div(log_softmax(z), t, reduction="none").sum(1), ()),
    (focal_loss(class_weights=BY_CLASS), class_labels, lambda z, t: of_labels(t) * their_focal(2, z, t), BY_CLASS),
    (hinge_loss(class_weights=BY_CLASS), class_labels, lambda z, t: of_labels(t) * their_hinge(z, t), BY_CLASS),
    (
        binary_cross_entropy(),
        shares,
        lambda z, t: functional.binary_cross_entropy_with_logits(z, t, reduction="none").mean(1),
        (),
    ),
    (mean_squared_error(), real_numbers, lambda z, t: functional.mse_loss(z, t, reduction="none").mean(1), ()),
    (poisson_loss(), counts, lambda z, t: functional.poisson_nll_loss(z, t, reduction="none").mean(1), ()),
]


def log_softmax(z: Any) -> Any:
    return functional.log_softmax(z, dim=1)


def cross_entropies(z: Any, t: Any, by_class: tuple[float, ...] | None = None, smoothing: float = 0.0) -> Any:
    weight = None if by_class is None else torch.tensor(by_class, dtype=z.dtype)
    return functional.cross_entropy(z, t, weight=weight, label_smoothing=smoothing, reduction="none")


def of_labels(t: Any) -> Any:
    return torch.tensor(BY_CLASS, dtype=torch.float64)[t]


def their_focal(gamma: float, z: Any, t: Any) -> Any:
    cost = cross_entropies(z, t)
    return (1 - torch.exp(-cost)) ** gamma * cost


def their_hinge(z: Any, t: Any) -> Any:
    """Of two classes it is twice PyTorch's, which takes all other classes and divides by the number of classes."""
    if z.shape[1] == 2:
        return 2 * functional.multi_margin_loss(z, t, reduction="none")
    chosen = functional.one_hot(t, z.shape[1]).bool()
    rival = z.masked_fill(chosen, -torch.inf).amax(dim=1)
    return torch.relu(1 + rival - z[chosen])


def tensor(array: Array, *, grad: bool = True) -> Any:
    return torch.tensor(array, requires_grad=grad and array.dtype.kind == "f")


def same(ours: Array, theirs: Any, dtype: Any) -> None:
    """But for rounding: some units in the last place of the largest entry."""
    wanted = theirs.detach().numpy()
    assert ours.dtype == wanted.dtype == dtype
    np.testing.assert_allclose(
        ours, wanted, rtol=0, atol=200 * np.finfo(dtype).eps * max(1, np.abs(wanted).max(initial=0))
    )


precisions = st.sampled_from([np.float32, np.float64])


@pytest.mark.parametrize(("layer", "theirs"), ACTIVATIONS, ids=lambda case: getattr(case, "name", ""))
@settings(max_examples=15)
@given(shapes(), sizes(), keys(), precisions)
def test_layers_without_parameters(
    layer: AnyLayer, theirs: Any, shape: Shape, batch: int, key: Key, dtype: Any
) -> None:
    x_key, dy_key = random.split(key)
    x = random.normal(x_key, (batch, *shape), dtype) * 3
    y, residuals = layer.forward((), x)
    dy = random.normal(dy_key, y.shape, dtype)
    their_x = tensor(x)
    their_y = theirs(their_x)
    their_y.backward(tensor(dy, grad=False))
    same(y, their_y, dtype)
    same(layer.vjp((), residuals, dy)[1], their_x.grad, dtype)


@settings(max_examples=25)
@given(sizes(), sizes(), sizes(), st.booleans(), keys(), precisions)
def test_linear(batch: int, n_in: int, n_out: int, bias: bool, key: Key, dtype: Any) -> None:
    x_key, dy_key, init_key = random.split(key, 3)
    layer = linear(n_out, bias=bias)
    params = tree.map(lambda a: a.astype(dtype) + dtype(0.5), layer.init(init_key, (n_in,))[0])
    x, dy = random.normal(x_key, (batch, n_in), dtype), random.normal(dy_key, (batch, n_out), dtype)
    y, residuals = layer.forward(params, x)
    dparams, dx = layer.vjp(params, residuals, dy)
    their_x, weight = tensor(x), tensor(params.weight.T)
    their_bias = tensor(params.bias) if bias else None
    their_y = functional.linear(their_x, weight, their_bias)
    their_y.backward(tensor(dy, grad=False))
    same(y, their_y, dtype)
    same(dx, their_x.grad, dtype)
    same(dparams.weight, weight.grad.T, dtype)
    if their_bias is not None:
        same(dparams.bias, their_bias.grad, dtype)


@pytest.mark.parametrize(("loss", "targets", "theirs"), LOSSES, ids=lambda case: getattr(case, "name", ""))
@settings(max_examples=15)
@given(sizes(), sizes(), keys(), precisions)
def test_losses(loss: Loss, targets: Any, theirs: Any, batch: int, width: int, key: Key, dtype: Any) -> None:
    z_key, target_key = random.split(key)
    z = random.normal(z_key, (batch, width), dtype) * 3
    target = targets(target_key, z)
    target = target if target.dtype.kind == "i" else target.astype(dtype)
    value, gradient = loss(z, target)
    their_z = tensor(z)
    their_value = theirs(their_z, tensor(target, grad=False))
    their_value.backward()
    same(np.asarray(value, dtype), their_value, dtype)
    same(gradient, their_z.grad, dtype)


@pytest.mark.parametrize(
    ("loss", "targets", "theirs", "by_class"), WEIGHTED, ids=lambda case: getattr(case, "name", "")
)
def test_weighted_losses(loss: Loss, targets: Any, theirs: Any, by_class: tuple[float, ...]) -> None:
    """The sum of PyTorch's weighted losses of the examples, over that of the weights."""
    z = random.normal(make_key(1), (8, 3), np.float64) * 2
    t = targets(make_key(2), z)
    t = t if t.dtype.kind == "i" else t.astype(np.float64)
    weight = np.array([1, 0, 0.5, 3, 1, 2, 0, 1])
    counted = np.asarray(by_class)[t] if by_class and t.ndim == 1 else t @ np.asarray(by_class) if by_class else 1
    their_z = tensor(z)
    wanted = (tensor(weight, grad=False) * theirs(their_z, tensor(t, grad=False))).sum() / (weight * counted).sum()
    wanted.backward()
    value, gradient = loss(z, t, weight)
    assert value == pytest.approx(float(wanted.detach()), rel=1e-12)
    np.testing.assert_allclose(gradient, their_z.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_class_weights_of_labels_are_pytorchs(smoothing: float) -> None:
    """Its own mean of weighted losses."""
    z, labels = random.normal(make_key(1), (8, 3), np.float64), random.randint(make_key(2), (8,), 0, 3)
    their_z = tensor(z)
    weight = torch.tensor(BY_CLASS, dtype=torch.float64)
    wanted = functional.cross_entropy(their_z, torch.tensor(labels), weight=weight, label_smoothing=smoothing)
    wanted.backward()
    value, gradient = softmax_cross_entropy(label_smoothing=smoothing, class_weights=BY_CLASS)(z, labels)
    assert value == pytest.approx(float(wanted.detach()), rel=1e-12)
    np.testing.assert_allclose(gradient, their_z.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (sgd(0.1), {}),
        (momentum(0.1, 0.9), {"momentum": 0.9}),
        (nesterov(0.1, 0.9), {"momentum": 0.9, "nesterov": True}),
    ],
    ids=["sgd", "momentum", "nesterov"],
)
def test_ten_steps_of_a_network_with_weight_decay(optimizer: Optimizer, options: dict[str, Any]) -> None:
    """Layers, loss, penalty and optimizer together; an l2 penalty on every array is PyTorch's weight_decay."""
    net = chain(linear(6), relu(), linear(3))
    params = tree.map(lambda a: a.astype(np.float64), net.init(make_key(0), (4,))[0])
    x = random.normal(make_key(1), (20, 4), np.float64)
    y = random.randint(make_key(2), (20,), 0, 3)
    penalties = each_weight(l2(0.05), params, biases=True)
    step, state = (
        make_step(net, softmax_cross_entropy(), optimizer, penalties),
        init_state(params, optimizer, make_key(3)),
    )
    weights = [tensor(leaf) for leaf in tree.leaves(params)]
    theirs = torch.optim.SGD(weights, lr=0.1, weight_decay=0.05, **options)
    for _ in range(10):
        state, metrics = step(state, Batch(x, y))
        theirs.zero_grad()
        hidden = functional.relu(torch.tensor(x) @ weights[0] + weights[1])
        loss = functional.cross_entropy(hidden @ weights[2] + weights[3], torch.tensor(y))
        loss.backward()
        theirs.step()
        same(np.asarray(metrics.data_loss), loss, np.float64)
        for ours, their in zip(tree.leaves(state.params), weights, strict=True):
            same(ours, their, np.float64)
