"""Gradient transformations: the parts that optimizers are composed of.

A transformation takes g, the gradient or what the transformation before it made of it, and returns u. Each factory
states its equation. The functions run on arrays of any namespace of the Python array API standard, and under
``jax.jit``, where the step, the learning rate and the loss are traced: no value decides what is computed.

Moving averages begin at 0. Sums, averages and counts are part of the state; the number of updates is not, since each
update is told the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import attrs

from funcnet import tree
from funcnet.arrays import namespace
from funcnet.optimizers.arguments import decay_rate, not_negative, positive
from funcnet.optimizers.optimizer import Moment, Optimizer, Schedule
from funcnet.optimizers.schedules import constant
from funcnet.shapes import whole_number
from funcnet.tree import Record, Tree, array_field

__all__ = [
    "AdagradState", "AdamState", "LionState", "Mask", "PlateauState", "RmsState", "TraceState", "add_decayed_weights",
    "clip_by_global_norm", "clip_by_value", "orthogonalize", "reduce_on_plateau", "scale_by_adagrad", "scale_by_adam",
    "scale_by_learning_rate", "scale_by_lion", "scale_by_rms", "scale_by_trust_ratio", "trace", "weights_only",
]  # fmt: skip

Mask: TypeAlias = Callable[[str, Any], bool]


def tree_field() -> Any:
    """A record's field that holds a tree of arrays, compared by structure, dtype, shape and content."""
    return attrs.field(eq=attrs.cmp_using(eq=tree.equal))


def zeros(params: Tree) -> Tree:
    """Zeros for all that is trained."""
    return tree.map(lambda w: namespace(w).zeros_like(w), tree.trained(params))


def number_like(value: Any, array: Any) -> Any:
    """The number, which may be traced, as a 0-d array with the dtype of ``array``."""
    return namespace(array).asarray(value, dtype=array.dtype)


def factor_for(array: Any, number: Any) -> Any:
    """The number in a form that leaves the dtype of ``array`` as it is when they are multiplied."""
    return float(number) if isinstance(number, int | float) else number_like(number, array)


def bias_correction(decay: float, step: Any, array: Any) -> Any:
    """1 - decay^(step + 1): the weights of a moving average of step + 1 terms sum to this, if it started at 0.

    It is a 0-d array with the dtype of ``array``.
    """
    # -expm1(t log(decay)): in float32, where a traced step puts it, 1 - 0.999 has four digits.
    log_decay = math.log(decay) if decay > 0 else -math.inf
    return -namespace(array).expm1(number_like(step + 1, array) * log_decay)


def stateless(params: Tree) -> tuple[()]:
    """The state of a transformation that has none."""
    return ()


def scale_by_learning_rate(learning_rate: float | Schedule) -> Optimizer:
    """u = -rate g: the step downhill. The rate is a number, or a function of the step.

    Raises:
        ValueError: for a rate that is not finite and positive.
    """
    schedule = learning_rate if callable(learning_rate) else constant(learning_rate)
    return Optimizer("learning rate", stateless, learning_rate_update, schedule)


def learning_rate_update(grads: Tree, opt_state: tuple[()], params: Tree, now: Moment) -> tuple[Tree, tuple[()]]:
    return tree.map(lambda g: -factor_for(g, now.rate) * g, grads), ()


@attrs.frozen
class TraceState(Record):
    """The velocity: the decaying sum of the gradients."""

    velocity: Tree = tree_field()


def trace(decay: float, *, nesterov: bool = False) -> Optimizer:
    """v <- decay v + g;  u = v, or with ``nesterov`` u = g + decay v.

    Polyak, "Some methods of speeding up the convergence of iteration methods" (1964). For Nesterov's: Bengio,
    Boulanger-Lewandowski & Pascanu, "Advances in optimizing recurrent networks" (ICASSP 2013), eq. 7.

    Raises:
        ValueError: for a decay outside [0, 1).
    """
    name = "nesterov" if nesterov else "momentum"
    decay = decay_rate(name, decay)
    return Optimizer(f"{name} trace({decay:g})", trace_init, partial(trace_update, decay, nesterov))


def trace_init(params: Tree) -> TraceState:
    return TraceState(zeros(params))


def trace_update(
    decay: float, nesterov: bool, grads: Tree, opt_state: TraceState, params: Tree, now: Moment
) -> tuple[Tree, TraceState]:
    velocity = tree.map(lambda g, v: decay * v + g, grads, opt_state.velocity)
    updates = tree.map(lambda g, v: decay * v + g, grads, velocity) if nesterov else velocity
    return updates, TraceState(velocity)


@attrs.frozen
class AdamState(Record):
    """The moving averages of the gradient and of its square, before bias correction."""

    first_moment: Tree = tree_field()
    second_moment: Tree = tree_field()


def scale_by_adam(beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> Optimizer:
    """The direction of Adam. With t = step + 1, the number of gradients seen:

        m <- beta1 m + (1 - beta1) g,      v <- beta2 v + (1 - beta2) g^2
        u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)

    Kingma & Ba, "Adam: a method for stochastic optimization" (ICLR 2015), algorithm 1. Epsilon is outside the root.

    Raises:
        ValueError: for a beta outside [0, 1), or an epsilon that is not finite and positive.
    """
    beta1, beta2 = decay_rate("Adam's first moment", beta1), decay_rate("Adam's second moment", beta2)
    epsilon = positive("Adam's epsilon", epsilon)
    return Optimizer(f"adam scaling({beta1:g}, {beta2:g})", adam_init, partial(adam_update, beta1, beta2, epsilon))


def adam_init(params: Tree) -> AdamState:
    return AdamState(zeros(params), zeros(params))


def adam_update(
    beta1: float, beta2: float, epsilon: float, grads: Tree, opt_state: AdamState, params: Tree, now: Moment
) -> tuple[Tree, AdamState]:
    first = tree.map(lambda g, m: beta1 * m + (1 - beta1) * g, grads, opt_state.first_moment)
    second = tree.map(lambda g, v: beta2 * v + (1 - beta2) * (g * g), grads, opt_state.second_moment)

    def direction(m: Any, v: Any) -> Any:
        mean = m / bias_correction(beta1, now.step, m)
        mean_square = v / bias_correction(beta2, now.step, v)
        return mean / (namespace(v).sqrt(mean_square) + epsilon)

    return tree.map(direction, first, second), AdamState(first, second)


@attrs.frozen
class RmsState(Record):
    """The moving average of the squared gradient."""

    second_moment: Tree = tree_field()


def scale_by_rms(decay: float = 0.9, epsilon: float = 1e-8, *, inside_root: bool = True) -> Optimizer:
    """v <- decay v + (1 - decay) g^2;  u = g / sqrt(v + epsilon), or g / (sqrt(v) + epsilon) without ``inside_root``.

    Tieleman & Hinton, "Lecture 6.5: rmsprop" (Coursera, 2012), which has no epsilon. Optax adds it inside the root,
    PyTorch outside. There is no bias correction.

    Raises:
        ValueError: for a decay outside [0, 1), or an epsilon that is not finite and positive.
    """
    decay, epsilon = decay_rate("rmsprop", decay), positive("rmsprop's epsilon", epsilon)
    return Optimizer(f"rms scaling({decay:g})", rms_init, partial(rms_update, decay, epsilon, inside_root))


def rms_init(params: Tree) -> RmsState:
    return RmsState(zeros(params))


def rms_update(
    decay: float, epsilon: float, inside_root: bool, grads: Tree, opt_state: RmsState, params: Tree, now: Moment
) -> tuple[Tree, RmsState]:
    second = tree.map(lambda g, v: decay * v + (1 - decay) * (g * g), grads, opt_state.second_moment)

    def direction(g: Any, v: Any) -> Any:
        sqrt = namespace(v).sqrt
        return g / (sqrt(v + epsilon) if inside_root else sqrt(v) + epsilon)

    return tree.map(direction, grads, second), RmsState(second)


@attrs.frozen
class LionState(Record):
    """The moving average of the gradient."""

    first_moment: Tree = tree_field()


def scale_by_lion(beta1: float = 0.9, beta2: float = 0.99) -> Optimizer:
    """u = sign(beta1 m + (1 - beta1) g);  then m <- beta2 m + (1 - beta2) g.

    Chen et al., "Symbolic discovery of optimization algorithms" (NeurIPS 2023), algorithm 2.

    Raises:
        ValueError: for a beta outside [0, 1).
    """
    beta1, beta2 = decay_rate("lion's direction", beta1), decay_rate("lion's momentum", beta2)
    return Optimizer(f"lion scaling({beta1:g}, {beta2:g})", lion_init, partial(lion_update, beta1, beta2))


def lion_init(params: Tree) -> LionState:
    return LionState(zeros(params))


def lion_update(
    beta1: float, beta2: float, grads: Tree, opt_state: LionState, params: Tree, now: Moment
) -> tuple[Tree, LionState]:
    def direction(g: Any, m: Any) -> Any:
        return namespace(g).sign(beta1 * m + (1 - beta1) * g)

    first = tree.map(lambda g, m: beta2 * m + (1 - beta2) * g, grads, opt_state.first_moment)
    return tree.map(direction, grads, opt_state.first_moment), LionState(first)


@attrs.frozen
class AdagradState(Record):
    """The sum of the squared gradients, and of the value it began at."""

    sum_of_squares: Tree = tree_field()


def scale_by_adagrad(initial: float = 0.1, epsilon: float = 1e-7) -> Optimizer:
    """s <- s + g^2, from s = ``initial``;  u = g / sqrt(s + epsilon).

    Duchi, Hazan & Singer, "Adaptive subgradient methods for online learning and stochastic optimization" (JMLR 2011),
    section 1.2, diagonal. The initial value and epsilon, inside the root, are those of Optax.

    Raises:
        ValueError: for an initial value below 0, or an epsilon that is not finite and positive.
    """
    initial = not_negative("adagrad's initial sum", initial)
    epsilon = positive("adagrad's epsilon", epsilon)
    return Optimizer("adagrad scaling", partial(adagrad_init, initial), partial(adagrad_update, epsilon))


def adagrad_init(initial: float, params: Tree) -> AdagradState:
    return AdagradState(tree.map(lambda w: namespace(w).full_like(w, initial), tree.trained(params)))


def adagrad_update(
    epsilon: float, grads: Tree, opt_state: AdagradState, params: Tree, now: Moment
) -> tuple[Tree, AdagradState]:
    squares = tree.map(lambda g, s: s + g * g, grads, opt_state.sum_of_squares)
    return tree.map(lambda g, s: g / namespace(s).sqrt(s + epsilon), grads, squares), AdagradState(squares)


def scale_by_trust_ratio() -> Optimizer:
    """u = g |w| / |g|, for each array apart, with |.| the Euclidean norm over its entries; u = g where a norm is 0.

    So an array moves by a share of its own size, which is the learning rate.

    You et al., "Large batch optimization for deep learning: training BERT in 76 minutes" (ICLR 2020), algorithm 2, with
    the identity for phi. The case of a norm of 0, which the paper leaves open, is that of Optax.
    """
    return Optimizer("trust ratio", stateless, trust_ratio_update)


def trust_ratio_update(grads: Tree, opt_state: tuple[()], params: Tree, now: Moment) -> tuple[Tree, tuple[()]]:
    def scaled(g: Any, w: Any) -> Any:
        xp = namespace(g)
        size, length = (xp.sqrt(xp.sum(a * a)) for a in (w, g))
        one = xp.ones_like(length)
        usual = xp.logical_and(size > 0, length > 0)
        return g * (xp.where(usual, size, one) / xp.where(usual, length, one))

    return tree.map(scaled, grads, params), ()


def orthogonalize(iterations: int = 5) -> Optimizer:
    """u = sqrt(max(1, columns / rows)) X, with X a matrix near to the orthogonal one that is nearest to g:

        X <- g / |g|,      then ``iterations`` times      X <- (a I + b A + c A^2) X,      A = X X^T

    with a, b, c = 3.4445, -4.7750, 2.0315 and |g| the Euclidean norm over all entries. With g = U S V^T, X is U S' V^T:
    each iteration moves the singular values, by a s + b s^3 + c s^5, and keeps U and V. Five bring those above a
    hundredth into the range from 0.68 to 1.14. They do not converge to 1: the coefficients are chosen to lift small
    ones fast.

    The matrix of an array (..., out), such as a filter bank, has a column for each output and a row for all else. The
    factor makes the size of an output's change the same for matrices that are wider than high. The arithmetic is that
    of the array's dtype, where the reference computes in bfloat16. A g of norm below 1e-7 is divided by 1e-7.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). There the matrices are transposed,
    and the factor of filters is 1. The iteration is a Newton-Schulz one: Bernstein & Newhouse, "Old optimizer, new
    norm: an anthology" (2024), appendix A.

    Raises:
        ValueError: for fewer than 1 iteration.
    """
    iterations = whole_number("the number of iterations", iterations, 1)
    return Optimizer(f"orthogonalization({iterations})", stateless, partial(orthogonalize_update, iterations))


def orthogonalize_update(
    iterations: int, grads: Tree, opt_state: tuple[()], params: Tree, now: Moment
) -> tuple[Tree, tuple[()]]:
    a, b, c = 3.4445, -4.7750, 2.0315

    def orthogonal(g: Any) -> Any:
        xp, columns = namespace(g), g.shape[-1]
        rows = math.prod(g.shape[:-1])
        x = xp.reshape(g, (rows, columns))
        x = x if rows <= columns else x.T  # A is the smaller of X X^T and X^T X: the result is the same
        x = x / xp.maximum(xp.sqrt(xp.sum(x * x)), number_like(1e-7, x))
        identity = xp.eye(x.shape[0], dtype=x.dtype)
        for _ in range(iterations):
            gram = x @ x.T
            x = (a * identity + b * gram + c * (gram @ gram)) @ x
        x = x if rows <= columns else x.T
        return xp.reshape(math.sqrt(max(1.0, columns / rows)) * x, g.shape)

    return tree.map(orthogonal, grads), ()


def weights_only(path: str, array: Any) -> bool:
    """A mask: arrays of two axes and more. These are the weights, without biases and without a norm's scales."""
    return bool(array.ndim >= 2)


def add_decayed_weights(decay: float, mask: Mask | None = None) -> Optimizer:
    """u = g + decay w, for the arrays w that the mask chooses.

    Before an adaptive scaling this is coupled weight decay, the gradient of an L2 penalty decay/2 |w|^2. After it, and
    before the learning rate, it is decoupled weight decay, as in AdamW.

    ``mask(path, array) -> bool`` is asked for each array of the parameters that is trained, by its path, such as
    ``"[1].weight"``. By default all of them are chosen. ``weights_only`` is a mask.

    Krogh & Hertz, "A simple weight decay can improve generalization" (NIPS 1991); Loshchilov & Hutter, "Decoupled
    weight decay regularization" (ICLR 2019).

    Raises:
        ValueError: for a decay below 0, or one that is not finite.
    """
    decay = not_negative("a weight decay", decay)
    return Optimizer(f"weight decay {decay:g}", stateless, partial(decayed_weights_update, decay, mask))


def decayed_weights_update(
    decay: float, mask: Mask | None, grads: Tree, opt_state: tuple[()], params: Tree, now: Moment
) -> tuple[Tree, tuple[()]]:
    def decayed(path: str, g: Any, w: Any) -> Any:
        return g + decay * w if mask is None or mask(path, w) else g

    return tree.map_named(decayed, grads, params), ()


def clip_by_global_norm(limit: float) -> Optimizer:
    """u = g min(1, limit / |g|), with |g| the Euclidean norm over all entries of all arrays.

    Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks" (ICML 2013), algorithm 1.

    Raises:
        ValueError: for a limit that is not finite and positive.
    """
    limit = positive("the limit of a norm", limit)
    return Optimizer(f"clip by global norm {limit:g}", stateless, partial(clip_by_global_norm_update, limit))


def clip_by_global_norm_update(
    limit: float, grads: Tree, opt_state: tuple[()], params: Tree, now: Moment
) -> tuple[Tree, tuple[()]]:
    squares = [namespace(g).sum(g * g) for g in tree.leaves(grads)]
    if not squares:
        return grads, ()
    xp = namespace(tree.leaves(grads)[0])
    norm = xp.sqrt(xp.asarray(sum(squares[1:], squares[0])))
    # limit / max(norm, limit) is exactly 1 for a norm within the limit, and divides by no 0.
    scale = limit / xp.maximum(norm, xp.asarray(limit, dtype=norm.dtype))
    return tree.map(lambda g: g * number_like(scale, g), grads), ()


def clip_by_value(limit: float) -> Optimizer:
    """u = min(max(g, -limit), limit), entry by entry.

    Raises:
        ValueError: for a limit that is not finite and positive.
    """
    limit = positive("the limit of a value", limit)
    return Optimizer(f"clip by value {limit:g}", stateless, partial(clip_by_value_update, limit))


def clip_by_value_update(
    limit: float, grads: Tree, opt_state: tuple[()], params: Tree, now: Moment
) -> tuple[Tree, tuple[()]]:
    return tree.map(lambda g: namespace(g).clip(g, -limit, limit), grads), ()


@attrs.frozen
class PlateauState(Record):
    """Arrays of no axes, or None where nothing is trained.

    Attributes:
        scale: what updates are multiplied by.
        best: the lowest mean loss so far.
        total: the sum of the losses since the last mean.
        stalled: how many means in turn were no improvement.
        resting: how many means the cooldown still lasts.
    """

    scale: Any = array_field()
    best: Any = array_field()
    total: Any = array_field()
    stalled: Any = array_field()
    resting: Any = array_field()


def reduce_on_plateau(
    factor: float = 0.1,
    patience: int = 10,
    *,
    threshold: float = 1e-4,
    cooldown: int = 0,
    every: int = 1,
    lowest: float = 0.0,
) -> Optimizer:
    """u = scale g. The scale begins at 1 and is multiplied by ``factor`` when the loss has stopped falling.

    The losses of ``every`` steps are averaged. A mean is an improvement if it is below (1 - threshold) best. After
    ``patience`` means in turn that are none the scale is multiplied, but not below ``lowest``. Then ``cooldown`` means
    pass before failures are counted again. A mean with a loss that was not told, or is nan, counts for nothing.

    It stands at the end of a chain. The learning rate that a record shows is the one before this scale. The definition
    is that of ``optax.contrib.reduce_on_plateau``. PyTorch's ReduceLROnPlateau waits for one failure more.

    Raises:
        ValueError: for a factor outside (0, 1), a patience or ``every`` below 1, a cooldown below 0, or a threshold or
            a lowest scale outside [0, 1).
    """
    if not 0 < factor < 1:
        raise ValueError(f"the factor on a plateau lies between 0 and 1, got {factor}")
    for name, value in (("threshold", threshold), ("lowest scale", lowest)):
        if not 0 <= value < 1:
            raise ValueError(f"the {name} of a plateau lies in [0, 1), got {value}")
    patience = whole_number("the patience on a plateau", patience, 1)
    cooldown = whole_number("the cooldown after a plateau", cooldown, 0)
    every = whole_number("the number of losses in a mean", every, 1)
    hyperparameters = (float(factor), patience, float(threshold), cooldown, every, float(lowest))
    return Optimizer(
        f"reduce on plateau({factor:g}, {patience})", plateau_init, partial(plateau_update, *hyperparameters)
    )


def plateau_init(params: Tree) -> PlateauState:
    arrays = tree.leaves(tree.trained(params))
    if not arrays:
        return PlateauState(None, None, None, None, None)
    xp = namespace(arrays[0])
    scale, best, total = (number_like(value, arrays[0]) for value in (1.0, math.inf, 0.0))
    return PlateauState(scale, best, total, xp.asarray(0, dtype=xp.int32), xp.asarray(0, dtype=xp.int32))


def plateau_update(
    factor: float,
    patience: int,
    threshold: float,
    cooldown: int,
    every: int,
    lowest: float,
    grads: Tree,
    opt_state: PlateauState,
    params: Tree,
    now: Moment,
) -> tuple[Tree, PlateauState]:
    old = opt_state
    if old.scale is None:
        return grads, old
    xp = namespace(old.scale)
    none, zero = xp.zeros_like(old.stalled), xp.zeros_like(old.total)
    total = xp.where(xp.asarray(now.step % every == 0), zero, old.total) + number_like(now.loss, zero)
    mean = total / every
    counts = xp.logical_and(xp.asarray(now.step % every == every - 1), xp.logical_not(xp.isnan(mean)))

    improved = mean < (1 - threshold) * old.best
    stalled = xp.where(improved, none, old.stalled + 1)
    resting = old.resting > none
    reduced = xp.logical_and(stalled >= patience, xp.logical_not(resting))
    new = PlateauState(
        scale=xp.where(reduced, xp.maximum(old.scale * factor, number_like(lowest, zero)), old.scale),
        best=xp.where(improved, mean, old.best),
        total=total,
        stalled=xp.where(xp.logical_or(resting, reduced), none, stalled),
        resting=xp.where(reduced, number_like(cooldown, none), xp.maximum(old.resting - 1, none)),
    )
    new = tree.map(lambda after, before: xp.where(counts, after, before), new, old)
    new = attrs.evolve(new, total=total)
    return tree.map(lambda g: g * number_like(new.scale, g), grads), new
