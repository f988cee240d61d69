"""What a function says that it would do in place is said by it alone."""

import functools

from funcnet.inplace import bind_of, fresh, is_fresh, over_of, twin_of, with_bound, with_over, with_twin


def test_a_function_put_in_place_of_another_says_nothing() -> None:
    first = fresh(with_bound(with_over(with_twin(lambda: 1, lambda: 2), lambda: 3), lambda params, over: lambda x: 4))
    assert first() == 1
    twin, bind = twin_of(first), bind_of(first)
    assert twin is not None
    assert bind is not None
    assert (twin(), over_of(first)(), is_fresh(first), bind((), False)(0)) == (2, 3, True, 4)

    def second() -> int:
        return 5

    assert (twin_of(second), over_of(second), is_fresh(second), bind_of(second)) == (None, second, False, None)


def test_a_function_around_another_says_nothing_either() -> None:
    """Though functools.wraps gives it all that the other carries."""
    inner = fresh(with_bound(with_over(with_twin(lambda: 1, lambda: 2), lambda: 3), lambda params, over: lambda x: 4))

    @functools.wraps(inner)
    def outer() -> int:
        return 5

    assert (twin_of(outer), over_of(outer), is_fresh(outer), bind_of(outer)) == (None, outer, False, None)
