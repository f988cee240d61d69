"""The optimizers with names: chains of the transformations, ``params <- params + updates`` at their end.

In the equations g is the gradient and w the parameters. Defaults are those of Optax. A ``learning_rate`` is a number or
a schedule. ``mask`` chooses what is decayed: see ``add_decayed_weights``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs

from funcnet.optimizers.groups import by_path
from funcnet.optimizers.optimizer import Optimizer, Schedule, compose
from funcnet.optimizers.transformations import (
    Mask,
    add_decayed_weights,
    orthogonalize,
    scale_by_adagrad,
    scale_by_adam,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_rms,
    scale_by_trust_ratio,
    trace,
    weights_only,
)

__all__ = ["adagrad", "adam", "adamw", "lamb", "lion", "momentum", "muon", "nesterov", "rmsprop", "sgd"]


def sgd(learning_rate: float | Schedule, *, weight_decay: float = 0.0, mask: Mask | None = None) -> Optimizer:
    """Stochastic gradient descent: w <- w - rate g.

    With coupled weight decay, g is the gradient + weight_decay w.

    Robbins & Monro, "A stochastic approximation method" (1951); Goodfellow et al., Deep Learning, algorithm 8.1.

    Raises:
        ValueError: for a rate that is not finite and positive, or a weight decay below 0.
    """
    decayed = _weight_decay(weight_decay, mask)
    return compose(*decayed, scale_by_learning_rate(learning_rate), name=_name("sgd", weight_decay))


def momentum(
    learning_rate: float | Schedule, decay: float = 0.9, *, weight_decay: float = 0.0, mask: Mask | None = None
) -> Optimizer:
    """Gradient descent with momentum: v <- decay v + g, w <- w - rate v.

    With coupled weight decay, g is the gradient + weight_decay w.

    Polyak, "Some methods of speeding up the convergence of iteration methods" (1964); Goodfellow et al., Deep Learning,
    algorithm 8.2 (which folds the rate into v).

    Raises:
        ValueError: for a rate that is not finite and positive, a decay outside [0, 1), or a weight decay below 0.
    """
    name = _name(f"momentum({decay:g})", weight_decay)
    decayed = _weight_decay(weight_decay, mask)
    return compose(*decayed, trace(decay), scale_by_learning_rate(learning_rate), name=name)


def nesterov(
    learning_rate: float | Schedule, decay: float = 0.9, *, weight_decay: float = 0.0, mask: Mask | None = None
) -> Optimizer:
    """Nesterov's accelerated gradient: v <- decay v + g, w <- w - rate (g + decay v).

    With coupled weight decay, g is the gradient + weight_decay w.

    Sutskever, Martens, Dahl & Hinton, "On the importance of initialization and momentum in deep learning" (ICML 2013),
    eqs. 3 and 4, in the variable of Bengio, Boulanger-Lewandowski & Pascanu, "Advances in optimizing recurrent
    networks" (ICASSP 2013), eq. 7, where the gradient is taken at the parameters themselves.

    Raises:
        ValueError: for a rate that is not finite and positive, a decay outside [0, 1), or a weight decay below 0.
    """
    name = _name(f"nesterov({decay:g})", weight_decay)
    decayed = _weight_decay(weight_decay, mask)
    return compose(*decayed, trace(decay, nesterov=True), scale_by_learning_rate(learning_rate), name=name)


def adam(
    learning_rate: float | Schedule,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    *,
    weight_decay: float = 0.0,
    mask: Mask | None = None,
) -> Optimizer:
    """Adam. With t = step + 1:

        m <- beta1 m + (1 - beta1) g,      v <- beta2 v + (1 - beta2) g^2
        w <- w - rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)

    With coupled weight decay, g is the gradient + weight_decay w. ``adamw`` has the decoupled one.

    Kingma & Ba, "Adam: a method for stochastic optimization" (ICLR 2015), algorithm 1.

    Raises:
        ValueError: for a rate or an epsilon that is not finite and positive, a beta outside [0, 1), or a weight decay
            below 0.
    """
    name = _name(f"adam({beta1:g}, {beta2:g})", weight_decay)
    decayed, direction = _weight_decay(weight_decay, mask), scale_by_adam(beta1, beta2, epsilon)
    return compose(*decayed, direction, scale_by_learning_rate(learning_rate), name=name)


def adamw(
    learning_rate: float | Schedule,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    *,
    weight_decay: float = 1e-4,
    mask: Mask | None = None,
) -> Optimizer:
    """Adam with decoupled weight decay: w <- w - rate (u + weight_decay w), with u the direction of ``adam``.

    The decay is multiplied by the learning rate, as in Optax and PyTorch. PyTorch's default is 0.01.

    Loshchilov & Hutter, "Decoupled weight decay regularization" (ICLR 2019), algorithm 2. There the decay is
    multiplied by the schedule eta alone, and not by the rate alpha.

    Raises:
        ValueError: for a rate or an epsilon that is not finite and positive, a beta outside [0, 1), or a weight decay
            below 0.
    """
    name = _name(f"adamw({beta1:g}, {beta2:g})", weight_decay)
    direction, decayed = scale_by_adam(beta1, beta2, epsilon), _weight_decay(weight_decay, mask)
    return compose(direction, *decayed, scale_by_learning_rate(learning_rate), name=name)


def rmsprop(
    learning_rate: float | Schedule, decay: float = 0.9, epsilon: float = 1e-8, *, inside_root: bool = True
) -> Optimizer:
    """RMSProp: v <- decay v + (1 - decay) g^2, w <- w - rate g / sqrt(v + epsilon).

    Epsilon is inside the root, as in Optax. With ``inside_root=False`` it is outside, sqrt(v) + epsilon, as in PyTorch,
    whose default decay is 0.99.

    Tieleman & Hinton, "Lecture 6.5: rmsprop" (Coursera, 2012), which has no epsilon; Goodfellow et al., Deep Learning,
    algorithm 8.5.

    Raises:
        ValueError: for a rate or an epsilon that is not finite and positive, or a decay outside [0, 1).
    """
    direction = scale_by_rms(decay, epsilon, inside_root=inside_root)
    return compose(direction, scale_by_learning_rate(learning_rate), name=f"rmsprop({decay:g})")


def lion(
    learning_rate: float | Schedule,
    beta1: float = 0.9,
    beta2: float = 0.99,
    *,
    weight_decay: float = 1e-3,
    mask: Mask | None = None,
) -> Optimizer:
    """Lion: u = sign(beta1 m + (1 - beta1) g), w <- w - rate (u + weight_decay w), m <- beta2 m + (1 - beta2) g.

    Chen et al., "Symbolic discovery of optimization algorithms" (NeurIPS 2023), algorithm 2.

    Raises:
        ValueError: for a rate that is not finite and positive, a beta outside [0, 1), or a weight decay below 0.
    """
    name = _name(f"lion({beta1:g}, {beta2:g})", weight_decay)
    direction, decayed = scale_by_lion(beta1, beta2), _weight_decay(weight_decay, mask)
    return compose(direction, *decayed, scale_by_learning_rate(learning_rate), name=name)


def lamb(
    learning_rate: float | Schedule,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-6,
    *,
    weight_decay: float = 0.0,
    mask: Mask | None = None,
) -> Optimizer:
    """LAMB, for large batches: u is the direction of ``adam`` + weight_decay w, and w <- w - rate u |w| / |u|.

    The norms are those of each array. Where one of them is 0, w <- w - rate u. The decay is decoupled.

    You et al., "Large batch optimization for deep learning: training BERT in 76 minutes" (ICLR 2020), algorithm 2, with
    the identity for phi.

    Raises:
        ValueError: for a rate or an epsilon that is not finite and positive, a beta outside [0, 1), or a weight decay
            below 0.
    """
    name = _name(f"lamb({beta1:g}, {beta2:g})", weight_decay)
    direction, decayed = scale_by_adam(beta1, beta2, epsilon), _weight_decay(weight_decay, mask)
    return compose(direction, *decayed, scale_by_trust_ratio(), scale_by_learning_rate(learning_rate), name=name)


def muon(
    learning_rate: float | Schedule,
    decay: float = 0.95,
    *,
    others: Optimizer | None = None,
    matrices: Mask = weights_only,
    iterations: int = 5,
    weight_decay: float = 0.0,
    mask: Mask | None = None,
) -> Optimizer:
    """Muon: Nesterov's momentum, made nearly orthogonal. For matrices, and filters as matrices:

        v <- decay v + g,      w <- w - rate (orthogonal(g + decay v) + weight_decay w)

    ``orthogonal`` is that of ``orthogonalize(iterations)``. The reference's moving average in place of the sum v gives
    the same, since the size of its argument does not matter. The decay is decoupled.

    All other arrays, such as biases, are moved by ``others``: by default ``adamw(3e-4, 0.9, 0.95, 1e-10)`` with the
    same weight decay, as in the reference. Its learning rate is its own. ``matrices(path, array)`` says which arrays
    are orthogonalized, among those of two axes and more. Muon is meant for hidden layers, so the first and the last
    layer are often left out: ``muon(0.02, matrices=lambda path, array: path == "[2].weight")``.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). Optax's Nesterov has other weights
    in the first steps; its ``nesterov=False`` agrees with a momentum that is orthogonalized.

    Raises:
        TypeError: if ``others`` is not an optimizer.
        ValueError: for a rate that is not finite and positive, a decay outside [0, 1), fewer than 1 iteration, or a
            weight decay below 0.
    """
    if others is None:
        others = adamw(3e-4, 0.9, 0.95, 1e-10, weight_decay=weight_decay, mask=mask)
    name = _name(f"muon({decay:g})", weight_decay)
    direction, decayed = (trace(decay, nesterov=True), orthogonalize(iterations)), _weight_decay(weight_decay, mask)
    main = compose(*direction, *decayed, scale_by_learning_rate(learning_rate), name=name)
    return attrs.evolve(by_path(main, (partial(_no_matrix, matrices), others)), name=f"{name}, others by {others}")


def _no_matrix(matrices: Mask, path: str, array: Any) -> bool:
    return not (weights_only(path, array) and matrices(path, array))


def adagrad(learning_rate: float | Schedule, initial: float = 0.1, epsilon: float = 1e-7) -> Optimizer:
    """AdaGrad: s <- s + g^2, from s = ``initial``; w <- w - rate g / sqrt(s + epsilon).

    Epsilon is inside the root, as in Optax.

    Duchi, Hazan & Singer, "Adaptive subgradient methods for online learning and stochastic optimization" (JMLR 2011);
    Goodfellow et al., Deep Learning, algorithm 8.4.

    Raises:
        ValueError: for a rate or an epsilon that is not finite and positive, or an initial sum below 0.
    """
    return compose(scale_by_adagrad(initial, epsilon), scale_by_learning_rate(learning_rate), name="adagrad")


def _weight_decay(weight_decay: float, mask: Mask | None) -> tuple[Optimizer, ...]:
    """The part that decays weights; none for a decay of 0."""
    part = add_decayed_weights(weight_decay, mask)
    return (part,) if weight_decay else ()


def _name(name: str, weight_decay: float) -> str:
    return f"{name}, weight decay {weight_decay:g}" if weight_decay else name
