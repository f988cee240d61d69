import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from funcnet import aligned

LAYOUTS = {
    "by rows": lambda a: a,
    "by columns": np.asfortranarray,
    "its axes in another order": lambda a: a.transpose(*range(1, a.ndim), 0) if a.ndim else a,
    "with gaps": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
}


@given(
    shape=st.lists(st.sampled_from([0, 1, 2, 3, 65]), max_size=3).map(tuple),
    dtype=st.sampled_from([np.float32, np.float64, np.uint8, np.int64, bool]),
    layout=st.sampled_from(list(LAYOUTS)),
)
def test_a_copy_is_the_array_at_the_beginning_of_a_line(shape: tuple[int, ...], dtype: type, layout: str) -> None:
    array = LAYOUTS[layout](np.random.default_rng(0).integers(0, 100, shape).astype(dtype))
    copied = aligned.copy(array)
    assert (copied.shape, copied.dtype, copied.strides) == (array.shape, array.dtype, array.copy(order="K").strides)
    np.testing.assert_array_equal(copied, array)
    assert copied.flags.writeable
    assert not np.shares_memory(copied, array)
    assert copied.__array_interface__["data"][0] % 64 == 0
    assert type(copied) is np.ndarray


def test_an_array_is_its_own_and_its_views_are_not() -> None:
    for whole in (np.ones((4, 3)), aligned.copy(np.ones((4, 3))), aligned.empty_like(np.ones((4, 3)))):
        assert aligned.is_own(whole)
        for view in (whole[1:], whole.T, whole[:], whole.view(), whole.reshape(-1), np.broadcast_to(whole, (2, 4, 3))):
            assert not aligned.is_own(view)
    assert not aligned.is_own(np.frombuffer(b"0123", np.uint8))


def test_what_is_no_plain_array_of_numbers_is_copied_as_it_is() -> None:
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    assert type(aligned.copy(masked)) is type(masked)
    assert aligned.copy(np.array(["a", None])).tolist() == ["a", None]
