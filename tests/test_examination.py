import math

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from funcnet.combinators import chain, checkpoint, frozen, parallel, repeat, residual
from funcnet.data.batches import normalization
from funcnet.data.dataset import Split
from funcnet.examination import Answers, Bin, CombinatorFacts, LayerFacts, describe, examine
from funcnet.layers.activations import relu, tanh
from funcnet.layers.linear import LinearParams, linear
from funcnet.layers.norm import batch_norm
from funcnet.layers.reshape import flatten, identity
from funcnet.random import make_key, normal
from funcnet.shapes import ShapeError

NET = chain(flatten(), linear(5), relu(), linear(3))


def split(count: int, shape: tuple[int, ...] = (2, 2), classes: int = 3) -> Split:
    rng = np.random.default_rng(count)
    return Split(rng.integers(0, 256, (count, *shape), np.uint8), rng.integers(0, classes, count, np.uint8))


def test_layers_and_what_they_cost() -> None:
    """relu keeps its output, which the second linear layer keeps as its input: it counts once."""
    assert describe(NET, (2, 2)) == (
        LayerFacts("[0]", "flatten", (4,), 0, 0, 0, opens=(CombinatorFacts("", "chain", "sequence", (3,)),)),
        LayerFacts("[1]", "linear(5)", (5,), 25, 20, 16),
        LayerFacts("[2]", "relu", (5,), 0, 0, 20),
        LayerFacts("[3]", "linear(3)", (3,), 18, 15, 0),
    )


def test_chains_within_chains_are_taken_apart() -> None:
    nested = chain(flatten(), chain(linear(5), relu()), linear(3))
    assert [layer.path for layer in describe(nested, (2, 2))] == ["[0]", "[1][0]", "[1][1]", "[2]"]
    assert [attrs.evolve(f, path="", opens=()) for f in describe(nested, (2, 2))] == [
        attrs.evolve(f, path="", opens=()) for f in describe(NET, (2, 2))
    ]
    assert [layer.path for layer in describe(linear(2), (4,))] == [""]


def test_a_network_that_cannot_take_the_examples() -> None:
    with pytest.raises(ShapeError, match="linear"):
        describe(linear(2), (4, 4))


def test_a_layer_of_ones_own_may_keep_anything() -> None:
    strange = attrs.evolve(relu(), name="strange", forward=lambda params, x: (x, "a note"))
    assert describe(chain(linear(2), strange), (3,))[1] == LayerFacts("[1]", "strange", (2,), 0, 0, 0)


def test_parameters_that_are_kept_do_not_count() -> None:
    """They are there anyway. What is kept beside a view of it counts once."""
    plain = linear(2)

    def keeping(*kept: object) -> tuple[LayerFacts, ...]:
        def forward(params: LinearParams, x: np.ndarray) -> tuple[np.ndarray, object]:
            made = {"weight": params.weight, "transposed": params.weight.T, "x": x, "column": x[:, :1]}
            return plain.forward(params, x)[0], tuple(made[name] for name in kept)

        return describe(attrs.evolve(plain, forward=forward), (3,))

    assert keeping("weight", "transposed") == (LayerFacts("", "linear(2)", (2,), 8, 6, 0),)
    assert keeping("x", "x", "weight")[0].residual_bytes == 4 * 3


def test_statistics_of_a_batch_do_not_count() -> None:
    """They are as large for a batch of any size."""
    (facts,) = describe(batch_norm(), (6,))
    assert (facts.residual_bytes, facts.parameters, facts.fixed) == (4 * 6, 24, 12)


def test_combinators_are_told_with_the_first_layer_inside() -> None:
    side = parallel(linear(2), chain(linear(3), relu()), merge="concatenation")
    net = chain(residual(linear(4)), side, frozen(chain(linear(2), relu())))
    facts = describe(net, (4,))
    assert [(f.path, f.parameters, f.fixed) for f in facts] == [
        ("[0][0]", 20, 0), ("[0][1]", 0, 0), ("[1][0]", 10, 0), ("[1][1][0]", 15, 0), ("[1][1][1]", 0, 0),
        ("[2].params[0]", 12, 12), ("[2].params[1]", 0, 0),
    ]  # fmt: skip
    assert [f.opens for f in facts] == [
        (CombinatorFacts("", "chain", "sequence", (2,)), CombinatorFacts("[0]", "residual", "sum", (4,))),
        (),
        (CombinatorFacts("[1]", "parallel", "concatenation", (5,)),),
        (CombinatorFacts("[1][1]", "chain", "sequence", (3,)),),
        (),
        (CombinatorFacts("[2]", "frozen", "around", (2,)), CombinatorFacts("[2].params", "chain", "sequence", (2,))),
        (),
    ]


def test_of_a_checkpoint_the_input_is_kept_alone() -> None:
    kept = [f.residual_bytes for f in describe(checkpoint(flatten(), linear(5), chain(relu(), tanh())), (2, 2))]
    assert kept == [4 * 4, 0, 0, 0]
    kept = [f.residual_bytes for f in describe(chain(checkpoint(checkpoint(linear(5)), relu()), linear(2)), (3,))]
    assert kept == [4 * 3, 0, 4 * 5]


def test_tied_layers_have_their_parameters_once() -> None:
    facts = describe(repeat(frozen(linear(3)), 2, tied=True), (3,))
    assert [(f.parameters, f.fixed, f.multiply_adds) for f in facts] == [(12, 12, 9), (0, 0, 9)]


@given(count=st.sampled_from([1, 2, 7, 1001]), classes=st.integers(1, 5))
def test_answers_by_hand(count: int, classes: int) -> None:
    """Against a softmax in float64, example by example; also across the border of a batch."""
    net = chain(flatten(), linear(classes))
    params, _ = net.init(make_key(count), (2, 2))
    examples = split(count, classes=classes)
    normalize = normalization(examples.x)
    answers = examine(net, params, examples, normalize).answers

    logits, _ = net.forward(params, normalize(examples.x))
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    confusion = np.zeros((classes, classes), int)
    for true, guess in zip(examples.y, predicted, strict=True):
        confusion[true, guess] += 1
    assert answers.confusion == tuple(map(tuple, confusion.tolist()))

    wrong = [i for i in range(count) if predicted[i] != examples.y[i]]
    assert len(answers.mistakes) == min(24, len(wrong))
    surest = sorted(wrong, key=lambda i: -confidence[i])[:24]
    np.testing.assert_allclose([m.confidence for m in answers.mistakes], confidence[surest], rtol=1e-5)
    for mistake in answers.mistakes:
        assert (mistake.true, mistake.predicted) == (examples.y[mistake.index], predicted[mistake.index])
        np.testing.assert_array_equal(mistake.picture.array, examples.x[mistake.index])

    assert len(answers.bins) == 15
    assert sum(b.count for b in answers.bins) == count
    right = sum(b.count * b.accuracy for b in answers.bins)
    assert right == pytest.approx(np.trace(confusion))
    assert sum(b.count * b.confidence for b in answers.bins) == pytest.approx(confidence.sum(), rel=1e-5)
    for place, b in enumerate(answers.bins):
        assert b.count == 0 or place / 15 - 1e-6 <= b.confidence <= (place + 1) / 15 + 1e-6


def test_a_bin_holds_its_upper_end_and_none_its_lower() -> None:
    """Two equal logits are a confidence of exactly 1/2; three of exactly 1/3, the upper end of the fifth bin."""
    params = LinearParams(np.zeros((1, 3), np.float32), np.zeros(3, np.float32))
    x, y = np.ones((2, 1), np.float32), np.array([0, 1])
    bins = examine(linear(3), params, Split(x, y)).answers.bins
    assert [(place, b.count, b.accuracy) for place, b in enumerate(bins) if b.count] == [(4, 2, 0.5)]


def outputs_are(rows: list[list[float]], labels: list[int]) -> Answers:
    """The answers of a network that returns these rows."""
    x = np.array(rows, np.float32)
    return examine(identity(), (), Split(x, np.array(labels))).answers


def test_what_is_not_a_number_is_no_answer() -> None:
    """It is counted apart, for each class, and nowhere else: neither as a mistake nor in a bin."""
    nan = math.nan
    answers = outputs_are([[nan, nan, nan], [0, 1, nan], [0, 2, 0], [5, 0, 0], [nan, 9, 9]], [0, 2, 1, 1, 2])
    assert answers.unanswered == (1, 0, 2)
    assert answers.confusion == ((0, 0, 0), (1, 1, 0), (0, 0, 0))
    assert sum(b.count for b in answers.bins) == 2
    assert [(m.index, m.true, m.predicted) for m in answers.mistakes] == [(3, 1, 0)]
    nothing = outputs_are([[nan, nan]] * 3, [0, 1, 1])
    assert nothing.unanswered == (1, 2)
    assert nothing.confusion == ((0, 0), (0, 0))
    assert nothing.mistakes == ()
    assert all((b.count, b.confidence, b.accuracy) == (0, 0, 0) for b in nothing.bins)


def test_every_example_has_an_answer_mostly() -> None:
    assert outputs_are([[0, 1], [1, 0]], [0, 0]).unanswered == ()


def test_infinite_outputs_are_answers() -> None:
    """One of infinity is certain. Of several the first is taken, and they share the confidence."""
    inf = math.inf
    answers = outputs_are([[0, inf, 1], [inf, -inf, inf], [-inf, 0, 0], [-inf, -inf, -inf], [3e38, -3e38, 0]], [2] * 5)
    assert answers.unanswered == ()
    assert answers.confusion[2] == (3, 2, 0)
    assert {m.index: (m.predicted, m.confidence) for m in answers.mistakes} == {
        0: (1, 1), 1: (0, 0.5), 2: (1, 0.5), 3: (0, pytest.approx(1 / 3)), 4: (0, 1)
    }  # fmt: skip


def test_units_that_are_not_finite_are_active() -> None:
    """NaN and infinity are not 0: such units are counted apart, in whichever batch they are met."""
    x = np.ones((1500, 1), np.float32)
    x[1400] = 0
    weight = np.array([[1, -1, math.inf, math.nan, -math.inf, -1]], np.float32)  # 0 times infinity is NaN
    net = chain(linear(6), relu())
    params = (LinearParams(weight, np.zeros(6, np.float32)), ())
    (activity,) = examine(net, params, Split(x, np.zeros(1500, int))).activity
    assert (activity.units, activity.never_active, activity.not_finite) == (6, 2, 3)
    params = (LinearParams(weight[:, :2], np.zeros(2, np.float32)), ())
    (activity,) = examine(chain(linear(2), relu()), params, Split(x, np.zeros(1500, int))).activity
    assert (activity.units, activity.never_active, activity.not_finite) == (2, 1, 0)


def test_weights_that_are_not_finite_are_no_pictures() -> None:
    net = chain(flatten(), linear(4))
    weight = np.ones((4, 4), np.float32) * np.array([1, math.nan, 3e38, -math.inf], np.float32)
    params = ((), LinearParams(weight, np.zeros(4, np.float32)))
    examination = examine(net, params, split(3, classes=4), normalization(split(3).x))
    assert [set(picture.array.ravel().tolist()) for picture in examination.filters] == [{255}, {255}]


def test_units_that_are_never_active() -> None:
    """One of four units is 0 for all examples; two answer one each: the first, in the first batch, and the last."""
    x = np.arange(1500, dtype=np.float32)[:, None]
    x[0], x[-1] = -5, 2000
    weight = np.array([[1, -1, -1, 1]], np.float32)
    bias = np.array([0, -10, -4.5, -1999], np.float32)
    net = chain(linear(4), relu(), tanh(), relu())
    params = net.init(make_key(0), (1,))[0]
    params = (LinearParams(weight, bias), *params[1:])
    examination = examine(net, params, Split(x, np.zeros(len(x), np.uint8)))
    assert [(a.path, a.name, a.units, a.never_active) for a in examination.activity] == [
        ("[1]", "relu", 4, 1),
        ("[3]", "relu", 4, 1),
    ]
    assert examination.examples == 1500


def test_what_predicts_no_classes_has_no_answers() -> None:
    x = normal(make_key(0), (4, 3))
    params, _ = linear(2).init(make_key(0), (3,))
    examination = examine(linear(2), params, Split(x, x[:, :2]))
    assert (examination.answers, examination.activity, examination.filters) == (None, (), ())


def test_examples_that_are_no_pictures_have_none() -> None:
    x = normal(make_key(0), (6, 4))
    params, _ = linear(2).init(make_key(0), (4,))
    answers = examine(linear(2), params, Split(x, np.array([0, 1] * 3))).answers
    assert answers.mistakes
    assert all(mistake.picture is None for mistake in answers.mistakes)


def test_first_weights_as_pictures_the_largest_first() -> None:
    weight = np.array([[0.1, -2.0], [0.2, 0.0], [0.0, 1.0], [-0.2, 2.0]], np.float32)
    net = chain(flatten(), linear(2))
    params = (net.init(make_key(0), (2, 2))[0][0], LinearParams(weight, np.zeros(2, np.float32)))
    first, second = examine(net, params, split(3, classes=2), normalization(split(3).x)).filters
    assert first.array.tolist() == [[0, 128], [191, 255]]
    assert second.array.tolist() == [[191, 255], [128, 0]]


def test_weights_for_pictures_in_colours() -> None:
    net = chain(flatten(), linear(4))
    params, _ = net.init(make_key(0), (5, 6, 3))
    assert [
        f.shape for f in examine(net, params, split(3, (5, 6, 3), 4), normalization(split(3, (5, 6, 3)).x)).filters
    ] == [(5, 6, 3)] * 4


def test_grey_images_with_an_axis_of_one_channel_are_pictures() -> None:
    examples = split(40, (7, 6, 1), 2)
    net = chain(flatten(), linear(2))
    params, _ = net.init(make_key(0), (7, 6, 1))
    examination = examine(net, params, examples, normalization(examples.x))
    assert [picture.shape for picture in examination.filters] == [(7, 6)] * 2
    assert examination.answers is not None
    for mistake in examination.answers.mistakes:
        assert mistake.picture is not None
        np.testing.assert_array_equal(mistake.picture.array, examples.x[mistake.index][:, :, 0])
    assert examination.answers.mistakes


def test_the_filters_of_a_layer_of_ones_own() -> None:
    """Four axes are those of a convolution: height, width, channels, filters."""
    weight = normal(make_key(0), (3, 3, 3, 5))
    net = attrs.evolve(flatten(), forward=lambda params, x: (x.reshape(len(x), -1), None))
    examination = examine(net, (weight,), split(2, (4, 4, 3)), normalization(split(2, (4, 4, 3)).x))
    assert [f.shape for f in examination.filters] == [(3, 3, 3)] * 5
    grey = split(2, (4, 4, 1))
    assert [f.shape for f in examine(net, (weight[:, :, :1],), grey, normalization(grey.x)).filters] == [(3, 3)] * 5


def test_a_weight_of_zeros_is_grey() -> None:
    net = chain(flatten(), linear(1))
    params = (net.init(make_key(0), (2, 2))[0][0], LinearParams(np.zeros((4, 1), np.float32), np.zeros(1, np.float32)))
    (picture,) = examine(net, params, split(3, classes=1), normalization(split(3).x)).filters
    assert set(picture.array.ravel().tolist()) == {128}


def test_weights_next_to_nothing_are_pictures_too() -> None:
    """As a strong penalty leaves them: numbers too small for their reciprocal."""
    net = chain(flatten(), linear(1))
    weight = np.array([[1e-40], [-1e-40], [0], [5e-41]], np.float32)
    params = (net.init(make_key(0), (2, 2))[0][0], LinearParams(weight, np.zeros(1, np.float32)))
    (picture,) = examine(net, params, split(3, classes=1), normalization(split(3).x)).filters
    assert picture.array.ravel().tolist() == [255, 0, 128, 191]


def test_a_network_of_float64_is_described() -> None:
    net = linear(3, init=lambda key, shape, *_: normal(key, shape, np.float64))
    (facts,) = describe(net, (2,))
    assert (facts.parameters, facts.residual_bytes) == (9, 16)


def test_no_examples() -> None:
    with pytest.raises(ValueError, match="no examples to examine"):
        examine(NET, NET.init(make_key(0), (2, 2))[0], split(0))


def test_an_examination_is_a_value() -> None:
    params, _ = NET.init(make_key(0), (2, 2))
    one, two = (examine(NET, params, split(30), normalization(split(30).x)) for _ in range(2))
    assert one == two
    assert not math.isnan(one.answers.bins[0].accuracy)
    with pytest.raises(ValueError, match="read-only"):
        one.answers.mistakes[0].picture.array[0] = 0


def test_whole_numbers_that_are_no_labels() -> None:
    """Counts, say: a regression's."""
    net = linear(1)
    params, _ = net.init(make_key(0), (2,))
    split = Split(np.zeros((2, 2), np.float32), np.array([0, 5]))
    assert examine(net, params, split, classified=False).answers is None


def test_the_largest_weight_may_be_negative() -> None:
    net = chain(flatten(), linear(1))
    weight = np.array([[-2.0], [1], [0], [0]], np.float32)
    params = (net.init(make_key(0), (2, 2))[0][0], LinearParams(weight, np.zeros(1, np.float32)))
    (picture,) = examine(net, params, split(3, classes=1), normalization(split(3).x)).filters
    assert picture.array.ravel().tolist() == [0, 191, 128, 128]


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_beyond_the_classes_are_refused(label: int) -> None:
    net = linear(3)
    params, _ = net.init(make_key(0), (2,))
    split = Split(np.zeros((2, 2), np.float32), np.array([0, label]))
    with pytest.raises(ShapeError, match="examine: expected labels from 0 to 2, got labels from"):
        examine(net, params, split)


def test_a_confusion_matrix_holds_counts() -> None:
    for wrong in (((1, -1), (0, 1)), ((1, 0),), ()):
        with pytest.raises(ValueError, match="expected a confusion matrix"):
            Answers(wrong, (Bin(1, 0.5, 0.5),), ())
