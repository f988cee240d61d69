import math

import numpy as np
import pytest
from descent import LOSSES, LayerParams, grads_of, params_of, path, recurrence

from funcnet import tree
from funcnet.optimizers import (
    Optimizer,
    add_decayed_weights,
    clip_by_global_norm,
    clip_by_value,
    compose,
    reduce_on_plateau,
    scale_by_learning_rate,
    sgd,
    weights_only,
)


def apply(optimizer: Optimizer, *arrays: list[float]) -> list[list[float]]:
    grads = tuple(np.array(array) for array in arrays)
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads, 0)
    return [update.tolist() for update in updates]


def test_gradients_are_clipped_by_their_norm_together() -> None:
    assert apply(clip_by_global_norm(6.5), [3.0, 4.0], [12.0]) == [[1.5, 2.0], [6.0]]
    assert apply(clip_by_global_norm(13.0), [3.0, 4.0], [12.0]) == [[3.0, 4.0], [12.0]]
    assert apply(clip_by_global_norm(20.0), [3.0, 0.1], [0.7]) == [[3.0, 0.1], [0.7]]
    assert apply(clip_by_global_norm(1.0), [0.0], [0.0]) == [[0.0], [0.0]]
    assert math.isnan(apply(clip_by_global_norm(1.0), [math.nan], [1.0])[1][0])
    assert clip_by_global_norm(1.0).update(((), None), (), ((), None), 0) == (((), None), ())


def test_the_norm_of_gradients_of_two_precisions() -> None:
    grads = (np.array([3.0], np.float32), np.array([4.0]))
    updates, _ = clip_by_global_norm(1.0).update(grads, (), grads, 0)
    assert [u.dtype for u in updates] == [np.float32, np.float64]
    assert [float(u[0]) for u in updates] == pytest.approx([0.6, 0.8])


def test_gradients_are_clipped_entry_by_entry() -> None:
    assert apply(clip_by_value(1.0), [3.0, -4.0, 0.5], [-1.0]) == [[1.0, -1.0, 0.5], [-1.0]]


def test_clipped_descent() -> None:
    chain = compose(clip_by_value(0.5), sgd(0.1))
    assert path(chain) == pytest.approx(recurrence(lambda w, g, t: w - 0.1 * max(-0.5, min(0.5, g))))


def test_weights_decay_where_the_mask_says_so() -> None:
    params, grads = params_of(np, "float64"), grads_of(np, "float64", 0)
    asked = []

    def mask(path: str, array: np.ndarray) -> bool:
        asked.append((path, array))
        return path.endswith("bias")

    updates, _ = add_decayed_weights(0.5, mask).update(grads, (), params, 0)
    assert [path for path, _ in asked] == ["[1].weight", "[1].bias", "[2].weight", "[3].bias"]
    assert all(array is leaf for array, leaf in zip(
        (array for _, array in asked),
        (params[1].weight, params[1].bias, params[2].weight, params[3].bias), strict=True,
    ))  # fmt: skip
    assert tree.equal(updates[1], LayerParams(grads[1].weight, grads[1].bias + 0.5 * params[1].bias, None))
    assert tree.equal(updates[2], grads[2])
    full, _ = add_decayed_weights(0.5).update(grads, (), params, 0)
    assert tree.equal(full[1].weight, grads[1].weight + 0.5 * params[1].weight)
    assert full[1].running is None
    assert full[3].weight is None


def test_weights_have_two_axes_or_more() -> None:
    assert [weights_only("", np.ones((1,) * axes)) for axes in range(4)] == [False, False, True, True]


def scales(optimizer: Optimizer, losses: list[float]) -> list[float]:
    params = (np.ones(1),)
    state, found = optimizer.init(params), []
    for step, loss in enumerate(losses):
        updates, state = optimizer.update(params, state, params, step, loss=loss)
        found.append(float(updates[0][0]))
    return found


def scales_by_hand(losses: list[float], factor: float, patience: int, threshold: float, cooldown: int) -> list[float]:
    scale, best, failures, rest, found = 1.0, math.inf, 0, 0, []
    for loss in losses:
        if loss < best * (1 - threshold):
            best, failures = loss, 0
        else:
            failures += 1
        if rest > 0:
            rest, failures = rest - 1, 0
        elif failures >= patience:
            scale, failures, rest = scale * factor, 0, cooldown
        found.append(scale)
    return found


def test_the_scale_falls_on_a_plateau() -> None:
    assert scales(reduce_on_plateau(0.5, 2), [1, 0.9, 0.95, 0.9, 0.9, 0.8, 0.8, 0.8]) == [
        1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25,
    ]  # fmt: skip
    for settings in ((0.5, 2, 1e-4, 0), (0.5, 1, 0.05, 2), (0.1, 3, 0.0, 1)):
        factor, patience, threshold, cooldown = settings
        optimizer = reduce_on_plateau(factor, patience, threshold=threshold, cooldown=cooldown)
        assert scales(optimizer, LOSSES) == pytest.approx(scales_by_hand(LOSSES, *settings))


def test_losses_are_averaged_before_a_plateau_is_seen() -> None:
    pairs = [1.0, 3.0, 2.5, 1.5, 0.1, 4.1, 0.0, 0.0]  # means 2, 2, 2.1 and 0
    assert scales(reduce_on_plateau(0.5, 1, every=2), pairs) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_the_scale_has_a_lowest_value() -> None:
    assert scales(reduce_on_plateau(0.5, 1, lowest=0.3), [1, 1, 1, 1]) == [1, 0.5, 0.3, 0.3]


def test_a_loss_that_was_not_told_counts_for_nothing() -> None:
    nan = math.nan
    assert scales(reduce_on_plateau(0.5, 1), [1, nan, nan, 1]) == [1, 1, 1, 0.5]
    assert scales(reduce_on_plateau(0.5, 1, every=2), [1, 1, nan, 5, 5, nan, 1, 1]) == [1] * 7 + [0.5]


def test_a_plateau_of_a_network_without_parameters() -> None:
    optimizer = compose(reduce_on_plateau(), sgd(0.1))
    assert optimizer.update(((), None), optimizer.init(((), None)), ((), None), 0)[0] == ((), None)


def test_a_plateau_in_descent() -> None:
    chain = compose(sgd(0.1), reduce_on_plateau(0.5, 1))
    by_hand = scales_by_hand(LOSSES, 0.5, 1, 1e-4, 0)
    assert path(chain) == pytest.approx(recurrence(lambda w, g, t: w - 0.1 * by_hand[t - 1] * g))


def test_whole_numbers_in_place_of_floats() -> None:
    """Gradients of a toy example may be whole numbers."""
    updates, _ = scale_by_learning_rate(0.1).update((np.array([1, 2]),), (), (np.array([1.0, 1.0]),), 0)
    assert updates[0].tolist() == pytest.approx([-0.1, -0.2])


def test_settings_are_checked() -> None:
    for make, what in ((clip_by_global_norm, "the limit of a norm"), (clip_by_value, "the limit of a value")):
        for wrong in (0, -1, math.nan, math.inf):
            with pytest.raises(ValueError, match=f"{what} is finite and positive, got {wrong}"):
                make(wrong)
    with pytest.raises(ValueError, match="a weight decay is finite and from 0 up, got -1"):
        add_decayed_weights(-1)
    for factor in (0, 1, math.nan):
        with pytest.raises(ValueError, match=f"the factor on a plateau lies between 0 and 1, got {factor}"):
            reduce_on_plateau(factor)
    with pytest.raises(ValueError, match="the patience on a plateau is a whole number from 1 up, got 0"):
        reduce_on_plateau(patience=0)
    with pytest.raises(ValueError, match="the cooldown after a plateau is a whole number from 0 up, got -1"):
        reduce_on_plateau(cooldown=-1)
    with pytest.raises(ValueError, match="the number of losses in a mean is a whole number from 1 up, got 0"):
        reduce_on_plateau(every=0)
    with pytest.raises(ValueError, match=r"the threshold of a plateau lies in \[0, 1\), got 1"):
        reduce_on_plateau(threshold=1)
    with pytest.raises(ValueError, match=r"the lowest scale of a plateau lies in \[0, 1\), got -1"):
        reduce_on_plateau(lowest=-1)
