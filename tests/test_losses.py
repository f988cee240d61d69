import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcnet.check import check_loss, class_labels, real_numbers, shares
from funcnet.check.strategies import keys, shapes, sizes
from funcnet.engines.numpy.losses import fast_loss
from funcnet.losses import Loss, binary_cross_entropy, mean_squared_error, softmax_cross_entropy
from funcnet.random import Key
from funcnet.shapes import Array, Shape, ShapeError


@settings(max_examples=20)
@given(sizes(), sizes(), st.sampled_from([0.0, 0.1, 0.7]), st.sampled_from([np.uint8, np.int32, np.int64]), keys())
def test_proof_of_softmax_cross_entropy(batch: int, classes: int, smoothing: float, dtype: type, key: Key) -> None:
    def labels(key: Key, logits: Array) -> Array:
        return class_labels(key, logits).astype(dtype)

    check_loss(softmax_cross_entropy(label_smoothing=smoothing), (classes,), targets=labels, batch=batch, key=key)


@settings(max_examples=10)
@given(sizes(), shapes(), keys())
def test_proof_of_binary_cross_entropy(batch: int, shape: Shape, key: Key) -> None:
    check_loss(binary_cross_entropy(), shape, targets=shares, batch=batch, key=key)


@settings(max_examples=10)
@given(sizes(), shapes(), keys())
def test_proof_of_mean_squared_error(batch: int, shape: Shape, key: Key) -> None:
    check_loss(mean_squared_error(), shape, targets=real_numbers, batch=batch, key=key)


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
