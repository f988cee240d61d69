import pickle

import numpy as np
import pytest

from funcnet.shapes import ShapeError, expect, expect_float


def test_expect_takes_what_fits() -> None:
    expect("here", "x", np.zeros((5, 3), np.float32), ("batch", 3), np.dtype(np.float32))
    expect_float("here", "x", np.zeros((0, 3)))


@pytest.mark.parametrize("shape", [(3,), (5, 4), (5, 3, 1), ()])
def test_expect_names_place_expected_and_given(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        expect("linear(7)", "x", np.zeros(shape), ("batch", 3), np.dtype(np.float64))
    assert str(caught.value).startswith("linear(7): expected x of shape (batch, 3), got shape (")
    assert (caught.value.place, caught.value.expected) == ("linear(7)", "x of shape (batch, 3)")


def test_expect_refuses_another_dtype() -> None:
    with pytest.raises(ShapeError, match="expected x of dtype float32, got dtype float64"):
        expect("here", "x", np.zeros((5, 3)), ("batch", 3), np.dtype(np.float32))
    with pytest.raises(ShapeError, match="floating-point dtype, got dtype uint8"):
        expect_float("here", "x", np.zeros((5, 3), np.uint8))
    with pytest.raises(ShapeError, match=r"\(batch, ...\), got shape \(\)"):
        expect_float("here", "x", np.zeros(()))


def test_the_place_grows_outwards() -> None:
    error = ShapeError("relu", "this", "that").inside("chain[1]").inside("chain[0]")
    assert str(error) == "chain[0].chain[1].relu: expected this, got that"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
