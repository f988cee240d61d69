"""Every pure function of the library, with arguments for it: what runs on arrays of any namespace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import numpy as np

import funcnet as fn
from funcnet import tree
from funcnet.layer import AnyLayer, advance, run_forward, run_predict

__all__ = [
    "LAYERS",
    "LOSSES",
    "NET",
    "OPTIMIZERS",
    "SMALL",
    "Case",
    "batch_of",
    "example_of",
    "layer_cases",
    "params_of",
    "target_of",
]

KEY = fn.make_key(7)
BATCH = 6


@attrs.frozen
class Case:
    """A pure function and the tree of its arguments, all of one floating-point dtype."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def _net() -> AnyLayer:
    """One with every layer and combinator in it."""
    return fn.chain(
        fn.flatten(),
        fn.linear(6, bias=False),  # before a batch norm, the gradient of a bias is nothing but rounding
        fn.batch_norm(),
        fn.relu(),
        fn.residual(fn.linear(6), fn.tanh()),
        fn.parallel(fn.linear(4), fn.chain(fn.linear(4, bias=False), fn.gelu(), fn.dropout(0.2))),
        fn.parallel(fn.linear(3), fn.chain(fn.softplus(), fn.batch_norm()), merge="concatenation"),
        fn.dropout(0.3),
        fn.frozen(fn.chain(fn.linear(5), fn.batch_norm(), fn.dropout())),
        fn.sigmoid(),
        fn.leaky_relu(),
        fn.identity(),
        fn.linear(4),
    )


NET = _net()
SMALL = fn.chain(
    fn.flatten(),
    fn.linear(6),
    fn.residual(fn.batch_norm(), fn.relu(), fn.dropout(0.2)),
    fn.frozen(fn.linear(5)),
    fn.dropout(0.3),
    fn.linear(4),
)  # fmt: skip

# Each with the shape of an example.
LAYERS: list[tuple[AnyLayer, tuple[int, ...]]] = [
    (fn.linear(3), (5,)),
    (fn.linear(3, bias=False), (5,)),
    *(
        (layer, (2, 3))
        for layer in (
            fn.relu(),
            fn.leaky_relu(0.1),
            fn.leaky_relu(0),
            fn.tanh(),
            fn.sigmoid(),
            fn.softplus(),
            fn.gelu(),
            fn.silu(),
            fn.mish(),
            fn.elu(0.7),
            fn.hard_swish(),
            fn.prelu(),
            fn.log_softmax(),
            fn.bias(),
            fn.scaling(0.3),
            fn.reshape(3, -1),
            fn.transpose(1, 0),
            fn.layer_norm(),
            fn.rms_norm(),
            fn.group_norm(3),
            fn.instance_norm(scale=False),
            fn.flatten(),
            fn.identity(),
            fn.dropout(0.4),
            fn.batch_norm(),
            fn.frozen(fn.batch_norm()),
            fn.frozen(fn.dropout()),
        )
    ),
    (fn.batch_norm(epsilon=0.1), (4,)),
    (fn.batch_norm(scale=False), (4,)),
    (fn.group_norm(2, shift=False), (2, 3, 4)),
    (fn.upsample2d(3), (2, 3, 2)),
    (fn.upsample2d(method="bilinear"), (2, 3, 2)),
    (fn.conv2d(4, groups=2), (4, 3, 2)),
    (fn.conv2d(3, (2, 3), stride=(2, 1), padding=((1, 0), (2, 2)), dilation=(1, 2), bias=False), (4, 3, 2)),
    (fn.conv2d(2, padding="reflect"), (3, 4, 1)),
    (fn.depthwise_conv2d(multiplier=2), (3, 2, 2)),
    (fn.conv1d(3, 2, stride=2), (5, 2)),
    (fn.conv_transpose2d(2, stride=2), (2, 3, 2)),
    (fn.max_pool2d(3, stride=2, padding="same"), (4, 5, 2)),
    (fn.avg_pool2d(3, stride=2, padding=1), (4, 5, 2)),
    (fn.global_avg_pool(), (2, 3, 2)),
    (fn.global_max_pool(), (2, 3, 2)),
    (fn.chain(fn.flatten(), fn.linear(4), fn.relu()), (2, 3)),
    (fn.residual(fn.batch_norm(), fn.tanh()), (2, 3)),
    (fn.residual(fn.dropout()), (4,)),
    (fn.parallel(fn.linear(3), fn.linear(3), fn.chain(fn.relu(), fn.linear(3))), (5,)),
    (fn.parallel(fn.linear(3), fn.identity(), fn.dropout(0.1), merge="concatenation"), (5,)),
    (fn.frozen(fn.linear(3)), (5,)),
    (fn.chain(fn.linear(3), fn.frozen(fn.chain(fn.linear(4), fn.batch_norm())), fn.linear(2)), (5,)),
    (fn.average_views(fn.conv2d(2)), (3, 4, 2)),
    (fn.repeat(fn.chain(fn.linear(3), fn.batch_norm(), fn.dropout(0.2)), 2, tied=True), (3,)),
    (fn.checkpoint(fn.linear(3), fn.batch_norm(), fn.dropout(0.2), fn.tanh()), (4,)),
    (fn.checkpoint(fn.linear(3), fn.frozen(fn.linear(3))), (4,)),
    (NET, (2, 3)),
]

LOSSES = [
    (fn.softmax_cross_entropy(), "labels"),
    (fn.softmax_cross_entropy(label_smoothing=0.1), "labels"),
    (fn.softmax_cross_entropy(), "distributions"),
    (fn.softmax_cross_entropy(label_smoothing=0.1), "distributions"),
    (fn.kl_divergence(), "distributions"),
    (fn.focal_loss(), "labels"),
    (fn.focal_loss(0.5), "labels"),
    (fn.hinge_loss(), "labels"),
    (fn.binary_cross_entropy(), "shares"),
    (fn.mean_squared_error(), "numbers"),
    (fn.mean_absolute_error(), "numbers"),
    (fn.huber_loss(0.7), "numbers"),
    (fn.poisson_loss(), "not negative"),
]

OPTIMIZERS = {
    "sgd": fn.sgd(0.1, weight_decay=1e-3),
    "momentum": fn.momentum(0.05, weight_decay=1e-3),
    "nesterov": fn.nesterov(0.05),
    "adam": fn.adam(1e-2),
    "adamw": fn.adamw(1e-2, weight_decay=1e-2),
    "rmsprop": fn.rmsprop(1e-2),
    "lion": fn.lion(1e-3),
    "adagrad": fn.adagrad(1e-2),
    "lamb": fn.lamb(1e-2, weight_decay=1e-2),
    "muon": fn.muon(1e-2),
}


def target_of(kind: str, prediction: np.ndarray) -> np.ndarray:
    """Targets of this kind."""
    shares = np.cos(prediction) ** 2
    return {
        "labels": np.arange(len(prediction)) % prediction.shape[-1],
        "shares": shares,
        "distributions": shares / shares.sum(axis=-1, keepdims=True),
        "numbers": np.sin(prediction),
        "not negative": 3 * shares,
    }[kind]


def draws_of(dtype: Any, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Normal numbers, the same but for rounding in every dtype."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def params_of(layer: AnyLayer, in_shape: tuple[int, ...], dtype: Any) -> Any:
    """Params of which none is 0 or 1, as biases, scales and running statistics are at the start."""
    params, _ = layer.init(fn.make_key(1), in_shape)
    rng = np.random.default_rng(2)

    def moved(path: str, array: np.ndarray) -> np.ndarray:
        noise = 0.3 * rng.standard_normal(array.shape)
        return (array + (np.abs(noise) if path.endswith("variance") else noise)).astype(dtype)

    return tree.map_named(moved, params)


def example_of(in_shape: tuple[int, ...], dtype: Any, seed: int = 3) -> np.ndarray:
    """A batch."""
    return draws_of(dtype, (BATCH, *in_shape), seed)


def batch_of(dtype: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x and labels for ``NET``."""
    return example_of((2, 3), dtype, 10 + seed), np.random.default_rng(seed).integers(0, 4, BATCH)


def layer_cases(layer: AnyLayer, in_shape: tuple[int, ...], dtype: Any, key: Any = KEY) -> list[Case]:
    """All pure functions of a layer, and of the one that stands for it where it is frozen."""
    params, x = params_of(layer, in_shape, dtype), example_of(in_shape, dtype)
    y, residuals = run_forward(layer, params, x, KEY)
    dy = draws_of(dtype, y.shape, 4)
    cases = [
        Case("forward", partial(_forward, layer, key), (params, x)),
        Case("vjp", layer.pure_vjp, (params, residuals, dy)),
        Case("vjp without dx", partial(layer.pure_vjp, need_dx=False), (params, residuals, dy)),
        Case("predict", partial(run_predict, layer), (params, x)),
        Case("advance", partial(advance, layer), (params, residuals)),
    ]
    if layer.frozen is not None:
        fixed = layer.frozen
        y, residuals = run_forward(fixed, params, x, KEY)
        cases.append(Case("frozen forward", partial(_forward, fixed, key), (params, x)))
        cases.append(Case("frozen vjp", fixed.pure_vjp, (params, residuals, dy)))
    return cases


def _forward(layer: AnyLayer, key: Any, params: Any, x: Any) -> Any:
    return run_forward(layer, params, x, key)
