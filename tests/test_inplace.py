"""What a function says that it would do in place is said by it alone."""

import functools

from funcnet.inplace import fresh, is_fresh, over_of, twin_of, with_over, with_twin


def test_a_function_put_in_place_of_another_says_nothing() -> None:
    first = fresh(with_over(with_twin(lambda: 1, lambda: 2), lambda: 3))
    assert first() == 1
    twin = twin_of(first)
    assert twin is not None
    assert (twin(), over_of(first)(), is_fresh(first)) == (2, 3, True)

    def second() -> int:
        return 4

    assert (twin_of(second), over_of(second), is_fresh(second)) == (None, second, False)


def test_a_function_around_another_says_nothing_either() -> None:
    """Though functools.wraps gives it all that the other carries."""
    inner = fresh(with_over(with_twin(lambda: 1, lambda: 2), lambda: 3))

    @functools.wraps(inner)
    def outer() -> int:
        return 4

    assert (twin_of(outer), over_of(outer), is_fresh(outer)) == (None, outer, False)
