import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet import engines
from funcnet.check import check_loss, class_labels, counts, distributions, real_numbers, shares
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.engines.numpy.losses import fast_loss
from funcnet.engines.running import evaluate
from funcnet.layers.reshape import identity
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
from funcnet.random import Key
from funcnet.shapes import Array, Shape, ShapeError
from funcnet.step import Batch


@settings(max_examples=12)
@given(sizes(), sizes(), st.sampled_from([0.0, 0.1, 0.7]), st.sampled_from([np.uint8, np.int32, np.int64]), keys())
def test_proof_of_softmax_cross_entropy(batch: int, classes: int, smoothing: float, dtype: type, key: Key) -> None:
    def labels(key: Key, logits: Array) -> Array:
        return class_labels(key, logits).astype(dtype)

    check_loss(softmax_cross_entropy(label_smoothing=smoothing), (classes,), targets=labels, batch=batch, key=key)


@settings(max_examples=6)
@given(sizes(), shapes(), keys())
def test_proof_of_binary_cross_entropy(batch: int, shape: Shape, key: Key) -> None:
    check_loss(binary_cross_entropy(), shape, targets=shares, batch=batch, key=key)


@settings(max_examples=6)
@given(sizes(), shapes(), keys())
def test_proof_of_mean_squared_error(batch: int, shape: Shape, key: Key) -> None:
    check_loss(mean_squared_error(), shape, targets=real_numbers, batch=batch, key=key)


@settings(max_examples=5)
@given(sizes(), sizes(), st.sampled_from([0.0, 0.2]), st.booleans(), st.booleans(), keys())
def test_proof_with_class_weights(
    batch: int, classes: int, smoothing: float, weighed: bool, labels: bool, key: Key
) -> None:
    weights = np.linspace(0.2, 2, classes) if weighed else ()
    loss = softmax_cross_entropy(label_smoothing=smoothing, class_weights=weights)
    check_loss(loss, (classes,), targets=class_labels if labels else distributions, batch=batch, key=key)


@settings(max_examples=4)
@given(sizes(), sizes(), st.floats(0, 5), st.booleans(), keys())
def test_proof_of_focal_and_hinge_losses(batch: int, classes: int, gamma: float, weighed: bool, key: Key) -> None:
    weights = np.linspace(0.2, 2, classes) if weighed else ()
    for loss in (focal_loss(gamma, class_weights=weights), hinge_loss(class_weights=weights)):
        check_loss(loss, (classes,), targets=class_labels, batch=batch, key=key)


@settings(max_examples=3)
@given(sizes(), shapes(), sizes(), st.floats(0.1, 3), keys())
def test_proof_of_losses_of_numbers(batch: int, shape: Shape, classes: int, delta: float, key: Key) -> None:
    for loss, targets in (
        (mean_absolute_error(), real_numbers),
        (huber_loss(delta), real_numbers),
        (poisson_loss(), counts),
    ):
        check_loss(loss, shape, targets=targets, batch=batch, key=key)
    check_loss(kl_divergence(), (classes,), targets=distributions, batch=batch, key=key)


def on_numbers(loss: Loss, prediction: list[object], target: list[object]) -> tuple[float, list[object]]:
    value, gradient = loss(np.array(prediction, np.float64), np.array(target))
    return value, gradient.tolist()


def test_known_values() -> None:
    third = 1 / 3
    value, gradient = on_numbers(softmax_cross_entropy(), [[0, 0, 0], [0, math.log(2), 0]], [0, 1])
    assert value == pytest.approx((math.log(3) + math.log(2)) / 2)
    np.testing.assert_allclose(gradient, np.array([[-2 * third, third, third], [0.25, -0.5, 0.25]]) / 2)
    value, _ = on_numbers(softmax_cross_entropy(label_smoothing=0.3), [[0, math.log(2), 0]], [1])
    assert value == pytest.approx(0.8 * math.log(2) + 0.2 * math.log(4))
    value, gradient = on_numbers(binary_cross_entropy(), [[0.0], [math.log(3)]], [[1.0], [0.0]])
    assert value == pytest.approx((math.log(2) + math.log(4)) / 2)
    np.testing.assert_allclose(gradient, [[-0.25], [0.375]])
    assert on_numbers(mean_squared_error(), [[1, 2], [3, 4]], [[1.0, 0], [3, 1]]) == (13 / 4, [[0, 1], [0, 1.5]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_logits_of_ten_thousand_are_safe(dtype: type, smoothing: float) -> None:
    """Warnings are errors here: an overflow would show."""
    z = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0]], dtype)
    value, gradient = softmax_cross_entropy(label_smoothing=smoothing)(z, np.array([0, 1]))
    mean_smoothed = smoothing * 1e4
    assert value == pytest.approx((mean_smoothed + (1 - smoothing) * 2e4 + mean_smoothed) / 2, rel=1e-5)
    wanted = np.array([[1, 0, 0], [1, 0, 0]]) - smoothing / 3 - (1 - smoothing) * np.array([[1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(gradient, wanted / 2, atol=1e-6)
    value, gradient = binary_cross_entropy()(z, np.array([[1, 0, 0.5], [0, 1, 0.5]], dtype))
    assert value == pytest.approx((2e4 + 2 * math.log(2)) / 6, rel=1e-5)
    np.testing.assert_allclose(gradient, np.array([[0, 0, 0], [1, -1, 0]]) / 6, atol=1e-7)


def test_accuracy() -> None:
    z = np.array([[1.0, 2], [4, 3], [5, 6]])
    assert softmax_cross_entropy().accuracy(z, np.array([1, 0, 0])) == pytest.approx(2 / 3)
    assert binary_cross_entropy().accuracy(z - 3, np.array([[0.0, 1], [1, 0], [1, 1]])) == pytest.approx(5 / 6)
    # Undecided, which is not above a half.
    assert binary_cross_entropy().accuracy(np.array([[-1.0, 1]]), np.array([[0.5, 0.5]])) == 0.5
    assert mean_squared_error().accuracy is None


def accuracies(loss: Loss, prediction: list[object], target: list[object]) -> list[float]:
    """The accuracy by the pure function and by the kernel, for float32 in both orders in memory."""
    z, t = np.array(prediction, np.float32), np.array(target)
    found = [loss.accuracy(np.asarray(z, order=order), t) for order in "CF"]
    return [*found, *(fast_loss(loss.pure_accuracy)(np.asarray(z, order=order), t) for order in "CF")]


def test_what_is_not_a_number_is_no_right_answer() -> None:
    nan, inf = math.nan, math.inf
    labels = softmax_cross_entropy()
    assert accuracies(labels, [[nan] * 3] * 4, [0, 0, 1, 2]) == [0] * 4
    # A NaN anywhere among the logits: also beyond the largest of the others.
    assert accuracies(labels, [[0, 1, nan], [nan, 1, 0], [0, nan, 0], [0, 1, 0]], [1, 1, 1, 1]) == [0.25] * 4
    # -inf rules a class out; of several largest logits the first is the answer.
    assert accuracies(labels, [[-inf, 0, -1], [0, inf, 1], [inf, inf, 0], [-inf] * 3], [1, 1, 0, 0]) == [1] * 4
    sides = binary_cross_entropy()
    assert accuracies(sides, [[nan, nan], [nan, nan]], np.array([[0, 1], [0.5, 0.2]], np.float32)) == [0] * 4
    assert accuracies(sides, [[nan, 1], [-1, -inf]], np.array([[0, 1], [0, 0]], np.float32)) == [0.75] * 4


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kernel", [False, True])
def test_cross_entropy_of_the_largest_logits(smoothing: float, kernel: bool) -> None:
    """The gradient is right. The loss is right, or infinite where it, or a sum on the way to it, exceeds float32."""
    loss = softmax_cross_entropy(label_smoothing=smoothing)
    value_and_grad = np.errstate(all="ignore")(fast_loss(loss.value_and_grad) if kernel else loss.value_and_grad)
    logits = np.array([[LARGEST, -LARGEST, 0], [3e38, 3e38, -3e38], [-LARGEST] * 3, [3e38, 1, 2e38]], np.float32)
    p = np.array([[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3, [1, 0, 0]])
    row = np.array([[2e38, 1, 1.5e38]], np.float32)
    for label in range(3):
        t = smoothing / 3 + (1 - smoothing) * (np.arange(3) == label)
        value, gradient = value_and_grad(logits, np.full(4, label))
        np.testing.assert_allclose(gradient, (p - t) / 4, atol=1e-6)
        assert value > 0
        value, _ = value_and_grad(row, np.array([label]))
        assert value == pytest.approx(float(t @ [0, 2e38, 0.5e38]), rel=1e-5)
    assert value_and_grad(np.repeat(row, 2, axis=0), np.array([1, 1]))[0] == math.inf


@pytest.mark.parametrize("kernel", [False, True])
def test_other_losses_of_the_largest_numbers(kernel: bool) -> None:
    z = np.array([[LARGEST, -LARGEST, 1e38, -1e38, 0]], np.float32)
    t = np.array([[1, 0, 1, 0, 0.5]], np.float32)
    binary, squared = binary_cross_entropy(), mean_squared_error()
    functions = [fast_loss(loss.value_and_grad) if kernel else loss.value_and_grad for loss in (binary, squared)]
    with np.errstate(all="ignore"):
        value, gradient = functions[0](z, t)
        assert value == pytest.approx(math.log(2) / 5)
        np.testing.assert_allclose(gradient, np.zeros((1, 5)))
        value, gradient = functions[0](z, 1 - t)
        assert value == math.inf
        np.testing.assert_allclose(gradient, [[0.2, -0.2, 0.2, -0.2, 0]])
        large = np.array([[1.8e19], [0]], np.float32)
        assert functions[1](large, np.zeros_like(large))[0] == pytest.approx(1.62e38)
        value, gradient = functions[1](2 * large, np.zeros_like(large))
        assert value == math.inf
        np.testing.assert_allclose(gradient, [[3.6e19], [0]])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "labels from 0 to 2, got labels from 0 to 3"),
        ([-1, 0], "labels from 0 to 2, got labels from -1 to 0"),
        ([0], r"labels of shape \(2,\), got shape \(1,\)"),
    ],
)
@pytest.mark.usefixtures("as_users_run")
def test_wrong_labels_are_refused(labels: list[int], message: str) -> None:
    loss = softmax_cross_entropy()
    for use in (loss, loss.accuracy):
        with pytest.raises(ShapeError, match=message) as caught:
            use(np.zeros((2, 3)), np.array(labels))
        assert caught.value.place == "softmax cross-entropy"


@pytest.mark.parametrize(
    ("labels", "classes"), [(np.array([-1, 0], np.int8), 300), (np.array([-1, 0], np.int16), 70_000)]
)
def test_a_negative_label_is_refused_where_there_are_more_classes_than_its_dtype_has_numbers(
    labels: np.ndarray, classes: int
) -> None:
    with pytest.raises(ShapeError, match=f"labels from 0 to {classes - 1}, got labels from -1 to 0"):
        softmax_cross_entropy()(np.zeros((2, classes), np.float32), labels)
    loss, _ = softmax_cross_entropy()(np.zeros((2, classes), np.float32), np.abs(labels))
    assert loss == pytest.approx(math.log(classes))


def test_labels_that_lie_on_both_sides_do_not_count_from_1() -> None:
    with pytest.raises(ShapeError, match=r"got labels from -1 to 3$"):
        softmax_cross_entropy()(np.zeros((2, 3)), np.array([-1, 3]))


@pytest.mark.usefixtures("as_users_run")
def test_wrong_targets_are_refused() -> None:
    with pytest.raises(ShapeError, match="targets from 0 to 1, got -1 to 2"):
        binary_cross_entropy()(np.zeros((1, 2)), np.array([[-1.0, 2]]))
    with pytest.raises(ShapeError, match=r"targets from 0 to 1, got -1 to 0\.5"):
        binary_cross_entropy()(np.zeros((1, 2)), np.array([[-1.0, 0.5]]))
    with pytest.raises(ShapeError, match="targets from 0 to 1, got nan"):
        binary_cross_entropy()(np.zeros((1, 2)), np.array([[0, math.nan]]))
    for loss in (binary_cross_entropy(), mean_squared_error()):
        with pytest.raises(
            ShapeError,
            match=r"dtype float32, as the prediction, got dtype float64 \(target.astype\(np.float32\)\?\)",
        ):
            loss(np.zeros((1, 2), np.float32), np.zeros((1, 2)))


@pytest.mark.parametrize("loss", [binary_cross_entropy(), mean_squared_error()], ids=str)
@pytest.mark.usefixtures("as_users_run")
def test_the_mean_over_nothing_is_refused(loss: Loss) -> None:
    with pytest.raises(ShapeError, match="at least one example"):
        loss(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(ShapeError, match="at least one example"):
        softmax_cross_entropy()(np.zeros((0, 2)), np.zeros(0, int))


@pytest.mark.parametrize("smoothing", [-0.1, 1])
def test_smoothing_is_a_share(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label smoothing lies in"):
        softmax_cross_entropy(label_smoothing=smoothing)


def test_a_sure_and_right_answer_costs_what_is_left_of_it() -> None:
    """log(1 + exp(-z)), which is lost in the difference of softplus and z."""
    for z in (10.0, 15.0, 20.0):
        for logit, target in ((z, 1.0), (-z, 0.0)):
            value, _ = binary_cross_entropy()(np.array([[logit]], np.float32), np.array([[target]], np.float32))
            assert value == pytest.approx(math.log1p(math.exp(-z)), rel=1e-5)


def test_a_perfect_answer_costs_0_and_not_minus_0() -> None:
    value, _ = softmax_cross_entropy()(np.array([[200.0, 0.0]], np.float32), np.array([0]))
    assert math.copysign(1, value) == 1


@pytest.mark.usefixtures("as_users_run")
def test_labels_and_logits_of_another_kind_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected labels as a NumPy array, got a list"):
        softmax_cross_entropy()(np.zeros((2, 3), np.float32), [0, 1])
    with pytest.raises(ShapeError, match="logits of shape"):
        softmax_cross_entropy()(np.zeros((2, 3, 4), np.float32), np.zeros(2, int))


@pytest.mark.parametrize("loss", [softmax_cross_entropy(), binary_cross_entropy(), mean_squared_error()], ids=str)
def test_half_precision_is_refused(loss: Loss) -> None:
    """Its sums over a batch overflow, and the loss would be wrong without a word."""
    prediction = np.zeros((3, 2), np.float16)
    target = np.zeros(3, int) if loss.name.startswith("softmax") else prediction
    with pytest.raises(ShapeError, match=r"float32 or float64 \(sums of float16 overflow\), got float16"):
        loss(prediction, target)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_fifty_thousand_classes_are_summed_as_well_as_ten(smoothing: float) -> None:
    """One after the other in float32, the sum of so many is off by 5e-4."""
    logits = np.random.default_rng(0).standard_normal((3, 50_000)).astype(np.float32)
    labels = np.array([1, 2, 3])
    loss = softmax_cross_entropy(label_smoothing=smoothing)
    wanted, wanted_gradient = loss(logits.astype(np.float64), labels)
    assert loss(logits, labels)[0] == pytest.approx(wanted, rel=1e-6)
    value, gradient = fast_loss(loss.value_and_grad)(logits, labels)
    assert gradient.dtype == np.float32
    assert value == pytest.approx(wanted, rel=2e-7)
    np.testing.assert_allclose(gradient, wanted_gradient, rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_of_large_arrays_is_that_of_their_parts(dtype: type) -> None:
    draw = np.random.default_rng(0)
    logits = (5 * draw.standard_normal((60, 700))).astype(dtype)
    targets = draw.random((60, 700)).astype(dtype)
    loss = binary_cross_entropy()
    value, gradient = loss(logits, targets)
    parts = [loss(logits[i : i + 1], targets[i : i + 1]) for i in range(60)]
    assert value == pytest.approx(np.mean([part for part, _ in parts]), rel=1e-6)
    wanted = np.concatenate([part for _, part in parts]) / 60
    np.testing.assert_allclose(gradient, wanted, rtol=8 * np.finfo(dtype).eps)


def test_a_class_may_be_ruled_out_by_a_logit_of_minus_infinity() -> None:
    logits = np.array([[1.0, 2.0, -math.inf]])
    value, gradient = softmax_cross_entropy()(logits, np.array([0]))
    wanted, wanted_gradient = softmax_cross_entropy()(logits[:, :2], np.array([0]))
    assert value == pytest.approx(wanted)
    np.testing.assert_allclose(gradient, [[*wanted_gradient[0], 0]])
    assert fast_loss(softmax_cross_entropy().value_and_grad)(logits, np.array([0]))[0] == pytest.approx(wanted)


def test_known_values_of_more_losses() -> None:
    log2 = math.log(2)
    # The probabilities are 1/4, 1/2, 1/4.
    z = [[0, log2, 0]]
    value, gradient = on_numbers(softmax_cross_entropy(), z, [[0.5, 0.5, 0]])
    assert value == pytest.approx(1.5 * log2)
    np.testing.assert_allclose(gradient, [[-0.25, 0, 0.25]], atol=1e-15)
    assert on_numbers(kl_divergence(), z, [[0.25, 0.5, 0.25]])[0] == pytest.approx(0, abs=1e-15)
    assert on_numbers(kl_divergence(), z, [[0.0, 0, 1]])[0] == pytest.approx(2 * log2)
    value, gradient = on_numbers(focal_loss(2), z, [1])
    assert value == pytest.approx(0.25 * log2)
    np.testing.assert_allclose(gradient, 0.25 * (2 * -log2 - 1) * np.array([[-0.25, 0.5, -0.25]]))
    assert on_numbers(hinge_loss(), [[2, 0, 1], [5, 3, 0]], [1, 0]) == (1.5, [[0.5, -0.5, 0], [0, 0, 0]])
    # At a kink the gradient is 0; of rivals that are equal the first is taken.
    assert on_numbers(hinge_loss(), [[1, 0, 0]], [0]) == (0, [[0, 0, 0]])
    assert on_numbers(hinge_loss(), [[0, 1, 1]], [0]) == (2, [[-1, 1, 0]])
    assert on_numbers(mean_absolute_error(), [[1, 2], [3, 4]], [[1.0, 0], [3, 5]]) == (0.75, [[0, 0.25], [0, -0.25]])
    assert on_numbers(huber_loss(2), [[1, 5]], [[0.0, 0]]) == ((0.5 + 8) / 2, [[0.5, 1]])
    value, gradient = on_numbers(poisson_loss(), [[log2, 0]], [[3.0, 0]])
    assert value == pytest.approx((2 - 3 * log2 + 1) / 2)
    np.testing.assert_allclose(gradient, [[-0.5, 0.5]])


def test_the_focal_loss_without_gamma_is_the_cross_entropy() -> None:
    z = np.random.default_rng(0).standard_normal((5, 4))
    labels = np.array([0, 1, 2, 3, 0])
    for weights in ((), (1, 2, 3, 4)):
        wanted = softmax_cross_entropy(class_weights=weights)(z, labels)
        found = focal_loss(0, class_weights=weights)(z, labels)
        assert found[0] == pytest.approx(wanted[0])
        np.testing.assert_allclose(found[1], wanted[1], atol=1e-15)


def test_of_two_classes_the_hinge_loss_is_the_binary_one() -> None:
    z = np.random.default_rng(0).standard_normal((6, 2)) * 2
    labels = np.arange(6) % 2
    signs = 2 * labels - 1
    wanted = np.maximum(0, 1 - signs * (z[:, 1] - z[:, 0])).mean()
    assert hinge_loss()(z, labels)[0] == pytest.approx(wanted)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_extreme_logits_of_the_focal_loss(gamma: float) -> None:
    """Sure and right costs 0, with gradient 0; sure and wrong costs what the cross-entropy does."""
    z = np.array([[LARGEST / 4, -LARGEST / 4, 0], [1e4, -1e4, 0], [30, 0, 0]], np.float32)
    value, gradient = focal_loss(gamma)(z, np.array([0, 0, 0]))
    rest = 2 * math.exp(-30)
    assert value == pytest.approx(rest ** (gamma + 1) / 3, rel=1e-5)
    np.testing.assert_allclose(gradient[:2], np.zeros((2, 3)))
    np.testing.assert_allclose(gradient[2, 0], -(gamma + 1) * rest ** (gamma + 1) / 3, rtol=1e-5)
    value, gradient = focal_loss(gamma)(z[:2], np.array([1, 1]))
    assert value == pytest.approx(LARGEST / 4, rel=1e-5)
    np.testing.assert_allclose(gradient, np.array([[1, -1, 0], [1, -1, 0]]) / 2, atol=1e-6)
    assert not np.isnan(focal_loss(gamma)(np.array([[LARGEST, -LARGEST]], np.float32), np.array([1]))[1]).any()


def test_extreme_numbers_of_the_other_losses() -> None:
    z, t = np.array([[LARGEST, -LARGEST, 3.0]], np.float32), np.array([[-LARGEST, LARGEST, 3.0]], np.float32)
    for loss, size in ((huber_loss(0.5), 0.5), (mean_absolute_error(), 1)):
        value, gradient = loss(z, t)
        assert value == math.inf
        np.testing.assert_allclose(gradient, np.array([[size, -size, 0]]) / 3, rtol=1e-6)
    value, gradient = hinge_loss()(z, np.array([1]))
    assert value == math.inf
    np.testing.assert_allclose(gradient, [[1, -1, 0]])
    value, gradient = kl_divergence()(z, np.array([[1, 0, 0]], np.float32))
    assert (value, gradient.tolist()) == (0, [[0, 0, 0]])
    value, gradient = poisson_loss()(np.array([[-LARGEST, 0]], np.float32), np.array([[0, 2]], np.float32))
    assert (value, gradient.tolist()) == (0.5, [[0, -0.5]])


ALL: list[tuple[Loss, object]] = [
    (softmax_cross_entropy(), class_labels),
    (softmax_cross_entropy(label_smoothing=0.1, class_weights=(1, 2, 0.5)), distributions),
    (kl_divergence(), distributions),
    (focal_loss(class_weights=(1, 2, 0.5)), class_labels),
    (hinge_loss(), class_labels),
    (binary_cross_entropy(), shares),
    (mean_squared_error(), real_numbers),
    (mean_absolute_error(), real_numbers),
    (huber_loss(), real_numbers),
    (poisson_loss(), counts),
]


def case_of(targets: object, batch: int = 6, dtype: type = np.float64) -> tuple[Array, Array]:
    z = np.random.default_rng(1).standard_normal((batch, 3)).astype(dtype)
    target = targets(Key(0, 1), z)
    return z, target if target.dtype.kind == "i" else target.astype(dtype)


@pytest.mark.parametrize(("loss", "targets"), ALL, ids=lambda case: str(case)[:20])
def test_whole_weights_are_repetitions(loss: Loss, targets: object) -> None:
    z, t = case_of(targets)
    times = np.array([2, 0, 1, 3, 0, 1])
    value, gradient = loss(z, t, times.astype(float))
    wanted, rows = loss(np.repeat(z, times, axis=0), np.repeat(t, times, axis=0))
    assert value == pytest.approx(wanted, rel=1e-12)
    places = np.repeat(np.arange(6), times)
    for example in range(6):
        np.testing.assert_allclose(gradient[example], rows[places == example].sum(axis=0), atol=1e-14)
    if loss.accuracy is not None:
        wanted = loss.accuracy(np.repeat(z, times, axis=0), np.repeat(t, times, axis=0))
        assert loss.accuracy(z, t, times.astype(float)) == pytest.approx(wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("loss", "targets"), ALL, ids=lambda case: str(case)[:20])
def test_weights_of_any_size(loss: Loss, targets: object, dtype: type) -> None:
    z, t = case_of(targets, dtype=dtype)
    weight = np.array([1, 2, 0, 3, 1, 1], dtype)
    value, gradient = loss(z, t, weight)
    assert gradient.dtype == dtype
    huge = float(np.finfo(dtype).max) / 4
    for scale in (1e-30, huge):  # the sum of the weights overflows
        other, rows = loss(z, t, weight * dtype(scale))
        assert other == pytest.approx(value, rel=1e-6)
        np.testing.assert_allclose(rows, gradient, rtol=1e-5, atol=1e-7)
    value, gradient = loss(z, t, 0 * weight)
    assert (value, np.abs(gradient).max()) == (0, 0)
    if loss.accuracy is not None:
        assert loss.accuracy(z, t, 0 * weight) == 0
    # What is left out does not count, whatever it is.
    wild = z.copy()
    wild[2] = math.nan
    assert loss(wild, t, weight)[0] == pytest.approx(loss(z, t, weight)[0])
    assert not loss(wild, t, weight)[1][2].any()


def test_the_accuracy_of_weighted_examples_is_at_most_1() -> None:
    draw = np.random.default_rng(0)
    for size in (3, 100, 1001):
        z = draw.standard_normal((size, 4)).astype(np.float32)
        weight = draw.random(size).astype(np.float32)
        assert softmax_cross_entropy().accuracy(z, z.argmax(axis=1), weight) == 1


def test_class_weights_of_labels_and_of_their_distributions_are_one() -> None:
    z, labels = case_of(class_labels)
    for smoothing in (0.0, 0.3):
        loss = softmax_cross_entropy(label_smoothing=smoothing, class_weights=[1, 0, 2.5])
        for weight in (None, np.arange(6.0)):
            value, gradient = loss(z, labels, weight)
            other, rows = loss(z, np.eye(3)[labels], weight)
            assert other == pytest.approx(value)
            np.testing.assert_allclose(rows, gradient, atol=1e-15)
    assert loss.accuracy(z, labels) == softmax_cross_entropy().accuracy(z, labels)


@pytest.mark.parametrize("engine", [engines.plain(), engines.numpy()], ids=str)
@pytest.mark.parametrize(("loss", "targets"), ALL, ids=lambda case: str(case)[:20])
def test_an_evaluation_in_batches_is_that_of_the_whole(loss: Loss, targets: object, engine: engines.Engine) -> None:
    z, t = case_of(targets)
    for weight in (None, np.array([1, 0, 3, 0, 0, 0.5])):
        wanted = loss(z, t, weight)[0]
        parts = [slice(0, 3), slice(3, 5), slice(5, 6)]
        given = [Batch(z[p], t[p], None if weight is None else weight[p]) for p in parts]
        found = evaluate(identity(), (), given, loss, engine=engine)
        assert found.data_loss == pytest.approx(wanted)
        assert found.examples == 6
        if loss.accuracy is not None:
            assert found.accuracy == pytest.approx(loss.accuracy(z, t, weight))
    with pytest.raises(ValueError, match="all have a weight of 0"):
        evaluate(identity(), (), [Batch(z, t, np.zeros(6))], loss, engine=engine)


def test_an_answer_is_right_if_no_share_is_larger() -> None:
    z = np.array([[2.0, 1, 0], [2, 1, 0], [2, 1, 0], [math.nan, 1, 0]])
    t = np.array([[0.5, 0.5, 0], [0.4, 0.6, 0], [0.8, 0.1, 0.1], [0, 1, 0]])
    for loss in (softmax_cross_entropy(), kl_divergence()):
        assert accuracies(loss, z.tolist(), t.astype(np.float32)) == [0.5] * 4


def test_a_share_of_0_costs_nothing_though_its_class_is_ruled_out() -> None:
    z, t = np.array([[1.0, 2, -math.inf]]), np.array([[0.5, 0.5, 0]])
    for loss in (softmax_cross_entropy(), kl_divergence()):
        value, gradient = loss(z, t)
        assert math.isfinite(value)
        assert np.isfinite(gradient).all()


DISTRIBUTIONS = [
    ([[0.5, 0.4, 0]], r"shares of the classes that sum to 1, got 0\.9 in row 0"),
    ([[1.5, -0.5, 0]], r"shares of the classes, from 0 to 1, got -0\.5 to 1\.5"),
    ([[math.nan, 1, 0]], "shares of the classes, from 0 to 1, got nan to nan"),
]


@pytest.mark.parametrize(("target", "message"), DISTRIBUTIONS)
@pytest.mark.usefixtures("as_users_run")
def test_wrong_distributions_are_refused(target: list[list[float]], message: str) -> None:
    for loss in (softmax_cross_entropy(), kl_divergence()):
        for use in (loss, loss.accuracy):
            with pytest.raises(ShapeError, match=message):
                use(np.zeros((1, 3)), np.array(target))
    with pytest.raises(ShapeError, match=r"the target of dtype float32, .*got dtype float64"):
        softmax_cross_entropy()(np.zeros((1, 3), np.float32), np.array([[1.0, 0, 0]]))
    with pytest.raises(ShapeError, match=r"the target of shape \(1, 3\)"):
        kl_divergence()(np.zeros((1, 3)), np.array([0]))


@pytest.mark.usefixtures("as_users_run")
def test_wrong_counts_are_refused() -> None:
    for wrong in (-1.0, math.inf, math.nan):
        with pytest.raises(ShapeError, match="targets that are finite and not negative"):
            poisson_loss()(np.zeros((1, 2)), np.array([[0, wrong]]))


WEIGHTS = [
    (np.ones(3), r"weights of shape \(2,\), one an example, got shape \(3,\)"),
    (np.ones((2, 1)), r"got shape \(2, 1\) \(a column\? weight\[:, 0\] are its weights\)"),
    (np.ones(2, np.float32), r"weights of dtype float64, as the prediction, got dtype float32 \(weight.astype"),
    (np.ones(2, int), "weights of dtype float64, as the prediction, got dtype int64"),
    (np.array([1, -1.0]), "weights that are finite and not negative, got -1 to 1"),
    (np.array([1, math.inf]), "weights that are finite and not negative, got 1 to inf"),
    (np.array([1, math.nan]), "weights that are finite and not negative, got nan to nan"),
    ([1.0, 1.0], "the weights as a NumPy array, got a list"),
]


@pytest.mark.parametrize(("weight", "message"), WEIGHTS)
@pytest.mark.usefixtures("as_users_run")
def test_wrong_weights_are_refused(weight: object, message: str) -> None:
    loss = binary_cross_entropy()
    for use in (loss, loss.accuracy):
        with pytest.raises(ShapeError, match=message):
            use(np.zeros((2, 3)), np.zeros((2, 3)), weight)


@pytest.mark.parametrize("make", [softmax_cross_entropy, focal_loss, hinge_loss])
@pytest.mark.usefixtures("as_users_run")
def test_wrong_class_weights_are_refused(make: object) -> None:
    for wrong in ((1, -1), (0, 0), (1, math.nan), (1, math.inf)):
        with pytest.raises(ValueError, match="class weights are finite and not negative, and one is above 0"):
            make(class_weights=wrong)
    for wrong in ({0: 1.0, 1: 2.0}, "balanced"):
        with pytest.raises(TypeError, match="class weights are numbers in the order of the classes"):
            make(class_weights=wrong)
    with pytest.raises(ShapeError, match=r"a prediction of shape \(batch, 2\), as there are class weights"):
        make(class_weights=(1, 2))(np.zeros((2, 3)), np.array([0, 1]))


@pytest.mark.usefixtures("as_users_run")
def test_wrong_hyperparameters_are_refused() -> None:
    for wrong in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match="gamma of a focal loss is finite and not negative"):
            focal_loss(wrong)
    for wrong in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="delta of Huber's loss is positive and finite"):
            huber_loss(wrong)


def test_losses_of_ones_own_and_weights() -> None:
    z, t, weight = np.array([[1.0], [3.0]]), np.zeros((2, 1)), np.array([3.0, 1.0])
    mine = Loss("mine", lambda z, t: (float((z**2).mean()), 2 * z / z.size))
    assert mine(z, t)[0] == 5
    for use in (lambda: mine(z, t, weight), lambda: evaluate(identity(), (), [Batch(z, t, weight)], mine)):
        with pytest.raises(TypeError, match=r"mine takes no weights, and .*Loss\.of_examples makes a loss"):
            use()
    weighing = Loss.of_examples("mine", lambda z, t: (z[:, 0] ** 2, 2 * z), lambda z, t: z[:, 0] > 2, "numbers")
    assert weighing(z, t)[0] == 5
    assert weighing(z, t, weight)[0] == 3
    assert weighing(z, t, weight)[1].tolist() == [[1.5], [1.5]]
    assert weighing.accuracy(z, t, weight) == 0.25
    own = Loss("mine", lambda z, t, weight=None: (0.0 if weight is None else float(weight.sum()), 0 * z))
    assert own(z, t, weight)[0] == 4
    check_loss(weighing, (1,), targets=real_numbers, key=Key(0, 3))
