import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from funcnet.shapes import ShapeError, expect, expect_float, kind_of, whole_number


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


def test_whole_numbers() -> None:
    assert whole_number("it", np.int64(3), 1) == 3
    assert type(whole_number("it", np.int64(3), 1)) is int
    for wrong in (0, 1.0, True, "1", None):
        with pytest.raises(ValueError, match=f"it is a whole number from 1 up, got {wrong!r}"):
            whole_number("it", wrong, 1)


def test_annotations_can_be_read_without_jaxtyping() -> None:
    """As documentation tools do."""
    code = "import funcnet, sys, typing; typing.get_type_hints(funcnet.he); assert 'jaxtyping' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("other", [np.ones((2, 2)).view(np.matrix), np.ma.masked_array(np.ones((2, 2)))])
def test_arrays_that_multiply_otherwise_or_leave_entries_out_are_refused(other: np.ndarray) -> None:
    for use in (
        lambda: expect("here", "x", other, (2, 2), other.dtype),
        lambda: expect_float("here", "x", other),
    ):
        with pytest.raises(ShapeError, match="expected x as a NumPy array, got a "):
            use()


def test_arrays_in_files_are_taken(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    expect_float("here", "x", np.load(tmp_path / "x.npy", mmap_mode="r"))


def test_what_kind_a_value_is_of_in_words() -> None:
    assert [kind_of(value) for value in ([], 3, np.ones(1), ())] == ["a list", "an int", "a ndarray", "a tuple"]
