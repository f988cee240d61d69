"""An examination of a network: its layers, and its answers to a set of examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import attrs
import numpy as np

from funcnet import random, tree
from funcnet.aligned import is_own
from funcnet.arrays import shielded
from funcnet.combinators import checkpoint_forward
from funcnet.contract import base, expect_labels
from funcnet.data.augment import Augmentation, Examples
from funcnet.data.batches import Normalization, batches
from funcnet.data.dataset import Split
from funcnet.layer import AnyLayer, is_composition, run_forward, run_predict
from funcnet.random import Key, make_key
from funcnet.shapes import Array, Float, Shape, UInt8
from funcnet.tree import Tree

__all__ = [
    "Answers", "Bin", "CombinatorFacts", "Examination", "LayerFacts", "Mistake", "Picture", "UnitActivity",
    "augmented_pictures", "describe", "examine",
]  # fmt: skip

_Pass: TypeAlias = Callable[[AnyLayer, Tree, Array], Array]  # forward or predict
_BATCH = 1000
_BINS = 15  # as Guo et al. take
_MISTAKES, _FILTERS = 24, 36
_AUGMENTED, _EPOCHS = 8, 3  # training images, and epochs in which they are shown


@attrs.frozen
class CombinatorFacts:
    """What a combinator is.

    Attributes:
        path: where its parameters are, as that of a layer; empty for the network itself.
        name: its name, without those of the layers inside: ``chain``.
        kind: how the layers inside are composed: ``sequence``, ``sum``, ``concatenation`` or ``around``.
        out_shape: the shape of its output, without the batch axis.
    """

    path: str
    name: str
    kind: str
    out_shape: Shape


@attrs.frozen
class LayerFacts:
    """What a layer is and costs, for one example.

    Attributes:
        path: where its parameters are: ``[1]``, or ``[0][2]`` in a chain within a chain.
        name: the layer's name.
        out_shape: the shape of its output, without the batch axis.
        parameters: how many numbers its parameters hold.
        multiply_adds: the multiplications, each with its addition, of a forward pass over one example.
        residual_bytes: the bytes that its forward keeps for the vjp, for each example of a batch. An array that two
            layers keep counts for the first of them. Of a ``checkpoint`` only the input counts, for its first layer.
        fixed: how many of the parameters are not trained.
        opens: the combinators of which it is the first layer inside, from the outermost in.
    """

    path: str
    name: str
    out_shape: Shape
    parameters: int
    multiply_adds: int
    residual_bytes: int
    fixed: int = 0
    opens: tuple[CombinatorFacts, ...] = ()


def _fills(picture: Picture, attribute: attrs.Attribute[bytes], pixels: bytes) -> None:
    if not _is_picture(picture.shape) or len(pixels) != math.prod(picture.shape):
        raise ValueError(f"expected the pixels of a picture, found {len(pixels)} bytes of shape {picture.shape}")


@attrs.frozen
class Picture:
    """A small picture: bytes of shape (height, width) in shades of grey, or (height, width, 3) in colours.

    Raises:
        ValueError: for another shape, or bytes that do not fill it.
    """

    shape: Shape
    pixels: bytes = attrs.field(repr=False, validator=_fills)

    @property
    def array(self) -> UInt8[Array, "..."]:
        """The picture as a read-only array."""
        return np.frombuffer(self.pixels, np.uint8).reshape(self.shape)


def _share(record: Any, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"expected a share from 0 to 1, found {value}")


def _count(record: Any, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 0:
        raise ValueError(f"expected a count, from 0 up, found {value}")


@attrs.frozen
class Mistake:
    """A wrong answer.

    Attributes:
        index: the example's place in the set.
        true: its label.
        predicted: the label predicted.
        confidence: the probability given to the prediction.
        picture: the example, where it is a picture.

    Raises:
        ValueError: for a confidence outside [0, 1].
    """

    index: int
    true: int
    predicted: int
    confidence: float = attrs.field(validator=_share)
    picture: Picture | None


@attrs.frozen
class Bin:
    """The examples whose confidence lies in one of 15 equal bins of [0, 1].

    Attributes:
        count: how many there are.
        confidence: the mean of the probabilities given to their predictions; 0 for none.
        accuracy: the share of them predicted rightly; 0 for none.

    Raises:
        ValueError: for a negative count, or what is not in [0, 1].
    """

    count: int = attrs.field(validator=_count)
    confidence: float = attrs.field(validator=_share)
    accuracy: float = attrs.field(validator=_share)


def _square(answers: Answers, attribute: attrs.Attribute[Any], confusion: tuple[tuple[int, ...], ...]) -> None:
    # Sums of floating-point numbers are exact for counts up to 2^53 only.
    if not confusion or any(len(row) != len(confusion) or min(row) < 0 or max(row) > 1 << 53 for row in confusion):
        raise ValueError("expected a confusion matrix with a row and a column of counts for each class")


def _some(answers: Answers, attribute: attrs.Attribute[Any], bins: tuple[Bin, ...]) -> None:
    if not bins:
        raise ValueError("expected bins of confidence, found none")


def _known(answers: Answers, attribute: attrs.Attribute[Any], mistakes: tuple[Mistake, ...]) -> None:
    classes = range(len(answers.confusion))
    if not all(mistake.true in classes and mistake.predicted in classes for mistake in mistakes):
        raise ValueError(f"expected mistakes among {len(classes)} classes, found labels beyond")


def _one_a_class(answers: Answers, attribute: attrs.Attribute[Any], unanswered: tuple[int, ...]) -> None:
    if unanswered and (len(unanswered) != len(answers.confusion) or min(unanswered) < 0):
        raise ValueError(f"expected a count of unanswered examples for each class, found {unanswered!r:.80}")


@attrs.frozen
class Answers:
    """How a classifier answered a set of examples.

    Attributes:
        confusion: how many examples of each class (row) were predicted as each class (column).
        bins: the predictions by confidence, from low to high.
        mistakes: the wrong answers given with the most confidence.
        unanswered: for each class, how many examples have no answer, because an output is not a number. They are
            counted nowhere else. Empty where there are none.

    Raises:
        ValueError: for a confusion matrix that is not square, no bins, mistakes among other classes, or counts of
            unanswered examples that are negative or not one for each class.
    """

    confusion: tuple[tuple[int, ...], ...] = attrs.field(repr=False, validator=_square)
    bins: tuple[Bin, ...] = attrs.field(repr=False, validator=_some)
    mistakes: tuple[Mistake, ...] = attrs.field(repr=False, validator=_known)
    unanswered: tuple[int, ...] = attrs.field(default=(), repr=False, validator=_one_a_class)


def _some_of_them(activity: UnitActivity, attribute: attrs.Attribute[int], count: int) -> None:
    if not 0 <= count <= activity.units:
        raise ValueError(f"expected some of {activity.units} units, found {count}")


@attrs.frozen
class UnitActivity:
    """How many units of a rectifying layer, such as ReLU, gave 0 for every example.

    Attributes:
        path: the layer's place.
        name: its name.
        units: how many units it has.
        never_active: how many of them were 0 for every example.
        not_finite: how many of them were not a finite number for some example. They count as active.

    Raises:
        ValueError: for more inactive units, or units that are not finite, than units.
    """

    path: str
    name: str
    units: int
    never_active: int = attrs.field(validator=_some_of_them)
    not_finite: int = attrs.field(default=0, validator=_some_of_them)


@attrs.frozen
class Examination:
    """The results of a network on a set of examples.

    Attributes:
        examples: how many there were.
        activity: for each rectifying layer, the units that were never active.
        answers: the answers of a classifier; None for a network that predicts no classes.
        filters: the weights of the first layer's units of largest norm as pictures, each scaled so that 0 is a middle
            grey and its largest weight black or white; empty where the examples are no pictures. Units with a weight
            that is not finite are left out.
    """

    examples: int
    activity: tuple[UnitActivity, ...]
    answers: Answers | None
    filters: tuple[Picture, ...] = attrs.field(repr=False)


def describe(net: AnyLayer, in_shape: Shape) -> tuple[LayerFacts, ...]:
    """The facts of every layer inside a network, for examples of shape ``in_shape``.

    Raises:
        ShapeError: where the network cannot take ``in_shape``.
    """
    params, _ = net.init(make_key(0), in_shape)
    # What a second example adds: parameters, and statistics of the batch, are kept once for all examples.
    one, two = (_measured(net, params, in_shape, count) for count in (1, 2))
    facts = [
        attrs.evolve(a, residual_bytes=max(0, b.residual_bytes - a.residual_bytes))
        for a, b in zip(one, two, strict=True)
    ]
    return tuple(_with_combinators("", net, iter(facts))[0])


def _measured(net: AnyLayer, params: Tree, in_shape: Shape, count: int) -> list[LayerFacts]:
    """The facts of every layer, with the bytes that it keeps of a batch of ``count`` examples."""
    dtype = next((leaf.dtype for leaf in tree.leaves(params)), np.float32)
    trained = tree.named_leaves(tree.trained(params))
    facts: list[LayerFacts] = []
    counted: set[int] = set()
    alive: list[Any] = []  # counted arrays are kept alive, so that their ids are not used again
    keeps = _keeps(net)

    def measure(path: str, layer: AnyLayer, layer_params: Tree, x: Array) -> Array:
        y, residuals = layer.forward(layer_params, x, make_key(0))
        kept = {"all": _arrays(residuals), "input": [x], "nothing": []}[next(keeps)]
        alive.append((kept, x))
        owners = [array if is_own(array) else array.base for array in kept]
        sizes = {id(owner): array.nbytes for owner, array in zip(owners, kept, strict=True)}
        again = any(path == other.path for other in facts)  # the same params in another place
        parameters = 0 if again else sum(leaf.size for leaf in tree.leaves(layer_params))
        learned = 0 if again else sum(leaf.size for name, leaf in trained if name.startswith(path))
        facts.append(
            LayerFacts(
                path,
                layer.name,
                tuple(y.shape[1:]),
                parameters,
                layer.multiply_adds(layer_params, tuple(x.shape[1:])),
                sum(size for owner, size in sizes.items() if owner not in counted),
                fixed=parameters - learned,
            )
        )
        counted.update(sizes)
        return y

    _walk("", net, params, np.zeros((count, *in_shape), dtype), measure, _forward_pass)
    return facts


def _keeps(layer: AnyLayer) -> Iterator[str]:
    """What is kept of each layer inside: all that its forward says, its input, or nothing."""
    if not is_composition(layer):
        yield "all"
        return
    inside = [keep for _, child in layer.children for keep in _keeps(child)]
    if base(layer.pure_forward) is checkpoint_forward:
        inside = ["input", *["nothing" for _ in inside[1:]]]
    yield from inside


def _with_combinators(path: str, layer: AnyLayer, facts: Iterator[LayerFacts]) -> tuple[list[LayerFacts], Shape]:
    """The facts of the layers inside, with the combinators around them; and the shape of the output."""
    if not is_composition(layer):
        fact = next(facts)
        return [fact], fact.out_shape
    inside: list[LayerFacts] = []
    shapes: list[Shape] = []
    for place, child in layer.children:
        made, shape = _with_combinators(f"{path}{'.params' if layer.kind == 'around' else place}", child, facts)
        inside += made
        shapes.append(shape)
    out = shapes[-1]
    if layer.kind == "concatenation":
        out = (*out[:-1], sum(shape[-1] for shape in shapes))
    this = CombinatorFacts(path, layer.name.partition("(")[0], layer.kind, out)
    inside[0] = attrs.evolve(inside[0], opens=(this, *inside[0].opens))
    return inside, out


@shielded
def examine(
    net: AnyLayer, params: Tree, split: Split, normalize: Normalization | None = None, *, classified: bool = True
) -> Examination:
    """Examine the network on ``split``, in one pass over it.

    Every example counts once, whatever its weight: an examination counts examples.

    Integer targets, one an example, are taken as class labels, with one output for each class. ``classified=False``
    says that they are something else, such as counts. The answer to an example is the first of its largest outputs. An
    example with an output that is NaN has no answer.

    Raises:
        ValueError: for no examples.
        ShapeError: where network, parameters and examples do not fit, or labels are none of the network's classes.
    """
    if not len(split):
        raise ValueError("there are no examples to examine")
    names: dict[str, str] = {}
    active: dict[str, Array] = {}
    not_finite: dict[str, Array] = {}

    def watch(path: str, layer: AnyLayer, layer_params: Tree, x: Array) -> Array:
        y = layer.predict(layer_params, x)
        if layer.rectifies:
            names[path] = layer.name
            active[path] = np.any(y > 0, axis=0) | active.get(path, False)
            not_finite[path] = ~np.isfinite(y).all(axis=0) | not_finite.get(path, False)
        return y

    examples = batches(split, _BATCH, normalize=normalize)
    predictions = [_walk("", net, params, batch.x, watch, run_predict) for batch in examples]
    return Examination(
        len(split),
        tuple(
            UnitActivity(path, name, on.size, int(np.sum(~(on | odd))), int(odd.sum()))
            for (path, name), on, odd in zip(names.items(), active.values(), not_finite.values(), strict=True)
        ),
        _answers(np.concatenate(predictions), split) if classified else None,
        _filters(params, split.in_shape),
    )


def _walk(
    path: str, layer: AnyLayer, params: Tree, x: Array, run: Callable[[str, AnyLayer, Tree, Array], Array], of: _Pass
) -> Array:
    """The output of a network. Layers that are not combinators are run by ``run(path, layer, params, x)``."""
    if not is_composition(layer) or layer.remake is None:
        return run(path, layer, params, x)
    places = (f"{path}.params" if layer.kind == "around" else path + place for place, _ in layer.children)
    children = zip(places, layer.children, strict=True)
    return of(layer.remake(tuple(_walked(place, child, run, of) for place, (_, child) in children)), params, x)


def _walked(path: str, layer: AnyLayer, run: Callable[[str, AnyLayer, Tree, Array], Array], of: _Pass) -> AnyLayer:
    """The layer, whose forward and predict are walks."""

    def predict(params: Tree, x: Array) -> Array:
        return _walk(path, layer, params, x, run, of)

    def forward(params: Tree, x: Array, key: Key | None = None) -> tuple[Array, tuple[()]]:
        return predict(params, x), ()

    return attrs.evolve(layer, forward=forward, predict=predict, children=(), frozen=None)


def _forward_pass(layer: AnyLayer, params: Tree, x: Array) -> Array:
    return run_forward(layer, params, x, make_key(0))[0]


def _arrays(residuals: Any) -> list[Array]:
    try:
        return tree.leaves(residuals)
    except TypeError:  # the residuals of a user's layer may be anything
        return []


def _answers(prediction: Float[Array, "n ..."], split: Split) -> Answers | None:
    if prediction.ndim != 2 or split.y.ndim != 1 or split.y.dtype.kind not in "iu":
        return None
    expect_labels("examine", prediction, split.y)
    classes = prediction.shape[1]
    unanswered = np.isnan(prediction).any(axis=1)
    nothing = np.bincount(split.y[unanswered].astype(np.intp), minlength=classes)
    answered = np.flatnonzero(~unanswered)
    prediction, labels = prediction[answered], split.y[answered].astype(np.intp)
    predicted, confidence = prediction.argmax(axis=1), _confidence(prediction)
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")[:_MISTAKES]]
    return Answers(
        tuple(tuple(row) for row in confusion.tolist()),
        _bins(confidence, predicted == labels),
        tuple(
            Mistake(
                int(answered[i]),
                int(labels[i]),
                int(predicted[i]),
                float(confidence[i]),
                _picture(split.x[answered[i]]),
            )
            for i in worst
        ),
        tuple(nothing.tolist()) if nothing.any() else (),
    )


def _confidence(prediction: Float[Array, "n classes"]) -> Float[Array, "n"]:
    """The softmax at its largest entry, whose exp is 1. Equal infinities are equally likely."""
    largest = prediction.max(axis=1, keepdims=True)
    below = np.where(prediction == largest, 0, prediction - largest)
    return 1 / np.exp(below).sum(axis=1, dtype=np.float64)


def _bins(confidence: Float[Array, "n"], right: Array) -> tuple[Bin, ...]:
    """Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks" (ICML 2017), section 2."""
    places = np.clip(np.ceil(confidence * _BINS).astype(np.intp) - 1, 0, _BINS - 1)  # a bin holds its upper end
    counts = np.bincount(places, minlength=_BINS)
    sums = (np.bincount(places, weights=w, minlength=_BINS) for w in (confidence, right))
    means = [np.divide(s, counts, out=np.zeros(_BINS), where=counts > 0).tolist() for s in sums]
    return tuple(Bin(*row) for row in zip(counts.tolist(), *means, strict=True))


def _picture(example: Array) -> Picture | None:
    shape = _without_grey_channel(example.shape)
    if example.dtype != np.uint8 or not _is_picture(shape):
        return None
    return Picture(shape, np.ascontiguousarray(example).tobytes())


@shielded
def augmented_pictures(
    split: Split, normalize: Normalization | None, augment: Augmentation | None, key: Key
) -> tuple[tuple[Picture, ...], ...]:
    """Evenly spaced images as they are, and below them as ``augment`` changes them in the first three epochs.

    They are one batch of its own, with draws of its own. It is empty where there is no augmentation, or no pictures.
    """
    shape = _without_grey_channel(split.in_shape)
    if augment is None or normalize is None or not _is_picture(shape):
        return ()
    rows = np.unique(np.linspace(0, len(split) - 1, _AUGMENTED).astype(np.int64))
    some = split.take(rows)
    examples = Examples(normalize(some.x), some.y, rows)
    images = [some.x]
    for epoch in range(_EPOCHS):
        made = augment(random.fold_in(key, epoch), attrs.evolve(examples, epoch=epoch))
        pixels = (made.x - normalize.shift) / normalize.scale
        images.append(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return tuple(tuple(Picture(shape, image.tobytes()) for image in row) for row in images)


def _is_picture(shape: Shape) -> bool:
    return (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)) and min(shape) > 0


def _without_grey_channel(shape: Shape) -> Shape:
    """(height, width) for (height, width, 1): the same bytes."""
    return tuple(shape[:2] if len(shape) == 3 and shape[2] == 1 else shape)


def _filters(params: Tree, in_shape: Shape) -> tuple[Picture, ...]:
    """The columns of the first weight matrix, or the filters (height, width, channels, out) of a convolution."""
    weight = next((leaf for leaf in tree.leaves(params) if leaf.ndim >= 2), None)
    if weight is None:
        return ()
    shape = _without_grey_channel(in_shape if weight.ndim == 2 else weight.shape[:-1])
    if not _is_picture(shape) or math.prod(shape) != weight.size // weight.shape[-1]:
        return ()
    columns = weight.reshape(-1, weight.shape[-1])
    columns = columns[:, np.isfinite(columns).all(axis=0)]
    chosen = np.argsort(-np.square(columns, dtype=np.float64).sum(axis=0), kind="stable")[:_FILTERS]
    return tuple(Picture(shape, _greys(columns[:, unit])) for unit in chosen)


def _greys(weights: Float[Array, "n"]) -> bytes:
    largest = float(np.abs(weights).max())
    return np.rint(127.5 + 127.5 * (weights.astype(np.float64) / (largest or 1.0))).astype(np.uint8).tobytes()
