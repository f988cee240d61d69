"""Everything the library differentiates, each with a way to prove it on random configurations."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np

from funcnet import random, tree
from funcnet.check.kernels import prove_steps_by_kernels
from funcnet.check.layer import check_layer
from funcnet.check.losses import Targets, check_loss, class_labels, counts, distributions, real_numbers, shares
from funcnet.check.optimizers import Rule, check_optimizer
from funcnet.check.penalties import check_penalty
from funcnet.check.registry import ACTIVATIONS, LAYERS, LOSSES, OPTIMIZERS, PENALTIES, LayerEntry
from funcnet.check.step import check_step
from funcnet.check.verdict import CheckReport, Claim, call_again, reproducible
from funcnet.combinators import chain, residual
from funcnet.layer import AnyLayer, Layer
from funcnet.layers.activations import tanh
from funcnet.layers.conv import conv2d
from funcnet.layers.gated import gelu
from funcnet.layers.linear import linear
from funcnet.layers.norm import batch_norm
from funcnet.layers.reshape import flatten
from funcnet.losses import Loss, softmax_cross_entropy
from funcnet.optimizers import Optimizer, adam, momentum, nesterov, sgd
from funcnet.penalties import Penalty, each_weight, l1, l2
from funcnet.random import Key, make_key
from funcnet.shapes import Shape
from funcnet.step import Batch
from funcnet.tree import Tree

__all__ = [
    "NoShapeError",
    "Subject",
    "check_large_steps",
    "of_layer",
    "of_loss",
    "of_optimizer",
    "of_penalty",
    "subject_of",
    "subjects",
]

_LARGE = "steps of large networks"
_LARGEST = 5  # of batch, width and any axis; 1 is drawn as often
_DEEPEST = 10
_ATTEMPTS = 30


@attrs.frozen
class Subject:
    """Something to be proven: ``check(key)`` draws a configuration (shapes, batch, depth) and proves it there."""

    name: str
    check: Callable[[Key], CheckReport]


def subjects() -> tuple[Subject, ...]:
    """Every layer, loss, penalty, optimizer and combinator of the library, and the step made of them."""
    return (
        *(_of_layer_entry(entry) for entry in LAYERS),
        Subject("chain of random layers", _check_chain),
        *(attrs.evolve(of_loss(entry.loss, entry.targets, axes=entry.axes), name=entry.name) for entry in LOSSES),
        *(of_penalty(penalty) for penalty in PENALTIES),
        *(attrs.evolve(of_optimizer(entry.optimizer, entry.rule), name=entry.name) for entry in OPTIMIZERS),
        Subject("step of random networks", _check_step),
        Subject(_LARGE, check_large_steps),
    )


def _of_layer_entry(entry: LayerEntry) -> Subject:
    def check(key: Key) -> CheckReport:
        shape = _accepted(entry.layer, key, entry.axes, entry.least_axes)
        batch = _size(random.fold_in(key, 7))
        return check_layer(entry.layer, shape, key=key, batch=batch, mixes_examples=entry.mixes_examples)

    return Subject(entry.name, check)


def subject_of(found: object, in_shape: Shape | None = None) -> Subject:
    """The proof of a layer, loss, penalty or optimizer, or of what a function without arguments makes.

    A layer gets examples of ``in_shape``, or of whatever random shapes its init takes; a loss, the first of class
    labels, shares and real numbers that it takes for targets.

    Raises:
        TypeError: for anything else.
    """
    if not isinstance(found, Layer | Loss | Penalty | Optimizer) and callable(found):
        found = found()
    match found:
        case Layer():
            return of_layer(found, in_shape=in_shape)
        case Loss():
            targets = _targets_of(found)
            return of_loss(found, targets, axes=1 if targets in (class_labels, distributions) else None)
        case Penalty():
            return of_penalty(found)
        case Optimizer():
            return of_optimizer(found)
    raise TypeError(f"only layers, losses, penalties and optimizers can be proven, got {found!r:.60}")


def of_layer(layer: AnyLayer, *, axes: int | None = None, in_shape: Shape | None = None) -> Subject:
    """The proof of a layer on examples of one shape, or of random ones of so many axes, or of any that init takes."""

    def check(key: Key) -> CheckReport:
        shape = _accepted(layer, key, axes) if in_shape is None else in_shape
        return check_layer(layer, shape, key=key, batch=_size(random.fold_in(key, 7)))

    return Subject(layer.name, check)


def _accepted(layer: AnyLayer, key: Key, axes: int | None, least: int = 0) -> Shape:
    for attempt in range(_ATTEMPTS):
        shape = _shape(random.fold_in(key, attempt), axes, least)
        try:
            _, out_shape = layer.init(key, shape)
        except Exception as error:  # a layer that refuses a shape, in whatever way
            refusal: object = error
        else:
            if min(out_shape, default=1) > 0:
                return shape
            refusal = f"an output of shape {out_shape}"
    raise NoShapeError(
        f"{layer} took none of {_ATTEMPTS} random shapes of 0 to 3 axes of up to {_LARGEST}, such as {shape}: name one "
        f"(--in-shape on the command line). It said: {refusal}"
    )


class NoShapeError(ValueError):
    """No shape was found that a layer takes."""


_TARGETS: dict[str, Targets] = {
    "labels": class_labels,
    "labels or distributions": class_labels,
    "distributions": distributions,
    "shares": shares,
    "numbers": real_numbers,
    "not negative": counts,
}


def _targets_of(loss: Loss) -> Targets:
    prediction = np.zeros((3, len(loss.class_weights) or 4), np.float32)
    for targets in (_TARGETS[loss.targets],) if loss.targets else (class_labels, shares, real_numbers):
        try:
            _, gradient = loss.value_and_grad(prediction, targets(make_key(0), prediction))
        except Exception:  # it takes others
            continue
        if gradient.shape == prediction.shape:
            return targets
    raise TypeError(f"{loss} takes neither class labels nor shares nor real numbers for targets: use check_loss")


def of_loss(loss: Loss, targets: Targets, *, axes: int | None = None) -> Subject:
    """The proof of a loss on predictions of random shapes, of so many axes an example or of 0 to 3."""

    def check(key: Key) -> CheckReport:
        shape = (len(loss.class_weights),) if loss.class_weights else _shape(key, axes)
        return check_loss(loss, shape, targets=targets, key=key, batch=_size(random.fold_in(key, 7)))

    return Subject(loss.name, check)


def of_penalty(penalty: Penalty) -> Subject:
    """The proof of a penalty on weights of random shapes of 1 to 3 axes."""
    return Subject(repr(penalty), lambda key: check_penalty(penalty, _shape(key, 1 + key.low % 3), key=key))


def of_optimizer(optimizer: Optimizer, rule: Rule | None = None) -> Subject:
    """The proof of an optimizer on random gradients."""
    return Subject(optimizer.name, lambda key: check_optimizer(optimizer, key=key, rule=rule))


def _size(key: Key) -> int:
    return int(random.randint(key, (), 1, _LARGEST + 1))


def _shape(key: Key, axes: int | None = None, least: int = 0) -> Shape:
    count = int(random.randint(random.fold_in(key, 1), (), least, 4)) if axes is None else axes
    return tuple(random.randint(random.fold_in(key, 2), (count,), 1, _LARGEST + 1).tolist())


def _pick(key: Key) -> AnyLayer:
    """An activation, or as often a linear layer."""
    kind = int(random.randint(key, (), 0, 2 * len(ACTIVATIONS)))
    width, bias = _size(random.fold_in(key, 1)), _size(random.fold_in(key, 2)) > 1
    return ACTIVATIONS[kind] if kind < len(ACTIVATIONS) else linear(width, bias=bias)


def _pick_activation(key: Key) -> AnyLayer:
    return ACTIVATIONS[int(random.randint(key, (), 0, len(ACTIVATIONS)))]


def _network(key: Key) -> AnyLayer:
    depth = int(random.randint(key, (), 1, _DEEPEST + 1))
    return chain(flatten(), *map(_pick, random.split(random.fold_in(key, 1), depth)))


def _check_chain(key: Key) -> CheckReport:
    net_key, case_key = random.split(key)
    # A chain within the chain, and a residual block: combinators nest.
    net = chain(_network(net_key), residual(_pick_activation(net_key)), _network(random.fold_in(net_key, 1)))
    return check_layer(net, _shape(case_key), key=case_key, batch=_size(net_key))


def _check_step(key: Key) -> CheckReport:
    net_key, case_key = random.split(key)
    net, in_shape = _network(net_key), _shape(case_key)
    params, _ = net.init(case_key, in_shape)
    return check_step(
        net,
        softmax_cross_entropy(),
        nesterov(0.1),
        _penalties(params),
        in_shape=in_shape,
        targets=class_labels,
        key=case_key,
        batch=_size(net_key),
    )


def _penalties(params: Tree) -> dict[str, Penalty]:
    """One of each kind: l2 on the first weight matrix, l1 on the others."""
    return {**each_weight(l2(0.3), params), **dict(list(each_weight(l1(0.2), params).items())[1:])}


def check_large_steps(key: Key) -> CheckReport:
    """Steps so large that all cores share the work. They are too large for differences entry by entry."""
    net_key, x_key, y_key, rest = random.split(key, 4)
    sizes = random.randint(random.fold_in(key, 9), (3,), 70, 400).tolist()
    # Smooth networks: no kink between float32 and float64. Adam would blow up the rounding of gradients that are tiny.
    optimizers: tuple[Callable[[float], Optimizer], ...] = (sgd, momentum, nesterov, adam)
    if key.low // 4 % 2:
        side, filters, batch = sizes[0] // 20, sizes[1] // 4, sizes[2] // 20
        in_shape: Shape = (side, side, 16)
        described = f"{side} x {side} x 16, convolutions with {filters} filters"
        body = chain(conv2d(filters, bias=False), batch_norm(), tanh(), conv2d(12, 2, stride=2), gelu(), flatten())
        optimizers = optimizers[:3]
    else:
        inputs, width, batch = sizes
        in_shape, described, body = (inputs,), f"{inputs}-{width}-10", chain(linear(width), tanh())
    claim = Claim(
        f"{_LARGE}, {described}",
        f"a batch of {batch} x {in_shape}",
        key,
        call_again("funcnet.check.suite.check_large_steps", key),
    )
    with reproducible(claim):
        net = chain(body, linear(10))
        params, _ = net.init(net_key, in_shape)
        params = tree.map(lambda a: a.astype(np.float64, order="K"), params)
        x = random.normal(x_key, (batch, *in_shape), np.float64)
        batch_of = Batch(x, random.randint(y_key, (batch,), 0, 10))
        optimizer = optimizers[key.low % len(optimizers)](0.1)
        loss = softmax_cross_entropy()
        return CheckReport(
            claim,
            tuple(
                attrs.evolve(
                    prove_steps_by_kernels(
                        claim, net, loss, optimizer, _penalties(params), params, batch_of, rest, dtype
                    ),
                    name=f"kernels, in {dtype.__name__}",
                )
                for dtype in (np.float32, np.float64)
            ),
        )
