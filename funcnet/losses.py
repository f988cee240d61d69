"""Losses: from predictions and targets to one number and its gradient with respect to the predictions.

Every loss is a mean over the examples of the batch (and, where an example has several outputs, over those too), so
that neither the loss nor its gradient grows with the batch. With weights w_i >= 0 of the examples, it is the weighted
mean:

    loss = sum_i w_i l_i / sum_i w_i,    accuracy = sum_i w_i r_i / sum_i w_i

where l_i is the loss of an example, and r_i is 1 for a right answer and 0 for a wrong one. An example of weight 0 is
left out, whatever its loss. If all weights are 0, the loss, its gradient and the accuracy are 0.

A loss is written example by example, as functions for l_i and r_i. ``mean_of_losses`` and ``mean_of_right`` take the
means, the same for all losses. No loss holds a penalty: those are in ``penalties`` and are never added in here.

Class weights c_k make an example of class k count c_k times in the loss: l_i has the factor c_k, and the sum that the
loss is divided by has it too. The accuracy does not use them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import attrs
from attrs.validators import in_, is_callable, optional

from funcnet import contract
from funcnet.arrays import Scalar, namespace, share_of
from funcnet.layers.activations import exp_of_minus_size, sigmoid_of
from funcnet.shapes import Array, Bool, Float, Integer, Num

__all__ = [
    "Loss",
    "Targets",
    "binary_cross_entropy",
    "focal_loss",
    "hinge_loss",
    "huber_loss",
    "kl_divergence",
    "mean_absolute_error",
    "mean_squared_error",
    "poisson_loss",
    "softmax_cross_entropy",
    "weights_by_target",
    "weights_in_means",
]

Targets: TypeAlias = Literal[
    "", "labels", "labels or distributions", "distributions", "shares", "numbers", "not negative"
]


def _class_weights(given: Iterable[float]) -> tuple[float, ...]:
    if isinstance(given, str | Mapping):
        raise TypeError(f"class weights are numbers in the order of the classes, such as (1, 2.5); got {given!r:.40}")
    weights = tuple(float(weight) for weight in given)
    if weights and not (all(0 <= weight < math.inf for weight in weights) and any(weights)):
        raise ValueError(f"class weights are finite and not negative, and one is above 0; got {weights}")
    return weights


@attrs.frozen(repr=False, eq=False)
class Loss:
    """A loss: pure functions for its value, its gradient and the accuracy. Calling it checks the arguments.

    ``Loss.of_examples`` makes one from functions of single examples. It takes weights. A function of your own takes
    them if it has an argument ``weight``, an array (batch,) or None.

    Attributes:
        name: the name in messages, tables and reports.
        value_and_grad: ``(prediction, target) -> (loss, dprediction)``, the mean over the batch, a 0-d array or a
            float, and its gradient, in the dtype of the prediction.
        pure_accuracy: ``(prediction, target) -> share of right answers``, or None where no answer is right or wrong.
        targets: what the targets are, for checks: ``labels`` (whole numbers that name one of the outputs),
            ``distributions`` (a share for each class, which sum to 1), ``labels or distributions``, ``shares`` (from 0
            to 1), ``numbers``, or ``not negative`` numbers. All but labels have the shape and dtype of the prediction.
            Left empty, they are not checked: a target of another shape may then be broadcast.
        class_weights: the class weights that are a part of ``value_and_grad``; empty for none.

    Raises:
        TypeError: for what is no function.
        ValueError: for another kind of targets, or class weights that are negative, not finite, or all 0.
    """

    name: str
    value_and_grad: Callable[..., tuple[Scalar, Array]] = attrs.field(validator=is_callable())
    pure_accuracy: Callable[..., Scalar] | None = attrs.field(
        default=None, alias="accuracy", validator=optional(is_callable())
    )
    targets: Targets = attrs.field(default="", validator=in_(get_args(Targets)))
    class_weights: tuple[float, ...] = attrs.field(default=(), converter=_class_weights, kw_only=True)

    @classmethod
    def of_examples(
        cls,
        name: str,
        losses: Callable[[Any, Any], tuple[Any, Any]],
        right: Callable[[Any, Any], Any] | None = None,
        targets: Targets = "",
        *,
        class_weights: Iterable[float] = (),
    ) -> Loss:
        """A loss that is defined example by example. It takes weights.

        Args:
            name: the name.
            losses: ``(prediction, target) -> (losses, gradient)``: the loss of each example (batch,), or of each of
                its outputs (batch, ...), and the gradient of their sum, like the prediction.
            right: ``(prediction, target) -> truths``: which answers are right, booleans (batch,) or (batch, ...).
            targets: what the targets are, for checks; see the attributes.
            class_weights: the class weights, which ``losses`` multiplies by.
        """
        weights = _class_weights(class_weights)
        value_and_grad = partial(mean_of_losses, losses)
        return cls(
            name,
            partial(value_and_grad, class_weights=weights) if weights else value_and_grad,
            None if right is None else partial(mean_of_right, right),
            targets,
            class_weights=weights,
        )

    def __call__(
        self,
        prediction: Float[Array, "batch ..."],
        target: Num[Array, "batch ..."],
        weight: Float[Array, "batch"] | None = None,
    ) -> tuple[float, Float[Array, "batch ..."]]:
        """The loss, a mean weighted by ``weight``, and its gradient with respect to the prediction.

        Raises:
            ShapeError: where the arguments do not fit, a weight is negative or not finite, or ``value_and_grad``
                returned a value that is not one number, or a gradient that is not like the prediction.
            TypeError: where it did not return two things, or weights are given and it takes none.
        """
        return contract.loss(self, prediction, target, weight)

    @property
    def accuracy(self) -> Callable[..., float] | None:
        """``accuracy(prediction, target, weight=None)``, the share of right answers, checked; None for none."""
        return None if self.pure_accuracy is None else partial(contract.accuracy, self)

    def __repr__(self) -> str:
        return self.name


# --- the means over the examples


def mean_of_losses(
    losses: Callable[[Any, Any], tuple[Any, Any]],
    prediction: Float[Array, "batch ..."],
    target: Num[Array, "batch ..."],
    weight: Float[Array, "batch"] | None = None,
    *,
    class_weights: tuple[float, ...] = (),
) -> tuple[Scalar, Float[Array, "batch ..."]]:
    """The mean of the examples' losses, and its gradient.

    loss = sum_i w_i l_i / sum_i w_i v_i,    dz_i = w_i dl_i / sum_i w_i v_i

    where v_i is the class weight of the target, a factor of l_i already; without class weights it is 1.
    """
    each, gradient = losses(prediction, target)
    xp = namespace(gradient)
    if weight is None and not class_weights:
        return xp.mean(each), gradient / math.prod(each.shape)
    weight = xp.ones(gradient.shape[:1], dtype=gradient.dtype) if weight is None else _scaled(weight)
    counts = weight * weights_by_target(class_weights, target, gradient) if class_weights else weight
    part = _quotient(weight, xp.sum(counts))
    of_example = xp.mean(xp.reshape(each, (each.shape[0], -1)), axis=1)
    loss = xp.sum(xp.where(part > 0, part * of_example, xp.zeros_like(part)))
    part = xp.reshape(part, (-1, *(1,) * (gradient.ndim - 1)))
    gradient = xp.where(part > 0, part * gradient, xp.zeros_like(gradient))
    return loss, gradient / math.prod(each.shape[1:])


def mean_of_right(
    right: Callable[[Any, Any], Any],
    prediction: Float[Array, "batch ..."],
    target: Num[Array, "batch ..."],
    weight: Float[Array, "batch"] | None = None,
) -> Scalar:
    """The share of right answers: sum_i w_i r_i / sum_i w_i."""
    truths = right(prediction, target)
    if weight is None:
        return share_of(truths)
    xp, weight = namespace(weight), _scaled(weight)
    of_example = xp.mean(xp.reshape(xp.astype(truths, weight.dtype), (truths.shape[0], -1)), axis=1)
    return _quotient(xp.sum(weight * of_example), xp.sum(weight))


def weights_by_target(
    class_weights: tuple[float, ...], target: Num[Array, "batch ..."], like: Float[Array, "batch ..."]
) -> Float[Array, "batch"]:
    """The class weight of each example: c_y for a label y, and sum_k c_k t_k for a distribution t."""
    xp = namespace(like)
    weights = xp.asarray(class_weights, dtype=like.dtype)
    if target.ndim > 1:
        return xp.sum(weights * target, axis=1)
    return xp.take(weights, target)


def weights_in_means(
    loss: Loss, prediction: Float[Array, "batch ..."], target: Any, weight: Float[Array, "batch"] | None = None
) -> tuple[float, float]:
    """What the batch counts for in means over several batches: in that of the losses and that of the accuracies.

    The second is the sum of the examples' weights, or their number. The first has the class weights too.
    """
    examples = prediction.shape[0]
    if weight is None and not loss.class_weights:
        return examples, examples
    xp = namespace(prediction)
    weight = xp.ones(examples, dtype=prediction.dtype) if weight is None else weight
    of_loss = weight * weights_by_target(loss.class_weights, target, prediction) if loss.class_weights else weight
    return float(xp.sum(of_loss)), float(xp.sum(weight))


def _scaled(weight: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """The weights over the largest of them, so that their sum does not overflow."""
    xp = namespace(weight)
    return _quotient(weight, xp.max(weight))


def _quotient(a: Any, b: Scalar) -> Any:
    """a / b, and 0 where b is 0."""
    xp = namespace(a)
    return xp.where(b > 0, a / xp.where(b > 0, b, xp.ones_like(b)), xp.zeros_like(a))


def _chosen(labels: Integer[Array, "batch"], classes: int) -> Bool[Array, "batch classes"]:
    """Whether a class is that of the label."""
    xp = namespace(labels)
    places = xp.arange(classes)  # the labels' own dtype may be too small for the number of classes
    return xp.astype(labels, places.dtype)[:, None] == places[None, :]


# --- losses of classes, by the softmax of logits


def softmax_cross_entropy(*, label_smoothing: float = 0.0, class_weights: Iterable[float] = ()) -> Loss:
    """Cross-entropy of the softmax of logits (batch, classes) against labels or distributions.

        p    = softmax(z)
        loss = - mean over the batch of sum_k t_k log p_k
        dz   = (p - t) / batch

    The targets are integer labels (batch,), or a share for each class (batch, classes), in the dtype of the logits,
    which sum to 1. With the label smoothing s, t is (1 - s) target + s/classes, where the target of a label is 1 at the
    label and 0 elsewhere (Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, section 7).

    With class weights c, a loss is - sum_k c_k t_k log p_k, and the sum of all is divided by that of the targets'
    class weights: c_y for a label y, sum_k c_k target_k for a distribution. For labels this is what PyTorch computes.
    For distributions PyTorch divides by the number of examples, so that there a label's distribution costs something
    else than the label.

    Softmax and logarithm are taken together, shifted by the largest logit (Goodfellow et al., Deep Learning, sections
    4.1, 6.2.2). So dz is right for finite logits of any size. The loss is infinite if the differences from the largest
    logit, added up over the batch (with smoothing over the classes too), exceed the largest number of the dtype, 3.4e38
    in float32. A logit of -inf rules its class out. The loss is infinite where the target has a share of that class.

    The answer to an example is the first of its largest logits. It is right if no share of the target is larger than
    that class's. An example with a logit that is NaN has no answer: it counts as wrong.

    Raises:
        ValueError: for smoothing outside [0, 1), or class weights that are negative, not finite, or all 0.
        TypeError: for class weights that are not numbers in the order of the classes.
        ShapeError: when called with labels of another length or dtype, or outside 0 .. classes - 1; with shares that
            are negative or do not sum to 1 within 1e-4; with other than one logit for each class weight.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label smoothing lies in [0, 1), got {label_smoothing}")
    losses = partial(softmax_cross_entropies, float(label_smoothing))
    return _of_classes("softmax cross-entropy", losses, "labels or distributions", class_weights)


def _of_classes(
    name: str, losses: Callable[..., tuple[Any, Any]], targets: Targets, class_weights: Iterable[float]
) -> Loss:
    weights = _class_weights(class_weights)
    weighted = partial(losses, class_weights=weights) if weights else losses
    return Loss.of_examples(name, weighted, right_of_largest, targets, class_weights=weights)


def softmax_cross_entropies(
    smoothing: float,
    logits: Float[Array, "batch classes"],
    target: Num[Array, "batch ..."],
    *,
    class_weights: tuple[float, ...] = (),
) -> tuple[Float[Array, "batch"], Float[Array, "batch classes"]]:
    """The losses, and their gradients."""
    xp = namespace(logits)
    log_p, classes = log_softmax_of(logits), logits.shape[1]
    t = target if target.ndim > 1 else xp.astype(_chosen(target, classes), logits.dtype)
    t = (1 - smoothing) * t + smoothing / classes
    if class_weights:
        t = t * xp.asarray(class_weights, dtype=logits.dtype)
    losses = _minus_sum(t, log_p)
    return losses, xp.exp(log_p) * xp.sum(t, axis=1, keepdims=True) - t


def log_softmax_of(logits: Float[Array, "batch classes"]) -> Float[Array, "batch classes"]:
    """log p_k = z_k - log(sum_j exp z_j), shifted by the largest logit."""
    xp = namespace(logits)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))


def _minus_sum(shares: Float[Array, "batch classes"], logs: Float[Array, "batch classes"]) -> Float[Array, "batch"]:
    """- sum_k t_k a_k over the shares above 0: where a class is ruled out, a is -inf, and 0 times that is no number."""
    xp = namespace(logs)
    return 0.0 - xp.sum(xp.where(shares > 0, shares * logs, xp.zeros_like(logs)), axis=1)  # a loss of 0 is not -0


def right_of_largest(logits: Float[Array, "batch classes"], target: Num[Array, "batch ..."]) -> Bool[Array, "batch"]:
    """Whether the largest logit is that of the label, or of a largest share, and no logit is NaN."""
    xp = namespace(logits)
    answer = xp.argmax(logits, axis=1)
    answered = xp.logical_not(xp.any(xp.isnan(logits), axis=1))  # argmax takes NaN for a number
    if target.ndim == 1:
        return xp.logical_and(answered, answer == xp.astype(target, answer.dtype))
    share = xp.sum(xp.where(_chosen(answer, logits.shape[1]), target, xp.zeros_like(target)), axis=1)
    return xp.logical_and(answered, share == xp.max(target, axis=1))


def kl_divergence() -> Loss:
    """The Kullback-Leibler divergence of distributions t (batch, classes) from the softmax of logits.

        p    = softmax(z)
        loss = mean over the batch of sum_k t_k (log t_k - log p_k),  where 0 log 0 = 0
        dz   = (p - t) / batch

    Kullback & Leibler, "On information and sufficiency" (Annals of Mathematical Statistics 22, 1951). It is the
    cross-entropy less the entropy of t, so it is 0 where p = t, and the gradient is the same. For logits of any size
    what ``softmax_cross_entropy`` says holds. An answer is right as there.

    Raises:
        ShapeError: when called with shares of another shape or dtype, negative, or that do not sum to 1 within 1e-4.
    """
    return Loss.of_examples("KL divergence", kl_divergences, right_of_largest, "distributions")


def kl_divergences(
    logits: Float[Array, "batch classes"], t: Float[Array, "batch classes"]
) -> tuple[Float[Array, "batch"], Float[Array, "batch classes"]]:
    """The losses, and their gradients."""
    xp = namespace(logits)
    log_p = log_softmax_of(logits)
    log_t = xp.log(xp.where(t > 0, t, xp.ones_like(t)))
    return _minus_sum(t, log_p - log_t), xp.exp(log_p) * xp.sum(t, axis=1, keepdims=True) - t


def focal_loss(gamma: float = 2.0, *, class_weights: Iterable[float] = ()) -> Loss:
    """The focal loss of the softmax of logits (batch, classes) against integer labels y (batch,).

        q    = softmax(z)_y
        loss = - mean over the batch of (1 - q)^gamma log q
        dz_k = (1 - q)^gamma (gamma q log q / (1 - q) - 1) ([k = y] - p_k) / batch

    Lin, Goyal, Girshick, He & Dollar, "Focal loss for dense object detection" (ICCV 2017), section 3.2, there for two
    classes; their alpha is a class weight. With gamma = 0 it is the softmax cross-entropy. Sure and right answers count
    the less the larger gamma is. Class weights and answers are as in ``softmax_cross_entropy``.

    1 - q is the sum of the other classes' probabilities, which does not cancel, and log q is log(1 - (1 - q)) where q
    is near 1. So loss and gradient are right for finite logits of any size; the loss overflows as a cross-entropy does.

    Raises:
        ValueError: for a gamma or class weights that are negative or not finite, or class weights that are all 0.
        TypeError: for class weights that are not numbers in the order of the classes.
        ShapeError: when called with labels of another length or dtype, or outside 0 .. classes - 1; with other than
            one logit for each class weight.
    """
    if not 0 <= gamma < math.inf:
        raise ValueError(f"the gamma of a focal loss is finite and not negative, got {gamma}")
    return _of_classes("focal loss", partial(focal_losses, float(gamma)), "labels", class_weights)


def focal_losses(
    gamma: float,
    logits: Float[Array, "batch classes"],
    labels: Integer[Array, "batch"],
    *,
    class_weights: tuple[float, ...] = (),
) -> tuple[Float[Array, "batch"], Float[Array, "batch classes"]]:
    """The losses, and their gradients."""
    xp = namespace(logits)
    log_p, chosen = log_softmax_of(logits), _chosen(labels, logits.shape[1])
    nothing = xp.zeros_like(log_p)
    others = xp.where(chosen, nothing, xp.exp(log_p))
    rest = xp.sum(others, axis=1, keepdims=True)  # 1 - q
    log_q = xp.sum(xp.where(chosen, log_p, nothing), axis=1, keepdims=True)
    none = xp.zeros_like(rest)
    log_q = xp.where(rest < 0.5, xp.log1p(-xp.where(rest < 0.5, rest, none)), log_q)
    q = xp.exp(log_q)
    q_log_q = xp.where(q > 0, q * log_q, none)
    ones = xp.ones_like(rest)
    over_rest = xp.where(rest > 0, q_log_q / xp.where(rest > 0, rest, ones), -ones)  # its limit is -1
    factor = rest**gamma
    gradient = factor * (gamma * over_rest - 1) * xp.where(chosen, rest, -others)
    return _times_class_weights(class_weights, labels, (0.0 - factor * log_q)[:, 0], gradient)


def _times_class_weights(
    class_weights: tuple[float, ...],
    labels: Integer[Array, "batch"],
    losses: Float[Array, "batch"],
    gradient: Float[Array, "batch classes"],
) -> tuple[Float[Array, "batch"], Float[Array, "batch classes"]]:
    if not class_weights:
        return losses, gradient
    weights = weights_by_target(class_weights, labels, losses)
    weighted = namespace(losses).where(weights > 0, weights * losses, namespace(losses).zeros_like(losses))
    return weighted, weights[:, None] * gradient


def hinge_loss(*, class_weights: Iterable[float] = ()) -> Loss:
    """The multiclass hinge loss of scores z (batch, classes) against integer labels y (batch,).

        loss = mean over the batch of max(0, 1 + z_r - z_y),  r = the class other than y of the largest score
        dz_k = ([k = r] - [k = y]) / batch where that is above 0, else 0

    Crammer & Singer, "On the algorithmic implementation of multiclass kernel-based vector machines" (JMLR 2, 2001),
    section 3, with a margin of 1. For two classes it is the binary hinge loss of the difference of their scores.
    At the kinks, the gradient is 0 where 1 + z_r - z_y is 0, and r is the first of the other classes that are largest.

    An answer is right as in ``softmax_cross_entropy``, and class weights are as there.

    Raises:
        ValueError: for class weights that are negative, not finite, or all 0.
        TypeError: for class weights that are not numbers in the order of the classes.
        ShapeError: when called with labels of another length or dtype, or outside 0 .. classes - 1; with other than
            one score for each class weight.
    """
    return _of_classes("hinge loss", hinge_losses, "labels", class_weights)


def hinge_losses(
    scores: Float[Array, "batch classes"], labels: Integer[Array, "batch"], *, class_weights: tuple[float, ...] = ()
) -> tuple[Float[Array, "batch"], Float[Array, "batch classes"]]:
    """The losses, and their gradients."""
    xp = namespace(scores)
    classes = scores.shape[1]
    chosen = _chosen(labels, classes)
    of_label = xp.sum(xp.where(chosen, scores, xp.zeros_like(scores)), axis=1)
    others = xp.where(chosen, xp.full_like(scores, -math.inf), scores)
    short = 1 + (xp.max(others, axis=1) - of_label)
    wrong = short > 0
    rival = _chosen(xp.argmax(others, axis=1), classes)
    gradient = xp.astype(rival, scores.dtype) - xp.astype(chosen, scores.dtype)
    losses = xp.where(wrong, short, xp.zeros_like(short))
    return _times_class_weights(class_weights, labels, losses, xp.astype(wrong, scores.dtype)[:, None] * gradient)


# --- losses of numbers, each output by itself


def binary_cross_entropy() -> Loss:
    """Cross-entropy of the sigmoid of logits against targets in [0, 1] of the same shape and dtype.

        loss = mean of log(1 + exp z) - t z = mean of log(1 + exp -|z|) + |z| |[z > 0] - t|
        dz   = (sigmoid(z) - t) / number of entries

    The second form is used: no exponential overflows in it, and nothing cancels when a prediction is confident and
    right. So dz is right for finite logits of any size. The loss is infinite if the terms of all entries add up to more
    than the largest number of the dtype, 3.4e38 in float32. Goodfellow et al., Deep Learning (2016), section 6.2.2.2.

    A prediction is right if z > 0 exactly when t > 1/2. A z that is NaN is no prediction: it counts as wrong.

    Raises:
        ShapeError: when called with targets of another shape or dtype, or outside [0, 1].
    """
    return Loss.of_examples("binary cross-entropy", binary_cross_entropies, right_of_sides, "shares")


def binary_cross_entropies(
    logits: Float[Array, "batch *shape"], targets: Float[Array, "batch *shape"]
) -> tuple[Float[Array, "batch *shape"], Float[Array, "batch *shape"]]:
    """The losses, and their gradients."""
    xp = namespace(logits)
    miss = xp.abs(xp.astype(logits > 0, logits.dtype) - targets)
    losses = xp.log1p(exp_of_minus_size(logits)) + xp.abs(logits) * miss
    return losses, sigmoid_of(logits) - targets


def right_of_sides(
    logits: Float[Array, "batch *shape"], targets: Float[Array, "batch *shape"]
) -> Bool[Array, "batch *shape"]:
    """Whether z > 0 exactly when t > 1/2, and z is not NaN."""
    xp = namespace(logits)
    return xp.where(targets > 0.5, logits > 0, logits <= 0)  # NaN fails both comparisons


def mean_squared_error() -> Loss:
    """The mean of (y - t)^2 over all entries, with gradient 2 (y - t) / number of entries.

    Bishop, Pattern Recognition and Machine Learning (2006), section 3.1.1 (which sums halves instead).

    The loss is infinite if the squares add up to more than the largest number of the dtype, 3.4e38 in float32: a single
    y - t may be up to 1.8e19.

    Raises:
        ShapeError: when called with targets of another shape or dtype.
    """
    return Loss.of_examples("mean squared error", squared_errors, targets="numbers")


def squared_errors(
    prediction: Float[Array, "batch *shape"], target: Float[Array, "batch *shape"]
) -> tuple[Float[Array, "batch *shape"], Float[Array, "batch *shape"]]:
    """The losses, and their gradients."""
    off = prediction - target
    return off * off, 2 * off


def mean_absolute_error() -> Loss:
    """The mean of |y - t| over all entries, with gradient sign(y - t) / number of entries, 0 at the kink y = t.

    Its minimum is the median of the targets (Koenker & Bassett, "Regression quantiles", Econometrica 46, 1978).

    Raises:
        ShapeError: when called with targets of another shape or dtype.
    """
    return Loss.of_examples("mean absolute error", absolute_errors, targets="numbers")


def absolute_errors(
    prediction: Float[Array, "batch *shape"], target: Float[Array, "batch *shape"]
) -> tuple[Float[Array, "batch *shape"], Float[Array, "batch *shape"]]:
    """The losses, and their gradients."""
    xp = namespace(prediction)
    off = prediction - target
    return xp.abs(off), xp.sign(off)


def huber_loss(delta: float = 1.0) -> Loss:
    """Huber's loss of d = y - t: a square near 0, and a line of slope delta away from it. The mean over all entries.

        c    = d clipped to [-delta, delta]
        loss = mean of c (d - c/2):  d^2 / 2 for |d| <= delta, else delta (|d| - delta/2)
        dy   = c / number of entries

    Huber, "Robust estimation of a location parameter" (Annals of Mathematical Statistics 35, 1964), section 1.

    Raises:
        ValueError: for a delta that is not positive and finite.
        ShapeError: when called with targets of another shape or dtype.
    """
    if not 0 < delta < math.inf:
        raise ValueError(f"the delta of Huber's loss is positive and finite, got {delta}")
    return Loss.of_examples("Huber loss", partial(huber_losses, float(delta)), targets="numbers")


def huber_losses(
    delta: float, prediction: Float[Array, "batch *shape"], target: Float[Array, "batch *shape"]
) -> tuple[Float[Array, "batch *shape"], Float[Array, "batch *shape"]]:
    """The losses, and their gradients."""
    off = prediction - target
    clipped = namespace(off).clip(off, -delta, delta)
    return clipped * (off - clipped / 2), clipped


def poisson_loss() -> Loss:
    """The negative log-likelihood of counts t >= 0 under Poisson distributions of mean exp(z), less log t!.

        loss = mean of exp(z) - t z,    dz = (exp(z) - t) / number of entries

    McCullagh & Nelder, Generalized Linear Models (2nd ed., 1989), section 6.2, with the canonical link log. log t! does
    not depend on z, so it is left out. The loss may be negative. exp(z) is infinite above z = 88.7 in float32 and 709.7
    in float64, and the loss and the gradient are too.

    Raises:
        ShapeError: when called with targets of another shape or dtype, negative or not finite.
    """
    return Loss.of_examples("Poisson loss", poisson_losses, targets="not negative")


def poisson_losses(
    logits: Float[Array, "batch *shape"], counts: Float[Array, "batch *shape"]
) -> tuple[Float[Array, "batch *shape"], Float[Array, "batch *shape"]]:
    """The losses, and their gradients."""
    mean = namespace(logits).exp(logits)
    return mean - counts * logits, mean - counts
